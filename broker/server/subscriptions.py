"""SubscriptionService: unpack, ask what the broker knows of subscriptions, pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.server.calls import Context, caller
from broker.wire.subscriptionevents import start_from
from broker.wire.subscriptions import subscription_to
from caseexchange.broker.v1 import subscription_pb2, subscription_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.services.subscriptions import Subscriptions


class SubscriptionServicer(subscription_pb2_grpc.SubscriptionServiceServicer):
    """See subscription.proto."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    async def ListSubscriptions(  # noqa: N802 - the generated stub's name
        self,
        request: subscription_pb2.ListSubscriptionsRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[subscription_pb2.ListSubscriptionsResponse]:
        """Send all."""
        async for state in self._subscriptions.listed(caller(), request.agency):
            yield subscription_pb2.ListSubscriptionsResponse(subscription=subscription_to(state))

    async def SeekSubscription(  # noqa: N802 - the generated stub's name
        self,
        request: subscription_pb2.SeekSubscriptionRequest,
        context: Context,  # noqa: ARG002
    ) -> subscription_pb2.SeekSubscriptionResponse:
        """Move one."""
        skipped = await self._subscriptions.seek(caller(), request.subscription, start_from(request.to))
        return subscription_pb2.SeekSubscriptionResponse(skipped=skipped)

    async def DeleteSubscription(  # noqa: N802 - the generated stub's name
        self,
        request: subscription_pb2.DeleteSubscriptionRequest,
        context: Context,  # noqa: ARG002
    ) -> subscription_pb2.DeleteSubscriptionResponse:
        """End one for good."""
        closed = await self._subscriptions.delete(caller(), request.subscription)
        return subscription_pb2.DeleteSubscriptionResponse(skipped=closed.skipped, set_aside=closed.set_aside)
