"""The scrub reads the log again, and compares each entry with its leaf, with its record, and with the index.

A subscription finds a record by kind, recipients and case. These stand beside the record's bytes, in columns and an
index that no leaf covers. So a flipped bit there would hide a record without a word. The scrub follows the tree: every
leaf has an entry, so a lost one is found too. When a broker starts, it first reads what no scrub has read yet, then
everything, slowly. After that everything again, once in ``pass_seconds``.

It reads what the log returns. The newest entries come from memory, so their place on the disk is read in a later pass.

What is wrong is an alarm, by position. The broker goes on and stays healthy: one damaged record must stop no other. A
record that cannot be read any more may have been anybody's, so then every subscription is told.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.errors import CaseExchangeError
from broker.core.streams import every_partition
from broker.ports import ScrubPlace
from broker.services.soundness import EntryJudge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointStore, Clock, LeafRow, MessageLog, RecordCodec
    from broker.services.erasureorders import ErasureOrders
    from broker.services.soundness import Damage

_BATCH_RECORDS: Final = 100
_BATCH_BYTES: Final = 256 << 10
_BATCHES_TO_SAVE: Final = 64
"""How often it is stored how far the scrub is. After a crash so many batches are read again."""
_AGAIN_SECONDS: Final = 10.0
MOST_ALARMS: Final = 100
"""In one pass. If more is damaged, it is the log, and a replay names all of it."""


@dataclass(frozen=True, slots=True)
class ScrubSettings:
    """How much the scrub reads.

    Attributes:
        bytes_per_second: of the log, with its pauses.
        new_bytes_per_second: the same for what no scrub has read yet, at the start.
        pass_seconds: everything is read once in this time, or as fast as ``bytes_per_second`` allows.
        expire_seconds: a record may be gone this long after it was accepted. None: never.
    """

    bytes_per_second: float = 256 << 10
    new_bytes_per_second: float = 4 << 20
    pass_seconds: float = 24 * 3600.0
    expire_seconds: float | None = None


class Scrub:
    """See the module. For one event loop.

    Args:
        log: the log to read.
        store: the trees, and how far earlier scrubs came.
        codec: reads the records.
        orders: what records may lack.
        clock: gives the time between two passes.
        settings: how much it reads.
        alarm: called with everything that is wrong.
        report: called with every error after which the scrub tries again.
    """

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        codec: RecordCodec,
        orders: ErasureOrders,
        clock: Clock,
        settings: ScrubSettings,
        alarm: Callable[[Damage], None],
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        self._log = log
        self._store = store
        self._judge = EntryJudge(codec, orders, clock, settings.expire_seconds)
        self._clock = clock
        self._settings = settings
        self._alarm = alarm
        self._report = report
        self._found = 0
        self._partitions = every_partition(log.partitions)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            began = self._clock.monotonic()
            try:
                self._found = 0
                await self.new()
                await self.everything()
            except CaseExchangeError as error:
                self._report(error)
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                await asyncio.sleep(max(_AGAIN_SECONDS, began + self._settings.pass_seconds - self._clock.monotonic()))

    async def new(self) -> None:
        """Read what no scrub has read yet.

        Raises:
            LogUnavailable, LogError
        """
        for partition in self._partitions:
            place = await self._store.scrub_place(partition)
            await self._read(partition, place, place.unread, self._settings.new_bytes_per_second, new=True)

    async def everything(self) -> None:
        """Read everything, from where the last pass was interrupted.

        Raises:
            LogUnavailable, LogError
        """
        for partition in self._partitions:
            place = await self._store.scrub_place(partition)
            await self._read(partition, place, place.next, self._settings.bytes_per_second, new=False)
        for partition in self._partitions:
            place = await self._store.scrub_place(partition)
            await self._store.put_scrub_place(partition, place._replace(next=0))

    async def _read(
        self, partition: StreamPartition, place: ScrubPlace, index: int, bytes_per_second: float, *, new: bool
    ) -> None:
        head = await self._store.head(partition)
        end = 0 if head is None else head.size
        batches = 0
        while index < end:
            rows = await self._store.leaves(partition, index, min(index + _BATCH_RECORDS, end))
            read, size = await self._batch(partition, rows)
            index += read
            place = ScrubPlace(max(place.unread, index), place.next if new else index)
            batches += 1
            if index >= end or batches % _BATCHES_TO_SAVE == 0:
                await self._store.put_scrub_place(partition, place)
            await asyncio.sleep(size / bytes_per_second)

    async def _batch(self, partition: StreamPartition, rows: Sequence[LeafRow]) -> tuple[int, int]:
        """Judge the entries of some leaves. Return how many leaves were judged, and how many bytes were read."""
        entries = await self._log.read(partition, rows[0].offset, len(rows), _BATCH_BYTES)
        # What was not returned below this offset is lost.
        reached = entries[-1].position.offset if entries else rows[-1].offset
        due = [row for row in rows if row.offset <= reached]
        missing = set(await self._log.not_indexed(entries))
        for damage in await asyncio.to_thread(self._judge.judged, partition, due, entries, missing):
            self._found += 1
            if self._found <= MOST_ALARMS:
                self._alarm(damage)
        return len(due), sum(len(entry.value) for entry in entries)
