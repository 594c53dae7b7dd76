"""Somebody with Kafka's break-glass key changes the topics: nobody is handed a lie, and the first position is named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client.subscriber import SubscribeOptions
from broker.messagelog.kafka.records import SEAL
from broker.trust.signing import Ed25519NoteSigner
from tests.support.kafkaexchange import OnKafka
from tests.support.replays import replayed
from tests.support.tampering import Administrator, Raw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from broker.client.publisher import Publisher
    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.core.streams import Position, StreamPartition
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki
    from tests.support.records import RecordMaker

pytestmark = pytest.mark.kafka
SAMPLES = SubscribeOptions("samples", frozenset({"SampleRequest"}))


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


class Honest:
    """Publishes records of one case, which therefore stand in one partition in this order."""

    def __init__(self, exchange: Exchange, publisher: Publisher) -> None:
        self._exchange = exchange
        self._publisher = publisher
        self._maker: RecordMaker = exchange.maker()
        self.positions: list[Position] = []
        self.digests: list[bytes] = []

    @classmethod
    async def begin(cls, exchange: Exchange, count: int) -> Honest:
        honest = cls(exchange, await exchange.publisher())
        await honest.publish(count)
        return honest

    @property
    def partition(self) -> StreamPartition:
        return self.positions[0].stream_partition

    async def publish(self, count: int) -> None:
        for _ in range(count):
            envelope = self._maker.make()
            receipt = await self._publisher.publish(envelope)
            self.positions.append(self._exchange.receipts().verify(receipt).position)
            self.digests.append(envelope.record_sha256)


async def taken(stream: SubscriptionStream, count: int) -> list[Delivered]:
    """The next deliveries, each acknowledged: a case's next record comes after that."""
    found: list[Delivered] = []
    async with asyncio.timeout(30):
        async for batch in stream:
            await stream.ack([each.delivery_id for each in batch])
            found += batch
            if len(found) >= count:
                break
    return found


# --- what is inserted ---

if TYPE_CHECKING:
    Insert = Callable[[Administrator, StreamPartition, Sequence[Raw]], Awaitable[list[Position]]]


async def unsealed(admin: Administrator, partition: StreamPartition, stand: Sequence[Raw]) -> list[Position]:
    """Garbage; an envelope that an agency did sign, without a seal; the same with a signature of another key."""
    stranger = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.generate())
    envelope = stand[0]
    without = [(name, value) for name, value in envelope.headers if name != SEAL]
    (seal,) = (value for name, value in envelope.headers if name == SEAL and value)
    made_up = [*without, (SEAL, seal[:-64] + stranger.sign(b"anything"))]
    return await admin.put(
        partition,
        Raw(b"\xff\x00 garbage"),
        Raw(None, b"a tombstone"),
        Raw(b"", b"", [("", b"")]),
        envelope._replace(headers=without),
        envelope._replace(headers=made_up),
    )


async def copies(admin: Administrator, partition: StreamPartition, stand: Sequence[Raw]) -> list[Position]:
    return await admin.put(partition, stand[0], stand[-1], stand[0])


async def copies_elsewhere(admin: Administrator, partition: StreamPartition, stand: Sequence[Raw]) -> list[Position]:
    other = partition._replace(partition=1 - partition.partition)
    return await admin.put(other, stand[0], stand[-1])


async def transactions(admin: Administrator, partition: StreamPartition, stand: Sequence[Raw]) -> list[Position]:
    """Their markers take offsets that no record ever has."""
    first = await admin.transaction(partition, stand[0], Raw(b"garbage"), commit=False)
    return first + await admin.transaction(partition, Raw(b"garbage"), stand[-1], commit=True)


INSERTS = [unsealed, copies, copies_elsewhere, transactions]


@pytest.mark.parametrize("insert", INSERTS)
async def test_what_is_inserted_reaches_nobody_and_is_named_while_everything_goes_on(
    kafka: OnKafka, tmp_path: Path, insert: Insert
) -> None:
    admin = Administrator(kafka)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 3)
        inserted = await insert(admin, honest.partition, await admin.records(honest.partition))
        await honest.publish(3)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            found = await taken(stream, len(honest.positions))
            await honest.publish(1)
            found += await taken(stream, 1)
        assert [each.position for each in found] == honest.positions
        assert [each.envelope.record_sha256 for each in found] == honest.digests
        bundle = await replayed(exchange, tmp_path / "of-broker.bundle")
    assert bundle.named() == [("RECORD_INSERTED", position) for position in inserted]
    assert await kafka.audited() == [("RECORD_INSERTED", str(position)) for position in inserted]


# --- what is deleted ---


async def refused_everywhere(kafka: OnKafka, exchange: Exchange, honest: Honest) -> None:
    """A running broker stops for good: it says so to probes, publishers and subscribers."""
    stream = (await exchange.subscriber()).subscribe(SAMPLES)
    async with stream:
        await taken(stream, len(honest.positions))
        await health_becomes(exchange, NOT_SERVING)
        with pytest.raises(LogCorrupt):
            await honest.publish(1)
        with pytest.raises(LogCorrupt):
            await taken(stream, 1)
    with pytest.raises(LogCorrupt):
        async with (await exchange.subscriber("hebei-police")).subscribe(SAMPLES) as other:
            await taken(other, 1)


async def refused_at_the_start(kafka: OnKafka, *names: str) -> None:
    """No broker starts on it, whether it has kept its folder or has none, and each says why in one line."""
    for name in names:
        ended = await kafka.serve(name)
        assert ended.code == 1
        (line,) = ended.lines()
        assert line.startswith("case-exchange: LOG_CORRUPT: ")
