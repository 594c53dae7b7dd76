"""A record that the broker refuses for now is held at the edge, and holds up nothing but its own case."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from adapters.agency import open_agency
from adapters.base import DecodedRecord, Limits
from adapters.cli.publish import _line
from adapters.edge.edge import Edge, open_edge
from adapters.edge.sending import Settled, _next, send_spooled
from adapters.edge.signing import sign_and_spool
from adapters.gateway.outbound import Outbound
from adapters.gateway.process import _send
from broker.client.publisher import Published
from broker.core.bundle import PartitionRecords
from broker.core.errors import IssuedInFuture, RightDenied, SignerCertificateInvalid
from broker.trust.certificates import der
from broker.trust.system import SystemClock
from caseexchange.records.v1 import dna_pb2
from tests.support.exchange import running_exchange
from tests.support.gateways import SAMPLES, police_profile
from tests.support.programs import program
from tests.support.records import CODEC
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from adapters.edge.profile import Route
    from broker.core.body import Body
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

EIGHT_HOURS_MS = 8 * 3600 * 1000
SKEW_MS = 120_000
"""What the broker allows a clock to be ahead."""


class WrongClock(SystemClock):
    """A clock that is ahead until a test puts it right."""

    def __init__(self, ahead_ms: int) -> None:
        self.ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class Desk:
    """A gateway's edge, with a clock that may be wrong."""

    def __init__(self, edge: Edge, routes: Mapping[str, Route], clock: WrongClock) -> None:
        edge.composer._clock = clock
        self.edge = edge._replace(clock=clock)
        self._routes = routes

    def spool(self, case: str, barcode: str) -> Body:
        record = dna_pb2.SampleRequest(barcode=barcode, role=dna_pb2.SAMPLE_ROLE_CHILD)
        with self.edge.spool.transaction():
            return sign_and_spool(DecodedRecord(record, case, "record"), self._routes, self.edge)

    async def send(self) -> list[Settled]:
        return [settled async for settled in send_spooled(self.edge, _never, 600)]


def _never(record_id: str, refusal: Exception, _envelope: bytes) -> None:
    raise AssertionError(record_id) from refusal


