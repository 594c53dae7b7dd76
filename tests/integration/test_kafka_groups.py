"""Subscriptions of processes that vanish or stop, and of a cluster that loses a node, on a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka.errors import KafkaConnectionError

from broker.core.errors import LogUnavailable
from broker.core.leasing.ackstate import AckState
from broker.core.streams import StreamPartition
from broker.core.subscriptions import FIRST
from broker.messagelog.kafka.groups import HEARTBEATS
from broker.ports import Assigned, Revoked, SubscriptionKey
from broker.trust.signing import Ed25519NoteSigner
from broker.trust.system import SystemClock
from tests.support.kafkalog import LogOnKafka

if TYPE_CHECKING:
    from broker.messagelog.kafka.links import Link
    from broker.messagelog.kafka.log import KafkaLog
    from broker.ports import LogCursor
    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka
SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
CASES = [StreamPartition("cases", number) for number in range(4)]
KINDS = frozenset({"CaseRecord"})


def subscription(name: str) -> SubscriptionKey:
    return SubscriptionKey("national-dna-database", name)


async def assigned(cursor: LogCursor, within: float = 60) -> dict[StreamPartition, AckState]:
    """Wait until all partitions are assigned. Return where the cursor begins to read each."""
    found: dict[StreamPartition, AckState] = {}
    async with asyncio.timeout(within):
        while len(found) < len(CASES):
            await cursor.wait()
            for change in cursor.assignment_changes():
                assert isinstance(change, Assigned)
                found[change.partition] = change.state
    return found


async def committed(cursor: LogCursor, state: AckState) -> None:
    """Commit this state for every partition as soon as Kafka can again, in whichever assignment."""
    stored: set[StreamPartition] = set()
    async with asyncio.timeout(90):
        while True:
            with contextlib.suppress(LogUnavailable):
                stored |= await cursor.commit(dict.fromkeys(set(CASES) - stored, state))
                if stored == set(CASES):
                    return
                # What is missing was taken away, and comes back.
                await cursor.wait()
                cursor.assignment_changes()


async def test_a_process_that_is_gone_without_a_word_is_followed_by_another(kafka_cluster: KafkaCluster) -> None:
    on_kafka = LogOnKafka(kafka_cluster, SIGNER, SystemClock())
    gone, other = await on_kafka.open(), await on_kafka.open()
    cursor = await gone.open_cursor(subscription("samples"), KINDS, FIRST)
    await assigned(cursor)
    await cursor.commit({CASES[0]: AckState(7)})
    # The cursor is not closed, so its member does not leave the group.
    await gone.close()
    next_one = await other.open_cursor(subscription("samples"), KINDS, FIRST)
    assert await assigned(next_one) == dict.fromkeys(CASES, AckState()) | {CASES[0]: AckState(7)}
    await next_one.close()
    await other.close()


def test_a_process_that_was_paused_moves_no_subscription_back(kafka_cluster: KafkaCluster) -> None:
    on_kafka = LogOnKafka(kafka_cluster, SIGNER, SystemClock())
    # A loop that does not run is a process that is paused.
    with asyncio.Runner() as paused, asyncio.Runner() as other:
        first = paused.run(on_kafka.open())
        old = paused.run(first.open_cursor(subscription("samples"), KINDS, FIRST))
        paused.run(assigned(old))
        paused.run(old.commit({CASES[0]: AckState(3)}))
        second = other.run(on_kafka.open())
        new = other.run(second.open_cursor(subscription("samples"), KINDS, FIRST))
        assert other.run(assigned(new))[CASES[0]] == AckState(3)
        assert other.run(new.commit({CASES[0]: AckState(9)})) == {CASES[0]}
        assert paused.run(old.commit({CASES[0]: AckState(4)})) == frozenset()
        assert set(old.assignment_changes()) >= {Revoked(partition) for partition in CASES}
        other.run(new.close())
        # What the other one committed is what the first one goes on from.
        assert paused.run(assigned(old))[CASES[0]] == AckState(9)
        paused.run(first.close())
        other.run(second.close())


def test_a_commit_whose_answer_was_lost_is_unknown_if_its_partition_moves_meanwhile(
    kafka_cluster: KafkaCluster,
) -> None:
    on_kafka = LogOnKafka(kafka_cluster, SIGNER, SystemClock())
    with asyncio.Runner() as paused, asyncio.Runner() as other:
        first = paused.run(on_kafka.open())
        old = paused.run(first.open_cursor(subscription("samples"), KINDS, FIRST))
        paused.run(assigned(old))
        committing = paused.run(sent(first, old, {CASES[0]: AckState(4)}))
        # The process is paused. Kafka's answer comes, nobody reads it, and another process goes on from there.
        second = other.run(on_kafka.open())
        new = other.run(second.open_cursor(subscription("samples"), KINDS, FIRST))
        assert other.run(assigned(new))[CASES[0]] == AckState(4)
        cut(first)
        with pytest.raises(LogUnavailable, match="moved before Kafka said"):
            paused.run(finished(committing))
        assert set(old.assignment_changes()) >= {Revoked(partition) for partition in CASES}
        other.run(new.close())
        # It goes on itself where the commit that held has left it.
        assert paused.run(assigned(old))[CASES[0]] == AckState(4)
        assert paused.run(old.commit({CASES[0]: AckState(5)})) == {CASES[0]}
        paused.run(first.close())
        other.run(second.close())


def commits_under_way(log: KafkaLog) -> list[Link]:
    """The connections on which a commit waits for its answer."""
    links = log.groups.links._links.items()
    return [link for (_, lane), link in links if lane != HEARTBEATS and link.silent_since() is not None]


async def sent(
    log: KafkaLog, cursor: LogCursor, states: dict[StreamPartition, AckState]
) -> asyncio.Task[frozenset[StreamPartition]]:
    """Begin a commit, and return when its request has left. Its answer is not read."""
    committing = asyncio.create_task(cursor.commit(states))
    async with asyncio.timeout(30):
        while not commits_under_way(log):  # noqa: ASYNC110 - a link tells nobody what it waits for
            await asyncio.sleep(0)
    (link,) = commits_under_way(log)
    assert link._transport is not None
    link._transport.pause_reading()
    # One more pass of the event loop, so that it is written.
    await asyncio.sleep(0)
    return committing


def cut(log: KafkaLog) -> None:
    """Lose the answer to the commit that is under way."""
    (link,) = commits_under_way(log)
    link.end(KafkaConnectionError("cut by the test"))


async def finished(committing: asyncio.Task[frozenset[StreamPartition]]) -> frozenset[StreamPartition]:
    async with asyncio.timeout(60):
        return await committing


async def test_a_lost_node_ends_no_subscription(three_kafka_nodes: KafkaCluster) -> None:
    """While copies are missing, commits wait and heartbeats wait behind them. So a partition may move meanwhile."""
    on_kafka = LogOnKafka(three_kafka_nodes, SIGNER, SystemClock(), copies=3)
    log = await on_kafka.open()
    # Each node coordinates some of the groups.
    keys = [subscription(f"samples-{number}") for number in range(12)]
    cursors = [await log.open_cursor(key, KINDS, FIRST) for key in keys]
    for cursor in cursors:
        await assigned(cursor)
    three_kafka_nodes.kill(2)
    await asyncio.gather(*(committed(cursor, AckState(5)) for cursor in cursors))
    for key, cursor in zip(keys, cursors, strict=True):
        await cursor.close()
        again = await log.open_cursor(key, KINDS, FIRST)
        assert await assigned(again) == dict.fromkeys(CASES, AckState(5))
        await again.close()
    await log.close()
