"""Keep the newest entries of each partition in memory, and wake the readers that wait for more.

A reader that keeps up touches no file and no network. Nearly all readers keep up nearly all the time.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.core.entry import LogEntry
    from broker.core.errors import CaseExchangeError
    from broker.core.streams import StreamPartition


def bounded(entries: Iterable[LogEntry], max_records: int, max_bytes: int) -> list[LogEntry]:
    """The first entries: at most ``max_records``, up to and including the one that reaches ``max_bytes``."""
    taken: list[LogEntry] = []
    size = 0
    for entry in entries:
        if len(taken) == max_records or size >= max_bytes:
            break
        taken.append(entry)
        size += len(entry.value)
    return taken


class _Kept:
    """The newest entries of one partition. Their offsets may have gaps. Removing the oldest is cheap on average."""

    __slots__ = ("_begin", "_entries", "complete_from")

    def __init__(self, end: int) -> None:
        self._entries: list[LogEntry] = []
        self._begin = 0
        self.complete_from = end
        """Every entry at or beyond this offset is kept."""

    def __len__(self) -> int:
        return len(self._entries) - self._begin

    def append(self, entry: LogEntry) -> None:
        self._entries.append(entry)

    def drop_oldest(self) -> LogEntry:
        oldest = self._entries[self._begin]
        self._begin += 1
        self.complete_from = oldest.position.offset + 1
        if 2 * self._begin > len(self._entries):
            del self._entries[: self._begin]
            self._begin = 0
        return oldest

    def since(self, offset: int) -> Iterable[LogEntry]:
        first = bisect_left(self._entries, offset, lo=self._begin, key=lambda entry: entry.position.offset)
        return (self._entries[at] for at in range(first, len(self._entries)))


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
        self._kept = {partition: _Kept(end) for partition, end in ends.items()}
        self._order: deque[StreamPartition] = deque()
        self._waiting: dict[StreamPartition, set[asyncio.Event]] = {partition: set() for partition in ends}
        self._everyone: set[asyncio.Event] = set()
        self._failure: CaseExchangeError | None = None

    def extend(self, entries: Iterable[LogEntry]) -> None:
        """Add entries that have just become durable, in the order of their offsets, and wake the readers."""
        touched = set()
        for entry in entries:
            partition = entry.position.stream_partition
            touched.add(partition)
            self.ends[partition] = entry.position.offset + 1
            self._kept[partition].append(entry)
            self._order.append(partition)
            self._bytes += len(entry.value)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._kept[self._order.popleft()].drop_oldest().value)
        for partition in touched:
            for event in self._waiting[partition]:
                event.set()

    def fail(self, error: CaseExchangeError) -> None:
        """Report that nothing more will come: everyone who waits raises this error."""
        self._failure = error
        for event in self._everyone:
            event.set()

    def read(self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int) -> list[LogEntry] | None:
        """Entries from ``offset`` on, or None if the oldest of them is no longer kept."""
        if offset >= self.ends[partition]:
            return []
        kept = self._kept[partition]
        if offset < kept.complete_from or not kept:
            return None
        return bounded(kept.since(offset), max_records, max_bytes)

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
                if self._failure is not None:
                    raise self._failure
                event.clear()
                await event.wait()
        finally:
            self._everyone.discard(event)
            for partition in partitions:
                self._waiting[partition].discard(event)
