"""The intake reads every partition of every stream, in order, and puts what it finds into the index and the tail.

Each broker process runs one intake. It decides nothing by itself: judging (judge.py) and applying (index.py) depend
only on the topics. So all processes see one log.

A gap in the offsets is no fault: transaction markers, aborted batches and compaction leave gaps. A missing beginning is
a fault, unless records may expire.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from kafka import TopicPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from tenacity import retry, retry_if_exception_type

from broker.core.errors import LogCorrupt, LogUnavailable
from broker.messagelog.kafka.arrivals import Arrival, Arrivals, arrival_of, key_of
from broker.messagelog.kafka.assigned import AssignedConsumer
from broker.messagelog.kafka.connection import RETRY_WAIT, translate
from broker.messagelog.kafka.positions import offset_of
from broker.messagelog.kafka.thread import ClientThread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kafka import KafkaConsumer

    from broker.core.entry import Stray
    from broker.core.errors import CaseExchangeError
    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.applying import Known
    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.messagelog.kafka.index import KafkaIndex
    from broker.messagelog.kafka.judge import PackJudge, SealedPack
    from broker.messagelog.tail import Tail

_POLL_MS: Final = 500
_POLL_RECORDS: Final = 2000
_FETCH_BYTES: Final = 16 << 20


class _Batch(NamedTuple):
    judged: list[SealedPack | Stray]
    next_offsets: dict[StreamPartition, int]


class Intake:
    """See the module. For one event loop.

    Args:
        connection: how to reach the cluster.
        partitions: all partitions of the log.
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
        connection: KafkaConnection,
        partitions: Sequence[StreamPartition],
        known: Mapping[StreamPartition, Known],
        index: KafkaIndex,
        tail: Tail,
        judge: PackJudge,
        holes: bool,
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        self._connection = connection
        self._topics = {TopicPartition(connection.topic(p.stream), p.partition): p for p in partitions}
        self._next = {partition: known[partition].next_offset for partition in partitions}
        self._index = index
        self._tail = tail
        self._judge = judge
        self._holes = holes
        self._report = report
        self._thread = ClientThread("kafka-intake")
        # Aborted transactions are read too. Only a stranger writes them to a stream, and then they are strays.
        self._consumer = AssignedConsumer(
            connection,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=_POLL_MS,
        )
        self._applied = asyncio.Event()
        self.arrivals: Final = Arrivals()
        """Records that this process appends, to be read back."""
        self._task: asyncio.Task[None] | None = None
        self.failure: CaseExchangeError | None = None
        """Why nothing is read any more, or None while the intake runs."""
        self.trouble: CaseExchangeError | None = None
        """Why the last attempt to read failed, or None if it did not. The next attempt is under way."""

    async def open(self) -> None:
        """Begin to read. Return when everything is applied that the topics held at the call.

        Raises:
            LogCorrupt: the beginning of a partition is missing, or the topics contradict the index.
            LogUnavailable, LogAccessDenied
        """
        ends = await self._ask(self._begins_and_ends)
        self._task = asyncio.create_task(self._run(), name="kafka intake")
        await self.reached(ends)

    async def catch_up(self, partition: StreamPartition, end: int) -> None:
        """Return when everything below a position is applied. Some process has read the entry before it.

        Raises:
            LogCorrupt: the partition ends before its pack. It was cut, or made again.
            LogUnavailable, LogAccessDenied
            LogError: it will never be applied.
        """
        offset = offset_of(end - 1) + 1 if end else 0
        if self._next[partition] < offset and (await self._ask(self._ends))[partition] < offset:
            message = f"{partition} ends before entries that checkpoints cover: it was cut short or made anew"
            raise LogCorrupt(message, partition=str(partition))
        try:
            async with asyncio.timeout(self._connection.timeout_seconds):
                await self.reached({partition: offset})
        except TimeoutError:
            message = "what Kafka holds could not be read in time"
            raise LogUnavailable(message, partition=str(partition)) from None

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
        await self._thread.end(self._consumer.drop)

    async def _ask(self, question: Callable[[], dict[StreamPartition, int]]) -> dict[StreamPartition, int]:
        try:
            return await self._thread.call(question)
        except KafkaError as error:
            await self._thread.call(self._consumer.drop)
            raise translate(error) from error

    def _begins_and_ends(self) -> dict[StreamPartition, int]:
        consumer = self._connect()
        for topic, offset in consumer.beginning_offsets(list(self._topics)).items():
            self._begin(consumer, topic, offset)
        return self._ends()

    def _ends(self) -> dict[StreamPartition, int]:
        return {self._topics[topic]: end for topic, end in self._connect().end_offsets(list(self._topics)).items()}

    def _begin(self, consumer: KafkaConsumer, topic: TopicPartition, first: int) -> None:
        partition = self._topics[topic]
        if first and not self._holes:
            message = f"the records of {partition} below offset {first} were deleted"
            raise LogCorrupt(message, partition=str(partition))
        if first > self._next[partition]:
            self._next[partition] = first
            consumer.seek(topic, first)

    async def _run(self) -> None:
        try:
            await self._take_in_all()
        except Exception as error:  # noqa: BLE001 - any error must reach the callers that wait for the log
            self.fail(translate(error))

    @retry(retry=retry_if_exception_type(LogUnavailable), wait=RETRY_WAIT)
    async def _take_in_all(self) -> None:
        try:
            while self.failure is None:
                batch = await self._thread.call(self._poll)
                self.trouble = None
                if batch.next_offsets:
                    # A cancelled caller must not leave the tail behind the index.
                    await asyncio.shield(self._apply(batch))
        except LogUnavailable as error:
            # What could not be applied is read again.
            self.trouble = error
            await self._thread.call(self._consumer.drop)
            self._report(error)
            raise

    async def _apply(self, batch: _Batch) -> None:
        applied = await self._index.apply(batch.judged, batch.next_offsets)
        self._next.update(batch.next_offsets)
        self._tail.extend(placed.entry for placed in applied.placed)
        waits_for = self.arrivals.waits_for
        self.arrivals.arrived(
            arrival for arrival in (arrival_of(*placed) for placed in applied.placed) if waits_for(arrival[0])
        )
        if again := [key for key in map(key_of, applied.repeated) if waits_for(key)]:
            # Another append put these records there before. This is rare, so the index is asked once more.
            places = await self._index.find([record_id for _, record_id in again])
            self.arrivals.arrived((key, Arrival(places[key[1]], b"")) for key in again)
        self._wake()

    def _wake(self) -> None:
        applied, self._applied = self._applied, asyncio.Event()
        applied.set()

    # --- in the thread ---

    def _connect(self) -> KafkaConsumer:
        return self._consumer.at({topic: self._next[partition] for topic, partition in self._topics.items()})

    def _poll(self) -> _Batch:
        try:
            consumer = self._connect()
            polled = consumer.poll(_POLL_MS, max_records=_POLL_RECORDS)
            # A position also moves over gaps, without a record.
            moved = {
                partition: position
                for topic, partition in self._topics.items()
                if (position := consumer.position(topic, timeout_ms=_POLL_MS)) is not None
                and position > self._next[partition]
            }
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            message = "a topic ends before, or begins behind, what was read of it: it was cut or made anew"
            raise LogCorrupt(message) from error
        except KafkaError as error:
            raise translate(error) from error
        judged: list[SealedPack | Stray] = []
        for topic, records in polled.items():
            partition = self._topics[topic]
            judged += [self._judge.judge(partition, record) for record in records]
        return _Batch(judged, moved)
