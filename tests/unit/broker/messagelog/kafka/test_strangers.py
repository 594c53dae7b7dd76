"""Whatever a stranger puts into a consumer group: brokers read everything beside it, and go on."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka import TopicPartition

from broker.core.errors import Internal, LogIntruder
from broker.core.leasing.ackstate import AckState
from broker.core.streams import StreamPartition
from broker.core.subscriptions import FIRST
from broker.messagelog.kafka.connection import KafkaConnection
from broker.messagelog.kafka.group import GroupMember
from broker.messagelog.kafka.groups import Groups
from broker.messagelog.kafka.members import Member, MembersWatch
from broker.messagelog.kafka.places import Places
from broker.messagelog.kafka.subscriptions import KafkaSubscriptions
from broker.ports import SubscriptionKey
from broker.trust.signing import Ed25519NoteSigner
from tests.support.kafkalog import ListedKeys
from tests.support.kafkanode import KafkaNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.errors import CaseExchangeError
    from broker.core.tree.checkpoint import SignatureCheck

SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
DNA = "case-exchange.dna"
DNA_0, DNA_1 = StreamPartition("dna", 0), StreamPartition("dna", 1)
LAB = SubscriptionKey("national-dna-database", "samples")
KINDS = frozenset({"SampleRequest"})
DEFECT = b"\xdd" * 4


class Defective(ListedKeys):
    """Keys of which one makes the check fail in a way that nobody expects."""

    def check(self, key_id: bytes) -> SignatureCheck | None:
        if key_id == DEFECT:
            raise OverflowError
        return super().check(key_id)


KEYS = Defective(SIGNER)


def sealed_with(seal: bytes) -> str:
    return f"7.{urlsafe_b64encode(seal).rstrip(b'=').decode()}"


LONGER, UNJUDGED = sealed_with(b"\xff" * 8 + bytes(64)), sealed_with(DEFECT + bytes(64))
both = pytest.mark.parametrize("strange", [LONGER, UNJUDGED], ids=["a longer number", "a defect"])


@pytest.fixture
async def node() -> AsyncIterator[KafkaNode]:
    async with KafkaNode({DNA: UUID(int=1)}).listening() as node:
        yield node


@pytest.fixture
async def groups(node: KafkaNode) -> AsyncIterator[Groups]:
    groups = Groups(KafkaConnection([f"127.0.0.1:{node.port}"], None, "case-exchange", 5.0), None)
    yield groups
    await groups.close()


@both
async def test_a_member_with_a_strange_id_and_those_beside_it_are_named(
    node: KafkaNode, groups: Groups, strange: str
) -> None:
    member = GroupMember(groups, "a-group", [DNA], moved=lambda _: None, failed=lambda _: None)
    await member.join()
    node.members = [Member(strange, "strange", "/10.0.0.7"), Member("0123", "another", "/10.0.0.8")]
    reported: asyncio.Queue[CaseExchangeError] = asyncio.Queue()
    watch = MembersWatch(groups, KEYS, reported.put_nowait)
    watch.open()
    async with asyncio.timeout(60):
        told = await reported.get()
    assert isinstance(told, LogIntruder)
    assert "'strange'" in told.message
    assert "'another'" in told.message
    assert watch.intruder is told
    await watch.close()


@both
async def test_a_strange_place_hides_no_other(node: KafkaNode, groups: Groups, strange: str) -> None:
    reported: list[CaseExchangeError] = []
    # Nothing is rebuilt for whoever asks from outside.
    places = Places(
        {"dna": "dna-topic"},
        {DNA_0: 0, DNA_1: 0},
        signer=SIGNER,
        keys=KEYS,
        rebuilding=cast("Any", None),
        report=reported.append,
    )
    sound = places.stored(LAB, FIRST, DNA_1, AckState(4096))
    node.stored = {TopicPartition(DNA, 0): (0, strange), TopicPartition(DNA, 1): (sound.offset, sound.metadata)}
    subscriptions = KafkaSubscriptions(groups, places, [DNA_0, DNA_1], KEYS, reported.append)
    standing = await subscriptions.standing(LAB, KINDS, FIRST)
    assert standing.states == {DNA_1: AckState(4096)}
    # What is no seal is only left out. What cannot be judged is told.
    assert [type(each) for each in reported] == ([Internal] if strange == UNJUDGED else [])
    await subscriptions.close()
