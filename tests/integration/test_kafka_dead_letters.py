"""Brokers that share a log on a real Kafka know the same dead letters."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from broker.client.connection import ConnectionSettings, open_channel
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.trace import Step
from broker.wire.tls import TlsFiles
from tests.integration.test_dead_letters import ATTEMPTS, LAB, LIMITS, SAMPLES, client, given_up, listed
from tests.integration.test_trace import counted, record_id, tracing
from tests.support.kafkaexchange import OnKafka
from tests.support.process import BrokerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.streams import Position
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


async def test_every_broker_knows_of_a_dead_letter_also_one_that_has_lost_its_index(kafka: OnKafka) -> None:
    async with kafka.broker("one", subscriptions=LIMITS) as one, kafka.broker("two", subscriptions=LIMITS) as two:
        position = await given_up(one)
        await listed(two, position)
    (kafka.folder("two") / "audit-index.db").unlink()
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
        assert await taken(two, SAMPLES, 2) == [dead, parked]
    assert await kafka.audited() == []


async def test_at_a_new_assignee_a_parked_record_waits_for_a_correction_that_came_before_it(kafka: OnKafka) -> None:
    options = SubscribeOptions("samples", frozenset({"SampleRequest", "Correction"}))
    async with kafka.broker("one", subscriptions=LIMITS) as one, kafka.broker("two", subscriptions=LIMITS) as two:
        maker, publisher = one.maker(), await one.publisher()
        receipts = [await publisher.publish(maker.make(kind)) for kind in ("SampleRequest", "Correction")]
        receipts.append(await publisher.publish(maker.make()))
        dead, *rest = [one.receipts().verify(receipt).position for receipt in receipts]
        async with (await one.subscriber()).subscribe(options) as stream, asyncio.timeout(60):
            async for batch in stream:
                for delivered in batch:
                    if delivered.position == dead:
                        await stream.nack(delivered.delivery_id, 0)
                if rest[0] in [delivered.position for delivered in batch]:
                    break
        await listed(two, dead)
        await (await client(two)).discard("samples", dead, "DUPLICATE")
        assert await taken(two, options, 2) == rest


async def test_another_broker_takes_the_order_and_the_one_that_has_the_partition_makes_the_dead_letter(
    kafka: OnKafka,
) -> None:
    async with kafka.broker("one", subscriptions=LIMITS) as one, kafka.broker("two", subscriptions=LIMITS) as two:
        maker, publisher, letters = one.maker(), await one.publisher(), await client(two)
        receipts = [await publisher.publish(maker.make()) for _ in range(2)]
        waits, later = [one.receipts().verify(receipt).position for receipt in receipts]
        async with (await one.subscriber()).subscribe(SAMPLES) as stream, asyncio.timeout(120):
            async for (delivered,) in stream:
                assert delivered.position == waits
                await letters.make("samples", waits, "SPOOL_BROKEN")
                await stream.nack(delivered.delivery_id, 600, transient=True)
                break
            await listed(two, waits)
            (state,) = [state async for state in letters.listed()]
            assert (state.code, state.attempts) == ("SPOOL_BROKEN", 0)
            await letters.redrive("samples", waits)
            again = []
            async for (delivered,) in stream:
                again.append(delivered.position)
                await stream.ack([delivered.delivery_id])
                if len(again) == 2:
                    break
            assert again == [waits, later]
    assert await kafka.audited() == []


async def test_every_broker_tells_the_publisher_of_a_refusal_and_traces_the_record(kafka: OnKafka) -> None:
    async with kafka.broker("one") as one, kafka.broker("two") as two:
        record = one.maker().make()
        receipt = await (await one.publisher()).publish(record)
        position = one.receipts().verify(receipt).position
        async with (await one.subscriber()).subscribe(SAMPLES) as stream, asyncio.timeout(120):
            async for (delivered,) in stream:
                await stream.refuse(delivered.delivery_id, "KIT_UNKNOWN")
                break
        await counted(two, "shanxi-police", 1)
        tracer = await tracing(two, "shanxi-police")
        (found,) = [each async for each in tracer.unprocessed()]
        assert (found.position, found.code, found.record_id) == (position, "KIT_UNKNOWN", record_id(record))
        trace = await tracer.of_record(record_id(record))
        assert [event.step for event in trace.events] == [Step.DELIVERED, Step.REFUSED]
        assert trace.complete


async def test_what_a_paused_broker_sets_aside_in_a_partition_that_it_has_lost_is_void(
    kafka: OnKafka, pki: SamplePki
) -> None:
    kafka.folder("one").mkdir()
    one = BrokerProcess(pki, kafka.folder("one"), **kafka.sections(), subscriptions=LIMITS)
    await asyncio.to_thread(one.start)
    try:
        async with kafka.broker("two", subscriptions=LIMITS) as two:
            maker, publisher = two.maker(), await two.publisher()
            made = [two.receipts().verify(await publisher.publish(maker.make())).position for _ in range(2)]
            files = TlsFiles(*pki.tls_paths(LAB), pki.folder.trust / "tls-ca.pem").read()
            async with open_channel(ConnectionSettings(one.target), files) as channel, asyncio.timeout(400):
                async with Subscriber(channel).subscribe(SAMPLES) as stream:
                    batches = aiter(stream)
                    for _ in range(ATTEMPTS - 1):
                        (delivered,) = await anext(batches)
                        await stream.nack(delivered.delivery_id, 0)
                    (delivered,) = await anext(batches)
                    assert delivered.position == made[0]
                    os.kill(one.pid, signal.SIGSTOP)
                    # With this the record is given up, and the other one is parked. Nobody hears it yet.
                    await stream.nack(delivered.delivery_id, 0)
                    assert await taken(two, SAMPLES, 2) == made
                    os.kill(one.pid, signal.SIGCONT)
                    while not (void := (await kafka.verified())["void"]):
                        pass
                assert [(item["position"], item["parked"]) for item in void] == [
                    (str(made[0]), False),
                    (str(made[1]), True),
                ]
                # The case is not parked, in whichever broker has the partition.
                made.append(two.receipts().verify(await publisher.publish(maker.make())).position)
                assert await taken(two, SAMPLES, 1) == made[-1:]
                assert (await (await client(two)).count()).dead_letters == 0
        assert await asyncio.to_thread(one.stop) == 0
    finally:
        one.end()
    assert await kafka.audited() == []
    assert (await kafka.verified())["unprocessed"] == []


async def taken(exchange: Exchange, options: SubscribeOptions, count: int) -> list[Position]:
    """The next records that a subscription takes, in the order in which they come."""
    positions: list[Position] = []
    async with (await exchange.subscriber()).subscribe(options) as stream, asyncio.timeout(60):
        async for batch in stream:
            for delivered in batch:
                positions.append(delivered.position)
                await stream.ack([delivered.delivery_id])
            if len(positions) >= count:
                break
    return positions
