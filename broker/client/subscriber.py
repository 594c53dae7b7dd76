"""Subscribing: a durable subscription leases records to us. We acknowledge each when it is safe here.

Deliveries are at least once: a record that comes twice must have the same effect as one that comes once.
"""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from broker.client.connection import typed_errors
from broker.client.stream import CallStream
from broker.core.errors import CaseExchangeError, ConnectionFailed, Draining, LeaseLost
from broker.core.leasing.terms import check_code
from broker.core.subscriptions import EARLIEST
from broker.wire.envelopes import envelope_from
from broker.wire.receipts import position_from
from broker.wire.subscriptionevents import start_to
from broker.wire.times import set_duration, to_ms
from caseexchange.broker.v1 import subscriber_pb2, subscriber_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from typing import Self

    import grpc

    from broker.core.envelope import Envelope
    from broker.core.streams import Position
    from broker.core.subscriptions import StartPoint


@dataclass(frozen=True, slots=True)
class SubscribeOptions:
    """The settings of a subscription. With the same name, it goes on where the agency's last stream of it ended.

    Attributes:
        subscription: its name: lower-case letters, digits and hyphens.
        kinds: the kinds of record to receive.
        max_outstanding_records: most unacknowledged records at a time.
        max_outstanding_bytes: most unacknowledged bytes at a time.
        lease_seconds: how long a delivery is leased. None: the broker's default.
        start: where what is new begins: the subscription, or a kind that it did not have until now.
    """

    subscription: str
    kinds: frozenset[str]
    max_outstanding_records: int = 100
    max_outstanding_bytes: int = 16 * 1024 * 1024
    lease_seconds: float | None = None
    start: StartPoint = EARLIEST


class Delivered(NamedTuple):
    """One record leased to this stream. Nothing in it has been verified yet; broker/client/verifying.py does that.

    If a field beside the envelope cannot be read, ``fault`` is the error, and ``accepted_at_ms`` means nothing.
    """

    delivery_id: int
    position: Position
    accepted_at_ms: int
    attempt: int
    envelope: Envelope
    fault: CaseExchangeError | None = None


