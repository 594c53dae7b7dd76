"""This process's local index of the topics. It is rebuilt from them if it is missing.

It applies what was read, partition by partition and in order of offset. Nothing else has an influence. So all processes
that have read equally far know the same, no matter which of them appended. Of each record id, the first entry in its
partition counts. A later entry is left out, for one of two reasons:

- it is a duplicate: two brokers appended the record at once, one repeated an append with an unknown outcome, or one
  repaired a damaged entry. If it has the digest of the first, it is a *copy*: its value stands in where that of the
  first is damaged. Position, leaf and receipt stay those of the first, in every process, damaged or not
- its pack is a stray: a copy of a pack that the partition already has

An entry's accepted time is the latest sealed time so far in its partition. So it never decreases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.entry import Appended, LogEntry, Stray
from broker.core.errors import LogCorrupt
from broker.core.incarnations import NONE_DECLARED
from broker.core.streams import Position, StreamPartition
from broker.messagelog.kafka.applying import Applied, Applying, Known
from broker.messagelog.kafka.indexschema import INDEX
from broker.messagelog.kafka.positions import POSITION_BITS
from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.destinations import count_wanted, missing, wanted, wanted_or_damaged
from broker.messagelog.sqlite.rows import entries_with_ids

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from broker.core.entry import Interest
    from broker.core.incarnations import Incarnations
    from broker.messagelog.kafka.judge import SealedPack

_COLUMNS: Final = "position, record_id, kind, ordering_key, recipients, record_sha256, accepted_at_ms, epoch"


class Facts(NamedTuple):
    """An entry without its value, and the value's digest. It shows whether the topic still has the same bytes."""

    entry: LogEntry
    value_sha256: bytes


class Copy(NamedTuple):
    """A later place of a record in its partition, and the digest of the value there."""

    offset: int
    value_sha256: bytes


