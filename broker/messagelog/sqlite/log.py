"""The embedded message log.

An entry's row key is ``partition number << 40 | offset``. So a partition is one range of the table, and its offsets
have no gaps. The transaction that appends computes offsets and times from the table, so they always agree with it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.ackstate import AckState
from broker.core.entry import Appended, LogEntry, NewEntry, Stray
from broker.core.errors import LogCorrupt, LogFull, PositionUnknown
from broker.core.streams import AUDIT, CASES, DNA, NOTICES, Position, StreamPartition
from broker.messagelog.sqlite.cursor import SqliteCursor
from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.schema import LOG
from broker.messagelog.tail import Tail, bounded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from broker.ports import Clock, SubscriptionKey

OFFSET_BITS: Final = 40
DEFAULT_PARTITIONS: Final[dict[str, int]] = {CASES: 4, DNA: 4, NOTICES: 1, AUDIT: 1}
# SQLite stores any type, and another program may have written to the file. So every value is read with its type.
_COLUMNS: Final = (
    "position, CAST(record_id AS BLOB), kind, ordering_key, recipients, CAST(record_sha256 AS BLOB), "
    "CAST(accepted_at_ms AS INTEGER)"
)
_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"
_ROWS_AT_ONCE: Final = 64
"""Rows in one INSERT, or ids in one SELECT. Each step of a statement releases and retakes the interpreter lock."""
_PAGE_BYTES: Final = 1 << 20
"""The limit for the bytes of entries that one job reads, so that readers take turns."""
_WRITER_EPOCH: Final = 0


class _Facts(NamedTuple):
    log_id: str
    partitions: tuple[StreamPartition, ...]
    ends: dict[StreamPartition, int]


class SqliteLog:
    """A ``MessageLog`` in one SQLite file, or in memory. Made by ``open``."""

    def __init__(self, database: Database, facts: _Facts, clock: Clock, *, tail_bytes: int) -> None:
        self._database = database
        self._clock = clock
        self._log_id = facts.log_id
        self._numbers = {partition: number for number, partition in enumerate(facts.partitions)}
        self._partitions = facts.partitions
        self._tail = Tail(facts.ends, tail_bytes)

    @classmethod
    async def open(
        cls,
        path: Path | None,
        clock: Clock,
        *,
        partitions: Mapping[str, int] = DEFAULT_PARTITIONS,
        tail_bytes: int = 32 << 20,
    ) -> SqliteLog:
        """Open the log. Create it if there is none.

        Args:
            path: the file, or None for a log in memory.
            clock: gives the accepted time.
            partitions: the number of partitions of each stream, for a new log. An existing log keeps its own numbers.
            tail_bytes: the limit for the values of the newest entries in memory.

        Raises:
            LogInUse, LogCorrupt, LogSchemaUnsupported, LogFull, LogUnavailable
        """
        database = Database(path, LOG)
        try:
            facts = await database.write(lambda connection: _facts(connection, partitions))
        except BaseException:
            await database.close()
            raise
        return cls(database, facts, clock, tail_bytes=tail_bytes)

    def log_id(self, stream: str) -> str:  # noqa: ARG002 - one file holds all streams
        """See ``MessageLog``: a random name, 32 hexadecimal digits."""
        return self._log_id

    def partitions(self, stream: str) -> int:
        """See ``MessageLog``."""
        return sum(partition.stream == stream for partition in self._partitions)

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """See ``MessageLog``."""
        now_ms = self._clock.now_ms()
        for entry in entries:
            self._number(entry.partition)

        def run(connection: sqlite3.Connection) -> tuple[list[Appended], list[LogEntry]]:
            return self._append(connection, entries, now_ms)

        appended, _ = await self._database.write(run, lambda result: self._tail.extend(result[1]))
        return appended

    async def lookup(self, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        """See ``MessageLog``."""
        return await self._database.read(lambda connection: self._find(connection, record_ids))

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool = True
    ) -> list[LogEntry]:
        """See ``MessageLog``."""
        first = self._number(partition) << OFFSET_BITS
        recent = self._tail.read(partition, offset, max_records, max_bytes)
        if recent is not None:
            return recent
        value = "CAST(value AS BLOB)" if values else "x''"
        query = (
            f"SELECT {_COLUMNS}, {value} FROM entries WHERE position >= ? AND position < ? "  # noqa: S608 - constants
            "ORDER BY position LIMIT ?"
        )
        last = first | (self._tail.ends[partition])

        def run(connection: sqlite3.Connection) -> list[LogEntry]:
            rows = connection.execute(query, (first | offset, last, max_records))
            return bounded(map(self._entry, rows), max_records, min(max_bytes, _PAGE_BYTES))

        return await self._database.read(run)

    async def strays(self, partition: StreamPartition) -> list[Stray]:
        """See ``MessageLog``. This log cannot see which program wrote an entry into its file, so it reports none."""
        self._number(partition)
        return []

    async def end_offset(self, partition: StreamPartition) -> int:
        """See ``MessageLog``."""
        self._number(partition)
        return self._tail.ends[partition]

    async def catch_up(self, partition: StreamPartition, offset: int) -> None:
        """See ``MessageLog``."""
        if await self.end_offset(partition) < offset:
            message = "the log ends before an offset at which a record was accepted"
            raise LogCorrupt(message, partition=str(partition))

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None:
        """See ``MessageLog``."""
        await self._tail.wait_beyond(partitions)

    async def open_cursor(self, subscription: SubscriptionKey, streams: Sequence[str]) -> SqliteCursor:
        """See ``MessageLog``."""
        wanted = [partition for partition in self._partitions if partition.stream in streams]
        query = "SELECT partition, state FROM ack_states WHERE agency = ? AND subscription = ?"
        rows = await self._database.read(lambda connection: connection.execute(query, subscription).fetchall())
        stored = {self._partitions[number]: AckState.decode(text) for number, text in rows}
        return SqliteCursor(self, subscription, {partition: stored.get(partition, AckState()) for partition in wanted})

    async def commit(self, subscription: SubscriptionKey, states: Mapping[StreamPartition, AckState]) -> None:
        """Store how far a subscription is, as ``SqliteCursor.commit`` promises."""
        rows = [(*subscription, self._numbers[partition], state.encode()) for partition, state in states.items()]
        await self._database.write(
            lambda connection: connection.executemany("REPLACE INTO ack_states VALUES (?, ?, ?, ?)", rows)
        )

    async def ping(self) -> None:
        """See ``MessageLog``."""
        await self._database.write(lambda connection: connection.execute("SELECT 1 FROM facts").fetchone())

    async def close(self) -> None:
        """See ``MessageLog``."""
        await self._database.close()

    def _number(self, partition: StreamPartition) -> int:
        number = self._numbers.get(partition)
        if number is None:
            message = "the log has no such stream or partition"
            raise PositionUnknown(message)
        return number

    def _append(
        self, connection: sqlite3.Connection, entries: Sequence[NewEntry], now_ms: int
    ) -> tuple[list[Appended], list[LogEntry]]:
        """Inside the transaction: leave out the entries that the log has, number the others, and insert them."""
        known = self._find(connection, [entry.record_id for entry in entries])
        ends: dict[StreamPartition, tuple[int, int]] = {}
        appended: list[Appended] = []
        fresh: list[LogEntry] = []
        for entry in entries:
            before = known.get(entry.record_id)
            if before is None:
                end = ends.get(entry.partition)
                offset, last_ms = self._end(connection, entry.partition) if end is None else end
                accepted_at_ms = max(now_ms, last_ms)
                ends[entry.partition] = (offset + 1, accepted_at_ms)
                position = Position(*entry.partition, offset)
                before = self._appended(position, accepted_at_ms, entry.record_sha256, duplicate=False)
                # A record that is in one call twice is a duplicate of itself.
                known[entry.record_id] = before._replace(duplicate=True)
                fresh.append(entry.placed(position, accepted_at_ms, self._log_id, _WRITER_EPOCH))
            appended.append(before)
        self._insert(connection, fresh)
        return appended, fresh

    def _insert(self, connection: sqlite3.Connection, entries: Sequence[LogEntry]) -> None:
        for at in range(0, len(entries), _ROWS_AT_ONCE):
            chunk = entries[at : at + _ROWS_AT_ONCE]
            values: list[object] = []
            for entry in chunk:
                number = self._numbers[entry.position.stream_partition] << OFFSET_BITS
                values += (number | entry.position.offset, entry.record_id, entry.kind, entry.ordering_key)
                values += (" ".join(entry.recipients), entry.record_sha256, entry.accepted_at_ms, entry.value)
            rows = ", ".join([_ROW] * len(chunk))
            connection.execute(f"INSERT INTO entries VALUES {rows}", values)  # noqa: S608 - placeholders only

    def _find(self, connection: sqlite3.Connection, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        found: dict[bytes, Appended] = {}
        for at in range(0, len(record_ids), _ROWS_AT_ONCE):
            chunk = record_ids[at : at + _ROWS_AT_ONCE]
            marks = ", ".join("?" * len(chunk))
            query = (
                "SELECT record_id, position, accepted_at_ms, record_sha256 FROM entries "  # noqa: S608 - placeholders
                f"WHERE record_id IN ({marks})"
            )
            for record_id, key, accepted_at_ms, record_sha256 in connection.execute(query, chunk):
                position = self._position(key)
                found[record_id] = self._appended(position, accepted_at_ms, record_sha256, duplicate=True)
        return found

    def _appended(self, position: Position, accepted_at_ms: int, record_sha256: bytes, *, duplicate: bool) -> Appended:
        return Appended(position, accepted_at_ms, record_sha256, self._log_id, _WRITER_EPOCH, duplicate)

    def _end(self, connection: sqlite3.Connection, partition: StreamPartition) -> tuple[int, int]:
        """The next offset of a partition, and the time of the last entry."""
        first = self._numbers[partition] << OFFSET_BITS
        row = connection.execute(
            "SELECT position, accepted_at_ms FROM entries WHERE position >= ? AND position < ? "
            "ORDER BY position DESC LIMIT 1",
            (first, first + (1 << OFFSET_BITS)),
        ).fetchone()
        if row is None:
            return 0, 0
        offset = row[0] - first + 1
        if offset >> OFFSET_BITS:
            message = "a partition has reached its last offset"
            raise LogFull(message, partition=str(partition))
        return offset, row[1]

    def _position(self, key: int) -> Position:
        number = key >> OFFSET_BITS
        if not 0 <= number < len(self._partitions):
            message = "an entry lies in a partition that the log does not have"
            raise LogCorrupt(message)
        return Position(*self._partitions[number], key & ((1 << OFFSET_BITS) - 1))

    def _entry(self, row: tuple[int, bytes, str, str, str, bytes, int, bytes]) -> LogEntry:
        key, record_id, kind, ordering_key, recipients, record_sha256, accepted_at_ms, value = row
        return LogEntry(
            self._position(key),
            record_id,
            kind,
            ordering_key,
            tuple(recipients.split()),
            record_sha256,
            accepted_at_ms,
            value,
            self._log_id,
            _WRITER_EPOCH,
        )


def _facts(connection: sqlite3.Connection, wanted: Mapping[str, int]) -> _Facts:
    """The log's id, its partitions and where each ends. The id and the partitions are set once, when the log is new."""
    if connection.execute("SELECT count(*) FROM facts").fetchone()[0] == 0:
        streams = " ".join(f"{stream}:{count}" for stream, count in wanted.items())
        rows = [("log_id", secrets.token_hex(16)), ("streams", streams)]
        connection.executemany("INSERT INTO facts VALUES (?, ?)", rows)
    facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
    partitions = tuple(
        StreamPartition(stream, number)
        for stream, count in (item.split(":") for item in facts["streams"].split())
        for number in range(int(count))
    )
    ends = {}
    for number, partition in enumerate(partitions):
        first = number << OFFSET_BITS
        (last,) = connection.execute(
            "SELECT max(position) FROM entries WHERE position >= ? AND position < ?",
            (first, first + (1 << OFFSET_BITS)),
        ).fetchone()
        ends[partition] = 0 if last is None else last - first + 1
    return _Facts(facts["log_id"], partitions, ends)
