"""Who leads a partition, by what nodes tell that may be behind. With a node that tells what the test decides."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from kafka import TopicPartition

from broker.core.streams import StreamPartition
from broker.messagelog.kafka.connection import KafkaConnection
from broker.messagelog.kafka.leaders import Leaders
from broker.messagelog.kafka.links import Address
from tests.support.kafkanode import KafkaNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DNA = "case-exchange.dna"
FIRST, SECOND = TopicPartition(DNA, 0), TopicPartition(DNA, 1)
HERE, NOBODY = 1, -1


@pytest.fixture
async def node() -> AsyncIterator[KafkaNode]:
    async with KafkaNode({DNA: UUID(int=1)}).listening() as node:
        yield node


@pytest.fixture
async def leaders(node: KafkaNode) -> AsyncIterator[Leaders]:
    connection = KafkaConnection([f"127.0.0.1:{node.port}"], None, "case-exchange", 5.0)
    leaders = Leaders(connection, [StreamPartition("dna", 0), StreamPartition("dna", 1)])
    yield leaders
    await leaders.close()


async def told(leaders: Leaders, node: KafkaNode, **now: tuple[int, int]) -> dict[Address | None, dict[int, int]]:
    """Who leads, with the epochs, after the node has told this of the first and the second partition."""
    node.leaders = {{"first": FIRST, "second": SECOND}[name]: leader for name, leader in now.items()}
    await leaders.refresh()
    led = leaders.by_leader([FIRST, SECOND])
    return {address: {each.partition: epoch for each, epoch in epochs.items()} for address, epochs in led.items()}


async def test_what_was_never_told_has_no_leader(leaders: Leaders, node: KafkaNode) -> None:
    here = Address("127.0.0.1", node.port)
    assert await told(leaders, node, first=(HERE, 0)) == {here: {0: 0}, None: {1: -1}}


async def test_a_leader_has_the_epoch_that_was_told_with_it(leaders: Leaders, node: KafkaNode) -> None:
    here = Address("127.0.0.1", node.port)
    assert await told(leaders, node, first=(HERE, 3), second=(HERE, 7)) == {here: {0: 3, 1: 7}}
    assert await told(leaders, node, first=(NOBODY, 4), second=(HERE, 8)) == {None: {0: 4}, here: {1: 8}}
    # Nobody led for a while, and then the same epoch's node is back.
    assert await told(leaders, node, first=(HERE, 4), second=(HERE, 8)) == {here: {0: 4, 1: 8}}


async def test_a_node_that_is_behind_makes_nobody_leader_again(leaders: Leaders, node: KafkaNode) -> None:
    here = Address("127.0.0.1", node.port)
    await told(leaders, node, first=(NOBODY, 4), second=(HERE, 8))
    assert await told(leaders, node, first=(HERE, 3), second=(NOBODY, 7)) == {None: {0: 4}, here: {1: 8}}


async def test_a_partition_of_which_a_node_tells_nothing_keeps_its_leader(leaders: Leaders, node: KafkaNode) -> None:
    here = Address("127.0.0.1", node.port)
    await told(leaders, node, first=(HERE, 3), second=(HERE, 8))
    assert await told(leaders, node, second=(HERE, 9)) == {here: {0: 3, 1: 9}}


async def test_a_topic_that_was_made_anew_begins_with_epoch_0(leaders: Leaders, node: KafkaNode) -> None:
    here = Address("127.0.0.1", node.port)
    await told(leaders, node, first=(HERE, 3), second=(HERE, 8))
    node.topics = {DNA: UUID(int=2)}
    assert await told(leaders, node, first=(HERE, 0), second=(HERE, 0)) == {here: {0: 0, 1: 0}}
