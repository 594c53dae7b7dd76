"""Brokers that share a log on a real Kafka know the same dead letters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.client.subscriber import SubscribeOptions
from broker.core.trace import Step
from broker.messagelog.kafka.log import KafkaLog
from tests.integration.test_dead_letters import ATTEMPTS, LAB, LIMITS, SAMPLES, client, given_up, listed
from tests.integration.test_trace import counted, record_id, tracing
from tests.support.kafkaexchange import OnKafka

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


async def test_what_a_broker_sets_aside_in_a_partition_that_it_has_lost_without_a_word_is_void(kafka: OnKafka) -> None:
    limited = {"subscriptions": LIMITS}
    async with kafka.broker("one", **limited) as one, kafka.broker("two", **limited) as two, asyncio.timeout(300):
        maker, publisher = two.maker(), await two.publisher()
        made = [two.receipts().verify(await publisher.publish(maker.make())).position for _ in range(2)]
        async with (await one.subscriber(LAB)).subscribe(SAMPLES) as stream:
            batches = aiter(stream)
            for _ in range(ATTEMPTS - 1):
                (delivered,) = await anext(batches)
                await stream.nack(delivered.delivery_id, 0)
            (delivered,) = await anext(batches)
            assert delivered.position == made[0]
            # From now on it says nothing to Kafka, and Kafka nothing to it, as if it had been paused at this point. It
            # hears only by a commit that is refused that the partition is another broker's.
            await silence(one)
            assert await taken(two, SAMPLES, 2) == made
            # With this the record is given up, and the other one is parked.
            await stream.nack(delivered.delivery_id, 0)
            while len(void := (await kafka.verified())["void"]) < len(made):
                pass
        assert [(item["position"], item["parked"]) for item in void] == [(str(made[0]), False), (str(made[1]), True)]
        # The case is not parked.
        made.append(two.receipts().verify(await publisher.publish(maker.make())).position)
        assert await taken(two, SAMPLES, 1) == made[-1:]
        assert (await (await client(two)).count()).dead_letters == 0
    assert await kafka.audited() == []
    assert (await kafka.verified())["unprocessed"] == []


async def silence(exchange: Exchange) -> None:
    """End what speaks to the coordinators of a broker's groups. Everything else goes on."""
    log = exchange.broker.log
    assert isinstance(log, KafkaLog)
    speaking = log.groups._task
    assert speaking is not None
    speaking.cancel()
    await asyncio.wait([speaking])


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
