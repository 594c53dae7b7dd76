"""The follower's trees in SQLite, in tiles as in C2SP tlog-tiles.

A tile holds up to 256 hashes of one level of the tree. Only levels that are multiples of 8 are stored. The levels
between them are computed from the tile below. A full tile never changes again.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import groupby
from struct import pack, unpack
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from broker.core.errors import CheckpointConflict, LogCorrupt, PositionUnknown
from broker.core.streams import STREAMS
from broker.core.tree.merkle import HASH_BYTES
from broker.core.tree.tiles import TILE_HEIGHT, TILE_WIDTH, subtree_hash
from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.schema import CHECKPOINTS
from broker.ports import LeafRow, ScrubPlace, TreeExtension, TreeHead

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.core.streams import StreamPartition
    from broker.core.tree.merkle import Coordinate
    from broker.core.tree.tiles import Tile

_PARTITION_BITS: Final = 16
_NUMBER_BYTES: Final = 8
_T = TypeVar("_T")


class SqliteCheckpointStore:
    """A ``CheckpointStore`` in one SQLite file, or in memory."""

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """Open the store. Create it if there is none.

        Args:
            path: the file, or None for a store in memory.
            read_only: only read it, beside the process that owns it. Then it must exist.

        Raises:
            LogInUse, LogCorrupt, LogSchemaUnsupported, LogFull, LogUnavailable
        """
        self._database = Database(path, CHECKPOINTS, read_only=read_only)

    async def head(self, partition: StreamPartition) -> TreeHead | None:
        """See ``CheckpointStore``."""
        number = _number(partition)
        row = await self._database.read(
            lambda connection: connection.execute(
                "SELECT size, note, signed_at_ms FROM heads WHERE partition = ?", (number,)
            ).fetchone()
        )
        return None if row is None else TreeHead(*row)

    async def next_offset(self, partition: StreamPartition) -> int:
        """See ``CheckpointStore``."""
        number = _number(partition)
        row = await self._database.read(
            lambda connection: connection.execute(
                "SELECT next_offset FROM heads WHERE partition = ?", (number,)
            ).fetchone()
        )
        return 0 if row is None else int(row[0])

    async def extend(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """See ``CheckpointStore``."""
        number = _number(partition)
        await self._database.write(lambda connection: _extend(connection, number, size, extension))

    async def forget(self, partition: StreamPartition) -> None:
        """See ``CheckpointStore``."""
        number = _number(partition)

        def run(connection: sqlite3.Connection) -> None:
            for table in ("heads", "tiles", "leaves", "scrubs"):
                connection.execute(f"DELETE FROM {table} WHERE partition = ?", (number,))  # noqa: S608 - constants

        await self._database.write(run)

    async def nodes(self, partition: StreamPartition, coordinates: Sequence[Coordinate]) -> list[bytes]:
        """See ``CheckpointStore``."""
        number = _number(partition)
        return await self._database.read(
            lambda connection: [_node(connection, number, level, index) for level, index in coordinates]
        )

    async def tile(self, partition: StreamPartition, tile: Tile) -> bytes:
        """See ``CheckpointStore``."""
        number, end = _number(partition), tile.width * HASH_BYTES
        hashes = await self._database.read(lambda connection: _tile(connection, number, tile.level, tile.number))
        if len(hashes) < end:
            _unknown()
        return hashes[:end]

    async def leaves(self, partition: StreamPartition, first: int, end: int) -> list[LeafRow]:
        """See ``CheckpointStore``."""
        number = _number(partition)
        return await self._database.read(lambda connection: _leaves(connection, number, first, end))

    async def leaf_index(self, partition: StreamPartition, offset: int) -> int | None:
        """See ``CheckpointStore``."""
        number = _number(partition)
        query = (
            "SELECT tile, offsets FROM leaves WHERE partition = ? AND first_offset <= ? "
            "ORDER BY first_offset DESC LIMIT 1"
        )
        row = await self._database.read(lambda connection: connection.execute(query, (number, offset)).fetchone())
        if row is None:
            return None
        offsets = _numbers(row[1])
        at = bisect_left(offsets, offset)
        return row[0] * TILE_WIDTH + at if at < len(offsets) and offsets[at] == offset else None

    async def leaf_offset(self, partition: StreamPartition, index: int) -> int:
        """See ``CheckpointStore``."""
        number = _number(partition)
        query = "SELECT offsets FROM leaves WHERE partition = ? AND tile = ?"
        tile, at = divmod(index, TILE_WIDTH)
        row = await self._database.read(lambda connection: connection.execute(query, (number, tile)).fetchone())
        offsets = () if row is None else _numbers(row[0])
        if index < 0 or at >= len(offsets):
            _unknown()
        return offsets[at]

    async def first_leaf_since(self, partition: StreamPartition, accepted_at_ms: int) -> int:
        """See ``CheckpointStore``."""
        number = _number(partition)
        query = (
            "SELECT tile, accepted_at_ms FROM leaves WHERE partition = ? AND first_accepted_at_ms < ? "
            "ORDER BY first_accepted_at_ms DESC, tile DESC LIMIT 1"
        )
        row = await self._database.read(
            lambda connection: connection.execute(query, (number, accepted_at_ms)).fetchone()
        )
        return 0 if row is None else row[0] * TILE_WIDTH + bisect_left(_numbers(row[1]), accepted_at_ms)

    async def scrub_place(self, partition: StreamPartition) -> ScrubPlace:
        """See ``CheckpointStore``."""
        number = _number(partition)
        query = "SELECT unread, next FROM scrubs WHERE partition = ?"
        row = await self._database.read(lambda connection: connection.execute(query, (number,)).fetchone())
        return ScrubPlace() if row is None else ScrubPlace(*row)

    async def put_scrub_place(self, partition: StreamPartition, place: ScrubPlace) -> None:
        """See ``CheckpointStore``."""
        row = (_number(partition), *place)
        await self._database.write(
            lambda connection: connection.execute("REPLACE INTO scrubs VALUES (?, ?, ?)", row).rowcount
        )

    async def close(self) -> None:
        """See ``CheckpointStore``."""
        await self._database.close()


def _extend(connection: sqlite3.Connection, partition: int, size: int, extension: TreeExtension) -> None:
    row = connection.execute("SELECT size, next_offset FROM heads WHERE partition = ?", (partition,)).fetchone()
    stored, next_offset = row or (0, 0)
    if stored != size or extension.head.size != size + len(extension.leaves):
        message = "the stored tree has another size than the one extended"
        raise CheckpointConflict(message, stored=str(stored), size=str(size))
    _add_hashes(connection, partition, 0, size, [leaf.hash for leaf in extension.leaves])
    _add_leaves(connection, partition, size, extension.leaves)
    tiled = sorted(node for node in extension.nodes if node[0] % TILE_HEIGHT == 0)
    for level, nodes in groupby(tiled, key=lambda node: node[0]):
        row_nodes = list(nodes)
        _add_hashes(connection, partition, level // TILE_HEIGHT, row_nodes[0][1], [node[2] for node in row_nodes])
    if extension.leaves:
        next_offset = extension.leaves[-1].offset + 1
    head = extension.head
    connection.execute(
        "REPLACE INTO heads VALUES (?, ?, ?, ?, ?)", (partition, head.size, next_offset, head.note, head.signed_at_ms)
    )


def _add_hashes(
    connection: sqlite3.Connection, partition: int, tile_level: int, first: int, hashes: Sequence[bytes]
) -> None:
    """Append hashes of one level; ``first`` is the index of the first of them."""
    for tile, at, chunk in _by_tile(first, hashes):
        kept = b""
        if at:
            kept = _tile(connection, partition, tile_level, tile)[: at * HASH_BYTES]
        connection.execute(
            "REPLACE INTO tiles VALUES (?, ?, ?, ?)", (partition, tile_level, tile, kept + b"".join(chunk))
        )


def _add_leaves(connection: sqlite3.Connection, partition: int, first: int, leaves: Sequence[LeafRow]) -> None:
    for tile, at, chunk in _by_tile(first, leaves):
        offsets = pack(f">{len(chunk)}q", *(leaf.offset for leaf in chunk))
        times = pack(f">{len(chunk)}q", *(leaf.accepted_at_ms for leaf in chunk))
        if at:
            connection.execute(
                "UPDATE leaves SET offsets = CAST(offsets || ? AS BLOB), "
                "accepted_at_ms = CAST(accepted_at_ms || ? AS BLOB) WHERE partition = ? AND tile = ?",
                (offsets, times, partition, tile),
            )
        else:
            row = (partition, tile, chunk[0].offset, chunk[0].accepted_at_ms, offsets, times)
            connection.execute("INSERT INTO leaves VALUES (?, ?, ?, ?, ?, ?)", row)


def _leaves(connection: sqlite3.Connection, partition: int, first: int, end: int) -> list[LeafRow]:
    head = connection.execute("SELECT size FROM heads WHERE partition = ?", (partition,)).fetchone()
    if not 0 <= first <= end <= (0 if head is None else head[0]):
        _unknown()
    found: list[LeafRow] = []
    query = "SELECT offsets, accepted_at_ms FROM leaves WHERE partition = ? AND tile = ?"
    while first < end:
        tile, at = divmod(first, TILE_WIDTH)
        row = connection.execute(query, (partition, tile)).fetchone()
        offsets, times = ((), ()) if row is None else (_numbers(row[0]), _numbers(row[1]))
        hashes = _tile(connection, partition, 0, tile)
        until = min(end - tile * TILE_WIDTH, TILE_WIDTH)
        if min(len(offsets), len(times), len(hashes) // HASH_BYTES) < until:
            _damaged()
        found += [
            LeafRow(offsets[place], times[place], hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES])
            for place in range(at, until)
        ]
        first = tile * TILE_WIDTH + until
    return found


def _by_tile(first: int, items: Sequence[_T]) -> Iterator[tuple[int, int, Sequence[_T]]]:
    """Cut consecutive items into (tile, index of the first item in it, items)."""
    done = 0
    while done < len(items):
        tile, at = divmod(first + done, TILE_WIDTH)
        chunk = items[done : done + TILE_WIDTH - at]
        yield tile, at, chunk
        done += len(chunk)


def _node(connection: sqlite3.Connection, partition: int, level: int, index: int) -> bytes:
    """The hash of a complete subtree, from the tile on its level or on the next stored level below."""
    tile_level, above = divmod(level, TILE_HEIGHT)
    tile, at = divmod(index << above, TILE_WIDTH)
    hashes = _tile(connection, partition, tile_level, tile)
    low, high = at * HASH_BYTES, (at + (1 << above)) * HASH_BYTES
    if level < 0 or index < 0 or len(hashes) < high:
        _unknown()
    return subtree_hash([hashes[begin : begin + HASH_BYTES] for begin in range(low, high, HASH_BYTES)])


def _tile(connection: sqlite3.Connection, partition: int, tile_level: int, tile: int) -> bytes:
    row = connection.execute(
        "SELECT hashes FROM tiles WHERE partition = ? AND level = ? AND tile = ?", (partition, tile_level, tile)
    ).fetchone()
    if row is None:
        _unknown()
    hashes: bytes = row[0]
    return hashes


def _numbers(blob: bytes) -> tuple[int, ...]:
    if len(blob) % _NUMBER_BYTES:
        _damaged()
    return unpack(f">{len(blob) // _NUMBER_BYTES}q", blob)


def _number(partition: StreamPartition) -> int:
    # STREAMS only grows at its end, so a stream's number never changes.
    return STREAMS.index(partition.stream) << _PARTITION_BITS | partition.partition


def _unknown() -> NoReturn:
    message = "the tree has no such leaf or subtree"
    raise PositionUnknown(message)


def _damaged() -> NoReturn:
    message = "the checkpoint store's list of leaves is damaged"
    raise LogCorrupt(message)
