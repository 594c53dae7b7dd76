"""DeadLetterService: unpack, call the service of dead letters, pack."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from broker.ports import SubscriptionKey
from broker.server.calls import Context, caller
from broker.services.auditindex import Scope
from broker.wire.deadletters import dead_letter_to
from broker.wire.receipts import position_from
from broker.wire.times import set_ms
from caseexchange.broker.v1 import deadletter_pb2, deadletter_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.services.deadletterorders import DeadLetterOrders
    from broker.services.deadletters import DeadLetters


class DeadLetterServicer(deadletter_pb2_grpc.DeadLetterServiceServicer):
    """See deadletter.proto."""

    def __init__(self, letters: DeadLetters, orders: DeadLetterOrders) -> None:
        self._letters = letters
        self._orders = orders

    async def CountDeadLetters(  # noqa: N802 - the generated stub's name
        self,
        request: deadletter_pb2.CountDeadLettersRequest,
        context: Context,  # noqa: ARG002
    ) -> deadletter_pb2.CountDeadLettersResponse:
        """Send numbers."""
        tally = self._letters.count(caller(), _scope(request.scope))
        response = deadletter_pb2.CountDeadLettersResponse(dead_letters=tally.dead_letters, parked=tally.parked)
        if tally.oldest_ms is not None:
            set_ms(response.oldest, tally.oldest_ms)
        return response

    async def ListDeadLetters(  # noqa: N802 - the generated stub's name
        self,
        request: deadletter_pb2.ListDeadLettersRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[deadletter_pb2.ListDeadLettersResponse]:
        """Send all."""
        async for page in self._letters.listed(caller(), _scope(request.scope)):
            yield deadletter_pb2.ListDeadLettersResponse(dead_letters=[dead_letter_to(state) for state in page])

    async def GetDeadLetter(  # noqa: N802 - the generated stub's name
        self,
        request: deadletter_pb2.GetDeadLetterRequest,
        context: Context,  # noqa: ARG002
    ) -> deadletter_pb2.GetDeadLetterResponse:
        """Send one."""
        principal = caller()
        subscription = SubscriptionKey(request.scope.agency or principal.agency, request.scope.subscription)
        state, entry = await self._letters.shown(principal, subscription, position_from(request.position))
        response = deadletter_pb2.GetDeadLetterResponse(dead_letter=dead_letter_to(state))
        if entry is not None:
            response.record_id, response.kind = str(UUID(bytes=entry.record_id)), entry.kind
            set_ms(response.accepted_at, entry.accepted_at_ms)
        return response

    async def RedriveDeadLetter(  # noqa: N802 - the generated stub's name
        self,
        request: deadletter_pb2.RedriveDeadLetterRequest,
        context: Context,  # noqa: ARG002
    ) -> deadletter_pb2.RedriveDeadLetterResponse:
        """Deliver one again."""
        await self._letters.redrive(caller(), request.subscription, position_from(request.position))
        return deadletter_pb2.RedriveDeadLetterResponse()

    async def DiscardDeadLetter(  # noqa: N802 - the generated stub's name
        self,
        request: deadletter_pb2.DiscardDeadLetterRequest,
        context: Context,  # noqa: ARG002
    ) -> deadletter_pb2.DiscardDeadLetterResponse:
        """Give one up for good."""
        await self._letters.discard(caller(), request.subscription, position_from(request.position), request.code)
        return deadletter_pb2.DiscardDeadLetterResponse()

    async def MakeDeadLetter(  # noqa: N802 - the generated stub's name
        self,
        request: deadletter_pb2.MakeDeadLetterRequest,
        context: Context,  # noqa: ARG002
    ) -> deadletter_pb2.MakeDeadLetterResponse:
        """Make one."""
        await self._orders.make(caller(), request.subscription, position_from(request.position), request.code)
        return deadletter_pb2.MakeDeadLetterResponse()


def _scope(scope: deadletter_pb2.DeadLetterScope) -> Scope:
    return Scope(scope.agency, scope.subscription)
