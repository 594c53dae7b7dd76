"""The tiles of a log, made from the log and its trees when they are asked for (docs/adr/0048-tiles.md).

Hash tiles and checkpoints name no record, so every member gets them. Entries show the ids of records and when they were
accepted. So only auditors of the stream get them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import LogCorrupt, PositionUnknown, RightDenied
from broker.core.policy import may_replay
from broker.core.streams import Position, every_partition
from broker.core.tree.checkpoint import parse_note
from broker.core.tree.leaf import leaf_of
from broker.core.tree.merkle import leaf_hash
from broker.core.tree.origin import log_path
from broker.core.tree.tiles import CHECKPOINT, ENTRIES, Tile, write_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.entry import LogEntry
    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointStore, CosignedCheckpoints, DirectoryInForce, LeafRow, LogReader, TreeHead
    from broker.services.soundness import EntryJudge

COSIGNED: Final = "cosigned/"
"""Before a log's path: a second prefix of the same log. Its checkpoint is the newest with enough cosignatures."""
_PAGE_BYTES: Final = 1 << 20


class LogTiles:
    """The tiles of one partition (the port TileSource).

    Args:
        log: the log.
        store: its trees.
        partition: the partition.
        judge: also judges the record of each entry that is read. None: entries are only compared with their leaves.
    """

    def __init__(
        self, log: LogReader, store: CheckpointStore, partition: StreamPartition, judge: EntryJudge | None = None
    ) -> None:
        self._log = log
        self._store = store
        self._partition = partition
        self._judge = judge

    async def head(self) -> TreeHead:
        """The newest checkpoint with its size.

        Raises:
            PositionUnknown: there is none yet.
        """
        head = await self._store.head(self._partition)
        if head is None:
            message = "the partition has no checkpoint yet"
            raise PositionUnknown(message)
        return head

    async def checkpoint(self) -> bytes:
        """See ``TileSource``."""
        return (await self.head()).note

    async def tile(self, tile: Tile) -> bytes:
        """See ``TileSource``."""
        if tile.level != ENTRIES:
            return await self._store.tile(self._partition, tile)
        rows = await self._store.leaves(self._partition, tile.first, tile.end)
        manifests: list[bytes] = []
        while len(manifests) < len(rows):
            due = rows[len(manifests) :]
            entries = await self._log.read(
                self._partition, due[0].offset, len(due), _PAGE_BYTES, values=self._judge is not None
            )
            # What was not returned below this offset is lost.
            reached = entries[-1].position.offset if entries else due[-1].offset
            page = [row for row in due if row.offset <= reached]
            if self._judge is not None:
                await self._check(self._judge, page, entries)
            manifests += self._manifests(page, entries)
        return write_entries(manifests)

    async def _check(self, judge: EntryJudge, rows: Sequence[LeafRow], entries: Sequence[LogEntry]) -> None:
        missing = set(await self._log.not_indexed(entries))
        for damage in judge.judged(self._partition, rows, entries, missing):
            raise LogCorrupt(damage.cause, position=str(damage.position))

    def _manifests(self, rows: Sequence[LeafRow], entries: Sequence[LogEntry]) -> list[bytes]:
        found = {entry.position.offset: leaf_of(entry).marshal() for entry in entries}
        manifests = [found.get(row.offset, b"") for row in rows]
        for row, manifest in zip(rows, manifests, strict=True):
            # Nobody gets an entry that the tree does not have.
            if leaf_hash(manifest) != row.hash:
                position = Position(*self._partition, row.offset)
                message = f"the log has lost or changed the entry at {position}"
                raise LogCorrupt(message, position=str(position))
        return manifests


class TileAnswer(NamedTuple):
    """What is at a path. ``lasting``: it never changes. ``text``: it is for people."""

    body: bytes
    lasting: bool
    text: bool


class TileService:
    """Answers by path for all logs of this process. Calls may be concurrent.

    Args:
        log: the message log.
        store: the trees.
        cosigned: what witnesses have cosigned.
        directory: says who is an auditor.
    """

    def __init__(
        self, log: LogReader, store: CheckpointStore, cosigned: CosignedCheckpoints, directory: DirectoryInForce
    ) -> None:
        self._cosigned = cosigned
        self._directory = directory
        self._logs = {
            log_path(partition, log.log_id(partition.stream)): (partition, LogTiles(log, store, partition))
            for partition in every_partition(log.partitions)
        }

    async def get(self, agency: str, path: str) -> TileAnswer:
        """What is at a path, for a member. The prefix itself has the paths of all logs, a line for each.

        Raises:
            PositionUnknown: there is nothing, or not yet.
            RightDenied: it is for auditors of the stream.
            LogCorrupt: the log has lost what the tree says.
            DirectoryUnavailable, LogUnavailable
        """
        below = path.removeprefix(COSIGNED)
        if not below:
            return TileAnswer("".join(f"{name}\n" for name in self._logs).encode(), lasting=False, text=True)
        name = next((name for name in self._logs if below.startswith(f"{name}/")), None)
        if name is None:
            message = "there is no log of this name"
            raise PositionUnknown(message)
        partition, tiles = self._logs[name]
        if below == f"{name}/{CHECKPOINT}":
            note = await self._checkpoint(partition, tiles, only_cosigned=below != path)
            return TileAnswer(note, lasting=False, text=True)
        tile = Tile.parse(below.removeprefix(f"{name}/"))
        if tile.level == ENTRIES and not may_replay(self._directory.current(), agency, partition.stream):
            message = f"{agency} is no auditor of the stream {partition.stream}, so it gets no entries"
            raise RightDenied(message, agency=agency, stream=partition.stream)
        return TileAnswer(await tiles.tile(tile), lasting=True, text=False)

    async def _checkpoint(self, partition: StreamPartition, tiles: LogTiles, *, only_cosigned: bool) -> bytes:
        head = await tiles.head()
        cosigned = await self._cosigned.cosigned(partition, head.size)
        if cosigned is not None and (only_cosigned or parse_note(cosigned.note).text == parse_note(head.note).text):
            return cosigned.note
        if only_cosigned:
            message = "witnesses have not cosigned a checkpoint of this log"
            raise PositionUnknown(message)
        return head.note
