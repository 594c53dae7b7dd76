"""Orders about subscriptions that brokers on a real Kafka share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import pytest

from broker.client.subscriber import SubscribeOptions
from broker.core.errors import SubscriptionChanged, SubscriptionInUse
from broker.core.streams import AUDIT, StreamPartition
from broker.core.subscriptions import FIRST, Generation
from broker.ports import SubscriptionKey
from tests.integration.test_subscriptions import LAB, LATEST, NAME, client, published, taken
from tests.support.kafkaexchange import OnKafka

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from broker.ports import LogCursor
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka
Answer = TypeVar("Answer")
KEY = SubscriptionKey(LAB, NAME)
KINDS = frozenset({"SampleRequest"})


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


async def once_free(order: Callable[[], Awaitable[Answer]]) -> Answer:
    """Give an order as soon as the broker that read the subscription has let it go."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await order()
            except SubscriptionInUse:
                await asyncio.sleep(0.05)


async def known(exchange: Exchange, other: Exchange) -> None:
    """Return when a broker has read what another one has written to the audit stream."""
    audit = StreamPartition(AUDIT, 0)
    await exchange.broker.log.catch_up(audit, await other.broker.log.end_offset(audit))


async def ended(cursor: LogCursor) -> None:
    """Wait for what ends a cursor."""
    async with asyncio.timeout(60):
        while True:
            await cursor.wait()


async def test_another_broker_moves_takes_over_and_deletes(kafka: OnKafka) -> None:
    async with kafka.broker("one") as one, kafka.broker("two") as two:
        maker = one.maker()
        positions = await published(one, maker, 2)
        options = SubscribeOptions(NAME, KINDS, start=LATEST)
        async with (await one.subscriber()).subscribe(options):
            await known(two, one)
            asking = await client(two)
            with pytest.raises(SubscriptionInUse):
                await asking.seek(NAME, LATEST)
            (open_one,) = [state async for state in asking.listed()]
            assert (open_one.readers, open_one.skipped) == (1, 2)
        positions += await published(one, maker, 1)
        # Nobody has committed anything yet. The start is what it was.
        assert await taken(two, 1) == positions[2:]
        await once_free(lambda: asking.seek(NAME, LATEST._replace(latest=False)))
        await known(one, two)
        assert await taken(one, 3) == positions
        asking = await client(one)
        assert await once_free(lambda: asking.delete(NAME)) == (0, 0)
        # What its group has is of generations that have ended.
        standing = await one.broker.log.standing(KEY, KINDS, Generation(2))
        assert (standing.states, standing.latest) == ({}, 1)
    async with kafka.broker("two") as two:
        assert [state async for state in (await client(two)).listed()] == []
        assert await taken(two, 3) == positions
    assert await kafka.audited() == []


async def test_a_place_of_an_earlier_generation_counts_as_none_and_one_of_a_later_ends_the_stream(
    kafka: OnKafka,
) -> None:
    async with kafka.broker("one") as one, kafka.broker("two") as two:
        positions = await published(one, one.maker(), 2)
        assert await taken(one, 2) == positions
        await known(two, one)
        asking = await client(two)
        await once_free(lambda: asking.seek(NAME, LATEST._replace(latest=False)))
        assert await taken(two, 2) == positions
        # A broker that has not heard of the order goes on in the first generation.
        late = await one.broker.log.open_cursor(KEY, KINDS, FIRST)
        with pytest.raises(SubscriptionChanged):
            await ended(late)
        await late.close()
