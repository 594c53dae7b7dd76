"""Brokers that share a log on a real Kafka. What one accepts, the others deliver. Outages pass."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from broker.client.checkpoints import present_checkpoints
from broker.client.subscriber import SubscribeOptions
from broker.core.errors import LeaseLost, LogUnavailable
from broker.core.streams import partition_of
from broker.messagelog.kafka.topicsettings import TopicSettings
from broker.wire.status import status_of
from certs import profiles
from certs.kafka import AUDITOR
from tests.integration.test_trace import answered
from tests.support.kafka import running_cluster
from tests.support.kafkaexchange import NOT_SERVING, SERVING, OnKafka, health_becomes
from tests.support.records import CODEC
from tests.support.replays import covered, replayed
from tests.support.tampering import Administrator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.client.publisher import Publisher
    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.core.envelope import Envelope
    from broker.core.streams import Position
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka
SAMPLES = SubscribeOptions("samples", frozenset({"SampleRequest"}))
CASES = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(12)]
OF_PARTITION = [[case for case in CASES if partition_of(case, 2) == number] for number in range(2)]
BOUND = 60


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


async def first(stream: SubscriptionStream, count: int) -> list[Delivered]:
    found: list[Delivered] = []
    async with asyncio.timeout(BOUND):
        async for batch in stream:
            found += batch
            if len(found) >= count:
                break
    return found


# --- two brokers ---


async def test_what_one_broker_accepts_another_delivers_and_knows_again(kafka: OnKafka) -> None:
    async with kafka.broker("one") as one, kafka.broker("two") as two:
        envelope = one.maker().make()
        accepted = await (await one.publisher()).publish(envelope)
        again = await (await two.publisher()).publish(envelope)
        assert again.statement == accepted.statement
        async with (await two.subscriber()).subscribe(SAMPLES) as stream:
            (delivered,) = await first(stream, 1)
            verified = two.verify("national-dna-database", delivered)
            assert verified.record_sha256 == envelope.record_sha256
            await stream.ack([delivered.delivery_id])
    assert await kafka.audited() == []


async def test_a_change_of_the_follower_leaves_an_honest_log_without_a_finding(kafka: OnKafka, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stays:
        async with kafka.broker("one") as one:
            maker = one.maker()
            for _ in range(2):
                await (await one.publisher()).publish(maker.make())
            await answered(one, "national-dna-database", SAMPLES)
            await covered(one)
            two = await stays.enter_async_context(kafka.broker("two"))
        await (await two.publisher()).publish(maker.make())
        await answered(two, "national-dna-database", SAMPLES)
        bundle = await replayed(two, tmp_path / "bundle")
    report = bundle.report()
    assert (report.findings, report.records > 3, report.deliveries > 1) == ((), True, True)
    assert (await kafka.verified())["findings"] == []


async def test_a_broker_that_is_behind_another_is_not_accused_of_a_log_that_went_back(kafka: OnKafka) -> None:
    async with kafka.broker("one") as one, kafka.broker("two") as two:
        channels = [await each.channel("shanxi-police") for each in (one, two)]
        seen: list[bytes] = []
        grown = 0
        for turn in range(10):
            await (await one.publisher()).publish(one.maker().make(case=CASES[turn]))
            # Shown to the other at once, which may not have read it yet.
            answers = await present_checkpoints(channels[turn % 2], seen)
            assert all(answer.proof is not None for answer in answers if seen)
            newest = [answer.note for answer in answers]
            grown += newest != seen
            seen = newest
        assert grown > 1
        for exchange in (one, two):
            await health_becomes(exchange, SERVING)
            await (await exchange.publisher()).publish(exchange.maker().make())
    # A broker that has lost its copies reads all of it again, and is not accused either.
    async with kafka.broker("three") as three:
        answers = await present_checkpoints(await three.channel("shanxi-police"), seen)
        assert all(answer.proof is not None for answer in answers)
        await (await three.publisher()).publish(three.maker().make())


class Shared:
    """One subscription, read through several brokers by subscribers that acknowledge everything."""

    def __init__(self) -> None:
        self.published: dict[str, list[Position]] = {case: [] for case in CASES}
        self.acked: dict[str, list[Position]] = {case: [] for case in CASES}
        self.by: dict[str, set[Position]] = {}
        self.twice: list[Position] = []
        """What was delivered again after its acknowledgement had been confirmed."""
        self._moved = asyncio.Event()

    async def publish_a_round(self, exchange: Exchange) -> None:
        publisher, maker = await exchange.publisher(), exchange.maker()
        for case in CASES:
            receipt = await publisher.publish(maker.make(case=case))
            self.published[case].append(exchange.receipts().verify(receipt).position)

    async def read(self, exchange: Exchange, name: str, leave: asyncio.Event) -> None:
        """Take part until ``leave`` is set, and end in good order."""
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            leaving = asyncio.create_task(leave.wait())
            reading = asyncio.create_task(self._read(stream, name))
            await asyncio.wait({leaving, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading
            reading.cancel()

    async def all_acked(self) -> None:
        async with asyncio.timeout(BOUND):
            while self.acked != self.published:
                self._moved.clear()
                await self._moved.wait()

    async def rounds_until(self, exchange: Exchange, done: Callable[[], bool]) -> None:
        """Publish a record of every case until all are acknowledged and the group has settled."""
        async with asyncio.timeout(BOUND):
            while not done():
                self.by.clear()
                await self.publish_a_round(exchange)
                await self.all_acked()

    def shares(self) -> dict[str, set[int]]:
        """Which subscriber got deliveries of the last round from which partitions."""
        return {name: {position.partition for position in had} for name, had in self.by.items()}

    async def _read(self, stream: SubscriptionStream, name: str) -> None:
        async for batch in stream:
            for delivered in batch:
                case = CODEC.parse_body(delivered.envelope.body).case_id
                if delivered.position in self.acked[case]:
                    self.twice.append(delivered.position)
                try:
                    await stream.ack([delivered.delivery_id])
                except LeaseLost:
                    continue
                self.acked[case].append(delivered.position)
                self.by.setdefault(name, set()).add(delivered.position)
                self._moved.set()


async def test_a_subscription_moves_between_brokers_without_losing_order_or_repeating_what_was_acknowledged(
    kafka: OnKafka,
) -> None:
    shared = Shared()
    leave = {"one": asyncio.Event(), "two": asyncio.Event()}
    async with kafka.broker("one") as one, kafka.broker("two") as two, asyncio.TaskGroup() as readers:
        readers.create_task(shared.read(one, "one", leave["one"]))
        await shared.rounds_until(two, lambda: shared.shares() == {"one": {0, 1}})
        readers.create_task(shared.read(two, "two", leave["two"]))
        await shared.rounds_until(one, lambda: [len(shared.shares().get(name, ())) for name in leave] == [1, 1])
        leave["one"].set()
        await shared.rounds_until(one, lambda: shared.shares() == {"two": {0, 1}})
        leave["two"].set()
    # Each list is in the order in which the records were accepted, and has each of them once.
    assert shared.acked == shared.published
    assert shared.twice == []


async def test_failed_attempts_and_scattered_acknowledgements_move_with_the_partition(kafka: OnKafka) -> None:
    poison, *others = OF_PARTITION[0]
    async with kafka.broker("one") as one, kafka.broker("two") as two:
        publisher, maker = await one.publisher(), one.maker()
        for case in (poison, *others):
            await publisher.publish(maker.make(case=case))
        newest = await publisher.publish(maker.make(case=poison))
        async with (await one.subscriber()).subscribe(SAMPLES) as stream:
            failed, *taken = await first(stream, 1 + len(others))
            assert [delivered.attempt for delivered in (failed, *taken)] == [1] * (1 + len(others))
            # Longer than this test. Whoever gets the partition next begins without that delay.
            await stream.nack(failed.delivery_id, 600)
            # Not the first of them, so that there is an unacknowledged one on both sides of what is done.
            await stream.ack([delivered.delivery_id for delivered in taken[1:]])
        async with (await two.subscriber()).subscribe(SAMPLES) as stream:
            again, returned = await first(stream, 2)
            assert (again.position, again.attempt) == (failed.position, 2)
            # It was given back, which is not a failed attempt.
            assert (returned.position, returned.attempt) == (taken[0].position, 1)
            await stream.ack([again.delivery_id, returned.delivery_id])
            (last,) = await first(stream, 1)
            assert CODEC.parse_body(last.envelope.body).case_id == poison
            assert (last.position, last.attempt) == (one.receipts().verify(newest).position, 1)
            await stream.ack([last.delivery_id])


# --- Kafka is away ---


async def refused_for_now(publisher: Publisher, envelope: Envelope) -> None:
    """Publishing fails within a time limit, with an error that says: try again."""
    begun = time.monotonic()
    with pytest.raises(LogUnavailable) as refused:
        await publisher.publish(envelope)
    assert time.monotonic() - begun < BOUND
    assert refused.value.retriable
    assert status_of(type(refused.value)) is grpc.StatusCode.UNAVAILABLE


async def refused_at_the_start(kafka: OnKafka, name: str) -> None:
    begun = time.monotonic()
    ended = await kafka.serve(name, **kafka.sections(timeout=3))
    assert time.monotonic() - begun < BOUND
    assert ended.code == 1, ended
    (line,) = ended.lines()
    assert line.startswith("case-exchange: LOG_UNAVAILABLE: ")


async def test_an_outage_of_kafka_passes_without_anybody_s_doing(
    caplog: pytest.LogCaptureFixture, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    # The garbage collector frees the library's refused connections. Kept lines of its log would prevent this.
    caplog.set_level(logging.CRITICAL, "kafka")
    with running_cluster(tmp_path / "kafka", kafka_keys, nodes=1) as cluster:
        kafka = OnKafka(cluster, kafka_keys, pki, tmp_path)
        # On a busy machine this outage may last longer than checkpoints may. That limit has its own tests.
        sections = {**kafka.sections(timeout=4), "checkpoints": {"evidence_bound_seconds": 300.0}}
        async with kafka.broker("one", **sections) as exchange:
            publisher, maker = await exchange.publisher(), exchange.maker()
            await publisher.publish(maker.make())
            await health_becomes(exchange, SERVING)
            kept = maker.make()
            # It hangs: connections stay open, and nothing is answered.
            cluster.pause(1)
            await refused_for_now(publisher, kept)
            await health_becomes(exchange, NOT_SERVING)
            await refused_at_the_start(kafka, "two")
            cluster.resume(1)
            await health_becomes(exchange, SERVING)
            await publisher.publish(kept)
            kept = maker.make()
            # It is stopped, and comes back as another process.
            await asyncio.to_thread(cluster.stop)
            await refused_for_now(publisher, kept)
            await health_becomes(exchange, NOT_SERVING)
            await refused_at_the_start(kafka, "two")
            cluster.start()
            await health_becomes(exchange, SERVING, within=60)
            await publisher.publish(kept)
            async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
                for _ in range(3):
                    (delivered,) = await first(stream, 1)
                    await stream.ack([delivered.delivery_id])
        # What was refused and is published again is in the log once.
        assert await kafka.audited() == []


# --- Kafka is not what it must be ---


@pytest.mark.parametrize(
    ("partitions", "changes", "said"),
    [
        (2, {"retention.ms": "604800000"}, "retention.ms = 604800000, and it must be -1"),
        (2, {"cleanup.policy": "compact"}, "cleanup.policy = compact, and it must be delete"),
        (1, {}, "partitions = 1, and it must be 2"),
    ],
)
async def test_a_topic_that_could_lose_records_is_refused_by_name(
    kafka: OnKafka, partitions: int, changes: dict[str, str], said: str
) -> None:
    wanted = TopicSettings({"dna": 2}, replication=1, min_in_sync=1, retention_days=0, value_bytes=5 << 20)
    await Administrator(kafka).create_topic("dna", partitions, wanted.configuration("dna") | changes)
    ended = await kafka.serve("one")
    assert (ended.code, ended.lines()) == (1, [ended.errors.splitlines()[-1]])
    assert f"LOG_SETTINGS_REFUSED: topic {kafka.prefix}.dna has {said}. " in ended.errors


async def test_a_broker_with_the_auditor_s_certificate_is_refused(kafka: OnKafka) -> None:
    ended = await kafka.serve("one", **kafka.sections(client=AUDITOR))
    assert ended.code == 1
    (line,) = ended.lines()
    assert line.startswith("case-exchange: LOG_ACCESS_DENIED: ")


async def test_an_expired_certificate_is_said_to_be_so_before_kafka_is_asked(
    kafka: OnKafka, pki: SamplePki, tmp_path: Path
) -> None:
    certificate, key = pki.expired(profiles.KAFKA_CLIENT, agency="exchange").write(tmp_path, "expired")
    ended = await kafka.serve("one", **kafka.sections(certificate=str(certificate), key=str(key)))
    assert ended.code == 2
    (line,) = ended.lines()
    assert line.startswith("case-exchange: CERTIFICATE_INVALID: expired.pem has expired. ")
