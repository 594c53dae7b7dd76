"""What a consumer group stores for its members: for each partition an offset and a small text."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka import TopicPartition
from kafka.errors import NoError, for_code
from kafka.protocol.consumer.group import OffsetCommitRequest, OffsetFetchRequest
from kafka.structs import OffsetAndMetadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERSION: Final = 9
"""Of both requests: the newest that names topics."""
NO_EPOCH: Final = -1
"""Committed with every offset: Kafka must not compare leaders, because a broker does that when it reads."""


class Outcome(NamedTuple):
    """What became of a commit.

    Attributes:
        stored: the partitions for which it was stored.
        unknown: those for which it may have been stored, because Kafka's answer does not say it, or did not come.
        again: whether to call again, as soon as the member has heard from the coordinator.
    """

    stored: frozenset[TopicPartition] = frozenset()
    unknown: frozenset[TopicPartition] = frozenset()
    again: bool = False


def commit_request(group: str, member: str, epoch: int, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> Any:
    """A commit of these offsets by a member in this epoch. Kafka refuses it from a member that it has put out."""
    topic: Any = OffsetCommitRequest.OffsetCommitRequestTopic
    topics = [
        topic(
            name=name,
            partitions=[
                topic.OffsetCommitRequestPartition(
                    partition_index=each.partition,
                    committed_offset=offsets[each].offset,
                    committed_leader_epoch=NO_EPOCH,
                    committed_metadata=offsets[each].metadata,
                )
                for each in named
            ],
        )
        for name, named in by_name(offsets)
    ]
    return OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=epoch,
        member_id=member,
        group_instance_id=None,
        topics=topics,
    )


def check_committed(answer: Any) -> None:
    """Raise the first error of an answer to a commit.

    Raises:
        kafka.errors.KafkaError
    """
    check(each.error_code for topic in answer.topics for each in topic.partitions)


def fetch_request(group: str, topics: Iterable[TopicPartition]) -> Any:
    """Ask what was committed for these partitions."""
    asked: Any = OffsetFetchRequest.OffsetFetchRequestGroup
    wanted = [
        asked.OffsetFetchRequestTopics(name=name, partition_indexes=[each.partition for each in named])
        for name, named in by_name(topics)
    ]
    return OffsetFetchRequest(groups=[asked(group_id=group, topics=wanted)], require_stable=True)


def fetched(answer: Any) -> dict[TopicPartition, OffsetAndMetadata]:
    """What was committed. Partitions for which nothing was committed are left out.

    Raises:
        kafka.errors.KafkaError
    """
    (group,) = answer.groups
    check([group.error_code])
    check(each.error_code for topic in group.topics for each in topic.partitions)
    return {
        TopicPartition(topic.name, each.partition_index): OffsetAndMetadata(
            each.committed_offset, each.metadata, NO_EPOCH
        )
        for topic in group.topics
        for each in topic.partitions
        if each.committed_offset >= 0
    }


def check(codes: Iterable[int]) -> None:
    """Raise the first error of these codes."""
    for code in codes:
        error = for_code(code)
        if error is not NoError:
            raise error


def by_name(topics: Iterable[TopicPartition]) -> list[tuple[str, list[TopicPartition]]]:
    """The partitions of each topic."""
    return [(name, list(named)) for name, named in itertools.groupby(sorted(topics), lambda each: each.topic)]
