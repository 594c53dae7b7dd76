"""A record that kills its consumer each time, one that is refused, and a link that flaps: real gRPC, both logs."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from broker.client.deadletters import DeadLettersClient
from broker.client.subscriber import SubscribeOptions
from broker.core.errors import LeaseLost
from broker.core.leasing.ackstate import LOSSES_TO_SUSPECT
from broker.core.streams import AUDIT, StreamPartition
from tests.support.exchange import running_exchange
from tests.support.kafkaexchange import OnKafka
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from broker.client.subscriber import SubscriptionStream
    from broker.core.streams import Position
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

MAX_ATTEMPTS = 3
SAMPLES = SubscribeOptions("samples", frozenset({"SampleRequest"}), max_outstanding_records=6, lease_seconds=1.0)
CASES = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(12)]
KILLER = CASES[2]
BOUND = 120
"""Seconds. A suspect that is lost costs one lease and a rest of five."""


class Died(Exception):
    """The consumer is gone without a word."""


class Flap(NamedTuple):
    """A connection breaks when this many records were acknowledged over it."""

    acks: int


class Consumer:
    """A gateway that a supervisor starts again. It handles a batch as a whole and then acknowledges it."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.published: dict[Position, str] = {}
        self.deliveries: Counter[Position] = Counter()
        self.lost: Counter[Position] = Counter()
        """How often each record was in the batch of one that killed the consumer."""
        self.acked: set[Position] = set()
        self.parked: Position | None = None

    async def publish(self, case: str) -> Position:
        receipt = await (await self.exchange.publisher()).publish(self.exchange.maker().make(case=case))
        position = self.exchange.receipts().verify(receipt).position
        self.published[position] = case
        return position

    async def lives(self, killer: Position) -> None:
        """Until it is known that a record is parked behind the killer, and everything else is acknowledged."""
        while self.parked is None or self.acked != self.published.keys() - {killer, self.parked}:
            try:
                await self.lives_once(killer)
            except Died:
                # Other records come in meanwhile.
                await self.publish(CASES[0])

    async def lives_once(self, killer: Position | None, flap: Flap | None = None) -> None:
        """Until all but the killer and what is parked behind it is acknowledged, or until it dies."""
        async with (await self.exchange.subscriber()).subscribe(SAMPLES) as stream:
            async for batch in stream:
                positions = {delivered.position: delivered.delivery_id for delivered in batch}
                self.deliveries.update(positions.keys())
                if killer in positions:
                    self.lost.update(positions.keys() - {killer})
                    raise Died
                for position, delivery_id in positions.items():
                    if flap is not None and flap.acks == 0:
                        raise Died
                    await self._ack(stream, position, delivery_id)
                    flap = None if flap is None else Flap(flap.acks - 1)
                if self.acked == self.published.keys() - {killer, self.parked}:
                    return

    async def _ack(self, stream: SubscriptionStream, position: Position, delivery_id: int) -> None:
        try:
            await stream.ack([delivery_id])
        except LeaseLost:
            return
        self.acked.add(position)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(
    request: pytest.FixtureRequest, pki: SamplePki, tmp_path: Path
) -> Callable[[], AbstractAsyncContextManager[Exchange]]:
    """Start a broker on either log."""
    sections: dict[str, Any] = {"subscriptions": {"max_attempts": MAX_ATTEMPTS}, "logging": {"level": "info"}}
    if request.param == "embedded":
        return lambda: running_exchange(pki, tmp_path / "log", **sections)
    cluster, keys = request.getfixturevalue("kafka_cluster"), request.getfixturevalue("kafka_keys")
    return lambda: OnKafka(cluster, keys, pki, tmp_path).broker("one", **sections)


