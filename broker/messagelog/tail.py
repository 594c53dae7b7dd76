"""The newest entries of each partition, kept in memory, and the wake-up of readers that wait for more.

Readers that keep up, which is nearly all of them nearly always, never touch a file or the network. A subscription finds
what it wants by destination (agency and kind), and only an entry for one of its destinations wakes it. So it costs
nothing while nothing concerns it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from heapq import merge
from typing import TYPE_CHECKING, Final, TypeAlias

from broker.core.entry import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from broker.core.entry import Interest, LogEntry
    from broker.core.errors import CaseExchangeError
    from broker.core.streams import StreamPartition

_Destination: TypeAlias = "tuple[StreamPartition, str, str]"
"""Partition, agency, kind."""


def page_of(entries: Iterable[LogEntry], end: int, max_records: int, max_bytes: int) -> Page:
    """The first entries: at most ``max_records``, up to and including the one that reaches ``max_bytes``.

    ``end`` is how far the reader came if it takes all of them.
    """
    taken: list[LogEntry] = []
    size = 0
    for entry in entries:
        if len(taken) == max_records or size >= max_bytes:
            return Page(taken, taken[-1].position.offset + 1)
        taken.append(entry)
        size += len(entry.value)
    return Page(taken, end)


def bounded(entries: Iterable[LogEntry], max_records: int, max_bytes: int) -> list[LogEntry]:
    """The entries of such a page."""
    return page_of(entries, 0, max_records, max_bytes).entries


class _Kept:
    """The newest entries of a partition, or those of them for one destination. Removing the oldest is cheap."""

    __slots__ = ("_begin", "_entries")

    def __init__(self) -> None:
        self._entries: list[LogEntry] = []
        self._begin = 0

    def __len__(self) -> int:
        return len(self._entries) - self._begin

    def append(self, entry: LogEntry) -> None:
        self._entries.append(entry)

    def drop_oldest(self) -> LogEntry:
        oldest = self._entries[self._begin]
        self._begin += 1
        if 2 * self._begin > len(self._entries):
            del self._entries[: self._begin]
            self._begin = 0
        return oldest

    def replace(self, entry: LogEntry) -> LogEntry | None:
        """Put an entry in the place of that of its offset. Return the one that was there, if there was one."""
        at = bisect_left(self._entries, entry.position.offset, lo=self._begin, key=_offset)
        if at == len(self._entries) or self._entries[at].position != entry.position:
            return None
        former, self._entries[at] = self._entries[at], entry
        return former

    def since(self, offset: int) -> Iterator[LogEntry]:
        first = bisect_left(self._entries, offset, lo=self._begin, key=_offset)
        return (self._entries[at] for at in range(first, len(self._entries)))


class Watch:
    """Wakes one reader when an entry arrives that concerns it. Made by ``Tail.watch``; to be closed."""

    def __init__(self, tail: Tail, interest: Interest) -> None:
        self._tail = tail
        self.interest: Final = interest
        self.event: Final = asyncio.Event()

    async def wait(self) -> None:
        """Return once an entry has arrived that concerns the reader, since this last returned. May be cancelled.

        Raises:
            CaseExchangeError: nothing will arrive any more; what ``Tail.fail`` was given.
        """
        self._tail.check()
        await self.event.wait()
        self.event.clear()
        self._tail.check()

    def close(self) -> None:
        """Watch no longer. Idempotent."""
        self._tail.unwatch(self)


class Tail:
    """Recent entries by partition. Belongs to one event loop.

    Args:
        ends: one more than the highest offset of each partition.
        max_bytes: the limit for the values of all partitions together. The oldest entries go first.
    """

    def __init__(self, ends: Mapping[StreamPartition, int], max_bytes: int) -> None:
        self.ends = dict(ends)
        self._max_bytes = max_bytes
        self._bytes = 0
        # Every entry at or beyond this offset is kept.
        self._complete_from = dict(ends)
        self._kept = {partition: _Kept() for partition in ends}
        self._destinations: dict[_Destination, _Kept] = {}
        self._order: deque[StreamPartition] = deque()
        self._waiting: dict[StreamPartition, set[asyncio.Event]] = {partition: set() for partition in ends}
        self._watches: dict[tuple[str, str], set[Watch]] = {}
        self._everyone: set[asyncio.Event] = set()
        self._failure: CaseExchangeError | None = None

    def extend(self, entries: Iterable[LogEntry]) -> None:
        """Take in entries that have just become durable, in the order of their offsets, and wake whom they concern."""
        touched = set()
        for entry in entries:
            partition = entry.position.stream_partition
            touched.add(partition)
            self.ends[partition] = entry.position.offset + 1
            self._kept[partition].append(entry)
            for agency in entry.readers:
                self._destinations.setdefault((partition, agency, entry.kind), _Kept()).append(entry)
                for watch in self._watches.get((agency, entry.kind), ()):
                    watch.event.set()
            self._order.append(partition)
            self._bytes += len(entry.value)
        while self._bytes > self._max_bytes:
            self._drop_oldest(self._order.popleft())
        for partition in touched:
            for event in self._waiting[partition]:
                event.set()

    def replace(self, entry: LogEntry) -> None:
        """Keep an entry in its place with another value, if it is kept."""
        partition = entry.position.stream_partition
        former = self._kept[partition].replace(entry)
        if former is None:
            return
        self._bytes += len(entry.value) - len(former.value)
        for agency in former.readers:
            self._destinations[partition, agency, former.kind].replace(entry)

    def _drop_oldest(self, partition: StreamPartition) -> None:
        oldest = self._kept[partition].drop_oldest()
        self._complete_from[partition] = oldest.position.offset + 1
        self._bytes -= len(oldest.value)
        for agency in oldest.readers:
            destination = (partition, agency, oldest.kind)
            self._destinations[destination].drop_oldest()
            if not self._destinations[destination]:
                del self._destinations[destination]

    def fail(self, error: CaseExchangeError) -> None:
        """Nothing will follow: wake every reader that waits. Each gets this error."""
        self._failure = error
        for event in self._everyone:
            event.set()

    def check(self) -> None:
        """Raise what ``fail`` was given, if it was called.

        Raises:
            CaseExchangeError
        """
        if self._failure is not None:
            raise self._failure

    def read(self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int) -> list[LogEntry] | None:
        """Entries from ``offset`` on, or None if the oldest of them is no longer kept."""
        if offset >= self.ends[partition]:
            return []
        if not self._has(partition, offset):
            return None
        return bounded(self._kept[partition].since(offset), max_records, max_bytes)

    def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page | None:
        """Wanted entries from ``offset`` on, or None where the oldest of them may no longer be kept."""
        end = self.ends[partition]
        if offset >= end:
            return Page([], offset)
        if not self._has(partition, offset):
            return None
        destinations = (self._destinations.get((partition, interest.agency, kind)) for kind in interest.kinds)
        runs = [destination.since(offset) for destination in destinations if destination is not None]
        return page_of(runs[0] if len(runs) == 1 else merge(*runs, key=_offset), end, max_records, max_bytes)

    def _has(self, partition: StreamPartition, offset: int) -> bool:
        return offset >= self._complete_from[partition] and bool(self._kept[partition])

    def watch(self, interest: Interest) -> Watch:
        """Begin to wake a reader. What has arrived before does not wake it."""
        watch = Watch(self, interest)
        for kind in interest.kinds:
            self._watches.setdefault((interest.agency, kind), set()).add(watch)
        self._everyone.add(watch.event)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch. Idempotent."""
        self._everyone.discard(watch.event)
        for kind in watch.interest.kinds:
            destination = (watch.interest.agency, kind)
            watches = self._watches.get(destination, set())
            watches.discard(watch)
            if not watches:
                self._watches.pop(destination, None)

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None:
        """Return when one of the partitions ends beyond its given offset.

        Raises:
            CaseExchangeError: that will never happen. This is the error that ``fail`` was given.
        """
        event = asyncio.Event()
        self._everyone.add(event)
        for partition in partitions:
            self._waiting[partition].add(event)
        try:
            while all(self.ends[partition] <= offset for partition, offset in partitions.items()):
                self.check()
                event.clear()
                await event.wait()
        finally:
            self._everyone.discard(event)
            for partition in partitions:
                self._waiting[partition].discard(event)


def _offset(entry: LogEntry) -> int:
    return entry.position.offset
