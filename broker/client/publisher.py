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
from broker.wire.receipts import receipt_from, receipts_from
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


class Publisher:
    """Publishes over a channel. For one event loop; calls may be concurrent."""

    def __init__(self, channel: grpc.aio.Channel, codec: RecordCodec, receipts: ReceiptVerifier) -> None:
        self._stub = publisher_pb2_grpc.PublisherServiceStub(channel)
        self._codec = codec
        self._receipts = receipts

    async def publish(self, envelope: Envelope, *, timeout_seconds: float = 30.0) -> Receipt:
        """Publish one record and return its verified receipt. It is safe to repeat the call after a failure.

        Raises:
            CaseExchangeError: the broker refused the record, did not answer, or gave an invalid receipt.
        """
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
        self._expected: deque[asyncio.Future[publisher_pb2.PublishStreamResponse]] = deque()

    async def __aenter__(self) -> Self:
        self._begin(self._stub.PublishStream())
        return self

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Result]:
        """Publish a batch. Return the result of each record, in order. Records of one case keep their order.

        Raises:
            CaseExchangeError: the whole batch failed. It is safe to publish it again over a new stream.
        """
        request = publisher_pb2.PublishStreamRequest(envelopes=[envelope_to(envelope) for envelope in envelopes])
        answer: asyncio.Future[publisher_pb2.PublishStreamResponse] = asyncio.get_running_loop().create_future()
        try:
            await self._write(request, lambda: self._expected.append(answer))
        except BaseException:
            answer.cancel() or answer.exception()
            raise
        return self._judge(envelopes, await answer)

    def _judge(self, envelopes: Sequence[Envelope], response: publisher_pb2.PublishStreamResponse) -> list[Result]:
        if len(response.results) != len(envelopes):
            message = "the broker's answer to a batch has the wrong number of results"
            raise ReceiptInvalid(message)
        receipts = receipts_from(response.receipts)
        statements = self._receipts.verify_batch(receipts) if receipts.statements else []
        results: list[Result] = []
        for envelope, result in zip(envelopes, response.results, strict=True):
            if result.HasField("refusal"):
                results.append(refusal_from(result.refusal))
                continue
            check_count(statements, result.receipt_index)
            statement = statements[result.receipt_index]
            check_matches(statement, envelope, statement.record_id)
            results.append(Published(statement, receipts, result.receipt_index))
        return results

    def _take(self, response: publisher_pb2.PublishStreamResponse) -> None:
        if not self._expected:
            message = "the broker sent more answers than it got batches"
            raise ReceiptInvalid(message)
        answer = self._expected.popleft()
        if not answer.done():
            answer.set_result(response)

    def _ended(self, error: CaseExchangeError) -> None:
        while self._expected:
            answer = self._expected.popleft()
            if not answer.done():
                answer.set_exception(error)
