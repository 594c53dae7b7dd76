"""The nodes that lead the partitions of the streams, connections to them, and where the partitions begin and end.

A leader has an epoch: a number that grows with each change of leader (KIP-320). A request that names it is answered
only by a node that knows the same epoch. So what was asked of the leader is not answered by a follower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from kafka import TopicPartition
from kafka.errors import KafkaError, LeaderNotAvailableError, NoError, for_code
from kafka.protocol.consumer.offsets import ListOffsetsRequest
from kafka.protocol.metadata import MetadataRequest
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay

from broker.messagelog.kafka.connection import RETRY_WAIT
from broker.messagelog.kafka.links import Address, Links
from broker.messagelog.kafka.offsets import by_name, check

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.connection import KafkaConnection

_LANE: Final = 0
_METADATA_VERSION: Final = 12
_OFFSETS_VERSION: Final = 6
_NO_REPLICA: Final = -1
BEGIN: Final = -2
"""Asks for the first offset of a partition."""
END: Final = -1
"""Asks for the offset after the last record of a partition."""


class _Leader(NamedTuple):
    """Who leads a partition of a topic in an epoch. In one epoch no other node does. Without an address nobody does."""

    topic_id: UUID
    epoch: int
    address: Address | None


_NOBODY: Final = _Leader(UUID(int=0), -1, None)


class Leaders:
    """See the module. For one event loop.

    Args:
        connection: how to reach the cluster.
        partitions: all partitions of the streams.
    """

    def __init__(self, connection: KafkaConnection, partitions: Iterable[StreamPartition]) -> None:
        self.links: Final = Links(connection)
        self.seconds: Final = connection.timeout_seconds
        """How long Kafka may take for something, with its repetitions."""
        self.names: Final = {each: TopicPartition(connection.topic(each.stream), each.partition) for each in partitions}
        """What Kafka calls the partitions."""
        self.partitions: Final = {name: each for each, name in self.names.items()}
        """The partitions by what Kafka calls them."""
        self._leaders: dict[TopicPartition, _Leader] = {}

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self.links.close()

    async def refresh(self) -> None:
        """Ask which nodes lead the partitions now. A partition of which nothing is told keeps its leader.

        Raises:
            kafka.errors.KafkaError: no node answered in time, or Kafka refuses us a topic. What was known stays.
        """
        topic: Any = MetadataRequest.MetadataRequestTopic
        asked = [topic(name=name) for name, _ in by_name(self.partitions)]
        request = MetadataRequest(topics=asked, allow_auto_topic_creation=False)
        answer = await self.links.ask_any(_LANE, request, _METADATA_VERSION)
        for topic in answer.topics:
            error = for_code(topic.error_code)
            if error is not NoError and not error.retriable:
                raise error
        nodes = {each.node_id: Address(each.host, each.port) for each in answer.brokers}
        for topic in answer.topics:
            for each in topic.partitions:
                leader = _Leader(topic.topic_id, each.leader_epoch, nodes.get(each.leader_id))
                self._learn(TopicPartition(topic.name, each.partition_index), leader)

    def _learn(self, partition: TopicPartition, told: _Leader) -> None:
        """A node that is behind tells of an earlier leader. What is known stays then. A topic made anew begins anew."""
        known = self._leaders.get(partition, _NOBODY)
        if known.topic_id != told.topic_id or known.epoch <= told.epoch:
            self._leaders[partition] = told

    async def offsets(self, which: int) -> dict[StreamPartition, int]:
        """Where the partitions begin or end (``BEGIN`` or ``END``) now, by their leaders.

        Raises:
            kafka.errors.KafkaError: a partition had no leader for the whole time, or it did not answer.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, KafkaError) and error.retriable),
            stop=stop_after_delay(self.seconds),
            wait=RETRY_WAIT,
            reraise=True,
        )
        return await retrying(self._offsets, which)

    def topic_id(self, partition: StreamPartition) -> UUID | None:
        """The id of a partition's topic. None: no node has told of it yet."""
        known = self._leaders.get(self.names[partition])
        return None if known is None else known.topic_id

    def by_leader(self, partitions: Iterable[TopicPartition]) -> dict[Address | None, dict[TopicPartition, int]]:
        """These partitions by the node that leads them, with its epoch. Those without a leader are under None.

        An epoch goes with its own node only. An earlier leader may know it too, and would answer as a follower.
        """
        led: dict[Address | None, dict[TopicPartition, int]] = {}
        for partition in partitions:
            leader = self._leaders.get(partition, _NOBODY)
            led.setdefault(leader.address, {})[partition] = leader.epoch
        return led

    async def _offsets(self, which: int) -> dict[StreamPartition, int]:
        await self.refresh()
        found: dict[StreamPartition, int] = {}
        for address, led in self.by_leader(self.partitions).items():
            if address is None:
                raise LeaderNotAvailableError
            answer = await self.links.ask_in_time(address, _LANE, _offsets_request(led, which), _OFFSETS_VERSION)
            check(each.error_code for topic in answer.topics for each in topic.partitions)
            for topic in answer.topics:
                for each in topic.partitions:
                    found[self.partitions[TopicPartition(topic.name, each.partition_index)]] = each.offset
        return found


def _offsets_request(epochs: Mapping[TopicPartition, int], which: int) -> Any:
    topic: Any = ListOffsetsRequest.ListOffsetsTopic
    topics = [
        topic(
            name=name,
            partitions=[
                topic.ListOffsetsPartition(
                    partition_index=each.partition, current_leader_epoch=epochs[each], timestamp=which
                )
                for each in named
            ],
        )
        for name, named in by_name(epochs)
    ]
    return ListOffsetsRequest(replica_id=_NO_REPLICA, isolation_level=0, topics=topics)
