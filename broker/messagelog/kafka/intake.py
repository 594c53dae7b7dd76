"""The intake reads every partition of every stream, in order, and puts what it finds into the index and the tail.

Each broker process runs one intake. It decides nothing by itself: judging (judge.py) and applying (index.py) depend
only on the topics. So all processes see one log.

A gap in the offsets is no fault: transaction markers, aborted batches and compaction leave gaps. A missing beginning is
a fault, unless records may expire.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from tenacity import retry, retry_if_exception_type

from broker.core.errors import LogCorrupt, LogUnavailable
from broker.messagelog.kafka.arrivals import Arrival, Arrivals, arrival_of, key_of
from broker.messagelog.kafka.connection import RETRY_WAIT, translate
from broker.messagelog.kafka.damage import DamagedPlaces
from broker.messagelog.kafka.fetcher import Fetcher
from broker.messagelog.kafka.leaders import BEGIN, END
from broker.messagelog.kafka.positions import offset_of, position_of
from broker.messagelog.kafka.standstill import Standstill, moving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.entry import Stray
    from broker.core.errors import CaseExchangeError
    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.applying import Known
    from broker.messagelog.kafka.fetcher import Fetched
    from broker.messagelog.kafka.index import KafkaIndex
    from broker.messagelog.kafka.judge import PackJudge, SealedPack
    from broker.messagelog.kafka.leaders import Leaders
    from broker.messagelog.tail import Tail

_SMALL_BYTES: Final = 32 << 10
"""So much is judged in the event loop. To hand it to a thread takes longer."""


class Intake:
    """See the module. For one event loop.

    Args:
        leaders: the nodes that lead the partitions.
        known: how far the index has applied each partition.
        index: the index to apply to.
        tail: the newest entries.
        judge: separates entries from strays.
        holes: whether the beginning of a partition may be missing: because records expire, or because an auditor wants
            to see what is left.
        report: called with every error after which the intake tries again.
    """

    def __init__(
        self,
        *,
        leaders: Leaders,
        known: Mapping[StreamPartition, Known],
        index: KafkaIndex,
        tail: Tail,
        judge: PackJudge,
        holes: bool,
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        self._leaders = leaders
        self._next = {partition: known[partition].next_offset for partition in leaders.names}
        self._index = index
        self._tail = tail
        self._judge = judge
        self._holes = holes
        self._report = report
        self._fetcher: Fetcher | None = None
        self._applied = asyncio.Event()
        self.arrivals: Final = Arrivals()
        """Records that this process appends, to be read back."""
        self.damaged: Final = DamagedPlaces()
        self._task: asyncio.Task[None] | None = None
        self.failure: CaseExchangeError | None = None
        """Why nothing is read any more, or None while the intake runs."""
        self._trouble: CaseExchangeError | None = None
        self._standstill = Standstill(self._next, leaders.seconds)

    @property
    def trouble(self) -> CaseExchangeError | None:
        """Why the last attempt to read failed, or None if it did not. The next attempt is under way."""
        lost = self._fetcher.trouble if self._fetcher is not None else None
        return translate(lost) if lost is not None else self._trouble or self._standstill.trouble

    def look(self, ends: Mapping[StreamPartition, int]) -> None:
        """Tell the intake where the partitions end now. If it does not get there in time, ``trouble`` says so."""
        self._standstill.look(ends)

    async def open(self) -> None:
        """Begin to read. Return when everything is applied that the topics held at the call.

        Raises:
            LogCorrupt: the beginning of a partition is missing, or the topics contradict the index.
            LogUnavailable: among others, nothing came for the connection's time.
            LogAccessDenied
        """
        for partition, first in (await self._offsets(BEGIN)).items():
            self._begin(partition, first)
        ends = await self._offsets(END)
        self._task = asyncio.create_task(self._run(), name="kafka intake")
        await moving(self.reached(ends), lambda: sum(self._next.values()), self._leaders.seconds)

    async def catch_up(self, partition: StreamPartition, end: int) -> None:
        """Return when everything below a position is applied. Some process has read the entry before it.

        Raises:
            LogCorrupt: the partition ends before its pack. It was cut, or made again.
            LogUnavailable, LogAccessDenied
            LogError: it will never be applied.
        """
        offset = offset_of(end - 1) + 1 if end else 0
        if self._next[partition] < offset and (await self._offsets(END))[partition] < offset:
            message = f"{partition} ends before entries that checkpoints cover: it was cut short or made anew"
            raise LogCorrupt(message, partition=str(partition))
        try:
            async with asyncio.timeout(self._leaders.seconds):
                await self.reached({partition: offset})
        except TimeoutError:
            message = "what Kafka holds could not be read in time"
            raise LogUnavailable(message, partition=str(partition)) from None

    async def catch_up_to_its_end(self, partition: StreamPartition) -> None:
        """Return when everything is applied that the partition held at the call.

        Raises:
            LogUnavailable, LogAccessDenied
            LogError: it will never be applied.
        """
        await self.catch_up(partition, position_of((await self._offsets(END))[partition]))

    async def reached(self, offsets: Mapping[StreamPartition, int]) -> None:
        """Return when everything below these offsets of Kafka is applied.

        Raises:
            LogError: it will never be applied.
        """
        while any(self._next[partition] < offset for partition, offset in offsets.items()):
            if self.failure is not None:
                raise self.failure
            await self._applied.wait()

    def fail(self, error: CaseExchangeError) -> None:
        """Stop reading, because of an error that an operator must repair. Everyone who waits for the log gets it."""
        if self.failure is None:
            self.failure = error
            self._report(error)
            self._tail.fail(error)
            self.arrivals.fail(error)
            self._wake()

    async def close(self) -> None:
        """Stop reading. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _offsets(self, which: int) -> dict[StreamPartition, int]:
        try:
            return await self._leaders.offsets(which)
        except KafkaError as error:
            raise translate(error) from error

    def _begin(self, partition: StreamPartition, first: int) -> None:
        if first and not self._holes:
            message = f"the records of {partition} below offset {first} were deleted"
            raise LogCorrupt(message, partition=str(partition))
        self._next[partition] = max(first, self._next[partition])

    async def _run(self) -> None:
        try:
            await self._take_in_all()
        except Exception as error:  # noqa: BLE001 - any error must reach the callers that wait for the log
            self.fail(translate(error))

    @retry(retry=retry_if_exception_type(LogUnavailable), wait=RETRY_WAIT)
    async def _take_in_all(self) -> None:
        # What could not be applied is fetched again.
        fetcher = self._fetcher = Fetcher(self._leaders, self._next)
        try:
            while self.failure is None:
                judged, next_offsets = await self._judged(await fetcher.next())
                # A cancelled caller must not leave the tail behind the index.
                await asyncio.shield(self._apply(judged, next_offsets))
                self._trouble = None
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            message = "a topic ends before, or begins behind, what was read of it: it was cut or made anew"
            raise LogCorrupt(message) from error
        except (LogUnavailable, KafkaError) as error:
            # Also what the library does not call retriable, such as an answer that is too large, may pass.
            self._trouble = translate(error)
            self._report(self._trouble)
            raise self._trouble from None
        finally:
            await fetcher.close()

    async def _judged(self, fetched: Sequence[Fetched]) -> tuple[list[SealedPack | Stray], dict[StreamPartition, int]]:
        """What the records are, and where each partition goes on. An offset also moves over gaps, without a record."""
        if sum(each.size for each in fetched) <= _SMALL_BYTES:
            judged = self._judge_all(fetched)
        else:
            judged = await asyncio.to_thread(self._judge_all, fetched)
        return judged, {each.partition: each.next_offset for each in fetched}

    def _judge_all(self, fetched: Sequence[Fetched]) -> list[SealedPack | Stray]:
        return [self._judge.judge(each.partition, record) for each in fetched for record in each.records()]

    async def _apply(self, judged: Sequence[SealedPack | Stray], next_offsets: Mapping[StreamPartition, int]) -> None:
        applied = await self._index.apply(judged, next_offsets)
        self._next.update(next_offsets)
        self._tail.extend(placed.entry for placed in applied.placed)
        for placed in applied.placed:
            if not placed.sound:
                self.damaged.add(placed.entry.position)
        waits_for = self.arrivals.waits_for
        self.arrivals.arrived(
            arrival
            # Nobody gets a receipt for what was damaged on its way.
            for arrival in (arrival_of(entry, append_id) for entry, append_id, sound in applied.placed if sound)
            if waits_for(arrival[0])
        )
        if again := [key for key in map(key_of, applied.repeated) if waits_for(key)]:
            # Another append put these records there before. This is rare, so the index is asked once more.
            places = await self._index.find([record_id for _, record_id in again])
            self.arrivals.arrived((key, Arrival(places[key[1]], b"")) for key in again)
        self._wake()

    def _wake(self) -> None:
        applied, self._applied = self._applied, asyncio.Event()
        applied.set()
