"""Open durable subscriptions: who may do so, on which terms, and which streams share one.

1. the request is well formed, the kinds exist: SubscriptionInvalid, KindUnknown
2. the directory in force lets the agency receive every kind: RightDenied, PeerUnknown
3. there is room for another subscription, in this process and in the agency's quota: Overloaded, QuotaExceeded
"""

from __future__ import annotations

import asyncio
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import Draining, InputRefused, KindUnknown, Overloaded, SubscriptionInvalid
from broker.core.leasing.lease import LeaseBook
from broker.core.leasing.terms import LeaseSettings, check_code
from broker.core.policy import check_receive
from broker.core.streams import KINDS, streams_of
from broker.core.subscriptions import EARLIEST
from broker.ports import SubscriptionKey
from broker.services.copies import Copying
from broker.services.deliveries import Ended, SubscriptionTerms
from broker.services.generations import cursor_in_force
from broker.services.openings import Openings
from broker.services.round import Consumer
from broker.services.subscription import Subscription
from broker.services.subscription_log import may_miss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.errors import CaseExchangeError
    from broker.core.identity import Principal
    from broker.core.streams import Position
    from broker.core.subscriptions import StartPoint
    from broker.ports import AuditTrail, Clock, DirectoryInForce, Entropy, MessageLog, RecordCodec
    from broker.services.deliveries import Outgoing, SubscribeLimits
    from broker.services.erasureorders import ErasureOrders
    from broker.services.generations import Generations
    from broker.services.parking import Letters
    from broker.services.quotas import Quotas

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DELIVERY_ID_BYTES: Final = 7
"""Random bytes in a book's first delivery id. So an ack from before a restart does not fit a delivery by accident."""
_MIN_LEASE_SECONDS: Final = 1.0
_MOST_UNASSIGNED: Final = 20
"""So many damaged records are told of each subscription. The broker's own log has all of them."""
_NONE_REFUSED: Final[Mapping[int, str]] = MappingProxyType({})


class SubscriptionRequest(NamedTuple):
    """What a stream asks for. ``lease_seconds`` None: the broker's default. ``start``: where what is new begins."""

    name: str
    kinds: frozenset[str]
    max_outstanding_records: int
    max_outstanding_bytes: int
    lease_seconds: float | None
    start: StartPoint = EARLIEST


class SubscriberStream:
    """One stream's part in its subscription. Its end must be told with ``lost``, also after ``close``."""

    def __init__(self, subscription: Subscription, consumer: Consumer, terms: SubscriptionTerms) -> None:
        self._subscription = subscription
        self._consumer = consumer
        self.terms: Final = terms

    async def next(self) -> Outgoing:
        """The next message to send. The one before it was sent. After ``Ended`` nothing follows."""
        return await self._consumer.outgoing.next()

    async def room(self) -> None:
        """Wait until few messages wait to be sent. Call it before the subscriber's next request is taken."""
        await self._consumer.outgoing.room()

    def ack(self, delivery_ids: Sequence[int], refused: Mapping[int, str] = _NONE_REFUSED) -> int:
        """The subscriber has these records safely: processed, or in quarantine (``refused``: codes, by delivery).

        Returns:
            How many of them were answered before, or never made to this stream, and have no lease.

        Raises:
            InputRefused: a code is not well formed, or it is for another delivery. Nothing was acknowledged.
        """
        for code in refused.values():
            check_code(code, "the reason of a refusal")
        if refused and not refused.keys() <= set(delivery_ids):
            message = "an acknowledgement refuses a delivery that it does not name"
            raise InputRefused(message)
        return self._subscription.ack(self._consumer, delivery_ids, refused)

    def nack(self, delivery_id: int, delay_seconds: float, *, transient: bool = False) -> int:
        """The subscriber could not take a record. If ``transient``, this is not a failed attempt. Returns as ``ack``.

        Raises:
            InputRefused: the delay is not 0 to 600 seconds.
        """
        return self._subscription.nack(self._consumer, delivery_id, delay_seconds, transient=transient)

    def extend(self, delivery_id: int, seconds: float) -> int:
        """The subscriber needs the lease of a record to end this many seconds from now. Returns as ``ack``.

        Raises:
            InputRefused: the time is not positive.
        """
        return self._subscription.extend(self._consumer, delivery_id, seconds)

    def finish(self, error: CaseExchangeError | None = None) -> None:
        """End ``next``: the subscriber sends nothing more, or broke a rule."""
        self._consumer.outgoing.put(Ended(error))

    def close(self) -> None:
        """The subscriber closed the stream in good order: it gives back its records."""
        self._subscription.leave(self._consumer, clean=True)

    def lost(self) -> None:
        """The stream has ended. If the subscriber did not close it, its leases run on. Idempotent."""
        self._subscription.leave(self._consumer, clean=False)


