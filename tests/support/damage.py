"""A message log that somebody has changed: it returns something else than what was appended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.entry import Appended, Interest, LogEntry, NewEntry, Page, Stray
    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import Position, StreamPartition
    from broker.core.subscriptions import Generation
    from broker.ports import AssignmentChange, LogCursor, MessageLog, Standing, SubscriptionKey

    Change = Callable[[LogEntry], LogEntry | None]


def rewritten(entry: LogEntry, **changes: Any) -> LogEntry:
    """The entry with another envelope, and with facts that still name the old one."""
    return entry._replace(value=CODEC.encode_envelope(replace(CODEC.decode_envelope(entry.value), **changes)))


def without_value(entry: LogEntry) -> LogEntry:
    """The entry as a log returns it after it has lost the bytes."""
    return entry._replace(value=b"")


class DamagedLog:
    """A ``MessageLog`` over another. ``change`` replaces or removes every entry that is read."""

    def __init__(self, log: MessageLog, change: Change = lambda entry: entry, strays: Sequence[Stray] = ()) -> None:
        self._log = log
        self._change = change
        self._strays = strays

    def log_id(self, stream: str) -> str:
        return self._log.log_id(stream)

    def partitions(self, stream: str) -> int:
        return self._log.partitions(stream)

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        return await self._log.append(entries)

    async def lookup(self, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        return await self._log.lookup(record_ids)

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool = True
    ) -> list[LogEntry]:
        while entries := await self._log.read(partition, offset, max_records, max_bytes, values=values):
            # Only at the end is there nothing to read.
            if left := altered(entries, self._change):
                return left
            offset = entries[-1].position.offset + 1
        return []

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        page = await self._log.read_wanted(partition, offset, interest, max_records, max_bytes)
        return page._replace(entries=altered(page.entries, self._change))

    async def not_indexed(self, entries: Sequence[LogEntry]) -> list[Position]:
        return await self._log.not_indexed(entries)

    async def strays(self, partition: StreamPartition) -> list[Stray]:
        return [stray for stray in self._strays if stray.position.stream_partition == partition]

    async def end_offset(self, partition: StreamPartition) -> int:
        return await self._log.end_offset(partition)

    async def catch_up(self, partition: StreamPartition, offset: int) -> None:
        await self._log.catch_up(partition, offset)

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None:
        await self._log.wait_beyond(partitions)

    async def open_cursor(
        self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> LogCursor:
        return DamagedCursor(await self._log.open_cursor(subscription, kinds, generation), self._change)

    async def standing(self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation) -> Standing:
        return await self._log.standing(subscription, kinds, generation)

    async def count_wanted(self, partition: StreamPartition, offsets: Sequence[range], interest: Interest) -> int:
        return await self._log.count_wanted(partition, offsets, interest)

    async def ping(self) -> None:
        await self._log.ping()

    async def close(self) -> None:
        await self._log.close()


class DamagedCursor:
    """A ``LogCursor`` over another."""

    def __init__(self, cursor: LogCursor, change: Change) -> None:
        self._cursor = cursor
        self._change = change

    def assignment_changes(self) -> list[AssignmentChange]:
        return self._cursor.assignment_changes()

    async def wait(self) -> None:
        await self._cursor.wait()

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> Page:
        page = await self._cursor.read(partition, max_records, max_bytes)
        return page._replace(entries=altered(page.entries, self._change))

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        return await self._cursor.commit(states)

    async def close(self) -> None:
        await self._cursor.close()


def altered(entries: Sequence[LogEntry], change: Change) -> list[LogEntry]:
    return [entry for entry in map(change, entries) if entry is not None]
