"""The embedded message log: one SQLite file (entries.py has its table), and the newest entries in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.core.errors import CaseExchangeError, LogCorrupt
from broker.core.leasing.ackstate import AckState
from broker.core.streams import AUDIT, CASES, DNA, NOTICES, Position, StreamPartition, streams_of
from broker.messagelog.sqlite.cursor import SqliteCursor
from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.destinations import count_wanted
from broker.messagelog.sqlite.entries import Batch, Entries
from broker.messagelog.sqlite.facts import OFFSET_BITS, Facts, begin_incarnation, open_facts
from broker.messagelog.sqlite.repair import damaged, empty_write_ahead_log, put_back, rewrite
from broker.messagelog.sqlite.schema import LOG
from broker.messagelog.tail import Tail, Watch
from broker.ports import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from broker.core.entry import Appended, Interest, LogEntry, NewEntry, Page, Stray
    from broker.core.subscriptions import Generation
    from broker.messagelog.sqlite.repair import Again
    from broker.ports import Clock, SubscriptionKey

_ROW_BYTES: Final = 1024
"""The bytes of an entry besides its value, with its place in the indexes."""
_COMMIT: Final = (
    "INSERT INTO ack_states VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state, "
    "generation = excluded.generation WHERE excluded.generation >= generation"
)
DEFAULT_PARTITIONS: Final[dict[str, int]] = {CASES: 4, DNA: 4, NOTICES: 1, AUDIT: 1}


class SqliteLog:
    """A ``MessageLog`` in one SQLite file, or in memory. Made by ``open``."""

    def __init__(self, database: Database, facts: Facts, clock: Clock, *, tail_bytes: int) -> None:
        self._database = database
        self._clock = clock
        self._facts = facts
        self._partitions = facts.partitions
        self._entries = Entries(facts.log_id, facts.partitions, facts.formers)
        self._tail = Tail(facts.ends, tail_bytes)
        self._cursors: set[SqliteCursor] = set()
        self._states_change = asyncio.Lock()
        # A process that was killed may have left the write-ahead log.
        self._copies_left = True

    @classmethod
    async def open(
        cls,
        path: Path | None,
        clock: Clock,
        *,
        partitions: Mapping[str, int] = DEFAULT_PARTITIONS,
        tail_bytes: int = 32 << 20,
        disk_reserve_bytes: int = 0,
    ) -> SqliteLog:
        """Open the log. Create it if there is none.

        Args:
            path: the file, or None for a log in memory.
            clock: gives the accepted time.
            partitions: the number of partitions of each stream, for a new log. An existing log keeps its own numbers.
            tail_bytes: the limit for the values of the newest entries in memory.
            disk_reserve_bytes: free disk that records must leave to the audit stream and to acknowledgements.

        Raises:
            LogInUse, LogCorrupt, LogSchemaUnsupported, LogFull, LogUnavailable
        """
        database = Database(path, LOG, reserve_bytes=disk_reserve_bytes)
        try:
            facts = await database.write(lambda connection: open_facts(connection, partitions))
        except BaseException:
            await database.close()
            raise
        return cls(database, facts, clock, tail_bytes=tail_bytes)

    def log_id(self, stream: str) -> str:  # noqa: ARG002 - one file holds all streams
        """See ``MessageLog``: a random name, 32 hexadecimal digits."""
        return self._facts.log_id

    @property
    def former_log_ids(self) -> tuple[str, ...]:
        """The incarnations whose entries this log begins with, the oldest first."""
        return tuple(former.log_id for former in self._facts.formers)

    async def begin_incarnation(self, log_id: str) -> None:
        """Go on as another log, durably. Call it before anything is appended or read.

        Raises:
            LogUnavailable, LogFull
        """
        facts = self._facts
        self._facts = await self._database.write(lambda connection: begin_incarnation(connection, facts, log_id))
        self._entries = Entries(self._facts.log_id, self._facts.partitions, self._facts.formers)

    def partitions(self, stream: str) -> int:
        """See ``MessageLog``."""
        return sum(partition.stream == stream for partition in self._partitions)

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """See ``MessageLog``."""
        now_ms = self._clock.now_ms()
        for entry in entries:
            self._entries.number(entry.partition)

        placed = await self._database.write_together(
            self._entries.append,
            Batch(entries, now_ms),
            lambda placed: self._tail.extend(placed.fresh),
            room=_room(entries),
        )
        return placed.appended

    async def lookup(self, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        """See ``MessageLog``."""
        return await self._database.read(lambda connection: self._entries.find(connection, record_ids))

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool = True
    ) -> list[LogEntry]:
        """See ``MessageLog``."""
        self._entries.number(partition)
        recent = self._tail.read(partition, offset, max_records, max_bytes)
        if recent is not None:
            return recent
        offsets = range(offset, self._tail.ends[partition])
        return await self._database.read(
            lambda connection: self._entries.read(
                connection, partition, offsets, max_records=max_records, max_bytes=max_bytes, values=values
            )
        )

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        """See ``MessageLog``."""
        recent = self._tail.read_wanted(partition, offset, interest, max_records, max_bytes)
        if recent is not None:
            return recent
        offsets = range(offset, self._tail.ends[partition])
        return await self._database.read(
            lambda connection: self._entries.read_wanted(
                connection, partition, offsets, interest, max_records=max_records, max_bytes=max_bytes
            )
        )

    def watch(self, interest: Interest) -> Watch:
        """Wake a reader when an entry arrives that concerns it."""
        return self._tail.watch(interest)

    async def not_indexed(self, entries: Sequence[LogEntry]) -> list[Position]:
        """See ``MessageLog``."""
        return await self._database.read(lambda connection: self._entries.not_indexed(connection, entries))

    async def strays(self, partition: StreamPartition) -> list[Stray]:
        """See ``MessageLog``. This log cannot see which program wrote an entry into its file, so it reports none."""
        self._entries.number(partition)
        return []

    async def end_offset(self, partition: StreamPartition) -> int:
        """See ``MessageLog``."""
        self._entries.number(partition)
        return self._tail.ends[partition]

    async def catch_up(self, partition: StreamPartition, offset: int) -> None:
        """See ``MessageLog``."""
        if await self.end_offset(partition) < offset:
            message = "the log ends before an offset at which a record was accepted"
            raise LogCorrupt(message, partition=str(partition))

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None:
        """See ``MessageLog``."""
        await self._tail.wait_beyond(partitions)

    async def open_cursor(
        self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> SqliteCursor:
        """See ``MessageLog``."""
        streams = streams_of(kinds)
        partitions = [partition for partition in self._partitions if partition.stream in streams]
        async with self._states_change:
            stored = await self._states(subscription, generation)
            states = {partition: stored.get(partition, generation.begin(partition, kinds)) for partition in partitions}
            cursor = SqliteCursor(self, subscription, kinds, generation, states)
            self._cursors.add(cursor)
        return cursor

    async def standing(self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation) -> Standing:
        """See ``MessageLog``."""
        streams = streams_of(kinds)
        stored = await self._states(subscription, generation)
        readers = sum(cursor.subscription == subscription for cursor in self._cursors)
        query = "SELECT max(generation) FROM ack_states WHERE agency = ? AND subscription = ?"
        (latest,) = await self._database.read(lambda connection: connection.execute(query, subscription).fetchone())
        return Standing({each: state for each, state in stored.items() if each.stream in streams}, readers, latest)

    async def count_wanted(self, partition: StreamPartition, offsets: Sequence[range], interest: Interest) -> int:
        """See ``MessageLog``."""
        first = self._entries.number(partition) << OFFSET_BITS
        return await self._database.read(lambda connection: count_wanted(connection, first, offsets, interest))

    async def _states(self, subscription: SubscriptionKey, generation: Generation) -> dict[StreamPartition, AckState]:
        query = "SELECT partition, state FROM ack_states WHERE agency = ? AND subscription = ? AND generation = ?"
        key = (*subscription, generation.number)
        rows = await self._database.read(lambda connection: connection.execute(query, key).fetchall())
        return {self._partitions[number]: AckState.decode(text) for number, text in rows}

    def forget(self, cursor: SqliteCursor) -> None:
        """A cursor was closed. Idempotent."""
        self._cursors.discard(cursor)

    @property
    def rereads(self) -> bool:
        """See ``LogRepair``."""
        return True

    def suspected(self, positions: Collection[Position]) -> frozenset[Position]:
        """See ``LogRepair``."""
        return frozenset(positions)

    async def restore(self, again: Sequence[Again], sound: Callable[[LogEntry], bool]) -> list[Position]:
        """See ``LogRepair``."""
        found = await self._database.read(lambda connection: damaged(connection, self._entries, again, sound))
        if not found:
            return []
        agencies = {agency for _, entry in found for agency in entry.recipients}
        partitions = {position.stream_partition for position, _ in found}
        room = _room([entry for _, entry in found])
        async with self._states_change:
            cursors = [cursor for cursor in self._cursors if cursor.subscription.agency in agencies]
            for cursor in cursors:
                cursor.hold(partitions)
            try:
                states = await self._database.write(
                    lambda connection: put_back(connection, self._entries, found), room=room
                )
            except CaseExchangeError as error:
                for cursor in cursors:
                    cursor.fail(error)
                raise
            for cursor in cursors:
                for partition in partitions:
                    key = (cursor.subscription, self._entries.number(partition), cursor.generation.number)
                    cursor.begin_again(partition, states.get(key))
        return [position for position, _ in found]

    async def erase(self, position: Position, without_erased: Callable[[LogEntry], LogEntry]) -> bool:
        """See ``LogErasure``."""
        changed = await self._database.write(
            lambda connection: rewrite(connection, self._entries, position, without_erased), self._tail_without
        )
        self._copies_left = self._copies_left or changed is not None
        if self._copies_left:
            await empty_write_ahead_log(self._database)
            self._copies_left = False
        return changed is not None

    def _tail_without(self, changed: LogEntry | None) -> None:
        if changed is not None:
            self._tail.replace(changed)

    async def commit(
        self, subscription: SubscriptionKey, generation: Generation, states: Mapping[StreamPartition, AckState]
    ) -> None:
        """Store how far a subscription is, as ``SqliteCursor.commit`` promises."""
        rows = [
            (*subscription, self._entries.number(partition), state.encode(), generation.number)
            for partition, state in states.items()
        ]
        await self._database.write(lambda connection: connection.executemany(_COMMIT, rows))

    async def ping(self) -> None:
        """See ``MessageLog``."""
        await self._database.write(lambda connection: connection.execute("SELECT 1 FROM facts").fetchone(), room=0)

    async def close(self) -> None:
        """See ``MessageLog``."""
        await self._database.close()


def _room(entries: Sequence[NewEntry]) -> int | None:
    """The bytes of disk that entries may take, or None: they may use the reserve."""
    if all(entry.partition.stream == AUDIT for entry in entries):
        return None
    # Each is written twice: into the write-ahead log, and later into the file.
    return 2 * sum(len(entry.value) + _ROW_BYTES for entry in entries)
