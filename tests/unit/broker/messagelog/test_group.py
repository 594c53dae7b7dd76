"""Membership of consumer groups, with a node that coordinates as the test decides."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from kafka import TopicPartition
from kafka.errors import GroupAuthorizationFailedError
from kafka.protocol.consumer.group import OffsetCommitRequest
from kafka.protocol.metadata import FindCoordinatorRequest
from kafka.structs import OffsetAndMetadata

from broker.core.errors import CaseExchangeError, Internal, LogAccessDenied, LogUnavailable
from broker.messagelog.kafka.connection import KafkaConnection
from broker.messagelog.kafka.group import GroupMember, Move
from broker.messagelog.kafka.groups import LANES, Groups
from broker.messagelog.kafka.heartbeats import ConsumerGroupHeartbeatRequest
from broker.messagelog.kafka.offsets import Outcome
from tests.support.kafkanode import KafkaNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

DNA = "case-exchange.dna"
FIRST, SECOND = TopicPartition(DNA, 0), TopicPartition(DNA, 1)
GROUP_REFUSED, TOPIC_REFUSED = 30, 29
FENCED, NOT_KNOWN, STALE, LOADING = 110, 25, 113, 14
NOT_COORDINATOR, NOT_AVAILABLE, TIMED_OUT = 16, 15, 7
STORED = Outcome(stored=frozenset({FIRST}))
UNKNOWN = Outcome(unknown=frozenset({FIRST}), again=True)


class Owner:
    """Remembers what its member tells it."""

    def __init__(self, groups: Groups, group: str = "a-group") -> None:
        self.moves: list[Move] = []
        self.failures: list[CaseExchangeError] = []
        self.member = GroupMember(groups, group, [DNA], moved=self._moved, failed=self.failures.append)
        self._told = asyncio.Event()

    def _moved(self, moves: Sequence[Move]) -> None:
        self.moves += moves
        self._told.set()

    async def told(self, count: int) -> list[Move]:
        """The first moves, as soon as there are so many."""
        async with asyncio.timeout(60):
            while len(self.moves) < count:
                self._told.clear()
                await self._told.wait()
        assert len(self.moves) == count
        return self.moves


@pytest.fixture
async def node() -> AsyncIterator[KafkaNode]:
    async with KafkaNode({DNA: UUID(int=1)}).listening() as node:
        yield node


@contextlib.asynccontextmanager
async def sharing(node: KafkaNode, timeout_seconds: float = 5.0) -> AsyncIterator[Groups]:
    groups = Groups(KafkaConnection([f"127.0.0.1:{node.port}"], None, "case-exchange", timeout_seconds), None)
    try:
        yield groups
    finally:
        await groups.close()


@pytest.fixture
async def groups(node: KafkaNode) -> AsyncIterator[Groups]:
    async with sharing(node) as groups:
        yield groups


@pytest.fixture
async def owner(node: KafkaNode, groups: Groups) -> Owner:
    """A member that has the first partition."""
    node.assigned = {FIRST}
    owner = Owner(groups)
    await owner.member.join()
    await owner.told(1)
    return owner


def refusing(kind: type, code: int) -> Callable[[Any], int]:
    return lambda request: code if isinstance(request, kind) else 0


def state(offset: int) -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, "text", -1)


async def test_a_member_is_told_what_it_has_and_what_was_committed_for_it(node: KafkaNode, groups: Groups) -> None:
    node.assigned, node.stored = {FIRST, SECOND}, {SECOND: (7, "text")}
    owner = Owner(groups)
    await owner.member.join()
    assert await owner.told(2) == [
        Move(FIRST, assigned=True, number=1, committed=None),
        Move(SECOND, assigned=True, number=2, committed=state(7)),
    ]


async def test_what_stays_assigned_does_not_move(node: KafkaNode, owner: Owner) -> None:
    node.assigned = {FIRST, SECOND}
    assert (await owner.told(2))[1] == Move(SECOND, assigned=True, number=2)


async def test_a_member_says_that_it_has_given_up_what_was_taken_away(node: KafkaNode, owner: Owner) -> None:
    node.assigned = set()
    assert (await owner.told(2))[1] == Move(FIRST, assigned=False, number=1)
    await node.until(lambda: node.heartbeats()[-1].topic_partitions == [])


async def test_what_the_group_assigns_to_a_member_that_it_had_forgotten_is_assigned_anew(
    node: KafkaNode, owner: Owner
) -> None:
    # Another member had the partition meanwhile, and moved it on.
    node.stored[FIRST] = (7, "text")
    node.epoch = 3
    assert (await owner.told(3))[1:] == [
        Move(FIRST, assigned=False, number=1),
        Move(FIRST, assigned=True, number=2, committed=state(7)),
    ]


async def test_a_commit_is_stored_under_its_assignment_only(node: KafkaNode, owner: Owner) -> None:
    assert await owner.member.commit({FIRST: (1, state(3)), SECOND: (2, state(4))}) == STORED
    assert node.stored == {FIRST: (3, "text")}
    node.epoch = 3
    await owner.told(3)
    assert await owner.member.commit({FIRST: (1, state(5))}) == Outcome()
    assert await owner.member.commit({FIRST: (2, state(6))}) == STORED
    assert node.stored == {FIRST: (6, "text")}


async def test_a_commit_in_an_epoch_that_is_over_stores_nothing_and_is_to_be_repeated(
    node: KafkaNode, owner: Owner
) -> None:
    node.refuse = refusing(ConsumerGroupHeartbeatRequest, 14)
    node.epoch = 3
    assert await owner.member.commit({FIRST: (1, state(3))}) == Outcome(again=True)
    assert node.stored == {}


@pytest.mark.parametrize("code", [FENCED, NOT_KNOWN, STALE, LOADING])
async def test_a_commit_that_the_coordinator_refuses_is_not_stored_and_to_be_repeated(
    node: KafkaNode, owner: Owner, code: int
) -> None:
    node.refuse = refusing(OffsetCommitRequest, code)
    assert await owner.member.commit({FIRST: (1, state(3))}) == Outcome(again=True)


@pytest.mark.parametrize("code", [NOT_COORDINATOR, NOT_AVAILABLE, TIMED_OUT])
async def test_a_commit_that_was_begun_and_not_confirmed_may_be_stored(
    node: KafkaNode, owner: Owner, code: int
) -> None:
    node.refuse = refusing(OffsetCommitRequest, code)
    assert await owner.member.commit({FIRST: (1, state(3)), SECOND: (1, state(3))}) == UNKNOWN


async def test_a_commit_whose_answer_was_lost_may_be_stored(node: KafkaNode, owner: Owner) -> None:
    node.loses = lambda request: isinstance(request, OffsetCommitRequest)
    assert await owner.member.commit({FIRST: (1, state(3))}) == UNKNOWN
    assert node.stored == {FIRST: (3, "text")}
    node.loses = lambda _: False
    async with asyncio.timeout(60):
        while (outcome := await owner.member.commit({FIRST: (1, state(3))})).again:  # noqa: ASYNC110 - as cursors do
            await asyncio.sleep(0)
    assert outcome == STORED


async def test_a_commit_without_a_coordinator_is_not_stored_and_to_be_repeated(node: KafkaNode, owner: Owner) -> None:
    owner.member.address = None
    assert await owner.member.commit({FIRST: (1, state(3))}) == Outcome(again=True)
    assert node.stored == {}


async def test_a_refused_commit_says_so(node: KafkaNode, owner: Owner) -> None:
    node.refuse = refusing(OffsetCommitRequest, GROUP_REFUSED)
    with pytest.raises(GroupAuthorizationFailedError):
        await owner.member.commit({FIRST: (1, state(3))})


async def test_a_member_without_news_says_only_that_it_is_there(node: KafkaNode, owner: Owner) -> None:
    await node.until(lambda: node.heartbeats()[-1].topic_partitions is None)
    before = len(node.heartbeats())
    await node.until(lambda: len(node.heartbeats()) >= before + 3)
    quiet = node.heartbeats()[before:]
    assert {(each.member_epoch, each.subscribed_topic_names, each.topic_partitions) for each in quiet} == {
        (1, None, None)
    }
    node.assigned = {FIRST, SECOND}
    await owner.told(2)


async def test_all_members_share_a_few_connections(node: KafkaNode, groups: Groups) -> None:
    node.assigned = {FIRST}
    owners = [Owner(groups, f"group-{number}") for number in range(50)]
    await asyncio.gather(*(owner.member.join() for owner in owners))
    for owner in owners:
        await owner.told(1)
    assert node.connections <= 1 + LANES


async def test_a_lost_connection_changes_nothing(node: KafkaNode, owner: Owner) -> None:
    node.silent = True
    before = len(node.heartbeats())
    await node.until(lambda: len(node.heartbeats()) > before)
    node.silent = False
    node.drop_connections()
    await node.until(lambda: len(node.heartbeats()) > before + 1)
    # The coordinator may have missed what the member said last.
    again = node.heartbeats()[before + 1]
    assert (again.member_epoch, again.subscribed_topic_names, len(again.topic_partitions)) == (1, [DNA], 1)
    assert await owner.member.commit({FIRST: (1, state(3))}) == STORED
    assert len(owner.moves) == 1


@pytest.mark.parametrize("garbage", [b"\x00\x00\x00\x05\x00\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00"])
async def test_a_node_that_answers_with_garbage_is_asked_again_over_a_new_connection(
    node: KafkaNode, owner: Owner, garbage: bytes
) -> None:
    connections = node.connections
    node.garbage = garbage
    await node.until(lambda: node.connections > connections)
    node.garbage = b""
    node.assigned = {FIRST, SECOND}
    assert (await owner.told(2))[1].topic == SECOND


async def test_nobody_joins_through_a_node_that_never_answers(node: KafkaNode) -> None:
    node.silent = True
    async with sharing(node, timeout_seconds=0.4) as groups:
        with pytest.raises(LogUnavailable):
            await Owner(groups).member.join()


async def test_a_connection_whose_node_is_silent_is_given_up(node: KafkaNode) -> None:
    async with sharing(node, timeout_seconds=0.8) as groups:
        owner = Owner(groups)
        await owner.member.join()
        connections = node.connections
        node.silent = True
        await node.until(lambda: node.connections > connections)
        node.silent = False
        node.assigned = {FIRST}
        await owner.told(1)


async def test_without_a_node_nobody_joins() -> None:
    async with KafkaNode({}).listening() as gone:
        pass
    async with sharing(gone, timeout_seconds=0.4) as groups:
        with pytest.raises(LogUnavailable):
            await Owner(groups).member.join()


@pytest.mark.parametrize("kind", [FindCoordinatorRequest, ConsumerGroupHeartbeatRequest])
async def test_a_group_that_is_not_allowed_is_refused_and_others_are_not(
    node: KafkaNode, groups: Groups, kind: type
) -> None:
    node.refuse = refusing(kind, GROUP_REFUSED)
    with pytest.raises(LogAccessDenied):
        await Owner(groups, "refused").member.join()
    node.refuse = lambda _: 0
    await Owner(groups, "allowed").member.join()


async def test_a_right_that_is_taken_away_later_is_reported(node: KafkaNode, owner: Owner) -> None:
    node.refuse = refusing(ConsumerGroupHeartbeatRequest, TOPIC_REFUSED)
    await node.until(lambda: bool(owner.failures))
    assert isinstance(owner.failures[0], LogAccessDenied)


@pytest.mark.parametrize("code", [14, 15, 16])
async def test_a_coordinator_that_moves_is_found_again(node: KafkaNode, owner: Owner, code: int) -> None:
    refused = refusing(ConsumerGroupHeartbeatRequest, code)
    node.refuse = refused
    before = len(node.heartbeats())
    await node.until(lambda: len(node.heartbeats()) > before)
    node.refuse = lambda _: 0
    node.assigned = {FIRST, SECOND}
    await owner.told(2)
    assert owner.failures == []


async def test_a_topic_with_an_id_that_nobody_has_seen_is_looked_up(node: KafkaNode, owner: Owner) -> None:
    node.topics[DNA] = UUID(int=3)
    node.assigned = {SECOND}
    assert [(move.topic, move.assigned) for move in await owner.told(3)] == [
        (FIRST, True),
        (FIRST, False),
        (SECOND, True),
    ]


async def test_what_was_committed_is_asked_for_again_after_a_failure(node: KafkaNode, groups: Groups) -> None:
    node.assigned, node.stored = {FIRST}, {FIRST: (7, "text")}
    failures = iter([14, 16])
    node.refuse = lambda request: next(failures, 0) if type(request).__name__.startswith("OffsetFetch") else 0
    owner = Owner(groups)
    await owner.member.join()
    assert await owner.told(1) == [Move(FIRST, assigned=True, number=1, committed=state(7))]


async def test_a_member_that_leaves_says_so_and_is_told_nothing_more(node: KafkaNode, owner: Owner) -> None:
    await owner.member.leave()
    await owner.member.leave()
    assert [each.member_epoch for each in node.heartbeats()].count(-1) == 1
    assert node.heartbeats()[-1].member_epoch == -1
    assert await owner.member.commit({FIRST: (1, state(3))}) == Outcome()


async def test_a_member_whose_owner_cannot_take_its_partitions_says_why_and_goes_on(
    node: KafkaNode, groups: Groups
) -> None:
    node.assigned = {FIRST}
    failed: asyncio.Queue[CaseExchangeError] = asyncio.Queue()
    later: asyncio.Queue[Move] = asyncio.Queue()

    def moved(moves: Sequence[Move]) -> None:
        for move in moves:
            if move.topic == FIRST:
                raise OverflowError
            later.put_nowait(move)

    member = GroupMember(groups, "a-group", [DNA], moved=moved, failed=failed.put_nowait)
    await member.join()
    async with asyncio.timeout(60):
        assert isinstance(await failed.get(), Internal)
        node.assigned = {FIRST, SECOND}
        assert await later.get() == Move(SECOND, assigned=True, number=2)
        # It is not taken away in silence either.
        node.assigned = {SECOND}
        assert isinstance(await failed.get(), Internal)
