"""A broker that delivers what it may not, with its own good keys, over real gRPC: the edge accepts none of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.inbound import Inbound
from broker.client.composing import SectionDraft
from broker.core.streams import Position
from broker.trust.system import SystemClock
from broker.wire.deliveries import WireDelivery, acknowledged_to, deliveries_to, opened_to
from broker.wire.tls import TlsFiles, server_credentials
from caseexchange.broker.v1 import directory_pb2, directory_pb2_grpc, subscriber_pb2_grpc
from certs.rights import HEBEI, LAB, NGO, SHANXI
from tests.integration.test_edge import sample_section, until
from tests.support.bundles import without_right
from tests.support.process import edge_tables, write_toml
from tests.support.records import RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from broker.core.envelope import Envelope
    from caseexchange.broker.v1 import subscriber_pb2
    from tests.support.pki import SamplePki


class LyingBroker(subscriber_pb2_grpc.SubscriberServiceServicer, directory_pb2_grpc.DirectoryServiceServicer):
    """Delivers what the test sets, to everyone, again and again until it is acknowledged."""

    def __init__(self, pki: SamplePki) -> None:
        self.pki = pki
        self.envelopes: list[Envelope] = []
        self.documents: list[bytes] = [pki.directory.document]
        self.given_back = asyncio.Event()
        self.port = 0
        self.disguise: Callable[[subscriber_pb2.Delivery], object] = lambda _: None

    async def Subscribe(  # noqa: N802
        self,
        request_iterator: AsyncIterator[subscriber_pb2.SubscribeRequest],
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[subscriber_pb2.SubscribeResponse]:
        await anext(request_iterator)
        yield opened_to(100, 1 << 20, 30.0, 10)
        now_ms, waiting = SystemClock().now_ms(), dict(enumerate(self.envelopes))

        def deliver(number: int) -> subscriber_pb2.SubscribeResponse:
            made = deliveries_to([WireDelivery(number, Position("dna", 0, number), now_ms, 1, waiting[number])])
            self.disguise(made.deliveries.deliveries[0])
            return made

        for number in waiting:
            yield deliver(number)
        async for request in request_iterator:
            if request.HasField("acknowledge"):
                yield acknowledged_to(request.acknowledge.delivery_ids)
            elif request.HasField("negative_acknowledge"):
                self.given_back.set()
                yield deliver(request.negative_acknowledge.delivery_id)

    async def GetDirectory(  # noqa: N802
        self,
        request: directory_pb2.GetDirectoryRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> directory_pb2.GetDirectoryResponse:
        return directory_pb2.GetDirectoryResponse(documents=self.documents)


@pytest.fixture
async def lying(pki: SamplePki) -> AsyncIterator[LyingBroker]:
    broker = LyingBroker(pki)
    server = grpc.aio.server()
    subscriber_pb2_grpc.add_SubscriberServiceServicer_to_server(broker, server)
    directory_pb2_grpc.add_DirectoryServiceServicer_to_server(broker, server)
    tls = TlsFiles(*pki.tls_paths("exchange"), pki.folder.trust / "tls-ca.pem").read()
    broker.port = server.add_secure_port("localhost:0", server_credentials(tls, lambda: None))
    await server.start()
    yield broker
    await server.stop(None)


@contextlib.asynccontextmanager
async def receiving(
    lying: LyingBroker, folder: Path, agency: str, kind: str, directory: Path | None = None
) -> AsyncIterator[Inbound]:
    tables = edge_tables(lying.pki, agency, f"localhost:{lying.port}")
    if directory is not None:
        tables["trust"]["directory"] = str(directory)
    tables["gateway"] = {
        "folder": str(folder / "edge"),
        "formats": ["record-json"],
        "outbox_format": "record-json",
        "subscribe": [kind],
        "retry_seconds": 0.1,
    }
    profile = load_profile(write_toml(folder / "edge.toml", tables))[0]
    async with open_edge(profile) as edge:
        inbound = Inbound(edge, profile.gateway, Limits())
        task = asyncio.create_task(inbound.receive())
        try:
            yield inbound
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def sample_request(pki: SamplePki, agency: str = SHANXI) -> Envelope:
    return RecordMaker(pki, SystemClock(), agency).make(sections=[sample_section()])


async def test_a_kind_that_its_publisher_may_not_publish_is_refused_at_the_edge(
    lying: LyingBroker, tmp_path: Path
) -> None:
    maker = RecordMaker(lying.pki, SystemClock())
    lying.envelopes = [maker.make("MatchNotification", sections=[sample_section()]), sample_request(lying.pki)]
    async with receiving(lying, tmp_path, LAB, "SampleRequest") as inbound:
        (reason,) = await until(inbound.folders.quarantine, "*.reason.json")
        assert json.loads(reason.read_text())["reason"] == "RIGHT_DENIED"
        (taken,) = await until(inbound.folders.outbox, "*.about.json")
        assert json.loads(taken.read_text())["kind"] == "SampleRequest"
        assert len(list(inbound.folders.quarantine.glob("*.reason.json"))) == 1


async def test_a_section_that_the_recipient_may_not_have_is_refused_at_the_edge(
    lying: LyingBroker, tmp_path: Path
) -> None:
    sections = [SectionDraft("case", "synthetic", b""), SectionDraft("identity", "synthetic", b"synthetic")]
    record = RecordMaker(lying.pki, SystemClock()).make(
        "CaseRecord", "cases", to=[NGO], purpose="child-rescue", sections=sections
    )
    lying.envelopes = [record]
    async with receiving(lying, tmp_path, NGO, "CaseRecord") as inbound:
        (reason,) = await until(inbound.folders.quarantine, "*.reason.json")
        assert json.loads(reason.read_text())["reason"] == "SECTION_NOT_ALLOWED"
        assert list(inbound.folders.quarantine.glob("*.envelope"))
        assert not list(inbound.folders.outbox.iterdir())
        # The agency can report it to an auditor.
        ((copy,),) = inbound._edge.spool.received.all()
        assert (copy.sections, copy.record_sha256) == (("case", "identity"), record.record_sha256)


@pytest.mark.parametrize("told", ["nothing", "one that had expired", "one that was not issued yet"])
async def test_a_record_whose_directory_is_not_here_waits_and_is_taken_once_it_is(
    lying: LyingBroker, tmp_path: Path, told: str
) -> None:
    pki, day = lying.pki, 86_400_000
    directory = tmp_path / "directory.json"
    directory.write_bytes(pki.sign(without_right(pki.directory, HEBEI, "SampleRequest")))
    then = replace(pki.directory, version=2)
    ended = replace(then, issued_at_ms=pki.now_ms - day // 2, expires_at_ms=pki.now_ms - day // 4)
    useless = {
        "nothing": [],
        "one that had expired": [pki.sign(ended)],
        "one that was not issued yet": [pki.sign(replace(then, issued_at_ms=pki.now_ms + day))],
    }
    lying.documents = useless[told]
    lying.envelopes = [sample_request(pki, HEBEI)]
    async with receiving(lying, tmp_path, LAB, "SampleRequest", directory) as inbound:
        async with asyncio.timeout(60):
            await lying.given_back.wait()
        assert not list(inbound.folders.quarantine.iterdir())
        assert not list(inbound.folders.outbox.iterdir())
        lying.documents = [pki.sign(replace(then, version=3))]
        await until(inbound.folders.outbox, "SampleRequest-*.about.json")
        assert not list(inbound.folders.quarantine.iterdir())


def _of_no_year(delivery: subscriber_pb2.Delivery) -> None:
    if delivery.delivery_id == 0:
        delivery.accepted_at.seconds = 10**15


def _of_a_stream_that_is_no_file_name(delivery: subscriber_pb2.Delivery) -> None:
    if delivery.delivery_id == 0:
        delivery.accepted_at.nanos = 1
        delivery.position.stream = "../\0" * 100


@pytest.mark.parametrize("disguise", [_of_no_year, _of_a_stream_that_is_no_file_name])
async def test_a_delivery_with_a_field_that_cannot_be_read_is_kept_aside_and_the_next_is_taken(
    lying: LyingBroker, tmp_path: Path, disguise: Callable[[subscriber_pb2.Delivery], object]
) -> None:
    lying.disguise = disguise
    lying.envelopes = [sample_request(lying.pki), sample_request(lying.pki)]
    async with receiving(lying, tmp_path, LAB, "SampleRequest") as inbound:
        await until(inbound.folders.outbox, "SampleRequest-*.about.json")
        (reason,) = await until(inbound.folders.quarantine, "*.reason.json")
        assert json.loads(reason.read_text())["reason"] == "ENVELOPE_MALFORMED"
        assert len(list(inbound.folders.quarantine.glob("*.envelope"))) == 1
