"""SubscriberService: unpack, call the subscribe service, pack."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.core.errors import CaseExchangeError, InputRefused, SubscriptionInvalid
from broker.core.streams import KINDS
from broker.server.calls import Context, caller, turn
from broker.services.deliveries import Acknowledged, Deliveries, Ended, LeasesLost
from broker.services.subscribe import SubscriptionRequest
from broker.wire.deliveries import WireDelivery, acknowledged_to, deliveries_to, leases_lost_to, opened_to
from broker.wire.subscriptionevents import start_from
from broker.wire.times import to_seconds
from caseexchange.broker.v1 import subscriber_pb2, subscriber_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.services.subscribe import SubscriberStream, SubscribeService


class SubscriberServicer(subscriber_pb2_grpc.SubscriberServiceServicer):
    """See subscriber.proto."""

    def __init__(self, service: SubscribeService) -> None:
        self._service = service

    async def Subscribe(  # noqa: N802 - the generated stub's name
        self,
        request_iterator: AsyncIterator[subscriber_pb2.SubscribeRequest],
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[subscriber_pb2.SubscribeResponse]:
        """Serve one stream of a subscription until either side ends it."""
        stream = await self._service.open(caller(), await _open_request(request_iterator))
        listening = asyncio.create_task(_listen(stream, request_iterator))
        try:
            yield opened_to(*stream.terms)
            async for response in _responses(stream):
                yield response
        finally:
            stream.lost()
            listening.cancel()


async def _open_request(requests: AsyncIterator[subscriber_pb2.SubscribeRequest]) -> SubscriptionRequest:
    first = await anext(requests, None)
    if first is None or not first.HasField("open"):
        message = "the first request of a stream opens a subscription"
        raise SubscriptionInvalid(message)
    asked = first.open
    if len(asked.kinds) > len(KINDS):
        message = "the request names more kinds than there are"
        raise SubscriptionInvalid(message)
    return SubscriptionRequest(
        asked.subscription,
        frozenset(asked.kinds),
        asked.max_outstanding_records,
        asked.max_outstanding_bytes,
        to_seconds(asked.lease) if asked.HasField("lease") else None,
        start_from(asked.start),
    )


async def _listen(stream: SubscriberStream, requests: AsyncIterator[subscriber_pb2.SubscribeRequest]) -> None:
    try:
        async for request in requests:
            await stream.room()
            if request.HasField("close"):
                stream.close()
                break
            turn().in_vain(_take(stream, request))
            # As in broker/server/requests.py.
            del request
        # Without a close this says nothing: the requests of a call that broke may end like those of one that did not.
        stream.finish()
    except CaseExchangeError as error:
        stream.finish(error)


def _take(stream: SubscriberStream, request: subscriber_pb2.SubscribeRequest) -> int:
    """Return how many answers were to nothing that the stream was handed."""
    match request.WhichOneof("request"):
        case "acknowledge":
            most = stream.terms.max_outstanding_records
            given = request.acknowledge
            if max(len(given.delivery_ids), len(given.refusals)) > most:
                message = f"an acknowledgement names at most {most} deliveries, as many as may be outstanding"
                raise InputRefused(message)
            return stream.ack(given.delivery_ids, {refusal.delivery_id: refusal.code for refusal in given.refusals})
        case "negative_acknowledge":
            given_back = request.negative_acknowledge
            transient = given_back.reason == subscriber_pb2.NEGATIVE_ACKNOWLEDGE_REASON_TRANSIENT
            return stream.nack(given_back.delivery_id, to_seconds(given_back.delay), transient=transient)
        case "extend_lease":
            return stream.extend(request.extend_lease.delivery_id, to_seconds(request.extend_lease.lease))
        case _:
            message = "only the first request of a stream opens a subscription, and none may be empty"
            raise SubscriptionInvalid(message)


async def _responses(stream: SubscriberStream) -> AsyncIterator[subscriber_pb2.SubscribeResponse]:
    while True:
        match await stream.next():
            case Deliveries(copies):
                # The names of withheld sections go only to the audit trail. The recipient can see them from the body.
                yield deliveries_to(WireDelivery(*copy[:5]) for copy in copies)
            case Acknowledged(delivery_ids):
                yield acknowledged_to(delivery_ids)
            case LeasesLost(delivery_ids):
                yield leases_lost_to(delivery_ids)
            case Ended(error):
                if error is None:
                    return
                raise error