async def test_a_consumer_killer_ends_as_a_dead_letter_and_costs_the_others_no_more_than_three_leases_each(
    broker: Callable[[], AbstractAsyncContextManager[Exchange]], tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with broker() as exchange, asyncio.timeout(BOUND):
            consumer = Consumer(exchange)
            positions = {case: await consumer.publish(case) for case in CASES}
            killer = positions[KILLER]
            successor = await consumer.publish(KILLER)
            living = asyncio.create_task(consumer.lives(killer))
            letters = DeadLettersClient(await exchange.channel("national-dna-database"))
            while True:
                if (await letters.count()).dead_letters:
                    break
                await asyncio.sleep(0.1)
            consumer.parked = successor
            await consumer.publish(CASES[0])
            await living
            report = (await replayed(exchange, tmp_path / "whole.bundle")).report()
    assert [(each.position, each.parked) for each in report.unprocessed] == [(killer, False), (successor, True)]
    assert consumer.acked == consumer.published.keys() - {killer, successor}
    assert max(consumer.lost.values(), default=0) <= LOSSES_TO_SUSPECT, consumer.lost
    # In doubt it may come alone before it is a suspect, which takes no other record's lease.
    assert 0 <= consumer.deliveries[killer] - LOSSES_TO_SUSPECT - MAX_ATTEMPTS <= 4 * LOSSES_TO_SUSPECT
    said = [
        (line["event"], line["log_level"])
        for line in logs
        if line.get("position") == str(killer) and "suspect" in line["event"]
    ]
    # It is said again if the consumer came back after its lease had ended: then the subscription began anew.
    assert set(said[:-1]) == {("a record is a suspect", "warning")}
    assert said[-1] == ("a suspect is a dead letter", "warning")
    suspected, cleared = (
        {line["position"] for line in logs if line["event"] == event and line["subscription"] == "samples"}
        for event in ("a record is a suspect", "a record is a suspect no more")
    )
    assert cleared == suspected - {str(killer)}


async def test_a_link_that_flaps_makes_no_dead_letter(
    broker: Callable[[], AbstractAsyncContextManager[Exchange]], tmp_path: Path
) -> None:
    """Every connection breaks while records are leased to it, after one, two or no acknowledgements."""
    async with broker() as exchange, asyncio.timeout(BOUND):
        consumer = Consumer(exchange)
        for case in CASES:
            await consumer.publish(case)
        for number in range(3 * LOSSES_TO_SUSPECT):
            if consumer.acked == consumer.published.keys():
                await consumer.publish(CASES[number % len(CASES)])
            try:
                await consumer.lives_once(None, Flap((1, 2, 0)[number % 3]))
            except Died:
                continue
        while consumer.acked != consumer.published.keys():
            await consumer.lives_once(None)
        report = (await replayed(exchange, tmp_path / "whole.bundle")).report()
    assert report.unprocessed == ()
    assert max(consumer.deliveries.values()) > 1


# --- a record that is refused ---

MANY = 1000
LOT = 10


class Cost(NamedTuple):
    """What it took until every record was answered: deliveries, messages with them, and records for auditors."""

    deliveries: Counter[Position]
    messages: int
    audit_records: int


async def cost_of_all(exchange: Exchange, name: str, *, refuses: bool) -> Cost:
    """Answer a lot as soon as all of it is there. If one refused record kept its place, no lot would be whole again."""
    log, messages = exchange.broker.log, 0
    deliveries: Counter[Position] = Counter()
    audit = StreamPartition(AUDIT, 0)
    before = await log.end_offset(audit)
    options = SubscribeOptions(name, SAMPLES.kinds, max_outstanding_records=LOT)
    async with (await exchange.subscriber()).subscribe(options) as stream:
        held: list[int] = []
        async for batch in stream:
            messages += 1
            held += [each.delivery_id for each in batch]
            deliveries.update(each.position for each in batch)
            if len(held) < LOT:
                continue
            if refuses:
                await stream.refuse(held.pop(0), "KIT_UNKNOWN")
                refuses = False
            await stream.ack(held)
            held.clear()
            if deliveries.total() >= MANY:
                break
    written = await log.read(audit, before, 100 * MANY, 1 << 40, values=False)
    return Cost(deliveries, messages, len(written))


async def test_a_refused_record_among_a_thousand_cases_costs_the_others_hardly_anything(
    broker: Callable[[], AbstractAsyncContextManager[Exchange]],
) -> None:
    """Each round of a subscription writes for auditors what it delivers, so their records count the rounds."""
    async with broker() as exchange, asyncio.timeout(BOUND):
        maker, publisher = exchange.maker(), await exchange.publisher()
        for _ in range(MANY // 100):
            await asyncio.gather(*(publisher.publish(maker.make(case=str(uuid4()))) for _ in range(100)))
        quiet = await cost_of_all(exchange, "quiet", refuses=False)
        poisoned = await cost_of_all(exchange, "poisoned", refuses=True)
    for cost in (quiet, poisoned):
        assert len(cost.deliveries) == cost.deliveries.total() == MANY
    assert poisoned.messages <= 1.05 * quiet.messages, (quiet[1:], poisoned[1:])
    assert poisoned.audit_records <= 1.05 * quiet.audit_records, (quiet[1:], poisoned[1:])
