"""The heartbeat of Kafka's consumer groups since Kafka 4 (KIP-848), which the library does not have.

The fields are in Kafka's own files beside this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka import TopicPartition
from kafka.errors import UnknownTopicIdError
from kafka.protocol.api_message import ApiMessage

from broker.messagelog.kafka.offsets import by_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

VERSION: Final = 1
_REBALANCE_MS: Final = 10_000
"""A member that does not give up a partition in this time loses its membership."""
_FILES: Final = __package__


class ConsumerGroupHeartbeatRequest(ApiMessage, load_json=_FILES):  # type: ignore[misc,call-arg] # no types
    """What a member says: that it is there and, if it must, what it wants and has."""


class ConsumerGroupHeartbeatResponse(ApiMessage, load_json=_FILES):  # type: ignore[misc,call-arg] # no types
    """The member's epoch, and its partitions if they changed."""


class Standing(NamedTuple):
    """What a member says at first, after news, and if the coordinator may have missed something.

    Attributes:
        topics: whose partitions it wants to share.
        owned: the partitions that it has.
        names: the names of topics by their ids.
    """

    topics: Sequence[str]
    owned: Collection[TopicPartition]
    names: Mapping[UUID, str]


def heartbeat(group: str, member: str, epoch: int, standing: Standing | None = None) -> Any:
    """A heartbeat. Without a standing it says only that the member is there."""
    topic: Any = ConsumerGroupHeartbeatRequest.TopicPartitions
    wanted: list[str] | None = None
    owned: list[Any] | None = None
    if standing is not None:
        wanted = list(standing.topics)
        ids = {name: topic_id for topic_id, name in standing.names.items()}
        owned = [
            topic(topic_id=ids[name], partitions=[each.partition for each in named])
            for name, named in by_name(standing.owned)
            if name in ids
        ]
    return ConsumerGroupHeartbeatRequest(
        group_id=group,
        member_id=member,
        member_epoch=epoch,
        instance_id=None,
        rack_id=None,
        rebalance_timeout_ms=-1 if standing is None else _REBALANCE_MS,
        subscribed_topic_names=wanted,
        subscribed_topic_regex=None,
        server_assignor=None,
        topic_partitions=owned,
    )


def partitions_of(assignment: Any, names: Mapping[UUID, str]) -> set[TopicPartition]:
    """The partitions of an assignment.

    Raises:
        kafka.errors.UnknownTopicIdError: a topic is not among these names.
    """
    if any(each.topic_id not in names for each in assignment.topic_partitions):
        raise UnknownTopicIdError
    return {
        TopicPartition(names[each.topic_id], number)
        for each in assignment.topic_partitions
        for number in each.partitions
    }
