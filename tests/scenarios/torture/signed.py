"""Check the checkpoints that were seen against each other and against the final tree."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from broker.core.tree.merkle import CompactRange
from tests.scenarios.torture.history import wall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from broker.core.streams import StreamPartition
    from tests.scenarios.torture.evidence import Bundle
    from tests.scenarios.torture.history import Root


def forked(roots: Sequence[Root]) -> Iterator[str]:
    """Sizes for which two roots were signed, no matter where they were seen."""
    known: dict[tuple[StreamPartition, int], Root] = {}
    for root in roots:
        other = known.setdefault((root.partition, root.size), root)
        if other.root != root.root:
            yield f"{root.partition} has two roots of size {root.size}: from {other.source} and from {root.source}"


def inconsistent(roots: Sequence[Root], leaves: Mapping[StreamPartition, Sequence[bytes]]) -> Iterator[str]:
    """Signed roots that differ from those of the first leaves of the final tree."""
    signed: dict[StreamPartition, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    for root in roots:
        signed[root.partition][root.size].add(root.root)
    for partition, sizes in signed.items():
        tree = CompactRange()
        for leaf in (None, *leaves.get(partition, ())):
            if leaf is not None:
                tree.append(leaf)
            if any(root != tree.root() for root in sizes.pop(tree.size, ())):
                yield f"{partition}: the checkpoint of size {tree.size} is not of the final tree"


def uncovered(roots: Sequence[Root], last: Bundle) -> Iterator[str]:
    """Signed roots of more leaves than the last bundle has, with everyone who was seen to have them.

    If one was signed before the bundle was made, the log lost entries. If it was signed later, the bundle was made too
    early to judge it.
    """
    seen: dict[tuple[StreamPartition, int], list[Root]] = defaultdict(list)
    for root in roots:
        if root.size > len(last.leaves.get(root.partition, ())):
            seen[root.partition, root.size].append(root)
    for (partition, size), sightings in seen.items():
        signed = {wall(root.signed_at_ms) for root in sightings if root.signed_at_ms}
        places = "; ".join(f"{root.source} at {root.at:.1f} s" for root in sightings)
        yield (
            f"{partition}: the checkpoint of size {size}, signed at {', '.join(sorted(signed)) or 'an unknown time'}, "
            f"is larger than the final tree of {len(last.leaves.get(partition, ()))} leaves, "
            f"which was exported at {wall(last.made_at_ms)}. Seen: {places}"
        )


def shrinking(roots: Sequence[Root]) -> Iterator[str]:
    """Checkpoints that a broker gave after larger ones, though it never lost its folder."""
    largest: dict[tuple[str, StreamPartition], Root] = {}
    for root in roots:
        if root.source.startswith("topic"):
            continue
        before = largest.setdefault((root.source, root.partition), root)
        if root.size < before.size:
            yield f"{root.source} gave {root.partition} of size {root.size} at {root.at:.1f} s, after {before.size}"
        largest[root.source, root.partition] = root