class KafkaIndex:
    """See the module. Methods may be called concurrently, but ``apply`` by only one caller.

    Args:
        path: the file, or None for an index in memory.
        partitions: the log's partitions, in a fixed order.
        log_ids: the topic id of each stream. An index of other topics is refused.
        declared: the declared incarnations. An index of topics whose place these took is emptied, and read again.

    Raises:
        LogInUse, LogCorrupt, LogSchemaUnsupported, LogFull, LogUnavailable
    """

    def __init__(
        self,
        path: Path | None,
        partitions: Sequence[StreamPartition],
        log_ids: Mapping[str, str],
        declared: Incarnations = NONE_DECLARED,
    ) -> None:
        self._partitions = tuple(partitions)
        self._numbers = {partition: number for number, partition in enumerate(partitions)}
        self._log_ids = dict(log_ids)
        self._declared = declared
        # If some of it is lost, it is read again. So no transaction waits for the disk.
        self._database = Database(path, INDEX, durable=False)

    async def open(self) -> dict[StreamPartition, Known]:
        """How far each partition was applied.

        Raises:
            LogCorrupt: the index is of other topics than those in the cluster. The topics were made again.
            LogUnavailable
        """
        return await self._database.write(self._open)

    async def close(self) -> None:
        """Release the file. Idempotent."""
        await self._database.close()

    async def apply(self, judged: Sequence[SealedPack | Stray], next_offsets: Mapping[StreamPartition, int]) -> Applied:
        """Apply what follows in some partitions. The entries that are returned have their values.

        Args:
            judged: in order of offset within each partition.
            next_offsets: Kafka's offset from which each partition that was read is read next.

        Raises:
            LogCorrupt: a partition continues under an earlier leader than before. The topic was made again.
            LogUnavailable, LogFull
        """
        return await self._database.write(lambda connection: self._apply(connection, judged, next_offsets))

    async def find(self, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        """The positions of these records. If two partitions have a record, the position in the first partition."""
        return await self._database.read(lambda connection: self._find(connection, record_ids))

    async def facts(self, partition: StreamPartition, offset: int, limit: int) -> list[Facts]:
        """Entries from ``offset`` on, in order, without values."""
        first = self._numbers[partition] << POSITION_BITS
        query = (
            f"SELECT {_COLUMNS}, value_sha256 FROM entries WHERE position >= ? AND position < ? "  # noqa: S608 - constants
            "ORDER BY position LIMIT ?"
        )
        bounds = (first + offset, first + (1 << POSITION_BITS), limit)
        rows = await self._database.read(lambda connection: connection.execute(query, bounds).fetchall())
        return [Facts(self._entry(row[:-1]), row[-1]) for row in rows]

    async def wanted(
        self, partition: StreamPartition, offset: int, end: int, interest: Interest, limit: int
    ) -> tuple[list[Facts], int]:
        """Entries that an interest concerns, from ``offset`` on and below ``end``, without values.

        Returns:
            The entries, and how far the answer reaches: below this offset it is complete.
        """
        first = self._numbers[partition] << POSITION_BITS
        positions = wanted(interest, first + offset, first + end, limit)
        query = (
            f"SELECT {_COLUMNS}, value_sha256 FROM entries WHERE position IN ({positions.sql}) "  # noqa: S608 - constants
            "ORDER BY position"
        )
        rows = await self._database.read(lambda connection: connection.execute(query, positions.parameters).fetchall())
        facts = [Facts(self._entry(row[:-1]), row[-1]) for row in rows]
        reached = facts[-1].entry.position.offset + 1 if len(facts) == limit else end
        told = [(wanted_or_damaged(interest, fact.entry), fact) for fact in facts]
        # A damaged one has a digest that no value has.
        return [
            fact if interest.concerns(entry) else Facts(entry, b"") for entry, fact in told if entry is not None
        ], reached

    async def count_wanted(self, partition: StreamPartition, offsets: Sequence[range], interest: Interest) -> int:
        """See ``MessageLog``."""
        first = self._numbers[partition] << POSITION_BITS
        return await self._database.read(lambda connection: count_wanted(connection, first, offsets, interest))

    async def not_indexed(self, entries: Sequence[LogEntry]) -> list[Position]:
        """See ``MessageLog``."""
        keyed = [
            (self._numbers[entry.position.stream_partition] << POSITION_BITS | entry.position.offset, entry)
            for entry in entries
        ]
        found = await self._database.read(lambda connection: missing(connection, keyed))
        return [entry.position for entry in found]

    async def facts_of(self, record_ids: Sequence[bytes]) -> list[Facts]:
        """The entries of these records, without values."""
        columns = f"{_COLUMNS}, value_sha256"
        rows = await self._database.read(lambda connection: [*entries_with_ids(connection, columns, record_ids)])
        return [Facts(self._entry(row[:-1]), row[-1]) for row in rows]

    async def copies(self, partition: StreamPartition, offsets: Sequence[int]) -> dict[int, list[Copy]]:
        """The copies of the entries at these offsets, in order. An entry without one is left out."""
        first = self._numbers[partition] << POSITION_BITS
        query = "SELECT copy, value_sha256 FROM copies WHERE position = ? ORDER BY copy"

        def read(connection: sqlite3.Connection) -> dict[int, list[Copy]]:
            rows = {offset: connection.execute(query, (first + offset,)).fetchall() for offset in offsets}
            return {
                offset: [Copy(copy - first, digest) for copy, digest in found]
                for offset, found in rows.items()
                if found
            }

        return await self._database.read(read)

    async def strays(self, partition: StreamPartition) -> list[Stray]:
        """Everything in a partition that is not an entry, in order."""
        first = self._numbers[partition] << POSITION_BITS
        query = (
            "SELECT position, reason, size, sha256 FROM strays WHERE position >= ? AND position < ? ORDER BY position"
        )
        bounds = (first, first + (1 << POSITION_BITS))
        rows = await self._database.read(lambda connection: connection.execute(query, bounds).fetchall())
        return [Stray(self._position(row[0]), *row[1:]) for row in rows]

    # --- inside a transaction ---

    def _open(self, connection: sqlite3.Connection) -> dict[StreamPartition, Known]:
        facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
        partitions = " ".join(map(str, self._partitions))
        expected = {
            **{f"log_id.{stream}": log_id for stream, log_id in self._log_ids.items()},
            "partitions": partitions,
        }
        if facts != expected and facts.get("partitions") == partitions and self._took_their_place(facts):
            for table in ("facts", "entries", "destinations", "packs", "strays", "progress", "copies"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            facts = {}
        if not facts:
            connection.executemany("INSERT INTO facts VALUES (?, ?)", expected.items())
        elif facts != expected:
            message = (
                "the index is one of other topics: they were deleted and made anew, and the directory does not declare "
                "it, or the folder is another log's"
            )
            raise LogCorrupt(message)
        return {partition: self._known(connection, partition) for partition in self._partitions}

    def _took_their_place(self, facts: Mapping[str, str]) -> bool:
        """Whether it is declared for each partition that its topic took the place of the one that was indexed."""
        return all(
            facts.get(f"log_id.{each.stream}") == self._log_ids[each.stream]
            or self._declared.between(each, facts.get(f"log_id.{each.stream}", ""), self._log_ids[each.stream])
            for each in self._partitions
        )

    def _known(self, connection: sqlite3.Connection, partition: StreamPartition) -> Known:
        number = self._numbers[partition]
        row = connection.execute(
            "SELECT next_offset, accepted_at_ms, epoch FROM progress WHERE partition = ?", (number,)
        ).fetchone()
        first = number << POSITION_BITS
        (last,) = connection.execute(
            "SELECT max(position) FROM entries WHERE position >= ? AND position < ?",
            (first, first + (1 << POSITION_BITS)),
        ).fetchone()
        next_offset, accepted_at_ms, epoch = row or (0, 0, -1)
        return Known(next_offset, 0 if last is None else last - first + 1, accepted_at_ms, epoch)

    def _apply(
        self,
        connection: sqlite3.Connection,
        judged: Sequence[SealedPack | Stray],
        next_offsets: Mapping[StreamPartition, int],
    ) -> Applied:
        known = {partition: self._known(connection, partition) for partition in next_offsets}
        applying = Applying(connection, known, self._numbers, self._log_ids)
        applied = applying.take(judged)
        for partition, next_offset in next_offsets.items():
            row = (self._numbers[partition], next_offset, known[partition].accepted_at_ms, known[partition].epoch)
            connection.execute("REPLACE INTO progress VALUES (?, ?, ?, ?)", row)
        return applied

    def _find(self, connection: sqlite3.Connection, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        found: dict[bytes, Appended] = {}
        rows = entries_with_ids(connection, "record_id, position, accepted_at_ms, record_sha256, epoch", record_ids)
        for record_id, key, accepted_at_ms, digest, epoch in rows:
            position = self._position(key)
            log_id = self._log_ids[position.stream]
            # The first position of an id comes last, and stays.
            found[record_id] = Appended(position, accepted_at_ms, digest, log_id, epoch, duplicate=True)
        return found

    def _position(self, key: int) -> Position:
        return Position(*self._partitions[key >> POSITION_BITS], key & ((1 << POSITION_BITS) - 1))

    def _entry(self, row: tuple[int, bytes, str, str, str, bytes, int, int]) -> LogEntry:
        key, record_id, kind, ordering_key, recipients, digest, accepted_at_ms, epoch = row
        position = self._position(key)
        to, log_id = tuple(recipients.split()), self._log_ids[position.stream]
        return LogEntry(position, record_id, kind, ordering_key, to, digest, accepted_at_ms, b"", log_id, epoch)
