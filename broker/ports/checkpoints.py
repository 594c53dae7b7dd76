"""The ports of evidence: the trees over the log, and what is kept to recognise a log that went back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.streams import StreamPartition
    from broker.core.tree.merkle import Coordinate
    from broker.core.tree.tiles import Tile


class LeafRow(NamedTuple):
    """One stored leaf: the offset of its entry, the time when the entry was accepted, and its hash."""

    offset: int
    accepted_at_ms: int
    hash: bytes


class TreeHead(NamedTuple):
    """The newest checkpoint of a partition: size, signed note, and time of signing (epoch milliseconds)."""

    size: int
    note: bytes
    signed_at_ms: int


class TreeExtension(NamedTuple):
    """New leaves after the stored ones, the inner nodes that become complete, and the checkpoint of the new tree."""

    leaves: Sequence[LeafRow]
    nodes: Sequence[tuple[int, int, bytes]]
    head: TreeHead


class ScrubPlace(NamedTuple):
    """How far the scrub is in a partition, in leaves: no scrub read ``unread``, and a pass goes on with ``next``."""

    unread: int = 0
    next: int = 0


class CheckpointStore(Protocol):
    """Stores the tree of each partition for the follower. The log can rebuild all of it but the notes' signatures."""

    async def head(self, partition: StreamPartition) -> TreeHead | None:
        """The newest checkpoint, or None before the first."""

    async def next_offset(self, partition: StreamPartition) -> int:
        """The offset of the last stored leaf plus one, or 0 before the first."""

    async def extend(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """Extend the tree of ``size`` leaves, durably. Either all of the extension is stored, or nothing.

        Raises:
            CheckpointConflict: the stored tree has another size, so a second follower runs. Nothing was stored.
            LogUnavailable, LogFull
        """

    async def forget(self, partition: StreamPartition) -> None:
        """Drop the tree of a partition, durably: another log took the place of the one that it is of.

        Raises:
            LogUnavailable, LogFull
        """

    async def nodes(self, partition: StreamPartition, coordinates: Sequence[Coordinate]) -> list[bytes]:
        """The hashes of complete subtrees, in the order of ``coordinates``.

        Raises:
            PositionUnknown: the tree is not that large.
        """

    async def tile(self, partition: StreamPartition, tile: Tile) -> bytes:
        """The hashes of a tile that is no entry bundle, one after the other. Any width can be read, also of a full one.

        Raises:
            PositionUnknown: the tree has no such tile, or not so many hashes in it yet.
        """

    async def leaves(self, partition: StreamPartition, first: int, end: int) -> list[LeafRow]:
        """The leaves from index ``first`` to ``end``, without ``end``. The caller limits how many it asks for.

        Raises:
            PositionUnknown: ``0 <= first <= end`` is false, or the tree is not that large.
        """

    async def leaf_index(self, partition: StreamPartition, offset: int) -> int | None:
        """The index of the leaf for the entry at ``offset``, or None if the entry has no leaf (yet)."""

    async def leaf_offset(self, partition: StreamPartition, index: int) -> int:
        """The offset of the entry of the leaf at ``index``.

        Raises:
            PositionUnknown: there is no such leaf.
        """

    async def first_leaf_since(self, partition: StreamPartition, accepted_at_ms: int) -> int:
        """The index of the first leaf that was accepted at or after this time, or the tree's size if there is none."""

    async def scrub_place(self, partition: StreamPartition) -> ScrubPlace:
        """What was stored last, or the beginning."""

    async def put_scrub_place(self, partition: StreamPartition, place: ScrubPlace) -> None:
        """Store how far the scrub is.

        Raises:
            LogUnavailable, LogFull
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""


class CheckpointBoard(Protocol):
    """All processes of one log agree here on its checkpoints. At most one process follows a partition at any time."""

    def follows(self, partition: StreamPartition) -> bool:
        """Whether this process extends the partition's tree now.

        If so, ``published`` returns everything that earlier followers published, and they can publish nothing more.
        """

    async def publish(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """Publish an extension of the tree of ``size`` leaves. Durable, and visible to all processes, when it returns.

        Raises:
            FollowerFenced: another process follows the partition. Nothing was published.
            LogUnavailable: it is unknown whether it was published. This process does not follow until it is known.
        """

    async def published(self, partition: StreamPartition, size: int) -> TreeExtension | None:
        """The next published extension of the tree of ``size`` leaves, without inner nodes. None if there is none yet.

        A key that the directory lists has signed its note, and the note names this partition. The caller must check two
        more things: that the note has the id of this log, and that the leaves match the log's entries. A follower may
        publish the empty tree; that extension is returned only while there is no other.
        """

    async def close(self) -> None:
        """Stop following every partition, and release everything. Idempotent."""


class Evidence(Protocol):
    """Checks that the checkpoints are not too far behind the log (design decision 8)."""

    def check(self) -> None:
        """Refuse to go on without evidence. Fast enough for every batch.

        Raises:
            EvidenceUnavailable: the newest checkpoint is further behind the log than the configuration allows.
            LogRolledBack: the log contradicts a checkpoint that was signed for it.
            CosignaturesLate: witnesses are late, and the configuration says that publishing then stops.
        """


class KeptBytes(Protocol):
    """A few bytes that outlive a restart. Whoever can write to the file can only make the process forget."""

    def read(self) -> bytes:
        """What was written last, or nothing. Blocks."""

    def write(self, data: bytes) -> None:
        """Replace it. If it cannot be written, this is logged. Blocks."""
