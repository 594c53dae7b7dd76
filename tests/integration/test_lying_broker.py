"""A broker that answers falsely, with its own good keys: its clients do not believe it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from broker.client.auditor import Auditor
from broker.client.composing import SectionDraft
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.verifying import RecordVerifier
from broker.core import errors
from broker.core.envelope import Signature
from broker.core.receipt import ReceiptStatement, SignedReceipts, portable_receipt, receipts_message
from broker.core.streams import Position
from broker.server.auditor import AuditorServicer
from broker.trust.system import SystemClock
from broker.wire.envelopes import envelope_from
from broker.wire.receipts import fill_receipts, receipt_to
from caseexchange.broker.v1 import auditor_pb2, auditor_pb2_grpc, publisher_pb2, publisher_pb2_grpc
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from broker.core.envelope import Envelope
    from tests.support.pki import SamplePki


class LyingBroker(publisher_pb2_grpc.PublisherServiceServicer):
    def __init__(self, pki: SamplePki) -> None:
        self.pki = pki
        self.signer = "exchange"
        self.lie: Callable[[list[Envelope]], Sequence[Envelope]] = lambda envelopes: envelopes
        self.extra = 0
        self.heard_all = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    def receipts(self, envelopes: Sequence[Envelope]) -> SignedReceipts:
        statements = []
        for offset, envelope in enumerate(envelopes):
            body = CODEC.parse_body(envelope.body)
            statement = ReceiptStatement(
                body.record_id,
                envelope.record_sha256,
                Position("dna", 0, offset),
                "a-log",
                0,
                1_790_000_000_000,
                body.publisher,
            )
            statements.append(CODEC.encode_statement(statement))
        signer = self.pki.signer(self.signer)
        return SignedReceipts(
            tuple(statements), Signature(signer.certificate_sha256, signer.sign(receipts_message(statements)))
        )

    async def Publish(self, request: publisher_pb2.PublishRequest, context: Any) -> publisher_pb2.PublishResponse:  # noqa: ARG002, N802
        receipts = self.receipts(self.lie([envelope_from(request.envelope)]))
        return publisher_pb2.PublishResponse(receipt=receipt_to(portable_receipt(receipts, 0)))

    async def PublishStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[publisher_pb2.PublishStreamRequest],
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[publisher_pb2.PublishStreamResponse]:
        async for request in request_iterator:
            envelopes = [envelope_from(item) for item in request.envelopes]
            results = [publisher_pb2.PublishResult(receipt_index=n) for n in range(len(envelopes) + self.extra)]
            response = publisher_pb2.PublishStreamResponse(results=results)
            fill_receipts(response.receipts, self.receipts(self.lie(envelopes)))
            yield response
        self.heard_all.set()
        await self.may_end.wait()

    async def EraseSections(  # noqa: N802
        self,
        request: publisher_pb2.EraseSectionsRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> publisher_pb2.EraseSectionsResponse:
        return publisher_pb2.EraseSectionsResponse()


@pytest.fixture
async def lying(pki: SamplePki) -> AsyncIterator[tuple[LyingBroker, Publisher]]:
    broker = LyingBroker(pki)
    server = grpc.aio.server()
    publisher_pb2_grpc.add_PublisherServiceServicer_to_server(broker, server)
    port = server.add_insecure_port("localhost:0")
    await server.start()
    receipts = ReceiptVerifier(FixedDirectory(pki.directory), pki.keyring())
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        yield broker, Publisher(channel, CODEC, receipts)
    await server.stop(None)


class OneFrameBroker(AuditorServicer):
    def __init__(self, frame: bytes) -> None:
        self._frame = frame

    async def Replay(  # noqa: N802
        self,
        request: auditor_pb2.ReplayRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[auditor_pb2.ReplayResponse]:
        yield auditor_pb2.ReplayResponse(frame=self._frame)


UNSIGNED = auditor_pb2.BundleFrame(
    header=auditor_pb2.BundleHeader(source=auditor_pb2.BUNDLE_SOURCE_MESSAGE_LOG)
).SerializeToString()


@pytest.mark.parametrize("frame", [UNSIGNED, b"\x0a\xff"], ids=["does not answer for", "cannot read"])
async def test_a_broker_cannot_hand_over_a_bundle_that_it(frame: bytes) -> None:
    server = grpc.aio.server()
    auditor_pb2_grpc.add_AuditorServiceServicer_to_server(OneFrameBroker(frame), server)
    port = server.add_insecure_port("localhost:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        with pytest.raises(errors.BundleInvalid):
            [frame async for frame in Auditor(channel).replay("a test")]
    await server.stop(None)


@pytest.fixture
def maker(pki: SamplePki) -> RecordMaker:
    return RecordMaker(pki, SystemClock())


def other_records(maker: RecordMaker) -> Callable[[list[Envelope]], Sequence[Envelope]]:
    return lambda envelopes: [maker.make() for _ in envelopes]


async def test_an_honest_answer_is_believed(lying: tuple[LyingBroker, Publisher], maker: RecordMaker) -> None:
    _, publisher = lying
    await publisher.publish(maker.make())
    async with publisher.stream() as stream:
        assert len(await stream.publish([maker.make(), maker.make()])) == 2


async def test_a_receipt_for_another_record_is_not(lying: tuple[LyingBroker, Publisher], maker: RecordMaker) -> None:
    broker, publisher = lying
    broker.lie = other_records(maker)
    with pytest.raises(errors.ReceiptInvalid):
        await publisher.publish(maker.make())
    async with publisher.stream() as stream:
        with pytest.raises(errors.ReceiptInvalid):
            await stream.publish([maker.make()])


async def test_receipts_in_another_order_are_not(lying: tuple[LyingBroker, Publisher], maker: RecordMaker) -> None:
    broker, publisher = lying
    broker.lie = lambda envelopes: envelopes[::-1]
    async with publisher.stream() as stream:
        with pytest.raises(errors.ReceiptInvalid):
            await stream.publish([maker.make(), maker.make()])


async def test_a_receipt_that_an_agency_signed_is_not(lying: tuple[LyingBroker, Publisher], maker: RecordMaker) -> None:
    broker, publisher = lying
    broker.signer = "hebei-police"
    with pytest.raises(errors.ReceiptInvalid):
        await publisher.publish(maker.make())


async def test_more_results_than_records_are_not(lying: tuple[LyingBroker, Publisher], maker: RecordMaker) -> None:
    broker, publisher = lying
    broker.extra = 1
    async with publisher.stream() as stream:
        with pytest.raises(errors.ReceiptInvalid):
            await stream.publish([maker.make()])


async def test_a_result_without_its_receipt_is_not(lying: tuple[LyingBroker, Publisher], maker: RecordMaker) -> None:
    broker, publisher = lying
    broker.lie = lambda envelopes: envelopes[:1]
    async with publisher.stream() as stream:
        with pytest.raises(errors.ReceiptInvalid):
            await stream.publish([maker.make(), maker.make()])


def changed_section(envelope: Envelope) -> Envelope:
    (section,) = envelope.sections
    return replace(envelope, sections=(section._replace(content=section.content + b"x"),))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(lambda e: replace(e, body_type="text/plain"), errors.BodyTypeUnsupported, id="type"),
        pytest.param(lambda e: replace(e, body=b"\xff"), errors.EnvelopeMalformed, id="body"),
        pytest.param(lambda e: replace(e, signatures=()), errors.EnvelopeMalformed, id="unsigned"),
        pytest.param(
            lambda e: replace(e, signatures=(e.signatures[0]._replace(value=b"\x30\x00"),)),
            errors.SignatureInvalid,
            id="signature",
        ),
        pytest.param(
            lambda e: replace(e, signatures=(e.signatures[0]._replace(certificate_sha256=bytes(32)),)),
            errors.SignatureInvalid,
            id="certificate",
        ),
        pytest.param(changed_section, errors.SectionMismatch, id="section"),
    ],
)
def test_a_delivery_that_was_changed_is_refused_by_its_recipient(
    pki: SamplePki,
    maker: RecordMaker,
    change: Callable[[Envelope], Envelope],
    error: type[errors.CaseExchangeError],
) -> None:
    verifier, in_force = RecordVerifier("national-dna-database", CODEC), pki.in_force()
    good = maker.make(sections=[SectionDraft("case", "T", b"content")])
    assert verifier.verify(good, pki.now_ms, in_force).sections == {"case": b"content"}
    with pytest.raises(error):
        verifier.verify(change(good), pki.now_ms, in_force)


def test_a_delivery_for_somebody_else_is_refused_and_one_from_a_revoked_signer(
    pki: SamplePki, maker: RecordMaker
) -> None:
    with pytest.raises(errors.NotAddressed):
        RecordVerifier("child-aid-ngo", CODEC).verify(maker.make(), pki.now_ms, pki.in_force())
    with pytest.raises(errors.SignerCertificateInvalid):
        RecordVerifier("national-dna-database", CODEC).verify(maker.make(), 1, pki.in_force())


async def test_whoever_is_stopped_while_a_broker_does_not_end_its_stream_stops(
    lying: tuple[LyingBroker, Publisher], maker: RecordMaker
) -> None:
    broker, publisher = lying
    broker.may_end.clear()

    async def publish() -> None:
        async with publisher.stream() as stream:
            await stream.publish([maker.make()])

    task = asyncio.create_task(publish())
    async with asyncio.timeout(60):
        await broker.heard_all.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    # A program that did not notice would go on.
    assert task.cancelled()
