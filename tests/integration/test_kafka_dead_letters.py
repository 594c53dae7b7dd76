"""Brokers that share a log on a real Kafka know the same dead letters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_dead_letters import LIMITS, SAMPLES, client, given_up, listed
from tests.support.kafkaexchange import OnKafka

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.streams import Position
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


async def test_every_broker_knows_of_a_dead_letter_also_one_that_has_lost_its_index(kafka: OnKafka) -> None:
    async with kafka.broker("one", subscriptions=LIMITS) as one, kafka.broker("two", subscriptions=LIMITS) as two:
        position = await given_up(one)
        await listed(two, position)
    (kafka.folder("two") / "dead-letters.db").unlink()
    async with kafka.broker("two", subscriptions=LIMITS) as two:
        assert [state.position async for state in (await client(two)).listed()] == [position]


async def test_another_broker_redrives_and_a_new_assignee_knows_what_is_parked(kafka: OnKafka) -> None:
    async with kafka.broker("one", subscriptions=LIMITS) as one, kafka.broker("two", subscriptions=LIMITS) as two:
        maker = one.maker()
        dead = await given_up(one, maker=maker)
        receipt = await (await one.publisher()).publish(maker.make())
        parked = one.receipts().verify(receipt).position
        await (await client(two)).redrive("samples", dead)
        # Broker one has let the partition go: its subscriber is gone.
        async with (await two.subscriber()).subscribe(SAMPLES) as stream, asyncio.timeout(60):
            taken: list[Position] = []
            async for batch in stream:
                for delivered in batch:
                    taken.append(delivered.position)
                    await stream.ack([delivered.delivery_id])
                if len(taken) == 2:
                    break
    assert taken == [dead, parked]
    assert await kafka.audited() == []
