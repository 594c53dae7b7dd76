"""Ask a broker which records the subscriptions have given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.client.connection import typed_errors
from broker.wire.deadletters import dead_letter_from
from broker.wire.receipts import fill_position
from broker.wire.times import to_ms
from caseexchange.broker.v1 import deadletter_pb2, deadletter_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from broker.core.streams import Position
    from broker.ports import DeadLetterState, SubscriptionKey

_SECONDS: Final = 30.0
"""Longest wait for an answer."""


class Tally(NamedTuple):
    """How many dead letters there are, how many records are parked behind them, and since when the oldest is one.

    ``oldest_ms`` is in milliseconds since the Unix epoch; None: there is none.
    """

    dead_letters: int
    parked: int
    oldest_ms: int | None


class ShownDeadLetter(NamedTuple):
    """A dead letter and its record: id, kind, and the time of acceptance. None: the log has lost it."""

    state: DeadLetterState
    record_id: str | None
    kind: str | None
    accepted_at_ms: int | None


class DeadLettersClient:
    """Asks over a channel, as the agency of its certificate. For one event loop.

    ``agency`` empty: the caller's own, or every agency's if the caller is an auditor. ``subscription`` empty: all.

    Raises (every method):
        CaseExchangeError: the broker did not answer, or refused the request.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = deadletter_pb2_grpc.DeadLetterServiceStub(channel)

    async def count(self, agency: str = "", subscription: str = "") -> Tally:
        """How many there are."""
        scope = deadletter_pb2.DeadLetterScope(agency=agency, subscription=subscription)
        with typed_errors():
            answer = await self._stub.CountDeadLetters(
                deadletter_pb2.CountDeadLettersRequest(scope=scope), timeout=_SECONDS
            )
        oldest_ms = to_ms(answer.oldest) if answer.HasField("oldest") else None
        return Tally(answer.dead_letters, answer.parked, oldest_ms)

    async def listed(self, agency: str = "", subscription: str = "") -> AsyncIterator[DeadLetterState]:
        """All of them, in the order of agency, subscription and position."""
        scope = deadletter_pb2.DeadLetterScope(agency=agency, subscription=subscription)
        with typed_errors():
            async for answer in self._stub.ListDeadLetters(deadletter_pb2.ListDeadLettersRequest(scope=scope)):
                for message in answer.dead_letters:
                    yield dead_letter_from(message)

    async def shown(self, subscription: SubscriptionKey, position: Position) -> ShownDeadLetter:
        """One of them. If the key names no agency, it is the caller's own."""
        scope = deadletter_pb2.DeadLetterScope(agency=subscription.agency, subscription=subscription.name)
        request = deadletter_pb2.GetDeadLetterRequest(scope=scope)
        fill_position(request.position, position)
        with typed_errors():
            answer = await self._stub.GetDeadLetter(request, timeout=_SECONDS)
        state = dead_letter_from(answer.dead_letter)
        if not answer.HasField("accepted_at"):
            return ShownDeadLetter(state, None, None, None)
        return ShownDeadLetter(state, answer.record_id, answer.kind, to_ms(answer.accepted_at))

    async def redrive(self, subscription: str, position: Position) -> None:
        """Have one of the caller's own delivered again, and then what is parked behind it. Durable when it returns."""
        request = deadletter_pb2.RedriveDeadLetterRequest(subscription=subscription)
        fill_position(request.position, position)
        with typed_errors():
            await self._stub.RedriveDeadLetter(request, timeout=_SECONDS)

    async def discard(self, subscription: str, position: Position, code: str) -> None:
        """Give one of the caller's own up for good, for the reason of this code. Durable when it returns."""
        request = deadletter_pb2.DiscardDeadLetterRequest(subscription=subscription, code=code)
        fill_position(request.position, position)
        with typed_errors():
            await self._stub.DiscardDeadLetter(request, timeout=_SECONDS)

    async def make(self, subscription: str, position: Position, code: str) -> None:
        """Have a dead letter made of a record that waits in one of the caller's own subscriptions.

        The order is durable when it returns. It is carried out when the record is the first of its case and nobody
        holds it.
        """
        request = deadletter_pb2.MakeDeadLetterRequest(subscription=subscription, code=code)
        fill_position(request.position, position)
        with typed_errors():
            await self._stub.MakeDeadLetter(request, timeout=_SECONDS)
