"""A node of Kafka that coordinates consumer groups as a test decides. It speaks Kafka's protocol on a local port."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from kafka import TopicPartition
from kafka.protocol.consumer.group import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from kafka.protocol.metadata import (
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    MetadataRequest,
    MetadataResponse,
)

from broker.messagelog.kafka.heartbeats import ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse
from broker.messagelog.kafka.members import ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, Member

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

_REQUESTS: dict[int, Any] = {
    kind.API_KEY: kind
    for kind in (
        FindCoordinatorRequest,
        MetadataRequest,
        OffsetCommitRequest,
        OffsetFetchRequest,
        ConsumerGroupHeartbeatRequest,
        ConsumerGroupDescribeRequest,
    )
}


class KafkaNode:
    """What a test sets and sees. One group coordinator with members that do not know of each other.

    Attributes:
        topics: the topics that the node knows.
        assigned: what every member shall have.
        epoch: the epoch of every member. Another one puts out whoever does not join again.
        stored: what was committed, by partition.
        members: who is in every group, for whoever asks.
        leaders: who leads a partition (1 is this node, and there is no other), and in which epoch.
        refuse: called with each request; the error code to answer with, or 0.
        loses: called with each request; whether it is done and its answer is lost, with all connections.
        silent: whether requests stay without an answer.
        asked: every request, in order.
        connections: how many were opened.
    """

    def __init__(self, topics: dict[str, UUID]) -> None:
        self.topics = topics
        self.assigned: set[TopicPartition] = set()
        self.epoch = 1
        self.stored: dict[TopicPartition, tuple[int, str]] = {}
        self.members: list[Member] = []
        self.leaders: dict[TopicPartition, tuple[int, int]] = {}
        self.refuse: Callable[[Any], int] = lambda _: 0
        self.loses: Callable[[Any], bool] = lambda _: False
        self.silent = False
        self.garbage = b""
        self.asked: list[Any] = []
        self.connections = 0
        self.port = 0
        self._told: dict[str, set[TopicPartition]] = {}
        self._writers: list[asyncio.StreamWriter] = []
        self._happened = asyncio.Event()
        self._serving: list[asyncio.Task[Any]] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[KafkaNode]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.drop_connections()
            await asyncio.gather(*self._serving)

    def drop_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until this is true. It is looked at after every request."""
        async with asyncio.timeout(60):
            while not true():
                self._happened.clear()
                await self._happened.wait()

    def heartbeats(self) -> list[Any]:
        return [request for request in self.asked if isinstance(request, ConsumerGroupHeartbeatRequest)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        self._serving.append(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
                kind, version = (int.from_bytes(frame[at : at + 2], "big") for at in (0, 2))
                request = _REQUESTS[kind][version].decode(frame, header=True)
                self.asked.append(request)
                self._happened.set()
                if self.silent:
                    continue
                if self.garbage:
                    writer.write(self.garbage)
                    continue
                answer = self._answer(request)
                if self.loses(request):
                    self.drop_connections()
                    continue
                answer.API_VERSION = version
                answer.with_header(correlation_id=request.header.correlation_id)
                # In two parts, as networks do it.
                data = answer.encode(header=True, framed=True)
                writer.write(data[:7])
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(data[7:])

    def _answer(self, request: Any) -> Any:
        error = self.refuse(request)
        if isinstance(request, FindCoordinatorRequest):
            found: Any = FindCoordinatorResponse.Coordinator
            return FindCoordinatorResponse(
                throttle_time_ms=0,
                coordinators=[
                    found(key=key, node_id=1, host="127.0.0.1", port=self.port, error_code=error, error_message=None)
                    for key in request.coordinator_keys
                ],
            )
        if isinstance(request, MetadataRequest):
            topic: Any = MetadataResponse.MetadataResponseTopic
            broker: Any = MetadataResponse.MetadataResponseBroker
            wanted = [each.name for each in request.topics if each.name in self.topics]
            return MetadataResponse(
                throttle_time_ms=0,
                brokers=[broker(node_id=1, host="127.0.0.1", port=self.port, rack=None)],
                cluster_id=None,
                controller_id=1,
                topics=[
                    topic(
                        error_code=0,
                        name=name,
                        topic_id=self.topics[name],
                        is_internal=False,
                        partitions=[
                            topic.MetadataResponsePartition(
                                error_code=0,
                                partition_index=each.partition,
                                leader_id=leader,
                                leader_epoch=epoch,
                                replica_nodes=[],
                                isr_nodes=[],
                                offline_replicas=[],
                            )
                            for each, (leader, epoch) in self.leaders.items()
                            if each.topic == name
                        ],
                    )
                    for name in wanted
                ],
            )
        if isinstance(request, OffsetFetchRequest):
            return self._fetch(request, error)
        if isinstance(request, OffsetCommitRequest):
            return self._commit(request, error)
        if isinstance(request, ConsumerGroupDescribeRequest):
            return self._describe(request, error)
        return self._heartbeat(request, error)

    def _fetch(self, request: Any, error: int) -> Any:
        group: Any = OffsetFetchResponse.OffsetFetchResponseGroup
        topic: Any = group.OffsetFetchResponseTopics
        (asked,) = request.groups
        topics = []
        for each in asked.topics:
            partitions = []
            for number in each.partition_indexes:
                offset, text = self.stored.get(TopicPartition(each.name, number), (-1, ""))
                partitions.append(
                    topic.OffsetFetchResponsePartitions(
                        partition_index=number,
                        committed_offset=offset,
                        committed_leader_epoch=-1,
                        metadata=text,
                        error_code=0,
                    )
                )
            topics.append(topic(name=each.name, partitions=partitions))
        return OffsetFetchResponse(
            throttle_time_ms=0, groups=[group(group_id=asked.group_id, topics=topics, error_code=error)]
        )

    def _commit(self, request: Any, error: int) -> Any:
        topic: Any = OffsetCommitResponse.OffsetCommitResponseTopic
        stale = 113 if request.generation_id_or_member_epoch != self.epoch else 0
        topics = []
        for each in request.topics:
            for one in each.partitions:
                if not (error or stale):
                    at = TopicPartition(each.name, one.partition_index)
                    self.stored[at] = (one.committed_offset, one.committed_metadata)
            partitions = [
                topic.OffsetCommitResponsePartition(partition_index=one.partition_index, error_code=error or stale)
                for one in each.partitions
            ]
            topics.append(topic(name=each.name, partitions=partitions))
        return OffsetCommitResponse(throttle_time_ms=0, topics=topics)

    def _describe(self, request: Any, error: int) -> Any:
        group: Any = ConsumerGroupDescribeResponse.DescribedGroup
        nothing = group.Member.Assignment(topic_partitions=[])
        members = [
            group.Member(
                member_id=each.member_id,
                instance_id=None,
                rack_id=None,
                member_epoch=1,
                client_id=each.client_id,
                client_host=each.host,
                subscribed_topic_names=[],
                subscribed_topic_regex=None,
                assignment=nothing,
                target_assignment=nothing,
            )
            for each in self.members
        ]
        return ConsumerGroupDescribeResponse(
            throttle_time_ms=0,
            groups=[
                group(
                    error_code=error,
                    error_message=None,
                    group_id=name,
                    group_state="Stable",
                    group_epoch=1,
                    assignment_epoch=1,
                    assignor_name="uniform",
                    members=members,
                    authorized_operations=0,
                )
                for name in request.group_ids
            ],
        )

    def _heartbeat(self, request: Any, error: int) -> Any:
        answer: Any = ConsumerGroupHeartbeatResponse.Assignment
        if not error and request.member_epoch not in (0, -1, self.epoch):
            error = 25
        assignment = None
        if not error and (request.topic_partitions is not None or self._told.get(request.member_id) != self.assigned):
            self._told[request.member_id] = set(self.assigned)
            assignment = answer(
                topic_partitions=[
                    answer.TopicPartitions(
                        topic_id=self.topics[name],
                        partitions=[each.partition for each in self.assigned if each.topic == name],
                    )
                    for name in sorted({each.topic for each in self.assigned})
                ]
            )
        return ConsumerGroupHeartbeatResponse(
            throttle_time_ms=0,
            error_code=error,
            error_message=None,
            member_id=request.member_id,
            member_epoch=self.epoch,
            heartbeat_interval_ms=100,
            assignment=assignment,
        )
