"""Membership of a consumer group, with a client for which the test decides what the group does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

from broker.messagelog.kafka.connection import KafkaConnection
from broker.messagelog.kafka.group import GroupMember, Move

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST = TopicPartition("case-exchange.dna", 0)
SECOND = TopicPartition("case-exchange.dna", 1)


class Identity(NamedTuple):
    member_id: str


class FakeCoordinator:
    rejoining = False

    def __init__(self) -> None:
        self.joining = False

    def need_rejoin(self) -> bool:
        return self.joining


class FakeConsumer:
    """The part of a KafkaConsumer that a member uses. ``next_poll`` is what the group does in the next poll."""

    def __init__(self) -> None:
        self.member_id = "a"
        self.next_poll: Callable[[], None] | None = None
        self.committed_offset = 0
        self.polls = 0
        self.fails = False
        self._coordinator = FakeCoordinator()
        self._assigned: set[TopicPartition] = set()
        self._listener: Any = None

    @property
    def coordinator(self) -> FakeCoordinator:
        return self._coordinator

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        assert topics
        self._listener = listener

    def assign(self, *topics: TopicPartition) -> None:
        added = [topic for topic in topics if topic not in self._assigned]
        revoked = [topic for topic in self._assigned if topic not in topics]
        self._assigned = set(topics)
        self._listener.on_partitions_revoked(revoked)
        self._listener.on_partitions_assigned(added)

    def poll(self, timeout_ms: int) -> None:
        assert timeout_ms > 0
        self.polls += 1
        if self.next_poll is not None:
            self.next_poll()
            self.next_poll = None

    def pause(self, *topics: TopicPartition) -> None:
        assert self._assigned.issuperset(topics)

    def assignment(self) -> set[TopicPartition]:
        return self._assigned

    def group_metadata(self) -> Identity:
        return Identity(self.member_id)

    def committed(self, topic: TopicPartition, *, metadata: bool, timeout_ms: int) -> OffsetAndMetadata:
        assert topic in self._assigned
        if self.fails:
            self.fails = False
            raise KafkaTimeoutError
        assert metadata
        assert timeout_ms > 0
        return OffsetAndMetadata(self.committed_offset, "", -1)


class FakeConnection(KafkaConnection):
    made: FakeConsumer

    def consumer(self, **settings: Any) -> Any:
        assert settings["group_id"] == "case-exchange.a-group"
        return self.made


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> FakeConsumer:
    made = FakeConsumer()
    monkeypatch.setattr(FakeConnection, "made", made, raising=False)
    return made


@pytest.fixture
def member(consumer: FakeConsumer) -> GroupMember:
    member = GroupMember(FakeConnection([], None, "case-exchange", 1.0), "a-group")
    member.join(["case-exchange.dna"])
    consumer.next_poll = lambda: consumer.assign(FIRST)
    assert member.look() == [moved(FIRST, 0)]
    return member


def moved(topic: TopicPartition, offset: int) -> Move:
    return Move(topic, assigned=True, committed=OffsetAndMetadata(offset, "", -1))


def test_what_stays_assigned_does_not_move(member: GroupMember, consumer: FakeConsumer) -> None:
    consumer.next_poll = lambda: consumer.assign(FIRST, SECOND)
    assert member.look() == [moved(SECOND, 0)]


def test_what_the_group_assigns_to_a_member_that_it_had_forgotten_is_assigned_anew(
    member: GroupMember, consumer: FakeConsumer
) -> None:
    consumer.coordinator.joining = True
    consumer.member_id = "b"
    assert member.look() == []
    consumer.coordinator.joining = False
    # Another member had the partition meanwhile, and moved it on.
    consumer.committed_offset = 7
    consumer.next_poll = lambda: consumer.assign(FIRST, SECOND)
    assert set(member.look()) == {moved(SECOND, 7), Move(FIRST, assigned=False), moved(FIRST, 7)}
    assert member.look() == []


def test_what_moved_and_was_not_returned_yet_is_known(member: GroupMember, consumer: FakeConsumer) -> None:
    known = [member.moving]
    consumer.assign()
    known.append(member.moving)
    assert member.look() == [Move(FIRST, assigned=False)]
    known.append(member.moving)
    assert known == [False, True, False]


def settle(member: GroupMember) -> None:
    while not member.settled:
        assert member.look() == []


def test_a_settled_member_polls_only_when_the_group_moves(member: GroupMember, consumer: FakeConsumer) -> None:
    settle(member)
    polls = consumer.polls
    assert [member.look() for _ in range(10)] == [[]] * 10
    assert consumer.polls == polls
    # A heartbeat was answered with a rebalance.
    consumer.coordinator.joining = True
    consumer.next_poll = lambda: consumer.assign(FIRST, SECOND)
    assert member.look() == [moved(SECOND, 0)]
    assert consumer.polls == polls + 1
    assert not member.settled


def test_a_settled_member_polls_now_and_then_or_it_would_be_put_out_of_the_group(consumer: FakeConsumer) -> None:
    member = GroupMember(FakeConnection([], None, "case-exchange", 1.0), "a-group", poll_seconds=0)
    member.join(["case-exchange.dna"])
    settle(member)
    polls = consumer.polls
    member.look()
    assert consumer.polls == polls + 1


def test_a_move_that_could_not_be_looked_up_is_tried_again_at_once(member: GroupMember, consumer: FakeConsumer) -> None:
    settle(member)
    consumer.coordinator.joining = True
    consumer.next_poll = lambda: consumer.assign(FIRST, SECOND)
    consumer.fails = True
    with pytest.raises(KafkaTimeoutError):
        member.look()
    consumer.coordinator.joining = False
    assert member.settled
    assert member.look() == [moved(SECOND, 0)]
