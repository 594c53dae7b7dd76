"""Compare what stands in a partition with the leaves of its signed tree, position by position.

A bundle lists every leaf of the period (``PartitionLeaves``), and with the hashes left and right of the period that
list hashes to the signed root or it is worthless. So the comparison can be made as entries come, but what it finds
counts only once the whole list has been shown to be the signed tree's: ``findings`` are held back until then.

The list comes in stretches, each followed by what stands in the log up to its last leaf. Whatever a stretch lacks when
the next begins is missing. So no more than one stretch is ever held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import ProofInvalid
from broker.core.findings import FindingsByPosition, error
from broker.core.merkle import CompactRange, range_coordinates
from broker.core.streams import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.bundle import PartitionLeaves, StrayRecord
    from broker.core.findings import EntryLeaf
    from broker.core.streams import StreamPartition


class LeafCheck:
    """One partition's leaves as a bundle lists them, and what was found in their places.

    Args:
        partition: whose they are.
        first_index: index of the first leaf listed.
        left_hashes: roots of the complete subtrees before it.

    Raises:
        ProofInvalid: these cannot be the hashes left of that index.
    """

    def __init__(self, partition: StreamPartition, first_index: int, left_hashes: Sequence[bytes]) -> None:
        self.findings = FindingsByPosition()
        self.first_stray: Position | None = None
        self._partition = partition
        self._tree = CompactRange(first_index, left_hashes)
        self._well_formed = True
        self._last_offset = -1
        self._expected: dict[int, tuple[int, bytes]] = {}
        self._met: set[int] = set()

    @property
    def listed_until(self) -> int:
        """One more than the index of the last leaf listed so far."""
        return self._tree.size

    def expect(self, listed: PartitionLeaves) -> None:
        """A stretch begins with its leaves; the one before it is over."""
        self._end_stretch()
        if listed.first_index != self._tree.size:
            self._well_formed = False
        for leaf in listed.leaves:
            try:
                self._expected[leaf.offset] = (self._tree.size, leaf.hash)
                self._tree.append(leaf.hash)
            except ProofInvalid:
                self._well_formed = False
            # Each leaf stands for a position of its own, in the order of the log.
            if leaf.offset <= self._last_offset:
                self._well_formed = False
            self._last_offset = leaf.offset

    def meet(self, entry: EntryLeaf) -> None:
        """An entry of the bundle. One of another partition is not looked at: the judge of its batch names it."""
        if entry.position.stream_partition == self._partition:
            leaf = self._expected.get(entry.position.offset)
            self._met.add(entry.position.offset)
            if leaf is None:
                message = "the signed tree has no leaf for what stands here"
                self.findings.add(error("RECORD_INSERTED", message, entry.record_id, entry.position))
            elif leaf[1] != entry.hash:
                message = f"what stands here is not the record of leaf {leaf[0]} of the signed tree"
                self.findings.add(error("RECORD_CHANGED", message, entry.record_id, entry.position))

    def meet_stray(self, stray: StrayRecord) -> None:
        """Something that is no record stands in this partition."""
        self.first_stray = self.first_stray or stray.position
        leaf = self._expected.get(stray.position.offset)
        self._met.add(stray.position.offset)
        if leaf is None:
            message = f"the signed tree has no leaf for what stands here: {stray.reason}"
            self.findings.add(error("RECORD_INSERTED", message, position=stray.position))
        else:
            message = f"what stands here is not the record of leaf {leaf[0]} of the signed tree: {stray.reason}"
            self.findings.add(error("RECORD_CHANGED", message, position=stray.position))

    def root(self, size: int, right_hashes: Sequence[bytes]) -> bytes | None:
        """The root of the tree of ``size`` leaves that the list and the hashes right of it make, or None for no tree.

        Nothing may be listed or met after that.
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

    def _end_stretch(self) -> None:
        for offset, (index, _) in self._expected.items():
            if offset not in self._met:
                message = f"the record of leaf {index} of the signed tree is missing here"
                self.findings.add(error("RECORD_MISSING", message, position=Position(*self._partition, offset)))
        self._expected.clear()
        self._met.clear()
