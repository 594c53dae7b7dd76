"""What `verify` says of checkpoints that an ended log key signed beyond its end (broker/core/logkeyends.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.audit.findings import warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from broker.core.audit.findings import Finding
    from broker.core.streams import StreamPartition


def beyond_ends(seen: Iterable[tuple[StreamPartition, int]]) -> Iterator[Finding]:
    """A warning for each partition of which an auditor brought checkpoints that an ended key signed beyond its end.

    They count for nothing, because a thief can sign them. But whoever sets the end too early could hide with it that a
    log went back, so they are told apart from those that no key signed.

    Args:
        seen: the partition and the size of each.
    """
    largest: dict[StreamPartition, int] = {}
    for partition, size in seen:
        largest[partition] = max(size, largest.get(partition, 0))
    for partition, size in sorted(largest.items()):
        message = (
            f"{partition}: a checkpoint of {size} that was brought is signed by an ended key beyond its end: by a "
            "thief of the key, or the end was set too early and hides a rollback. It does not count: ask who saw it, "
            "and when"
        )
        yield warning("CHECKPOINT_BEYOND_END", message)
