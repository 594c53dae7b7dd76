"""Somebody with a key for Kafka joins the exchange's consumer groups, and takes partitions from the brokers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from kafka.errors import KafkaError
from structlog.testing import capture_logs

from broker.messagelog.kafka.group import GroupMember
from broker.messagelog.kafka.groups import Groups
from certs.kafka import BREAK_GLASS, BROKER
from tests.support.honest import SAMPLES, Honest, taken
from tests.support.kafkaexchange import NOT_SERVING, SERVING, OnKafka, health_becomes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from broker.core.identity import Principal
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

    Join = Callable[[OnKafka, Principal, str, str, int], contextlib.AbstractAsyncContextManager[None]]

pytestmark = pytest.mark.kafka
SUBSCRIBERS = "national-dna-database.samples"
FOLLOWERS = "checkpoint-followers"
THIEF = "a-thief"
WITHIN = 60.0


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


@contextlib.asynccontextmanager
async def consumers(kafka: OnKafka, client: Principal, group: str, stream: str, count: int) -> AsyncIterator[None]:
    """Members by Kafka's older protocol, which poll and deliver nothing."""
    connection = replace(kafka.cluster.connection(client), prefix=kafka.prefix)
    over = threading.Event()

    def consume() -> None:
        with connection.consumer(group_id=connection.topic(group), client_id=THIEF) as consumer:
            consumer.subscribe([connection.topic(stream)])
            while not over.is_set():
                with contextlib.suppress(KafkaError):
                    consumer.poll(200)

    threads = [threading.Thread(target=consume) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)


@contextlib.asynccontextmanager
async def members(kafka: OnKafka, client: Principal, group: str, stream: str, count: int) -> AsyncIterator[None]:
    """Members by the protocol that brokers use."""
    connection = replace(kafka.cluster.connection(client), prefix=kafka.prefix)
    groups = Groups(connection, None)
    joined = [
        GroupMember(groups, group, [connection.topic(stream)], moved=lambda _: None, failed=lambda _: None)
        for _ in range(count)
    ]
    for member in joined:
        await member.join()
    try:
        yield
    finally:
        for member in joined:
            await member.leave()
        await groups.close()


async def told(logs: Sequence[Mapping[str, object]]) -> str:
    """The first alarm about members."""
    async with asyncio.timeout(WITHIN):
        while True:
            for line in logs:
                if line.get("reason") == "LOG_INTRUDER" and line["event"] == "message log: an intruder":
                    return str(line["cause"])
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("join", [consumers, members])
@pytest.mark.parametrize("client", [BROKER, BREAK_GLASS], ids=lambda client: client.system)
async def test_members_of_a_subscription_s_group_that_are_no_brokers_are_alarmed_by_name_and_health_tells_it(
    kafka: OnKafka, client: Principal, join: Join
) -> None:
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 1)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            await taken(stream, 1)
            with capture_logs() as logs:
                async with join(kafka, client, SUBSCRIBERS, "dna", 4):
                    alarm = await told(logs)
                    assert f"{kafka.prefix}.{SUBSCRIBERS} are no brokers" in alarm
                    assert "127.0.0.1" in alarm
                    assert (THIEF in alarm) is (join is consumers)
                    await health_becomes(exchange, NOT_SERVING, WITHIN)
            # When they are gone, everything goes on by itself, and nothing was skipped.
            await health_becomes(exchange, SERVING, WITHIN)
            await honest.publish(3)
            assert [each.position for each in await taken(stream, 3)] == honest.positions[1:]


async def test_members_of_the_followers_group_that_are_no_brokers_are_alarmed_by_name_and_health_tells_it(
    kafka: OnKafka,
) -> None:
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 1)
        with capture_logs() as logs:
            async with members(kafka, BROKER, FOLLOWERS, "checkpoints", 9):
                alarm = await told(logs)
                assert f"{kafka.prefix}.{FOLLOWERS} are no brokers" in alarm
                assert " more" in alarm
                await health_becomes(exchange, NOT_SERVING, WITHIN)
        await health_becomes(exchange, SERVING, WITHIN)
        await honest.publish(1)


async def test_brokers_of_one_exchange_do_not_alarm_each_other(kafka: OnKafka) -> None:
    with capture_logs() as logs:
        async with kafka.broker("one") as one, kafka.broker("two") as two:
            honest = await Honest.begin(one, 1)
            async with (
                (await one.subscriber()).subscribe(SAMPLES) as stream,
                (await two.subscriber()).subscribe(SAMPLES),
            ):
                await taken(stream, len(honest.positions))
                # Long enough for both to have looked.
                watches = [exchange.broker.log._subscriptions._members for exchange in (one, two)]  # type: ignore[attr-defined]
                async with asyncio.timeout(WITHIN):
                    for watch in watches:
                        seen = watch.looks
                        while watch.looks < seen + 2:  # noqa: ASYNC110 - a watch has no event for it
                            await asyncio.sleep(0.1)
    assert [line for line in logs if line.get("reason") == "LOG_INTRUDER"] == []
