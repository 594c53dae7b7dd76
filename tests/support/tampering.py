"""What somebody with Kafka's break-glass key can do to the topics of an exchange."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka import TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
)
from kafka.errors import KafkaError
from kafka.protocol.admin import AlterClientQuotasRequest
from kafka.structs import OffsetAndMetadata

from broker.core.streams import Position, StreamPartition
from broker.messagelog.kafka.connection import LARGEST_REQUEST
from broker.messagelog.kafka.links import Links
from broker.messagelog.kafka.positions import offset_of, position_of
from certs.kafka import BREAK_GLASS
from certs.profiles import kafka_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from kafka import KafkaProducer
    from kafka.admin import ResourceType

    from broker.core.identity import Principal
    from tests.support.kafkaexchange import OnKafka


_SOON = 30.0


class Raw(NamedTuple):
    """A Kafka record, as it is in a topic or is put there."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int | None = None
    offset: int = -1


class NotUtf8(str):
    """A header name as the client of another language may write it: bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe\x80"


class Administrator:
    """Writes and deletes without a broker, with the rights of ``client``. Each call returns when it is done."""

    def __init__(self, kafka: OnKafka, client: Principal = BREAK_GLASS, patience: float = 30.0) -> None:
        self._connection = replace(kafka.cluster.connection(client, timeout=patience), prefix=kafka.prefix)
        self._patience = patience

    async def place(self, group: str, partition: StreamPartition) -> OffsetAndMetadata:
        """What a group has committed for a partition, as soon as it has something."""
        return await asyncio.to_thread(self._place, group, partition)

    async def set_place(self, group: str, partition: StreamPartition, offset: int, metadata: str) -> None:
        """Commit for a partition, as soon as the group has no member."""
        await asyncio.to_thread(self._set_place, group, partition, OffsetAndMetadata(offset, metadata, -1))

    async def records(self, partition: StreamPartition, *, committed: bool = False) -> list[Raw]:
        """Everything in a partition, or only what was not aborted."""
        return await asyncio.to_thread(self._records, partition, committed=committed)

    async def put(self, partition: StreamPartition, *records: Raw) -> list[Position]:
        """Write records, and return their positions."""
        return await asyncio.to_thread(self._put, partition, records)

    async def put_compressed(self, partition: StreamPartition, *records: Raw) -> list[Position]:
        """Write records, each in a compressed batch of its own, and return their positions."""
        return await asyncio.to_thread(self._put_compressed, partition, records)

    async def transaction(self, partition: StreamPartition, *records: Raw, commit: bool) -> list[Position]:
        """Write records in a transaction that is committed or aborted."""
        return await asyncio.to_thread(self._transaction, partition, records, commit=commit)

    async def delete_below(self, position: Position) -> None:
        """Delete the beginning of a partition, up to the pack of this position."""
        with self._connection.admin() as admin:
            below = {self._topic(position.stream_partition): offset_of(position.offset)}
            await asyncio.to_thread(admin.delete_records, below)

    async def set_topic(self, stream: str, key: str, value: str) -> None:
        """Change a setting of a topic."""
        resource = ConfigResource(ConfigResourceType.TOPIC, self._connection.topic(stream), {key: value})
        with self._connection.admin() as admin:
            await asyncio.to_thread(admin.alter_configs, [resource])

    async def delete_topic(self, stream: str) -> None:
        with self._connection.admin() as admin:
            await asyncio.to_thread(admin.delete_topics, [self._connection.topic(stream)])

    async def create_topic(self, stream: str, partitions: int, configuration: dict[str, str]) -> None:
        """Make a topic with one copy of each partition."""
        topic = {"num_partitions": partitions, "replication_factor": 1, "configs": configuration}
        with self._connection.admin() as admin:
            await asyncio.to_thread(
                admin.create_topics, {self._connection.topic(stream): topic}, wait_for_metadata=True
            )

    @contextlib.asynccontextmanager
    async def starving(self, client: Principal, bytes_per_second: float = 1.0) -> AsyncIterator[None]:
        """Within the block, Kafka gives a client no more than this of what it fetches."""
        await self._set_quota(client, bytes_per_second)
        try:
            yield
        finally:
            await self._set_quota(client, None)

    @contextlib.asynccontextmanager
    async def denying(self, client: Principal, what: ResourceType) -> AsyncIterator[None]:
        """Within the block, a client may do nothing with resources of a kind that have the exchange's prefix."""
        where = ResourcePattern(what, self._connection.prefix, ACLResourcePatternType.PREFIXED)
        rule = ACL(f"User:{kafka_name(client)}", "*", ACLOperation.ALL, ACLPermissionType.DENY, where)
        with self._connection.admin() as admin:
            await asyncio.to_thread(admin.create_acls, [rule])
            try:
                yield
            finally:
                gone = ACLFilter(rule.principal, rule.host, rule.operation, rule.permission_type, where)
                await asyncio.to_thread(admin.delete_acls, [gone])

    async def _set_quota(self, client: Principal, value: float | None) -> None:
        entry: Any = AlterClientQuotasRequest.EntryData
        request = AlterClientQuotasRequest(
            entries=[
                entry(
                    entity=[entry.EntityData(entity_type="user", entity_name=kafka_name(client))],
                    ops=[entry.OpData(key="consumer_byte_rate", value=value or 0.0, remove=value is None)],
                )
            ],
            validate_only=False,
        )
        links = Links(self._connection)
        try:
            answer = await links.ask_any(0, request, 1)
        finally:
            await links.close()
        assert [each.error_code for each in answer.entries] == [0]

    # --- in a thread ---

    def _place(self, group: str, partition: StreamPartition) -> OffsetAndMetadata:
        topic = self._topic(partition)
        with self._connection.consumer(group_id=self._connection.topic(group)) as consumer:
            consumer.assign([topic])
            deadline = time.monotonic() + _SOON
            while time.monotonic() < deadline:
                found = consumer.committed(topic, metadata=True)
                if found is not None:
                    return found
        message = "the group has committed nothing"
        raise AssertionError(message)

    def _set_place(self, group: str, partition: StreamPartition, place: OffsetAndMetadata) -> None:
        topic = self._topic(partition)
        with self._connection.consumer(group_id=self._connection.topic(group)) as consumer:
            consumer.assign([topic])
            deadline = time.monotonic() + _SOON
            while True:
                try:
                    consumer.commit({topic: place})
                except KafkaError:
                    # The group has members that are about to leave.
                    if time.monotonic() > deadline:
                        raise
                else:
                    return

    def _topic(self, partition: StreamPartition) -> TopicPartition:
        return TopicPartition(self._connection.topic(partition.stream), partition.partition)

    def _records(self, partition: StreamPartition, *, committed: bool) -> list[Raw]:
        topic = self._topic(partition)
        consumer = self._connection.consumer(isolation_level="read_committed" if committed else "read_uncommitted")
        try:
            consumer.assign([topic])
            consumer.seek_to_beginning(topic)
            end = consumer.end_offsets([topic])[topic]
            found: list[Raw] = []
            while consumer.position(topic) < end:
                polled = consumer.poll(500).get(topic, ())
                found += [Raw(each.value, each.key, each.headers, each.timestamp, each.offset) for each in polled]
            return found
        finally:
            consumer.close()

    def _put(self, partition: StreamPartition, records: Sequence[Raw]) -> list[Position]:
        producer = self._connection.producer(max_request_size=LARGEST_REQUEST)
        try:
            return self._sent(producer, partition, records)
        finally:
            producer.close()

    def _put_compressed(self, partition: StreamPartition, records: Sequence[Raw]) -> list[Position]:
        producer = self._connection.producer(compression_type="gzip", max_request_size=100 << 20)
        try:
            return [position for record in records for position in self._sent(producer, partition, [record])]
        finally:
            producer.close()

    def _transaction(self, partition: StreamPartition, records: Sequence[Raw], *, commit: bool) -> list[Position]:
        producer = self._connection.producer(transactional_id=f"{self._connection.prefix}.a-stranger")
        try:
            producer.init_transactions()
            producer.begin_transaction()
            positions = self._sent(producer, partition, records)
            if commit:
                producer.commit_transaction()
            else:
                producer.abort_transaction()
        finally:
            producer.close()
        return positions

    def _sent(self, producer: KafkaProducer, partition: StreamPartition, records: Sequence[Raw]) -> list[Position]:
        topic = self._topic(partition)
        sent: list[Any] = [
            producer.send(
                topic.topic,
                partition=topic.partition,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                timestamp_ms=record.timestamp,
            )
            for record in records
        ]
        return [Position(*partition, position_of(future.get(self._patience).offset)) for future in sent]
