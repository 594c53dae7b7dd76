"""Compare the entries of a partition with the leaves of its signed tree, position by position.

A bundle lists every leaf of the period (``PartitionLeaves``). With the hashes left and right of the period, the list
must give the signed root; otherwise it is worthless. Entries are compared as they come. But the results count only
after the whole list has been shown to be that of the signed tree. Until then ``findings`` must not be used.

The list comes in stretches. After each follows what the log holds up to its last leaf. A leaf of a stretch that has no
entry when the next stretch begins is missing. So no more than one stretch is held at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.audit.findings import Compared, FindingsByPosition, Stated, error, warning
from broker.core.entry import REPAIRED
from broker.core.errors import ProofInvalid
from broker.core.streams import Position
from broker.core.tree.merkle import CompactRange, range_coordinates

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.core.audit.findings import EntryLeaf
    from broker.core.bundle import PartitionLeaves, StrayRecord
    from broker.core.streams import StreamPartition


class LeafCheck:
    """One partition's leaves as a bundle lists them, and what was found in their places.

    Args:
        partition: the partition of the leaves.
        first_index: the index of the first listed leaf.
        left_hashes: the roots of the complete subtrees before it.
        sizes: earlier sizes of the tree to keep the roots of.

    Raises:
        ProofInvalid: these cannot be the hashes left of that index.
    """

    def __init__(
        self,
        partition: StreamPartition,
        first_index: int,
        left_hashes: Sequence[bytes],
        sizes: Iterable[int] = (),
    ) -> None:
        self.findings = FindingsByPosition()
        self.first_stray: Position | None = None
        self._partition = partition
        self._tree = CompactRange(first_index, left_hashes)
        self.roots: dict[int, bytes] = {}
        self._sizes = frozenset(sizes)
        self._keep_root()
        self._well_formed = True
        self.first_offset: int | None = None
        self._last_offset = -1
        self._expected: dict[int, tuple[int, bytes]] = {}
        self._met: set[int] = set()
        # The damaged ones for which a copy is said to stand in, until the copy is compared. It comes before or after.
        self._matched: set[int] = set()
        self._repaired: dict[int, int] = {}

    @property
    def listed_until(self) -> int:
        """The index of the last listed leaf so far, plus one."""
        return self._tree.size

    @property
    def last_offset(self) -> int:
        """The offset of the last listed leaf so far, or -1."""
        return self._last_offset

    @property
    def next_expected(self) -> int | None:
        """The offset of the first leaf of this stretch that no entry stood for yet."""
        return next((offset for offset in self._expected if offset not in self._met), None)

    def expect(self, listed: PartitionLeaves) -> None:
        """Begin a stretch with its leaves. The previous stretch ends."""
        self._end_stretch()
        if listed.first_index != self._tree.size:
            self._well_formed = False
        for leaf in listed.leaves:
            try:
                self._expected[leaf.offset] = (self._tree.size, leaf.hash)
                self._tree.append(leaf.hash)
                self._keep_root()
            except ProofInvalid:
                self._well_formed = False
            # Each leaf has its own position, and they follow the order of the log.
            if leaf.offset <= self._last_offset:
                self._well_formed = False
            self._last_offset = leaf.offset
            if self.first_offset is None:
                self.first_offset = leaf.offset

    def compare(self, entry: EntryLeaf) -> None:
        """Compare an entry of the bundle. Ignore one of another partition: the judge of its batch reports it."""
        if entry.position.stream_partition == self._partition:
            leaf = self._expected.get(entry.position.offset)
            self._met.add(entry.position.offset)
            if leaf is None:
                message = "the signed tree has no leaf for what stands here"
                here = (Compared(Stated.LEAF_HERE, entry.hash.hex()),)
                self.findings.add(error("RECORD_INSERTED", message, entry.record_id, entry.position, here))
            elif leaf[1] != entry.hash:
                message = f"what stands here is not the record of leaf {leaf[0]} of the signed tree"
                both = (_signed(leaf[1]), Compared(Stated.LEAF_HERE, entry.hash.hex()))
                self.findings.add(error("RECORD_CHANGED", message, entry.record_id, entry.position, both))
            else:
                self._matched.add(entry.position.offset)

    def compare_stray(self, stray: StrayRecord) -> None:
        """Compare a stray of this partition."""
        self.first_stray = self.first_stray or stray.position
        leaf = self._expected.get(stray.position.offset)
        self._met.add(stray.position.offset)
        if leaf is None:
            message = f"the signed tree has no leaf for what stands here: {stray.reason}"
            here = Compared(Stated.STRAY_HERE, stray.value_sha256.hex())
            self.findings.add(error("RECORD_INSERTED", message, position=stray.position, compared=(here,)))
        elif stray.reason == REPAIRED:
            # Only if the record is here too, and is that of the leaf.
            self._repaired[stray.position.offset] = leaf[0]
        else:
            message = f"what stands here is not the record of leaf {leaf[0]} of the signed tree: {stray.reason}"
            # The SHA-256 of its bytes is another kind of number, and contradicts nothing.
            signed = (_signed(leaf[1]),)
            self.findings.add(error("RECORD_CHANGED", message, position=stray.position, compared=signed))

    def root(self, size: int, right_hashes: Sequence[bytes]) -> bytes | None:
        """The root of the tree of ``size`` leaves, from the list and the hashes right of it, or None for no tree.

        No leaf, entry or stray may follow.
        """
        self._end_stretch()
        if not self._well_formed or self._tree.size > size:
            return None
        coordinates = range_coordinates(self._tree.size, size)
        if len(coordinates) != len(right_hashes):
            return None
        try:
            for (level, _), node in zip(coordinates, right_hashes, strict=True):
                self._tree.append_subtree(level, node)
        except ProofInvalid:
            return None
        return self._tree.root()

    def _keep_root(self) -> None:
        if self._tree.size in self._sizes:
            self.roots[self._tree.size] = self._tree.root()

    def _end_stretch(self) -> None:
        for offset, (index, leaf) in self._expected.items():
            if offset not in self._met:
                message = f"the record of leaf {index} of the signed tree is missing here"
                position = Position(*self._partition, offset)
                self.findings.add(error("RECORD_MISSING", message, position=position, compared=(_signed(leaf),)))
        for offset, index in self._repaired.items():
            position = Position(*self._partition, offset)
            if offset in self._matched:
                message = (
                    f"the log has lost or changed the record of leaf {index} here; its publisher published the same "
                    "record again, and this stands in for it"
                )
                self.findings.add(warning("RECORD_REPAIRED", message, position=position))
            else:
                message = f"what stands here is not the record of leaf {index} of the signed tree: {REPAIRED}"
                self.findings.add(error("RECORD_CHANGED", message, position=position))
        self._repaired.clear()
        self._matched.clear()
        self._expected.clear()
        self._met.clear()


def _signed(leaf: bytes) -> Compared:
    return Compared(Stated.LEAF_SIGNED, leaf.hex())
