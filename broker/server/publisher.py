"""PublisherService: unpack, call the publish service, pack."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from broker.core.body import MAX_SECTIONS
from broker.core.errors import CaseExchangeError, InputRefused, Internal
from broker.core.former import check_form
from broker.core.receipt import portable_receipt
from broker.server.calls import Context, Told, caller, turn
from broker.services.pipeline import publish_in_turn
from broker.wire.bounds import MAX_ENVELOPES
from broker.wire.envelopes import kept_from
from broker.wire.receipts import fill_position, fill_receipts, receipt_to
from broker.wire.status import as_told, refusal_to
from caseexchange.broker.v1 import envelope_pb2, publisher_pb2, publisher_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.envelope import Envelope
    from broker.services.erasing import Erasing
    from broker.services.publish import PublishOutcome, PublishService
    from broker.services.quotas import Quotas


class PublisherServicer(publisher_pb2_grpc.PublisherServiceServicer):
    """See publisher.proto."""

    def __init__(self, service: PublishService, quotas: Quotas, erasing: Erasing) -> None:
        self._service = service
        self._quotas = quotas
        self._erasing = erasing

    async def Publish(  # noqa: N802 - the generated stub's name
        self,
        request: publisher_pb2.PublishRequest,
        context: Context,  # noqa: ARG002
    ) -> publisher_pb2.PublishResponse:
        """Accept one record."""
        envelope = _envelope(request.envelope)
        with self._quotas.publishing(caller().agency) as share:
            share.take(1, envelope.held_bytes)
            outcome = await self._service.publish(caller(), [envelope])
        (result,) = outcome.results
        if isinstance(result, CaseExchangeError):
            raise Told(result)
        if outcome.receipts is None:
            message = "a record was accepted without a receipt"
            raise Internal(message)
        receipt = portable_receipt(outcome.receipts, result.receipt_index)
        return publisher_pb2.PublishResponse(receipt=receipt_to(receipt))

    async def PublishStream(  # noqa: N802 - the generated stub's name
        self,
        request_iterator: AsyncIterator[publisher_pb2.PublishStreamRequest],
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[publisher_pb2.PublishStreamResponse]:
        """Accept batches, and answer their records in order."""
        batches = _batches(request_iterator)
        with self._quotas.publishing(caller().agency) as share:
            async with contextlib.aclosing(
                publish_in_turn(self._service, caller(), batches, share, turn())
            ) as outcomes:
                async for outcome in outcomes:
                    yield _response(outcome)
                    del outcome

    async def EraseSections(  # noqa: N802 - the generated stub's name
        self,
        request: publisher_pb2.EraseSectionsRequest,
        context: Context,  # noqa: ARG002
    ) -> publisher_pb2.EraseSectionsResponse:
        """Erase sections of a record."""
        sections = request.sections[: MAX_SECTIONS + 1]
        erased = await self._erasing.erase(caller(), request.record_id, sections, request.code)
        response = publisher_pb2.EraseSectionsResponse(ordered_before=erased.ordered_before)
        fill_position(response.position, erased.position)
        return response


async def _batches(requests: AsyncIterator[publisher_pb2.PublishStreamRequest]) -> AsyncIterator[list[Envelope]]:
    async for request in requests:
        batch = _envelopes(request)
        # As in broker/server/requests.py.
        del request
        yield batch
        del batch


def _envelopes(request: publisher_pb2.PublishStreamRequest) -> list[Envelope]:
    if len(request.envelopes) > MAX_ENVELOPES:
        message = f"a message has at most {MAX_ENVELOPES} envelopes"
        raise InputRefused(message)
    return [_envelope(envelope) for envelope in request.envelopes]


def _envelope(message: envelope_pb2.Envelope) -> Envelope:
    # Before anything is copied or waits.
    check_form(message.former_receipt)
    return kept_from(message)


def _response(outcome: PublishOutcome) -> publisher_pb2.PublishStreamResponse:
    response = publisher_pb2.PublishStreamResponse()
    for result in outcome.results:
        if isinstance(result, CaseExchangeError):
            response.results.add(refusal=refusal_to(as_told(result)))
        else:
            response.results.add(receipt_index=result.receipt_index)
    if outcome.receipts is not None:
        fill_receipts(response.receipts, outcome.receipts)
    return response
