"""How the streams are read and written on a real Kafka: lost answers, lost connections, several packs at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka.errors import KafkaConnectionError

from broker.core.streams import StreamPartition
from broker.messagelog.kafka.fetcher import Fetcher
from broker.messagelog.kafka.leaders import END, Leaders
from broker.messagelog.kafka.producer import Producer
from broker.trust.signing import Ed25519NoteSigner
from tests.support.kafkalog import LogOnKafka
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.messagelog.kafka.links import Link
    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka
CASES_0, CASES_1 = StreamPartition("cases", 0), StreamPartition("cases", 1)
NOW_MS = 1_790_000_000_000
BOUND = 60


@pytest.fixture
async def leaders(kafka_cluster: KafkaCluster) -> AsyncIterator[Leaders]:
    """Of topics that a log has made."""
    signer = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.generate())
    on_kafka = LogOnKafka(kafka_cluster, signer, ManualClock(NOW_MS))
    log = await on_kafka.open()
    await log.close()
    made = Leaders(on_kafka.connection, [CASES_0, CASES_1])
    yield made
    await made.close()


async def read_all(leaders: Leaders, partition: StreamPartition) -> list[bytes | None]:
    """All values of a partition now."""
    end = (await leaders.offsets(END))[partition]
    fetcher = Fetcher(leaders, {partition: 0})
    values: list[bytes | None] = []
    try:
        async with asyncio.timeout(BOUND):
            while len(values) < end:
                values += [record.value for each in await fetcher.next() for record in each.records()]
    finally:
        await fetcher.close()
    return values


def links_with_requests(leaders: Leaders) -> list[Link]:
    return [link for link in leaders.links._links.values() if link.silent_since() is not None]


async def test_a_batch_whose_answer_was_lost_is_sent_again_and_stored_once(
    leaders: Leaders, kafka_cluster: KafkaCluster
) -> None:
    producer = Producer(leaders)
    await producer.send([(CASES_0, b"one")], NOW_MS)
    kafka_cluster.pause(1)
    try:
        sending = asyncio.create_task(producer.send([(CASES_0, b"two"), (CASES_1, b"beside it")], NOW_MS))
        async with asyncio.timeout(BOUND):
            while not links_with_requests(leaders):  # noqa: ASYNC110 - a link tells nobody what it waits for
                await asyncio.sleep(0)
        # One more pass of the event loop, so that the request has left.
        await asyncio.sleep(0)
        for link in links_with_requests(leaders):
            link.end(KafkaConnectionError("cut by the test"))
    finally:
        kafka_cluster.resume(1)
    await sending
    await producer.send([(CASES_0, b"three")], NOW_MS)
    assert await read_all(leaders, CASES_0) == [b"one", b"two", b"three"]
    assert await read_all(leaders, CASES_1) == [b"beside it"]


async def test_several_values_for_a_partition_are_stored_in_their_order(leaders: Leaders) -> None:
    values = [b"%d" % number for number in range(5)]
    await Producer(leaders).send([(CASES_0, value) for value in values], NOW_MS)
    assert await read_all(leaders, CASES_0) == values


async def test_a_reader_whose_connection_is_lost_goes_on_where_it_was(leaders: Leaders) -> None:
    producer = Producer(leaders)
    await producer.send([(CASES_0, b"one")], NOW_MS)
    fetcher = Fetcher(leaders, {CASES_0: 0, CASES_1: 0})
    try:
        async with asyncio.timeout(BOUND):
            assert [record.value for each in await fetcher.next() for record in each.records()] == [b"one"]
            for link in [*leaders.links._links.values()]:
                link.end(KafkaConnectionError("cut by the test"))
            await producer.send([(CASES_1, b"two")], NOW_MS)
            assert [record.value for each in await fetcher.next() for record in each.records()] == [b"two"]
            assert fetcher.trouble is None
    finally:
        await fetcher.close()
