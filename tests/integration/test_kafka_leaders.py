"""How the streams are read while leaders move between nodes that all live, on a real Kafka of three nodes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka.errors import FencedLeaderEpochError, NoError, UnknownLeaderEpochError
from kafka.protocol.consumer import FetchRequest
from kafka.protocol.consumer.offsets import ListOffsetsRequest
from kafka.protocol.metadata import MetadataRequest

from broker.core.streams import StreamPartition
from broker.messagelog.kafka.fetcher import Fetcher
from broker.messagelog.kafka.leaders import END, Leaders
from broker.messagelog.kafka.links import Address, Links
from broker.messagelog.kafka.producer import Producer
from broker.trust.signing import Ed25519NoteSigner
from certs.kafka import BREAK_GLASS
from tests.support.kafkalog import LogOnKafka
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from kafka import TopicPartition

    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka
CASES = [StreamPartition("cases", number) for number in range(4)]
NOW_MS = 1_790_000_000_000
BOUND = 120
PREFERRED = 0


class SeenLinks(Links):
    """Connections that keep what the nodes answered, in order."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.seen: list[tuple[Address, Any, Any]] = []
        self._news = asyncio.Event()

    async def ask_in_time(self, address: Address, lane: int, request: Any, version: int) -> Any:
        answer = await super().ask_in_time(address, lane, request, version)
        self.seen.append((address, request, answer))
        self._news.set()
        return answer

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until this is true. It is looked at after every answer."""
        while not true():
            self._news.clear()
            await self._news.wait()

    def count(self, kind: type) -> int:
        return sum(isinstance(request, kind) for _, request, _ in self.seen)

    def fetches(self, partition: TopicPartition) -> list[tuple[Address, int, bool]]:
        """What the nodes answered of a partition: an error or 0, and whether records came."""
        return [
            (address, each.error_code, bool(each.records))
            for address, request, answer in self.seen
            if isinstance(request, FetchRequest)
            for topic in answer.responses
            for each in topic.partitions
            if (topic.topic, each.partition_index) == partition
        ]

    def refused_offsets(self) -> list[int]:
        """The errors of questions where the partition begins or ends."""
        return [
            each.error_code
            for _, request, answer in self.seen
            if isinstance(request, ListOffsetsRequest)
            for topic in answer.topics
            for each in topic.partitions
            if each.error_code != NoError.errno
        ]


@pytest.fixture
async def leaders(three_kafka_nodes: KafkaCluster) -> AsyncIterator[Leaders]:
    """Of a topic that a log has made."""
    signer = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.generate())
    on_kafka = LogOnKafka(three_kafka_nodes, signer, ManualClock(NOW_MS), copies=3)
    log = await on_kafka.open()
    await log.close()
    # A slow machine must not give up what a test waits for.
    connection = replace(on_kafka.connection, timeout_seconds=BOUND)
    made = Leaders(connection, CASES)
    made.links = SeenLinks(connection)  # type: ignore[misc] # the same connections, with eyes
    yield made
    await made.close()


def seen(leaders: Leaders) -> SeenLinks:
    assert isinstance(leaders.links, SeenLinks)
    return leaders.links


async def move(cluster: KafkaCluster, partition: TopicPartition) -> Address:
    """Let another node lead. All nodes live on. Return the new leader's address."""
    return await asyncio.to_thread(_move, cluster, partition)


def _move(cluster: KafkaCluster, partition: TopicPartition) -> Address:
    with cluster.connection(BREAK_GLASS).admin() as admin:
        described = admin.describe_topics([partition.topic])[0]["partitions"]
        before = next(each for each in described if each["partition_index"] == partition.partition)
        new, *others = [each for each in before["replica_nodes"] if each != before["leader_id"]]
        refusals = admin.alter_partition_reassignments({partition: [new, *others, before["leader_id"]]})
        assert refusals == {partition: None}
        admin.elect_leaders(PREFERRED, {partition.topic: [partition.partition]})
    client = cluster.nodes[new - 1].client
    return Address(client.host, client.port)


async def next_values(fetcher: Fetcher) -> list[bytes | None]:
    return [record.value for each in await fetcher.next() for record in each.records()]


async def test_a_partition_whose_leader_moves_is_read_from_the_new_leader_though_the_old_one_lives(
    leaders: Leaders, three_kafka_nodes: KafkaCluster
) -> None:
    producer, links, name = Producer(leaders), seen(leaders), leaders.names[CASES[0]]
    await producer.send([(CASES[0], b"one")], NOW_MS)
    (old,) = leaders.by_leader([name])
    fetcher = Fetcher(leaders, {CASES[0]: 0})
    try:
        async with asyncio.timeout(BOUND):
            assert await next_values(fetcher) == [b"one"]
            new = await move(three_kafka_nodes, name)
            assert new != old
            # The old node is one of the copies that acknowledge this. So from now on it is a follower, and knows it.
            await producer.send([(CASES[0], b"two")], NOW_MS)
            assert await next_values(fetcher) == [b"two"]
            assert [address for address, _, came in links.fetches(name) if came] == [old, new]
            # The reader was told, and did not have to lose its connection.
            *_, last = [error for address, error, _ in links.fetches(name) if address == old]
            assert last == FencedLeaderEpochError.errno
            await links.until(lambda: fetcher.trouble is None)
    finally:
        await fetcher.close()


async def test_a_node_that_is_behind_what_is_known_is_not_believed_and_not_asked_without_end(
    leaders: Leaders, three_kafka_nodes: KafkaCluster
) -> None:
    links = seen(leaders)
    await leaders.refresh()
    # Of four partitions on three nodes, two have the same leader. It goes on to give the records of the other one.
    name, other = max(map(list, leaders.by_leader(leaders.partitions).values()), key=len)[:2]
    behind, beside = leaders.partitions[name], leaders.partitions[other]
    producer = Producer(leaders)
    await producer.send([(behind, b"one")], NOW_MS)
    # Another node has told of the next leader already.
    leaders._learn(name, leaders._leaders[name]._replace(epoch=leaders._leaders[name].epoch + 1))
    asked = links.count(MetadataRequest)
    fetcher = Fetcher(leaders, {behind: 0, beside: 0})
    try:
        async with asyncio.timeout(BOUND):
            await links.until(lambda: len(links.fetches(name)) >= 3)
            assert {error for _, error, _ in links.fetches(name)} == {UnknownLeaderEpochError.errno}
            assert isinstance(fetcher.trouble, UnknownLeaderEpochError)
            # Each time it was asked first who leads.
            assert len(links.fetches(name)) <= links.count(MetadataRequest) - asked
            await producer.send([(beside, b"beside it")], NOW_MS)
            assert await next_values(fetcher) == [b"beside it"]
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(leaders.offsets(END))
                await links.until(lambda: bool(links.refused_offsets()))
                assert set(links.refused_offsets()) == {UnknownLeaderEpochError.errno}
                await move(three_kafka_nodes, name)
                assert await next_values(fetcher) == [b"one"]
            assert asking.result() == dict.fromkeys(CASES, 0) | {behind: 1, beside: 1}
    finally:
        await fetcher.close()