class Subscriber:
    """Subscribes over a channel. For one event loop."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = subscriber_pb2_grpc.SubscriberServiceStub(channel)
        self._streams: weakref.WeakSet[SubscriptionStream] = weakref.WeakSet()

    def subscribe(self, options: SubscribeOptions) -> SubscriptionStream:
        """A stream of a subscription: ``async with subscriber.subscribe(options) as stream``."""
        stream = SubscriptionStream(self._stub, options)
        self._streams.add(stream)
        return stream

    def reopen(self) -> None:
        """End the open streams in good order, as when the broker drains, because the connection was renewed.

        Each raises ``Draining`` when its next batch is asked for. Whoever reads it opens another on the new connection.
        """
        for stream in self._streams:
            stream.drain()


class SubscriptionStream(CallStream[subscriber_pb2.SubscribeRequest, subscriber_pb2.SubscribeResponse]):
    """An open stream of a subscription. It yields batches of deliveries, in order within each case.

    When ``async with`` ends without an error, unacknowledged records are given back at once. If the connection breaks,
    their leases first run out; then the records are delivered again.
    """

    def __init__(self, stub: subscriber_pb2_grpc.SubscriberServiceAsyncStub, options: SubscribeOptions) -> None:
        super().__init__()
        self._stub = stub
        self._options = options
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}
        self._batches: asyncio.Queue[tuple[Delivered, ...] | None] = asyncio.Queue()
        self._draining = False
        self.settings: subscriber_pb2.SubscriptionOpened
        """The settings in force, as the broker sent them when the stream opened."""

    async def __aenter__(self) -> Self:
        call = self._stub.Subscribe()
        with typed_errors():
            await call.write(_open_request(self._options))
            first = await call.read()
        if not isinstance(first, subscriber_pb2.SubscribeResponse):
            message = "the broker ended the stream before it opened"
            raise ConnectionFailed(message)
        self.settings = first.opened
        self._begin(call)
        return self

    async def __aiter__(self) -> AsyncIterator[tuple[Delivered, ...]]:
        """Yield batches of deliveries, until the stream ends.

        Raises:
            CaseExchangeError: the reason why it ended.
        """
        while not self._draining and (batch := await self._batches.get()) is not None:
            yield batch
        if self._draining and self._broken is None:
            # What was not acknowledged is given back now, and not when its leases have run out.
            await self._end()
            message = "the connection was renewed"
            raise Draining(message)
        if self._broken is not None:
            raise self._broken

    def drain(self) -> None:
        """End in good order after the batch that is being used. See ``Subscriber.reopen``."""
        self._draining = True
        self._batches.put_nowait(None)

    async def ack(self, delivery_ids: Iterable[int]) -> None:
        """Report that these records are safe here. Returns when the broker has stored this durably.

        Raises:
            LeaseLost: a lease had ended, so that record is delivered again. The other acks are valid.
            CaseExchangeError: the stream broke, so it is unknown which acks are valid.
        """
        await self._acknowledge(subscriber_pb2.Acknowledge(delivery_ids=dict.fromkeys(delivery_ids)))

    async def refuse(self, delivery_id: int, code: str) -> None:
        """Report that this record cannot be used, and is durable in quarantine here. It does not come again.

        Args:
            delivery_id: its delivery.
            code: why, for auditors: a capital letter, then at most 63 capital letters, digits and underscores.

        Raises:
            InputRefused: the code is none.
            LeaseLost, CaseExchangeError: as ``ack``.
        """
        check_code(code, "the reason of a refusal")
        refusal = subscriber_pb2.DeliveryRefusal(delivery_id=delivery_id, code=code)
        await self._acknowledge(subscriber_pb2.Acknowledge(delivery_ids=[delivery_id], refusals=[refusal]))

    async def _acknowledge(self, request: subscriber_pb2.Acknowledge) -> None:
        confirmations = {delivery_id: self._confirmation(delivery_id) for delivery_id in request.delivery_ids}
        try:
            await self._write(subscriber_pb2.SubscribeRequest(acknowledge=request))
        except BaseException:
            for delivery_id, confirmation in confirmations.items():
                self._unconfirmed.pop(delivery_id, None)
                confirmation.cancel() or confirmation.exception()
            raise
        outcomes = await asyncio.gather(*confirmations.values(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def nack(self, delivery_id: int, delay_seconds: float, *, transient: bool = False) -> None:
        """Give a record back, to be delivered again after this delay (0 to 600 seconds).

        It counts as a failed attempt, unless ``transient`` is true: the cause is a fault on this side that will pass.
        """
        request = subscriber_pb2.NegativeAcknowledge(delivery_id=delivery_id)
        if transient:
            request.reason = subscriber_pb2.NEGATIVE_ACKNOWLEDGE_REASON_TRANSIENT
        set_duration(request.delay, delay_seconds)
        await self._write(subscriber_pb2.SubscribeRequest(negative_acknowledge=request))

    async def extend(self, delivery_id: int, seconds: float) -> None:
        """Ask for the lease to end this many seconds from now. The broker limits the total length of a lease."""
        request = subscriber_pb2.ExtendLease(delivery_id=delivery_id)
        set_duration(request.lease, seconds)
        await self._write(subscriber_pb2.SubscribeRequest(extend_lease=request))

    async def _close(self) -> None:
        await self._write(subscriber_pb2.SubscribeRequest(close=subscriber_pb2.CloseStream()))

    def _confirmation(self, delivery_id: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed[delivery_id] = future
        return future

    def _take(self, response: subscriber_pb2.SubscribeResponse) -> None:
        if response.HasField("deliveries"):
            self._batches.put_nowait(tuple(map(_delivered, response.deliveries.deliveries)))
        elif response.HasField("acknowledged"):
            for delivery_id in response.acknowledged.delivery_ids:
                self._confirm(delivery_id, None)
        elif response.HasField("leases_lost"):
            for delivery_id in response.leases_lost.delivery_ids:
                lost = LeaseLost("the lease of this delivery had ended", delivery_id=str(delivery_id))
                self._confirm(delivery_id, lost)

    def _confirm(self, delivery_id: int, error: CaseExchangeError | None) -> None:
        # The broker may answer a nack or an extension with a lost lease too. Nobody waits for that answer.
        future = self._unconfirmed.pop(delivery_id, None)
        if future is not None and not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _ended(self, error: CaseExchangeError) -> None:
        self._batches.put_nowait(None)
        for delivery_id in list(self._unconfirmed):
            self._confirm(delivery_id, error)


def _open_request(options: SubscribeOptions) -> subscriber_pb2.SubscribeRequest:
    request = subscriber_pb2.OpenSubscription(
        subscription=options.subscription,
        kinds=sorted(options.kinds),
        max_outstanding_records=options.max_outstanding_records,
        max_outstanding_bytes=options.max_outstanding_bytes,
        start=start_to(options.start),
    )
    if options.lease_seconds is not None:
        set_duration(request.lease, options.lease_seconds)
    return subscriber_pb2.SubscribeRequest(open=request)


def _delivered(message: subscriber_pb2.Delivery) -> Delivered:
    accepted_at_ms, fault = 0, None
    try:
        accepted_at_ms = to_ms(message.accepted_at)
    except CaseExchangeError as error:
        fault = error
    envelope = envelope_from(message.envelope)
    return Delivered(
        message.delivery_id, position_from(message.position), accepted_at_ms, message.attempt, envelope, fault
    )