@contextlib.asynccontextmanager
async def desk(exchange: Exchange, folder: Path, ahead_ms: int) -> AsyncIterator[tuple[Desk, WrongClock]]:
    profile, routes = police_profile(exchange, folder, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        clock = WrongClock(ahead_ms)
        yield Desk(edge, routes, clock), clock


async def bodies(exchange: Exchange, folder: Path) -> list[Body]:
    """The records in the log, as an auditor finds them. The auditor finds nothing wrong."""
    bundle = await replayed(exchange, folder / "whole.bundle")
    assert bundle.report().findings == ()
    frames = [frame for frame in bundle.frames() if isinstance(frame, PartitionRecords)]
    found = [CODEC.parse_body(entry.envelope.body) for frame in frames for entry in frame.entries]
    return [body for body in found if body.kind == "SampleRequest"]


async def test_a_record_signed_under_a_clock_that_was_ahead_holds_up_no_other_case_and_is_issued_again(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with desk(exchange, tmp_path, EIGHT_HOURS_MS) as (police, clock):
        early = police.spool("SYN-1", "SYN-BLD-1")
        (held,) = await police.send()
        assert (held.held, type(held.result)) == (True, IssuedInFuture)
        # The clock that signs is right again. The one that judges holds is not yet.
        police.edge.composer._clock = SystemClock()
        others = [police.spool(f"SYN-{number}", f"SYN-BLD-{number}") for number in (2, 3)]
        sent = await police.send()
        assert [item.record_id for item in sent] == [body.record_id for body in others]
        assert [type(item.result) for item in sent] == [Published] * 2
        clock.ahead_ms = 0
        (again,) = await police.send()
        assert isinstance(again.result, Published)
        assert police.edge.spool.outgoing(10) == []
    found = {body.record_id: body for body in await bodies(exchange, tmp_path)}
    assert set(found) == {early.record_id, *(body.record_id for body in others)}
    issued = found[early.record_id]
    assert (issued.recipients, issued.case_id, issued.sections) == (early.recipients, early.case_id, early.sections)
    assert issued.issued_at_ms <= SystemClock().now_ms() < early.issued_at_ms


async def test_records_of_a_case_keep_their_order_behind_one_that_is_held(exchange: Exchange, tmp_path: Path) -> None:
    async with desk(exchange, tmp_path, EIGHT_HOURS_MS) as (police, clock):
        first = police.spool("SYN-1", "SYN-BLD-1")
        police.edge.composer._clock = SystemClock()
        # In time, but behind a record that is not.
        second, other = police.spool("SYN-1", "SYN-BLD-2"), police.spool("SYN-2", "SYN-BLD-3")
        assert [item.record_id for item in await police.send()] == [first.record_id, other.record_id]
        clock.ahead_ms = 0
        assert [item.record_id for item in await police.send()] == [first.record_id, second.record_id]
    order = [body.record_id for body in await bodies(exchange, tmp_path) if body.case_id == first.case_id]
    assert order == [first.record_id, second.record_id]


async def test_under_a_clock_that_stays_ahead_a_record_goes_as_it_is_when_its_time_has_come(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
    async with desk(exchange, tmp_path, SKEW_MS + 1500) as (police, _):
        police.spool("SYN-1", "SYN-BLD-1")
        (spooled,) = police.edge.spool.outgoing(1)
        outbound = Outbound(police.edge, profile.gateway, routes, Limits())
        with capture_logs() as logs:
            # No file comes that could wake it.
            task = asyncio.create_task(_send(outbound, 0.05))
            async with asyncio.timeout(60):
                while police.edge.spool.receipt(spooled.record_id) is None:
                    assert not task.done()
                    await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert [line["reason"] for line in logs if line["event"].startswith("records are held")] == ["ISSUED_IN_FUTURE"]
    sent = CODEC.decode_envelope(spooled.envelope)
    assert CODEC.parse_body(sent.body) in await bodies(exchange, tmp_path)


async def test_a_record_whose_answer_was_lost_is_sent_again_byte_for_byte(exchange: Exchange, tmp_path: Path) -> None:
    async with desk(exchange, tmp_path, SKEW_MS - 20_000) as (police, clock):
        police.spool("SYN-1", "SYN-BLD-1")
        (spooled,) = police.edge.spool.outgoing(1)
        await (await exchange.publisher()).publish(CODEC.decode_envelope(spooled.envelope))
        # Its time of issue lies ahead now. But nobody refused it.
        clock.ahead_ms = 0
        (sent,) = await police.send()
        assert isinstance(sent.result, Published)
    assert await bodies(exchange, tmp_path) == [CODEC.parse_body(CODEC.decode_envelope(spooled.envelope).body)]


async def test_a_held_record_that_was_sent_again_is_not_issued_again_before_it_is_refused_again(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with desk(exchange, tmp_path, EIGHT_HOURS_MS) as (police, clock):
        early = police.spool("SYN-1", "SYN-BLD-1")
        await police.send()
        police.edge.spool.holds.hold(early.record_id, 0, early.issued_at_ms)
        ((sent,), _) = _next(police.edge, _never, 1.0)
        # Here the connection breaks: the broker may have it.
        clock.ahead_ms = 0
        assert _next(police.edge, _never, 1.0) == ([sent], [])
        assert CODEC.parse_body(CODEC.decode_envelope(sent.envelope).body) == early


async def test_what_is_signed_with_a_certificate_that_is_not_valid_yet_waits_for_it_and_the_others_go(
    pki: SamplePki, tmp_path: Path
) -> None:
    # Certificates are valid from five minutes before their issue.
    valid_from = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    new = pki.credential(issued=valid_from + timedelta(minutes=5))
    listed = pki.directory_with("shanxi-police", [der(pki.signer().certificate), new.der])
    directory = tmp_path / "directory.json"
    directory.write_bytes(pki.sign(listed))
    async with (
        running_exchange(pki, tmp_path / "log", trust={"directory": str(directory)}) as exchange,
        desk(exchange, tmp_path, 0) as (police, _),
    ):
        former, police.edge.composer._signer = police.edge.composer._signer, new.signer
        early = police.spool("SYN-1", "SYN-BLD-1")
        police.edge.composer._signer = former
        other = police.spool("SYN-2", "SYN-BLD-2")
        held, sent = await police.send()
        assert (held.held, type(held.result)) == (True, SignerCertificateInvalid)
        assert (sent.record_id, type(sent.result)) == (other.record_id, Published)
        async with asyncio.timeout(60):
            while not (results := await police.send()):  # noqa: ASYNC110 - a hold has no event to wait on
                await asyncio.sleep(0.05)
        assert [(item.record_id, type(item.result)) for item in results] == [(early.record_id, Published)]


async def test_a_program_waits_for_its_held_record_while_another_of_its_records_is_published(
    exchange: Exchange, tmp_path: Path
) -> None:
    clock = WrongClock(EIGHT_HOURS_MS)
    path = program(exchange.pki, tmp_path, "shanxi-police", "desk", exchange.target, SampleRequest=SAMPLES)
    async with open_agency(path) as agency, asyncio.timeout(30):
        agency._edge.composer._clock = clock
        agency._edge = agency._sender._edge = agency._edge._replace(clock=clock)
        record = dna_pb2.SampleRequest(barcode="SYN-BLD-1", role=dna_pb2.SAMPLE_ROLE_CHILD)
        waiting = asyncio.create_task(agency.publish(record, case="SYN-1"))
        while not agency._edge.spool.holds.count():  # noqa: ASYNC110 - the spool has no event to wait on
            await asyncio.sleep(0.02)
        agency._edge.composer._clock = SystemClock()
        other = await agency.publish(
            dna_pb2.SampleRequest(barcode="SYN-BLD-2", role=dna_pb2.SAMPLE_ROLE_CHILD), case="SYN-2"
        )
        assert not waiting.done()
        clock.ahead_ms = 0
        accepted = await waiting
        assert accepted.record_id != other.record_id
        assert (await agency.status()).spooled == 0


async def test_held_records_are_tried_again_after_a_restart(exchange: Exchange, tmp_path: Path) -> None:
    async with desk(exchange, tmp_path, EIGHT_HOURS_MS) as (police, _):
        early = [police.spool(f"SYN-{number}", f"SYN-BLD-{number}") for number in (1, 2)]
        assert [item.held for item in await police.send()] == [True, True]
        assert await police.send() == []
    async with desk(exchange, tmp_path, 0) as (police, _):
        sent = await police.send()
        assert [(item.record_id, type(item.result)) for item in sent] == [(body.record_id, Published) for body in early]
    assert sorted(body.recipients[0].sequence for body in await bodies(exchange, tmp_path)) == [1, 2]


def test_the_command_says_of_a_held_record_that_it_waits() -> None:
    early = Settled("id", IssuedInFuture("it was issued in the future"))
    denied = Settled("id", RightDenied("it may not"))
    assert _line(early).startswith("waits: ISSUED_IN_FUTURE: it was issued in the future. Correct the clock")
    assert _line(denied).startswith("refused: RIGHT_DENIED")
