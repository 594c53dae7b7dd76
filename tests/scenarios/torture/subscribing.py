"""Subscribers of one subscription, one at each broker. They ack most, nack or refuse some, and sometimes go away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.client.deadletters import DeadLettersClient
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.errors import CaseExchangeError
from tests.scenarios.torture.history import CONFIRMED, Ack, Delivery
from tests.support.records import CODEC

if TYPE_CHECKING:
    import random
    from collections.abc import Container

    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.core.streams import Position
    from tests.scenarios.torture.members import Trouble
    from tests.scenarios.torture.stage import Stage

AGENCY: Final = "national-dna-database"
SUBSCRIPTION: Final = "torture"
_OPTIONS: Final = SubscribeOptions(SUBSCRIPTION, frozenset({"SampleRequest"}), lease_seconds=4.0)
_NACK: Final = 0.04
_FORGET: Final = 0.02
"""The share of deliveries that are not answered, so that their leases expire."""
_LEAVE: Final = 0.01
"""The share of batches after which the connection is dropped, with its leases."""
_LATE: Final = 0.03
_LONGEST_DELAY_SECONDS: Final = 3.0
_POISON: Final = 0.1
_POISONED: Final = 2
"""The limit for records that kill their subscriber. Each takes many leases before it is a dead letter."""
_REFUSE: Final = 0.2
_REFUSAL: Final = "KIT_UNKNOWN"
_PAUSE_SECONDS: Final = 0.3


class _Left(Exception):
    """The subscriber goes away without a message."""


class Subscribing:
    """Two streams that are opened again after they end."""

    def __init__(self, stage: Stage, chance: random.Random, troubles: Container[Trouble]) -> None:
        self._stage = stage
        self._history = stage.history
        self._chance = chance
        self._troubles = troubles
        self.poison: set[str] = set()
        self.redriven: set[Position] = set()
        self._acks: set[asyncio.Task[None]] = set()
        self.draining = False
        """From now on everything is acknowledged at once."""

    async def run(self) -> None:
        """Subscribe until cancelled."""
        async with asyncio.TaskGroup() as group:
            for broker in self._stage.brokers:
                group.create_task(self._subscribe_on(broker))

    async def redrive(self) -> None:
        """Have every dead letter delivered again, with what is parked behind it, until there is none."""
        while True:
            for broker in self._stage.brokers:
                try:
                    async with self._stage.channel(broker, AGENCY) as channel:
                        letters = DeadLettersClient(channel)
                        async for letter in letters.listed(subscription=SUBSCRIPTION):
                            await letters.redrive(SUBSCRIPTION, letter.position)
                            self.redriven.add(letter.position)
                except CaseExchangeError as error:
                    self._history.failed("redrive", error.reason)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _subscribe_on(self, broker: str) -> None:
        while True:
            try:
                async with self._stage.channel(broker, AGENCY) as channel:
                    await self._receive(Subscriber(channel), broker)
            except _Left:
                self._history.failed("subscribe", "left by the subscriber")
            except CaseExchangeError as error:
                self._history.failed("subscribe", error.reason)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _receive(self, subscriber: Subscriber, broker: str) -> None:
        async with subscriber.subscribe(_OPTIONS) as stream:
            async for batch in stream:
                deliveries = [self._note(item, broker) for item in batch]
                await self._answer(stream, deliveries)
                if not self.draining and self._chance.random() < _LEAVE:
                    raise _Left

    def _note(self, item: Delivered, broker: str) -> Delivery:
        body = CODEC.parse_body(item.envelope.body)
        delivery = Delivery(
            item.position,
            body.record_id,
            item.envelope.body,
            body.case_id,
            item.attempt,
            item.delivery_id,
            broker,
            self._history.now,
        )
        self._history.deliveries.append(delivery)
        return delivery

    async def _answer(self, stream: SubscriptionStream, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            if not self.draining and self._kills(delivery):
                raise _Left
            if not self.draining and "stale" in self._troubles:
                await stream.nack(delivery.delivery_id, self._chance.uniform(0, 1), transient=True)
                continue
            lot = 1.0 if self.draining else self._chance.random()
            if lot < _NACK:
                await stream.nack(delivery.delivery_id, self._chance.uniform(0, 1))
            elif lot >= _NACK + _FORGET:
                late = lot < _NACK + _FORGET + _LATE
                delay = self._chance.uniform(0, _LONGEST_DELAY_SECONDS) if late else 0
                task = asyncio.create_task(self._ack(stream, delivery, delay))
                self._acks.add(task)
                task.add_done_callback(self._acks.discard)

    def _kills(self, delivery: Delivery) -> bool:
        few = len(self.poison) < _POISONED
        if "poison" in self._troubles and few and self._chance.random() < _POISON:
            self.poison.add(delivery.record_id)
        return delivery.record_id in self.poison

    async def _ack(self, stream: SubscriptionStream, delivery: Delivery, delay: float) -> None:
        refused = _REFUSAL if "poison" in self._troubles and self._chance.random() < _REFUSE else ""
        await asyncio.sleep(delay)
        sent_at, outcome = self._history.now, CONFIRMED
        try:
            if refused:
                await stream.refuse(delivery.delivery_id, refused)
            else:
                await stream.ack([delivery.delivery_id])
        except CaseExchangeError as error:
            outcome = error.reason
            self._history.failed("ack", outcome)
        self._history.acks.append(Ack(delivery, outcome, sent_at, self._history.now, refused))
