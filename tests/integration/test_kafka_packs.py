"""Packs on a real Kafka: how many records they are there, what Kafka's tools see, and formats that cannot be read."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from broker.core.entry import NewEntry
from broker.core.errors import LogIntruder, LogSchemaUnsupported
from broker.core.leasing.ackstate import AckState
from broker.core.seal import Sealing
from broker.core.streams import StreamPartition
from broker.core.subscriptions import FIRST
from broker.messagelog.kafka.judge import BEFORE_PACKS
from broker.messagelog.kafka.positions import offset_of
from broker.ports import SubscriptionKey
from broker.trust.signing import Ed25519NoteSigner
from tests.support.kafkalog import LogOnKafka
from tests.support.packs import packed
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka
CASES_0, CASES_1 = StreamPartition("cases", 0), StreamPartition("cases", 1)
MANY = 1 << 30
LAB = SubscriptionKey("national-dna-database", "samples")
NOW_MS = 1_790_000_000_000


def entry(number: int, partition: StreamPartition = CASES_0, size: int = 10) -> NewEntry:
    digest = hashlib.sha256(b"%d" % number).digest()
    return NewEntry(partition, digest[:16], "CaseRecord", f"case-{number}", (LAB.agency,), digest, b"x" * size)


@pytest.fixture
def on_kafka(kafka_cluster: KafkaCluster) -> LogOnKafka:
    signer = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.generate())
    return LogOnKafka(kafka_cluster, signer, ManualClock(NOW_MS))


def topic(on_kafka: LogOnKafka, partition: StreamPartition) -> TopicPartition:
    return TopicPartition(on_kafka.connection.topic(partition.stream), partition.partition)


def end_offsets(on_kafka: LogOnKafka, *partitions: StreamPartition) -> list[int]:
    """How many Kafka records these partitions have."""
    consumer = on_kafka.connection.consumer()
    try:
        topics = [topic(on_kafka, partition) for partition in partitions]
        ends = consumer.end_offsets(topics)
        return [ends[each] for each in topics]
    finally:
        consumer.close()


def put(on_kafka: LogOnKafka, value: bytes, headers: list[tuple[str, bytes]], at_ms: int = NOW_MS) -> None:
    """Write a Kafka record to the first partition of the cases, as somebody with the broker's key can."""
    name, number = topic(on_kafka, CASES_0)
    producer = on_kafka.connection.producer()
    try:
        producer.send(name, partition=number, value=value, headers=headers, timestamp_ms=at_ms).get(30)
    finally:
        producer.close()


async def test_an_append_is_one_kafka_record_for_each_partition(on_kafka: LogOnKafka) -> None:
    log = await on_kafka.open()
    await log.append([entry(number, CASES_1 if number % 3 else CASES_0) for number in range(300)])
    assert await asyncio.to_thread(end_offsets, on_kafka, CASES_0, CASES_1) == [1, 1]
    await log.close()


async def test_an_append_that_is_too_large_for_a_pack_is_more_of_them_and_read_back_in_order(
    on_kafka: LogOnKafka,
) -> None:
    log = await on_kafka.open(tail_bytes=64)
    sizes = [200 << 10] * 6 + [700 << 10, 10]
    appended = await log.append([entry(number, size=size) for number, size in enumerate(sizes)])
    read = await log.read(CASES_0, 0, MANY, MANY)
    assert [item.position for item in read] == [item.position for item in appended]
    assert [len(item.value) for item in read] == sizes
    assert [offset_of(item.position.offset) for item in appended] == [0, 0, 1, 1, 2, 2, 3, 4]
    await log.close()


async def test_kafka_s_tools_see_no_lag_once_everything_is_done(on_kafka: LogOnKafka) -> None:
    log = await on_kafka.open()
    appended = await log.append([entry(number) for number in range(5)])
    cursor = await log.open_cursor(LAB, frozenset({"CaseRecord"}), FIRST)
    async with asyncio.timeout(30):
        while not any(change.partition == CASES_0 for change in cursor.assignment_changes()):
            await cursor.wait()
    end = appended[-1].position.offset + 1
    group = f"{on_kafka.connection.prefix}.{LAB.agency}.{LAB.name}"
    for floor, committed in ((0, 0), (3, 0), (end, 1)):
        assert await cursor.commit({CASES_0: AckState(floor)}) == {CASES_0}
        with on_kafka.connection.admin() as admin:
            offsets = await asyncio.to_thread(admin.list_group_offsets, {group: None})
        assert offsets[group][topic(on_kafka, CASES_0)].offset == committed
    await cursor.close()
    await log.close()


async def test_a_stored_place_that_cannot_be_read_is_reported_and_its_subscription_goes_on(
    on_kafka: LogOnKafka,
) -> None:
    log = await on_kafka.open()
    await log.append([entry(1)])
    group = f"{on_kafka.connection.prefix}.{LAB.agency}.{LAB.name}"
    before = await log.open_cursor(LAB, frozenset({"CaseRecord"}), FIRST)
    await before.close()
    with on_kafka.connection.admin() as admin:
        garbage = {topic(on_kafka, CASES_0): OffsetAndMetadata(7, "no ack state", -1)}
        await asyncio.to_thread(admin.alter_group_offsets, group, garbage)
    cursor = await log.open_cursor(LAB, frozenset({"CaseRecord"}), FIRST)
    async with asyncio.timeout(30):
        while not any(change.partition == CASES_0 for change in cursor.assignment_changes()):
            await cursor.wait()
    # Nobody acknowledged anything.
    assert len((await cursor.read(CASES_0, MANY, MANY)).entries) == 1
    assert [type(error) for error in on_kafka.reported] == [LogIntruder]
    await cursor.close()
    await log.close()


async def test_a_newer_broker_s_pack_stops_the_log_by_name(on_kafka: LogOnKafka) -> None:
    log = await on_kafka.open()
    (value,) = packed([entry(1)], on_kafka.signer, Sealing(bytes(16), NOW_MS), log.log_id("cases"), version=2)
    # The version is the first field of the message: a tag and a number.
    put(on_kafka, bytes([value[0], 2]) + value[2:], [])
    async with asyncio.timeout(30):
        with pytest.raises(LogSchemaUnsupported):
            await log.wait_beyond({CASES_0: 0})
    with pytest.raises(LogSchemaUnsupported):
        await log.append([entry(2)])
    await log.close()
    with pytest.raises(LogSchemaUnsupported, match="newer broker"):
        await on_kafka.open()


async def test_topics_of_the_format_before_packs_are_refused_by_name(on_kafka: LogOnKafka) -> None:
    await (await on_kafka.open()).close()
    names = ("record-id", "kind", "recipients", "record-sha256", "seal")
    put(on_kafka, b"an envelope", [(name, b"") for name in names])
    with pytest.raises(LogSchemaUnsupported, match="before packs"):
        await on_kafka.open()


async def test_in_a_log_that_has_entries_a_record_of_that_format_is_only_a_stray(on_kafka: LogOnKafka) -> None:
    log = await on_kafka.open()
    await log.append([entry(1)])
    await log.close()
    names = ("record-id", "kind", "recipients", "record-sha256", "seal")
    put(on_kafka, b"an envelope", [(name, b"") for name in names])
    again = await on_kafka.open()
    assert [stray.reason for stray in await again.strays(CASES_0)] == [BEFORE_PACKS]
    assert len(await again.append([entry(2)])) == 1
    await again.close()
