"""Read values that are no longer in memory, with a few consumers that move between partitions.

In every partition that it has read, a consumer keeps its place and what it has fetched ahead. Partitions that nobody
reads now are paused. So readers that go through several partitions in turn fetch each record once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from kafka import TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from broker.core.errors import LogUnavailable
from broker.messagelog.kafka.connection import translate
from broker.messagelog.kafka.thread import ClientThread

if TYPE_CHECKING:
    from kafka import KafkaConsumer

    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.connection import KafkaConnection

_READERS: Final = 2
_POLL_MS: Final = 500
_POLL_RECORDS: Final = 100
"""Few enough that reading large values stops soon after the limit."""
_FETCH_BYTES: Final = 2 << 20
"""The limit for what is fetched ahead in one partition. Each reader keeps as much for each partition, so not more."""


class Fetched(NamedTuple):
    """Values by offset, and the offset up to which the topic was read. Below it, the topic has no other values."""

    values: dict[int, bytes]
    end: int


class ValueReaders:
    """Fetches values by offset. For one event loop. Calls may be concurrent; they take turns."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._readers = [_Reader(connection, number) for number in range(_READERS)]
        self._idle = list(self._readers)
        self._turn = asyncio.Semaphore(_READERS)

    async def read(self, partition: StreamPartition, first: int, last: int, max_bytes: int) -> Fetched:
        """The values that the topic has from offset ``first`` to ``last``, both included.

        It stops after the value that reaches ``max_bytes``.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        async with self._turn:
            reader = self._best(partition, first)
            self._idle.remove(reader)
            try:
                return await asyncio.shield(reader.thread.call(reader.read, partition, first, last, max_bytes))
            finally:
                self._idle.append(reader)

    def _best(self, partition: StreamPartition, first: int) -> _Reader:
        """The reader that is at this offset: it has fetched ahead. Otherwise one with no place in the partition."""
        for reader in self._idle:
            if reader.places.get(partition) == first:
                return reader
        return next((each for each in self._idle if partition not in each.places), self._idle[0])

    async def close(self) -> None:
        """Close the consumers. Idempotent."""
        for reader in self._readers:
            await reader.thread.end(reader.close)


class _Reader:
    """One consumer, in its thread."""

    def __init__(self, connection: KafkaConnection, number: int) -> None:
        self.thread = ClientThread(f"kafka-values-{number}")
        self.places: dict[StreamPartition, int] = {}
        self._connection = connection
        self._consumer: KafkaConsumer | None = None

    def close(self) -> None:
        self.places.clear()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=1000)

    def read(self, partition: StreamPartition, first: int, last: int, max_bytes: int) -> Fetched:
        try:
            return self._read(partition, first, last, max_bytes)
        except KafkaError as error:
            self.close()
            raise translate(error) from error

    def _read(self, partition: StreamPartition, first: int, last: int, max_bytes: int) -> Fetched:
        topic = TopicPartition(self._connection.topic(partition.stream), partition.partition)
        consumer = self._go(topic, partition, first)
        end = time.monotonic() + self._connection.timeout_seconds
        values: dict[int, bytes] = {}
        at, size = first, 0
        # The client puts away its data of the previous partition, and sleeps, before it looks at its data of this one
        # (kafka-python 3.0.12, fetched_records). So the first poll may not wait.
        wait_ms = 0
        while at <= last and size < max_bytes:
            if time.monotonic() > end:
                self.close()
                message = "Kafka did not return records in time"
                raise LogUnavailable(message, partition=str(partition))
            try:
                polled = consumer.poll(wait_ms, max_records=min(last - at + 1, _POLL_RECORDS))
            except OffsetOutOfRangeError:
                # Records are deleted from the beginning. Go on with what is left.
                begin = consumer.beginning_offsets([topic])[topic]
                if begin <= at:
                    # The partition ends before this offset: what was there is gone.
                    at = last + 1
                    break
                at = begin
                consumer.seek(topic, at)
                continue
            wait_ms = _POLL_MS
            for record in polled.get(topic, ()):
                if record.offset <= last:
                    values[record.offset] = record.value or b""
                    size += len(values[record.offset])
            at = max(at, consumer.position(topic) or at)
        self.places[partition] = at
        return Fetched(values, at)

    def _go(self, topic: TopicPartition, partition: StreamPartition, offset: int) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = self._connection.consumer(
                fetch_max_bytes=_FETCH_BYTES, max_partition_fetch_bytes=_FETCH_BYTES, fetch_max_wait_ms=_POLL_MS
            )
        assigned = self._consumer.assignment()
        if topic not in assigned:
            self._consumer.assign([*assigned, topic])
        self._consumer.pause(*(assigned - {topic}))
        self._consumer.resume(topic)
        if self.places.get(partition) != offset:
            self._consumer.seek(topic, offset)
        return self._consumer