class SubscribeService:
    """Opens subscriptions on behalf of authenticated principals. For one event loop."""

    def __init__(
        self,
        *,
        directory: DirectoryInForce,
        codec: RecordCodec,
        log: MessageLog,
        audit: AuditTrail,
        entropy: Entropy,
        clock: Clock,
        limits: SubscribeLimits,
        quotas: Quotas,
        letters: Letters,
        subscriptions: Generations,
        orders: ErasureOrders,
    ) -> None:
        self._orders = orders
        self._directory = directory
        self._codec = codec
        self._log = log
        self._audit = audit
        self._entropy, self._clock = entropy, clock
        self._limits = limits
        self._quotas = quotas
        self._letters, self._generations = letters, subscriptions
        self._subscriptions: dict[SubscriptionKey, Subscription] = {}
        self._pumps: set[asyncio.Task[None]] = set()
        self._openings = Openings()
        self._starting = 0
        self._streams = 0
        self._unassigned: list[Position] = []
        self._draining = False

    async def open(self, principal: Principal, request: SubscriptionRequest) -> SubscriberStream:
        """Open a stream of a durable subscription of the principal's agency. A new subscription is made if needed.

        A new subscription, and a kind that an existing one did not have, begins where the request says. Streams that
        are open at the same time share it, and share the lease that the first of them asked for.

        Raises:
            SubscriptionInvalid, KindUnknown, RightDenied, PeerUnknown, DirectoryUnavailable, Overloaded,
            QuotaExceeded, Draining, LogUnavailable, LogFull
            SubscriptionInUse: it has other kinds, and another process reads it.
            SubscriptionChanged: its agency moved or deleted it meanwhile.
        """
        self._check(principal, request)
        key = SubscriptionKey(principal.agency, request.name)
        subscription = await self._subscription(key, principal, request)
        if subscription.kinds != request.kinds:
            message = "the subscription is open in another stream, with other kinds"
            raise SubscriptionInvalid(message)
        terms = SubscriptionTerms(
            min(request.max_outstanding_records, self._limits.max_outstanding_records),
            min(request.max_outstanding_bytes, self._limits.max_outstanding_bytes),
            subscription.lease_seconds,
            self._limits.max_attempts,
        )
        self._streams += 1
        consumer = Consumer(str(self._streams), principal)
        subscription.join(consumer, terms.max_outstanding_records, terms.max_outstanding_bytes)
        return SubscriberStream(subscription, consumer, terms)

    async def drain(self) -> None:
        """End every subscription in good order, and open no more."""
        self._draining = True
        for subscription in self._subscriptions.values():
            subscription.drain()
        if self._pumps:
            await asyncio.wait(self._pumps)

    def may_miss(self, position: Position) -> None:
        """A record that nobody can assign is damaged in the log. Say so of every subscription, also when it opens."""
        if position in self._unassigned or len(self._unassigned) == _MOST_UNASSIGNED:
            return
        self._unassigned.append(position)
        for subscription in self._subscriptions.values():
            _tell(subscription, position)

    def _check(self, principal: Principal, request: SubscriptionRequest) -> None:
        if self._draining:
            message = "the broker is shutting down"
            raise Draining(message)
        # (1) Form.
        if not _NAME.fullmatch(request.name) or not request.kinds:
            message = "a subscription needs a name of lower-case letters, digits and hyphens, and at least one kind"
            raise SubscriptionInvalid(message)
        if request.max_outstanding_records < 1 or request.max_outstanding_bytes < 1:
            message = "flow control needs positive limits"
            raise SubscriptionInvalid(message)
        if not request.kinds <= KINDS:
            message = "a kind is not in the exchange's vocabulary"
            raise KindUnknown(message)
        # (2) Rights.
        check_receive(self._directory.current(), principal.agency, request.kinds)

    async def _subscription(
        self, key: SubscriptionKey, principal: Principal, request: SubscriptionRequest
    ) -> Subscription:
        while True:
            found = self._subscriptions.get(key)
            if found is None:
                async with self._openings.alone(key):
                    # Another stream may have opened it while this one waited.
                    if key not in self._subscriptions:
                        await self._start(key, principal, request)
            elif not found.ending:
                return found
            else:
                # Its last commit must be stored before the next cursor asks how far the subscription is.
                await found.ended.wait()
                if self._subscriptions.get(key) is found:
                    del self._subscriptions[key]

    async def _start(self, key: SubscriptionKey, principal: Principal, request: SubscriptionRequest) -> None:
        # (3) Room.
        if len(self._subscriptions) + self._starting >= self._limits.subscriptions:
            message = "the broker has as many subscriptions open as it is configured for"
            raise Overloaded(message)
        holding = self._quotas.open_subscription(key.agency)
        self._starting += 1
        kinds, start = request.kinds, request.start
        try:
            cursor = await cursor_in_force(self._log, self._generations, principal, key, kinds=kinds, start=start)
        except BaseException:
            holding.close()
            raise
        finally:
            self._starting -= 1
        settings = self._lease_settings(request.lease_seconds)
        first = int.from_bytes(self._entropy.token(_DELIVERY_ID_BYTES)) + 1
        subscription = Subscription(
            key,
            request.kinds,
            settings.lease_seconds,
            cursor=cursor,
            book=LeaseBook(settings, {}, first_delivery_id=first),
            directory=self._directory,
            audit=self._audit,
            clock=self._clock,
            limits=self._limits,
            letters=self._letters,
            holding=holding,
            copying=Copying(self._codec, self._orders),
        )
        unlisten = self._generations.listen(key, lambda _: subscription.drain())
        self._subscriptions[key] = subscription
        for position in self._unassigned:
            _tell(subscription, position)
        pump = asyncio.create_task(subscription.run(), name=f"subscription {key.agency}/{key.name}")
        self._pumps.add(pump)
        pump.add_done_callback(lambda _: unlisten())
        pump.add_done_callback(lambda _: self._ended(subscription, pump))

    def _ended(self, subscription: Subscription, pump: asyncio.Task[None]) -> None:
        self._pumps.discard(pump)
        subscription.holding.close()
        if self._subscriptions.get(subscription.key) is subscription:
            del self._subscriptions[subscription.key]

    def _lease_settings(self, asked_seconds: float | None) -> LeaseSettings:
        limits = self._limits
        wanted = limits.lease_seconds if asked_seconds is None else asked_seconds
        return LeaseSettings(
            lease_seconds=min(max(wanted, _MIN_LEASE_SECONDS), limits.max_lease_seconds),
            max_lease_seconds=limits.max_lease_seconds,
            max_attempts=limits.max_attempts,
            window_records=limits.window_records,
            window_bytes=limits.window_bytes,
        )


def _tell(subscription: Subscription, damaged: Position) -> None:
    if damaged.stream in streams_of(subscription.kinds):
        may_miss(subscription.key, damaged)
