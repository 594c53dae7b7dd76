"""The table of entries: appending to it, finding records in it, reading from it. All of it runs inside a transaction.

An entry's row key is ``partition number << 40 | offset``. So a partition is one range of the table, and its offsets
have no gaps. The transaction that appends computes offsets and times from the table, so they always agree with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.entry import Appended, LogEntry, NewEntry, Page
from broker.core.errors import LogCorrupt, LogFull, PositionUnknown
from broker.core.streams import Position, StreamPartition
from broker.messagelog.sqlite.destinations import insert_destinations, missing, wanted, wanted_or_damaged
from broker.messagelog.sqlite.facts import OFFSET_BITS, Former
from broker.messagelog.sqlite.rows import entries_with_ids, insert_rows
from broker.messagelog.tail import bounded, page_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from broker.core.entry import Interest

# SQLite stores any type, and another program may have written to the file. So every value is read with its type.
_COLUMNS: Final = (
    "COALESCE(CAST(record_id AS BLOB), x''), COALESCE(CAST(kind AS TEXT), ''), "
    "COALESCE(CAST(ordering_key AS TEXT), ''), COALESCE(CAST(recipients AS TEXT), ''), "
    "COALESCE(CAST(record_sha256 AS BLOB), x''), "
    "COALESCE(CAST(accepted_at_ms AS INTEGER), 0)"
)
_VALUE: Final = "COALESCE(CAST(value AS BLOB), x'')"
_PAGE_BYTES: Final = 1 << 20
"""The limit for the bytes of entries that one job reads, so that readers take turns."""
_WRITER_EPOCH: Final = 0


class Batch(NamedTuple):
    """Records to append in one call, and the time of the call."""

    entries: Sequence[NewEntry]
    now_ms: int


class Placed(NamedTuple):
    """Where each entry of a batch stands, in order, and what was inserted."""

    appended: list[Appended]
    fresh: list[LogEntry]


class Entries:
    """See the module.

    Args:
        log_id: the log's.
        partitions: the log's, in the order in which they are numbered.
        formers: the incarnations that it continues, the oldest first.
    """

    def __init__(self, log_id: str, partitions: Sequence[StreamPartition], formers: Sequence[Former] = ()) -> None:
        self._log_id = log_id
        self._partitions = tuple(partitions)
        self._numbers = {partition: number for number, partition in enumerate(partitions)}
        self._formers = tuple(formers)

    def number(self, partition: StreamPartition) -> int:
        """The number of a partition.

        Raises:
            PositionUnknown: the log has no such partition.
        """
        number = self._numbers.get(partition)
        if number is None:
            message = "the log has no such stream or partition"
            raise PositionUnknown(message)
        return number

    def append(self, connection: sqlite3.Connection, batches: Sequence[Batch]) -> list[Placed]:
        """Leave out what is there, number the rest, and insert it: all batches in a few statements."""
        known = self.find(connection, [entry.record_id for batch in batches for entry in batch.entries])
        ends: dict[StreamPartition, tuple[int, int]] = {}
        placed = [self._place(connection, batch, known, ends) for batch in batches]
        self._insert(connection, [entry for each in placed for entry in each.fresh])
        return placed

    def _place(
        self,
        connection: sqlite3.Connection,
        batch: Batch,
        known: dict[bytes, Appended],
        ends: dict[StreamPartition, tuple[int, int]],
    ) -> Placed:
        appended: list[Appended] = []
        fresh: list[LogEntry] = []
        for entry in batch.entries:
            before = known.get(entry.record_id)
            if before is None:
                end = ends.get(entry.partition)
                offset, last_ms = self._end(connection, entry.partition) if end is None else end
                accepted_at_ms = max(batch.now_ms, last_ms)
                ends[entry.partition] = (offset + 1, accepted_at_ms)
                position = Position(*entry.partition, offset)
                before = self._appended(position, accepted_at_ms, entry.record_sha256, duplicate=False)
                # A record that stands twice in these batches is a duplicate of itself.
                known[entry.record_id] = before._replace(duplicate=True)
                fresh.append(entry.placed(position, accepted_at_ms, self._log_id_at(position), _WRITER_EPOCH))
            appended.append(before)
        return Placed(appended, fresh)

    def find(self, connection: sqlite3.Connection, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        """The positions of the records that are there."""
        found: dict[bytes, Appended] = {}
        rows = entries_with_ids(connection, "record_id, position, accepted_at_ms, record_sha256", record_ids)
        for record_id, key, accepted_at_ms, record_sha256 in rows:
            found[record_id] = self._appended(self._position(key), accepted_at_ms, record_sha256, duplicate=True)
        return found

    def read(
        self,
        connection: sqlite3.Connection,
        partition: StreamPartition,
        offsets: range,
        *,
        max_records: int,
        max_bytes: int,
        values: bool,
    ) -> list[LogEntry]:
        """The entries at these offsets, up to the limits. Without ``values``, each value is empty."""
        first = self.number(partition) << OFFSET_BITS
        value = _VALUE if values else "x''"
        query = (
            f"SELECT position, {_COLUMNS}, {value} FROM entries "  # noqa: S608 - constants
            "WHERE position >= ? AND position < ? ORDER BY position LIMIT ?"
        )
        rows = connection.execute(query, (first | offsets.start, first | offsets.stop, max_records))
        return bounded(map(self._entry, rows), max_records, min(max_bytes, _PAGE_BYTES))

    def read_wanted(
        self,
        connection: sqlite3.Connection,
        partition: StreamPartition,
        offsets: range,
        interest: Interest,
        *,
        max_records: int,
        max_bytes: int,
    ) -> Page:
        """The wanted entries at these offsets, up to the limits. One whose row is gone is ``LogEntry.lost``."""
        first = self.number(partition) << OFFSET_BITS
        positions = wanted(interest, first | offsets.start, first | offsets.stop, max_records)
        query = (
            f"SELECT wanted.position, {_COLUMNS}, {_VALUE}, entries.position IS NULL "  # noqa: S608 - constants
            f"FROM ({positions.sql}) AS wanted LEFT JOIN entries USING (position) ORDER BY wanted.position"
        )
        found = [
            self._lost(row[0]) if row[-1] else self._entry(row[:-1])
            for row in connection.execute(query, positions.parameters)
        ]
        # There may be more beyond a full answer.
        end = found[-1].position.offset + 1 if len(found) == max_records else offsets.stop
        told = (wanted_or_damaged(interest, entry) for entry in found)
        wanted_entries = (entry for entry in told if entry is not None)
        return page_of(wanted_entries, end, max_records, min(max_bytes, _PAGE_BYTES))

    def not_indexed(self, connection: sqlite3.Connection, entries: Sequence[LogEntry]) -> list[Position]:
        """See ``MessageLog``."""
        return [entry.position for entry in missing(connection, [(self.key(each.position), each) for each in entries])]

    def _insert(self, connection: sqlite3.Connection, entries: Sequence[LogEntry]) -> None:
        rows = [
            (
                self.key(entry.position),
                entry.record_id,
                entry.kind,
                entry.ordering_key,
                " ".join(entry.recipients),
                entry.record_sha256,
                entry.accepted_at_ms,
                entry.value,
            )
            for entry in entries
        ]
        insert_rows(connection, "entries", rows)
        insert_destinations(connection, [(self.key(entry.position), entry) for entry in entries])

    def _appended(self, position: Position, accepted_at_ms: int, record_sha256: bytes, *, duplicate: bool) -> Appended:
        log_id = self._log_id_at(position)
        return Appended(position, accepted_at_ms, record_sha256, log_id, _WRITER_EPOCH, duplicate)

    def _lost(self, key: int) -> LogEntry:
        position = self._position(key)
        return LogEntry.lost(position, self._log_id_at(position))

    def _log_id_at(self, position: Position) -> str:
        """The incarnation that accepted the entry at a position."""
        number = self._numbers[position.stream_partition]
        return next((each.log_id for each in self._formers if position.offset < each.ends[number]), self._log_id)

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

    def key(self, position: Position) -> int:
        """The key of the row at a position."""
        return self._numbers[position.stream_partition] << OFFSET_BITS | position.offset

    def _position(self, key: int) -> Position:
        number = key >> OFFSET_BITS
        if not 0 <= number < len(self._partitions):
            message = "an entry lies in a partition that the log does not have"
            raise LogCorrupt(message)
        return Position(*self._partitions[number], key & ((1 << OFFSET_BITS) - 1))

    def _entry(self, row: tuple[int, bytes, str, str, str, bytes, int, bytes]) -> LogEntry:
        key, record_id, kind, ordering_key, recipients, record_sha256, accepted_at_ms, value = row
        position = self._position(key)
        return LogEntry(
            position,
            record_id,
            kind,
            ordering_key,
            tuple(recipients.split()),
            record_sha256,
            accepted_at_ms,
            value,
            self._log_id_at(position),
            _WRITER_EPOCH,
        )
