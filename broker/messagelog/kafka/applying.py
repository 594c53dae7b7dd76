"""Apply what was read from the topics to the index, in one transaction. The rules are in index.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.entry import LogEntry, NewEntry, Stray
from broker.core.errors import LogCorrupt
from broker.core.streams import Position
from broker.messagelog.kafka.records import REPLAYED, Sealed
from broker.messagelog.sqlite.destinations import insert_destinations
from broker.messagelog.sqlite.rows import entries_with_ids, insert_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from broker.core.streams import StreamPartition

OFFSET_BITS: Final = 40


class Known(NamedTuple):
    """How far a partition was applied: the next offset, the last entry's offset plus one, and the last entry's time."""

    next_offset: int
    end: int
    accepted_at_ms: int
    epoch: int


class _First(NamedTuple):
    """The first entry of a record id in a partition: its row key, and the id of the append that stored it."""

    key: int
    append_id: bytes


class Placed(NamedTuple):
    """An entry that counts, and the append that put it there."""

    entry: LogEntry
    append_id: bytes


class Applied(NamedTuple):
    """What came of some items: the entries that count, in order, and the records that their partition had already."""

    placed: list[Placed]
    repeated: list[NewEntry]


class Applying:
    """One call of ``KafkaIndex.apply``, within its transaction.

    Args:
        connection: in the transaction.
        known: how far each partition was applied. It is updated.
        numbers: the number of each partition in row keys.
        log_ids: the topic id of each stream.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        known: dict[StreamPartition, Known],
        numbers: Mapping[StreamPartition, int],
        log_ids: Mapping[str, str],
    ) -> None:
        self._connection = connection
        self._known = known
        self._numbers = numbers
        self._log_ids = log_ids
        self._firsts: dict[tuple[int, bytes], _First] = {}
        self._rows: list[tuple[object, ...]] = []

    def take(self, judged: Sequence[Sealed | Stray]) -> Applied:
        """Apply all items in order.

        Raises:
            LogCorrupt: see ``KafkaIndex.apply``.
        """
        self._find_firsts([item.entry.record_id for item in judged if isinstance(item, Sealed)])
        applied = Applied([], [])
        for item in judged:
            if isinstance(item, Stray):
                self._keep(item)
            elif (entry := self._take(item)) is not None:
                applied.placed.append(Placed(entry, item.sealing.append_id))
            else:
                applied.repeated.append(item.entry)
        insert_rows(self._connection, "entries", self._rows)
        insert_destinations(self._connection, [(self._key(entry.position), entry) for entry, _ in applied.placed])
        return applied

    def _find_firsts(self, record_ids: Sequence[bytes]) -> None:
        """Look up together which of the records the index already has."""
        rows = entries_with_ids(self._connection, "position, record_id, append_id", record_ids)
        for key, record_id, append_id in rows:
            self._firsts[key >> OFFSET_BITS, record_id] = _First(key, append_id)

    def _take(self, item: Sealed) -> LogEntry | None:
        """The entry, or None if its partition already has the record."""
        partition = item.entry.partition
        position = Position(*partition, item.offset)
        known = self._known[partition]
        if item.epoch < known.epoch:
            message = "a partition goes on under an earlier leader than before: its topic was made anew"
            raise LogCorrupt(message, position=str(position))
        number = self._numbers[partition]
        first = self._firsts.get((number, item.entry.record_id))
        if first is not None:
            self._repeat(item, position, first)
            self._known[partition] = known._replace(epoch=item.epoch)
            return None
        accepted_at_ms = max(known.accepted_at_ms, item.sealing.at_ms)
        entry = item.entry.placed(position, accepted_at_ms, self._log_ids[position.stream], item.epoch)
        self._insert(entry, item)
        self._firsts[number, entry.record_id] = _First(self._key(position), item.sealing.append_id)
        self._known[partition] = Known(item.offset + 1, item.offset + 1, accepted_at_ms, item.epoch)
        return entry

    def _repeat(self, item: Sealed, position: Position, first: _First) -> None:
        """Handle a record that the partition already has. An honest second append has its own append id."""
        seen = {first.append_id}
        query = "SELECT append_id FROM duplicates WHERE first_position = ?"
        seen.update(row[0] for row in self._connection.execute(query, (first.key,)))
        if item.sealing.append_id in seen:
            self._keep(Stray(position, REPLAYED, item.entry.value))
        else:
            row = (self._key(position), first.key, item.sealing.append_id)
            self._connection.execute("REPLACE INTO duplicates VALUES (?, ?, ?)", row)

    def _keep(self, stray: Stray) -> None:
        row = (self._key(stray.position), stray.reason, stray.value)
        self._connection.execute("REPLACE INTO strays VALUES (?, ?, ?)", row)

    def _insert(self, entry: LogEntry, item: Sealed) -> None:
        self._rows.append(
            (
                self._key(entry.position),
                entry.record_id,
                entry.kind,
                entry.ordering_key,
                " ".join(entry.recipients),
                entry.record_sha256,
                entry.accepted_at_ms,
                entry.epoch,
                item.sealing.append_id,
                item.value_sha256,
            )
        )

    def _key(self, position: Position) -> int:
        return self._numbers[position.stream_partition] << OFFSET_BITS | position.offset
