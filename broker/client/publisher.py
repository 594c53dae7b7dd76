"""Publishing: send envelopes, get receipts. A record counts as published when its receipt has been verified here."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from broker.client.connection import typed_errors
from broker.client.receipts import check_count, check_matches
from broker.client.stream import CallStream
from broker.core.errors import CaseExchangeError, ReceiptInvalid
from broker.core.receipt import Receipt, ReceiptStatement, portable_receipt
from broker.wire.envelopes import envelope_to
from broker.wire.receipts import receipt_bytes, receipt_from, receipts_from
from broker.wire.status import refusal_from
from caseexchange.broker.v1 import publisher_pb2, publisher_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    import grpc

    from broker.client.receipts import ReceiptVerifier
    from broker.core.envelope import Envelope
    from broker.core.receipt import SignedReceipts
    from broker.ports import RecordCodec


class Published(NamedTuple):
    """A record was accepted. ``receipt()`` takes this record's receipt out of the batch's receipts."""

    statement: ReceiptStatement
    receipts: SignedReceipts
    receipt_index: int

    def receipt(self) -> Receipt:
        """The receipt to keep. It can be verified without the others."""
        return portable_receipt(self.receipts, self.receipt_index)


Result: TypeAlias = Published | CaseExchangeError


def came_before(envelope: Envelope, former_receipt: Receipt) -> Envelope:
    """The record with the receipt that it had before the log lost it, to be published again."""
    return envelope.with_former_receipt(receipt_bytes(former_receipt))


class Publisher:
    """Publishes over a channel. For one event loop; calls may be concurrent."""

    def __init__(self, channel: grpc.aio.Channel, codec: RecordCodec, receipts: ReceiptVerifier) -> None:
        self._stub = publisher_pb2_grpc.PublisherServiceStub(channel)
        self._codec = codec
        self._receipts = receipts

    async def publish(
        self, envelope: Envelope, *, former_receipt: Receipt | None = None, timeout_seconds: float = 30.0
    ) -> Receipt:
        """Publish one record and return its verified receipt. It is safe to repeat the call after a failure.

        Args:
            envelope: the record.
            former_receipt: the receipt that it had, if the log has lost it since. The broker judges it at that
                receipt's time. In a stream, an envelope carries it (``came_before``).
            timeout_seconds: the limit for the answer.

        Raises:
            CaseExchangeError: the broker refused the record, did not answer, or gave an invalid receipt.
        """
        if former_receipt is not None:
            envelope = came_before(envelope, former_receipt)
        request = publisher_pb2.PublishRequest(envelope=envelope_to(envelope))
        with typed_errors():
            response = await self._stub.Publish(request, timeout=timeout_seconds)
        receipt = receipt_from(response.receipt)
        statement = self._receipts.verify(receipt)
        check_matches(statement, envelope, self._codec.parse_body(envelope.body).record_id)
        return receipt

    def stream(self) -> PublishStream:
        """A stream for many records: ``async with publisher.stream() as stream: await stream.publish(batch)``."""
        return PublishStream(self._stub, self._codec, self._receipts)


class _Sent(NamedTuple):
    """A batch under way."""

    envelopes: Sequence[Envelope]
    answer: asyncio.Future[list[Result]]


class PublishStream(CallStream[publisher_pb2.PublishStreamRequest, publisher_pb2.PublishStreamResponse]):
    """A stream of batches. Several batches may be sent before the first is answered. Answers come in order."""

    def __init__(
        self,
        stub: publisher_pb2_grpc.PublisherServiceAsyncStub,
        codec: RecordCodec,
        receipts: ReceiptVerifier,
    ) -> None:
        super().__init__()
        self._stub = stub
        self._codec = codec
        self._receipts = receipts
        self._expected: deque[_Sent] = deque()

    async def __aenter__(self) -> Self:
        self._begin(self._stub.PublishStream())
        return self

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Result]:
        """Publish a batch. Return the result of each record, in order. Records of one case keep their order.

        Raises:
            CaseExchangeError: the whole batch failed. It is safe to publish it again over a new stream.
        """
        if not envelopes:
            return []
        request = publisher_pb2.PublishStreamRequest(envelopes=[envelope_to(envelope) for envelope in envelopes])
        sent = _Sent(envelopes, asyncio.get_running_loop().create_future())
        try:
            await self._write(request, lambda: self._expected.append(sent))
        except BaseException:
            sent.answer.cancel() or sent.answer.exception()
            raise
        return await sent.answer

    def _take(self, response: publisher_pb2.PublishStreamResponse) -> None:
        batches = self._answered(len(response.results))
        receipts = receipts_from(response.receipts)
        statements = self._receipts.verify_batch(receipts) if receipts.statements else []
        envelopes = (envelope for sent in batches for envelope in sent.envelopes)
        results: list[Result] = []
        for envelope, result in zip(envelopes, response.results, strict=True):
            if result.HasField("refusal"):
                results.append(refusal_from(result.refusal))
                continue
            check_count(statements, result.receipt_index)
            statement = statements[result.receipt_index]
            check_matches(statement, envelope, statement.record_id)
            results.append(Published(statement, receipts, result.receipt_index))
        for sent in batches:
            self._expected.popleft()
            own, results = results[: len(sent.envelopes)], results[len(sent.envelopes) :]
            if not sent.answer.done():
                sent.answer.set_result(own)

    def _answered(self, results: int) -> list[_Sent]:
        """The batches that have so many records together."""
        batches: list[_Sent] = []
        for sent in self._expected:
            if results <= 0:
                break
            batches.append(sent)
            results -= len(sent.envelopes)
        if results or not batches:
            message = "the broker's answer has the wrong number of results"
            raise ReceiptInvalid(message)
        return batches

    def _ended(self, error: CaseExchangeError) -> None:
        while self._expected:
            sent = self._expected.popleft()
            if not sent.answer.done():
                sent.answer.set_exception(error)
