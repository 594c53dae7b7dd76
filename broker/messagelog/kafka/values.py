"""Read values that are no longer in memory, pack by pack, with a few consumers that move between partitions.

In every partition that it has read, a consumer keeps its place and what it has fetched ahead. Partitions that nobody
reads now are paused. So readers that go through several partitions in turn fetch each pack once. The packs that were
read last stay in memory: readers come back for the rest of a pack, and several subscriptions read the same packs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from kafka import TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from broker.core.errors import LogUnavailable
from broker.messagelog.kafka.connection import translate
from broker.messagelog.kafka.packs import parse_pack
from broker.messagelog.kafka.positions import index_of, offset_of
from broker.messagelog.kafka.thread import ClientThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kafka import KafkaConsumer

    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.connection import KafkaConnection

_READERS: Final = 2
_POLL_MS: Final = 500
_POLL_PACKS: Final = 16
"""Few enough that reading large packs stops soon after the limit."""
_FETCH_BYTES: Final = 2 << 20
"""The limit for what is fetched ahead in one partition. Each reader keeps as much for each partition, so not more."""
_CACHE_BYTES: Final = 16 << 20

_Values: TypeAlias = "tuple[bytes, ...]"
"""The values of a pack, by index."""


class Fetched(NamedTuple):
    """Packs by offset in Kafka, and the offset up to which the topic was read. Below it, there are no other packs."""

    packs: dict[int, _Values]
    end: int


class ValueReaders:
    """Fetches values by position. For one event loop. Calls may be concurrent; they take turns."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._readers = [_Reader(connection, number) for number in range(_READERS)]
        self._idle = list(self._readers)
        self._turn = asyncio.Semaphore(_READERS)
        self._cache = _Cache(_CACHE_BYTES)

    async def read(
        self, partition: StreamPartition, positions: Sequence[int], max_bytes: int, *, fresh: bool = False
    ) -> list[bytes]:
        """The values at these ascending positions. A value that the topic has lost is empty.

        It stops after the value that reaches ``max_bytes``, so there may be fewer values than positions. If ``fresh``,
        they are those that the topic has now, and not what was read before.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        found: list[bytes] = []
        size = 0
        packs: Mapping[int, _Values] = {}
        end = 0
        for position in positions:
            offset = offset_of(position)
            values = None if fresh else self._cache.get(partition, offset)
            if values is None and offset >= end:
                # Packs that were just read may be too large for the cache.
                packs, end = await self._fetch(partition, offset, offset_of(positions[-1]), max_bytes - size)
            if values is None:
                values = packs.get(offset, ())
            found += values[index_of(position) :][:1] or (b"",)
            size += len(found[-1])
            if size >= max_bytes:
                break
        return found

    async def _fetch(self, partition: StreamPartition, first: int, last: int, max_bytes: int) -> Fetched:
        async with self._turn:
            reader = self._best(partition, first)
            self._idle.remove(reader)
            try:
                fetched = await reader.thread.call_to_its_end(reader.read, partition, first, last, max_bytes)
            finally:
                self._idle.append(reader)
        for offset, values in fetched.packs.items():
            self._cache.put(partition, offset, values)
        return fetched

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


class _Cache:
    """The packs that were read last."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._packs: OrderedDict[tuple[StreamPartition, int], _Values] = OrderedDict()

    def get(self, partition: StreamPartition, offset: int) -> _Values | None:
        values = self._packs.get((partition, offset))
        if values is not None:
            self._packs.move_to_end((partition, offset))
        return values

    def put(self, partition: StreamPartition, offset: int, values: _Values) -> None:
        self._bytes += sum(map(len, values)) - sum(map(len, self._packs.pop((partition, offset), ())))
        self._packs[partition, offset] = values
        while self._bytes > self._max_bytes:
            _, oldest = self._packs.popitem(last=False)
            self._bytes -= sum(map(len, oldest))


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
        packs: dict[int, _Values] = {}
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
                polled = consumer.poll(wait_ms, max_records=min(last - at + 1, _POLL_PACKS))
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
                    pack = parse_pack(record.value or b"")
                    packs[record.offset] = tuple(pack.values) if pack is not None else ()
                    size += len(record.value or b"")
            at = max(at, consumer.position(topic) or at)
        self.places[partition] = at
        return Fetched(packs, at)

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
