"""Reading values that are no longer in memory: a few consumers that are sent to where somebody wants to read."""

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
_FETCH_BYTES: Final = 8 << 20


class ValueReaders:
    """Fetches values by offset. For one event loop; calls may be concurrent, and take turns."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._readers = [_Reader(connection, number) for number in range(_READERS)]
        self._idle = list(self._readers)
        self._turn = asyncio.Semaphore(_READERS)

    async def read(self, partition: StreamPartition, first: int, last: int) -> dict[int, bytes]:
        """The values that the topic has from offset ``first`` to ``last``, both included.

        An offset that is not in the result is not in the topic: deleted, or never there.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        async with self._turn:
            # The one that stands there already has fetched ahead.
            reader = next((each for each in self._idle if each.at == (partition, first)), self._idle[0])
            self._idle.remove(reader)
            try:
                return await asyncio.shield(reader.thread.call(reader.read, partition, first, last))
            finally:
                self._idle.append(reader)

    async def close(self) -> None:
        """Close the consumers. Idempotent."""
        for reader in self._readers:
            await reader.thread.call(reader.close)
            reader.thread.close()


class _At(NamedTuple):
    partition: StreamPartition
    offset: int


class _Reader:
    """One consumer, in its thread."""

    def __init__(self, connection: KafkaConnection, number: int) -> None:
        self.thread = ClientThread(f"kafka-values-{number}")
        self.at: _At | None = None
        self._connection = connection
        self._consumer: KafkaConsumer | None = None

    def close(self) -> None:
        self.at = None
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=1000)

    def read(self, partition: StreamPartition, first: int, last: int) -> dict[int, bytes]:
        try:
            return self._read(partition, first, last)
        except KafkaError as error:
            self.close()
            raise translate(error) from error

    def _read(self, partition: StreamPartition, first: int, last: int) -> dict[int, bytes]:
        topic = TopicPartition(self._connection.topic(partition.stream), partition.partition)
        consumer = self._go(topic, _At(partition, first))
        end = time.monotonic() + self._connection.timeout_seconds
        values: dict[int, bytes] = {}
        at = first
        while at <= last:
            if time.monotonic() > end:
                self.close()
                message = "Kafka did not return records in time"
                raise LogUnavailable(message, partition=str(partition))
            try:
                polled = consumer.poll(_POLL_MS, max_records=last - at + 1)
            except OffsetOutOfRangeError:
                # What was deleted is at the beginning: go on with what is left of it.
                begin = consumer.beginning_offsets([topic])[topic]
                if begin <= at:
                    break
                at = begin
                consumer.seek(topic, at)
                continue
            for record in polled.get(topic, ()):
                if record.offset <= last:
                    values[record.offset] = record.value or b""
            at = max(at, consumer.position(topic) or at)
        self.at = _At(partition, at)
        return values

    def _go(self, topic: TopicPartition, to: _At) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = self._connection.consumer(
                fetch_max_bytes=_FETCH_BYTES, max_partition_fetch_bytes=_FETCH_BYTES, fetch_max_wait_ms=_POLL_MS
            )
            self.at = None
        if self.at != to:
            if topic not in self._consumer.assignment():
                self._consumer.assign([topic])
            self._consumer.seek(topic, to.offset)
        return self._consumer
