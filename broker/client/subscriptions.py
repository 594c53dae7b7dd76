"""Ask a broker where subscriptions stand, and move or delete them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.client.connection import typed_errors
from broker.core.subscriptions import Closed
from broker.wire.subscriptionevents import start_to
from broker.wire.subscriptions import subscription_from
from caseexchange.broker.v1 import subscription_pb2, subscription_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from broker.core.subscriptions import StartPoint
    from broker.ports import SubscriptionState

_SECONDS: Final = 60.0
"""Longest wait for an answer."""


class SubscriptionsClient:
    """Asks over a channel, as the agency of its certificate. For one event loop.

    Raises (every method):
        CaseExchangeError: the broker did not answer, or refused the request.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = subscription_pb2_grpc.SubscriptionServiceStub(channel)

    async def listed(self, agency: str = "") -> AsyncIterator[SubscriptionState]:
        """All of them, in the order of agency and name.

        ``agency`` empty: the caller's own, or every agency's if the caller is an auditor.
        """
        request = subscription_pb2.ListSubscriptionsRequest(agency=agency)
        with typed_errors():
            async for answer in self._stub.ListSubscriptions(request):
                yield subscription_from(answer.subscription)

    async def seek(self, subscription: str, to: StartPoint) -> int:
        """Move one of the caller's own, forward or back. Durable when it returns.

        Returns:
            How many records it had not finished and is not sent.
        """
        request = subscription_pb2.SeekSubscriptionRequest(subscription=subscription, to=start_to(to))
        with typed_errors():
            return (await self._stub.SeekSubscription(request, timeout=_SECONDS)).skipped

    async def delete(self, subscription: str) -> Closed:
        """End one of the caller's own for good. Durable when it returns.

        Returns:
            How many records it had not finished, and how many were set aside.
        """
        request = subscription_pb2.DeleteSubscriptionRequest(subscription=subscription)
        with typed_errors():
            answer = await self._stub.DeleteSubscription(request, timeout=_SECONDS)
        return Closed(answer.skipped, answer.set_aside)
