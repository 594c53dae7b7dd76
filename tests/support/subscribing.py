"""Processes that share one log, each with its own subscriptions and its own index of the audit stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from broker.core.identity import Principal
from broker.core.quota import QuotaLimits
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, DNA, SUBSCRIPTION_EVENTS, StreamPartition
from broker.core.subscriptions import EARLIEST
from broker.services.auditfold import AuditFold
from broker.services.auditindex import AuditIndex
from broker.services.deadletters import DeadLetters
from broker.services.deliveries import Acknowledged, DeliveredCopy, Deliveries, SubscribeLimits
from broker.services.erasureorders import ErasureOrders
from broker.services.quotas import Quotas
from broker.services.subscribe import SubscriberStream, SubscribeService, SubscriptionRequest
from broker.services.subscriptions import Subscriptions
from broker.trust.system import SystemEntropy
from tests.support.fakes import FixedDirectory
from tests.support.letters import audit_trail
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from broker.core.events import Event
    from broker.core.subscriptions import StartPoint
    from broker.ports import MessageLog, SubscriptionState
    from tests.support.pki import ManualClock, SamplePki

LAB = Principal("case-exchange.example", "national-dna-database", "gateway")
NAME = "samples"
SAMPLE = "SampleRequest"
SECONDS = 30
"""A bound for what Kafka must do first."""


class Subscribing(NamedTuple):
    """One process."""

    log: MessageLog
    subscriptions: Subscriptions
    streams: SubscribeService
    letters: DeadLetters
    run: Callable[[], Coroutine[None, None, None]]
    peer: MessageLog

    @classmethod
    def of(
        cls,
        pki: SamplePki,
        log: MessageLog,
        clock: ManualClock,
        *,
        peer: MessageLog,
        durable: int = 2000,
        **limits: int,
    ) -> Subscribing:
        index = AuditIndex(None, log.log_id(AUDIT))
        fold = AuditFold(index, log, CODEC)
        directory = FixedDirectory(pki.directory)
        audit = audit_trail(pki, log, clock)
        letters = DeadLetters(
            index=index,
            log=log,
            audit=audit,
            codec=CODEC,
            directory=directory,
            entropy=SystemEntropy(),
            clock=clock,
            fold=fold,
            orders=ErasureOrders(),
        )
        quotas = Quotas(lambda _: QuotaLimits(durable_subscriptions=durable), clock)
        subscriptions = Subscriptions(
            index=index, fold=fold, log=log, audit=audit, directory=directory, quotas=quotas, clock=clock
        )
        streams = SubscribeService(
            directory=directory,
            codec=CODEC,
            log=log,
            audit=audit,
            entropy=SystemEntropy(),
            clock=clock,
            limits=SubscribeLimits(**limits),
            quotas=quotas,
            letters=letters,
            subscriptions=subscriptions,
            orders=ErasureOrders(),
        )
        return cls(log, subscriptions, streams, letters, fold.run, peer)

    async def open(
        self, kinds: Iterable[str] = (SAMPLE,), start: StartPoint = EARLIEST, *, principal: Principal = LAB
    ) -> SubscriberStream:
        await self.know()
        return await self.streams.open(
            principal, SubscriptionRequest(NAME, frozenset(kinds), 100, 1 << 20, None, start)
        )

    async def take(self, count: int, kinds: Iterable[str] = (SAMPLE,), start: StartPoint = EARLIEST) -> list[bytes]:
        """Open a stream, acknowledge so many records, and close it. Return their bodies, in order."""
        stream = await self.open(kinds, start)
        bodies = await taken(stream, count)
        await self.closed(stream)
        return bodies

    async def closed(self, stream: SubscriberStream) -> None:
        """Close a stream in good order. Returns when the subscription has ended."""
        stream.close()
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*self.streams._pumps)

    async def state(self) -> SubscriptionState:
        """The only subscription of the laboratory."""
        await self.know()
        (state,) = [each async for each in self.subscriptions.listed(LAB, "")]
        return state

    async def know(self) -> None:
        """Return when this process has read what the other one has."""
        for stream in (AUDIT, DNA):
            for number in range(self.log.partitions(stream)):
                partition = StreamPartition(stream, number)
                await self.log.catch_up(partition, await self.peer.end_offset(partition))
        await self.letters.catch_up()

    async def orders(self) -> list[Event]:
        """What the audit stream says of orders."""
        await self.know()
        entries = await self.log.read(StreamPartition(AUDIT, 0), 0, 10_000, 1 << 30)
        return [
            told.event
            for entry in entries
            if entry.kind == SUBSCRIPTION_EVENTS
            for section in CODEC.decode_envelope(entry.value).sections
            for told in CODEC.decode_audit_events(unsalted(section))
        ]


async def taken(stream: SubscriberStream, count: int) -> list[bytes]:
    """Acknowledge so many records. Return their bodies, in order, when all of that is durable."""
    bodies: list[bytes] = []
    unconfirmed: set[int] = set()
    async with asyncio.timeout(SECONDS):
        while len(bodies) < count or unconfirmed:
            match await stream.next():
                case Deliveries(copies):
                    assert len(bodies) + len(copies) <= count, "more than expected"
                    bodies += [copy.envelope.body for copy in copies]
                    unconfirmed.update(copy.delivery_id for copy in copies)
                    stream.ack([copy.delivery_id for copy in copies])
                case Acknowledged(delivery_ids):
                    unconfirmed.difference_update(delivery_ids)
                case other:
                    raise AssertionError(other)
    return bodies


async def delivered(stream: SubscriberStream) -> DeliveredCopy:
    """The next record, alone."""
    async with asyncio.timeout(SECONDS):
        outgoing = await stream.next()
    assert isinstance(outgoing, Deliveries)
    (copy,) = outgoing.copies
    return copy
