"""A caller without rights, or without TLS, cannot fill the log or stop the others. Auditors learn how much it tried."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from broker.core.bundle import PartitionRecords
from broker.core.errors import CaseExchangeError, PeerUnknown, RightDenied
from broker.core.events import AuditEvent, RefusalMade
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, AUDIT_EVENTS, StreamPartition
from broker.services.refusals import FEW
from broker.wire.tls import TlsFiles
from certs import profiles
from tests.support.exchange import running_exchange
from tests.support.records import CODEC
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from broker.client.auditor import Auditor
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki
    from tests.support.replays import Bundle

CALLS: Final = 2000
AT_ONCE: Final = 100
POLICE: Final = "spiffe://case-exchange.example/agency/shanxi-police/gateway"


async def audit_size(exchange: Exchange) -> tuple[int, int]:
    """The entries of the audit stream, and their bytes."""
    log, partition = exchange.broker.log, StreamPartition(AUDIT, 0)
    count = size = 0
    while entries := await log.read(partition, count, 1000, 1 << 30):
        count = entries[-1].position.offset + 1
        size += sum(len(entry.value) for entry in entries)
    return count, size


def refusals(bundle: Bundle) -> list[AuditEvent]:
    """What an auditor reads of refusals in a bundle."""
    return [
        event
        for frame in bundle.frames()
        if isinstance(frame, PartitionRecords)
        for entry in frame.entries
        if entry.position.stream == AUDIT and CODEC.parse_body(entry.envelope.body).kind == AUDIT_EVENTS
        for section in entry.envelope.sections
        for event in CODEC.decode_audit_events(unsalted(section))
        if isinstance(event.event, RefusalMade)
    ]


def count_of(events: list[AuditEvent], principal: str, reason: str) -> int:
    return sum(
        event.event.count
        for event in events
        if isinstance(event.event, RefusalMade) and (event.principal, event.event.reason) == (principal, reason)
    )


async def call_without_right(exchange: Exchange) -> None:
    auditor = await exchange.auditor("shanxi-police")
    for _ in range(CALLS // AT_ONCE):
        answers = await asyncio.gather(*(_replay(auditor) for _ in range(AT_ONCE)))
        assert {type(answer) for answer in answers} == {RightDenied}


async def _replay(auditor: Auditor) -> CaseExchangeError | None:
    try:
        [frame async for frame in auditor.replay("curiosity")]
    except CaseExchangeError as error:
        return error
    return None


async def publish_without_right(exchange: Exchange) -> None:
    maker = exchange.maker()
    async with (await exchange.publisher()).stream() as stream:
        for _ in range(CALLS // AT_ONCE):
            batch = [maker.make("MatchNotification", "dna") for _ in range(AT_ONCE)]
            assert {type(result) for result in await stream.publish(batch)} == {RightDenied}


@pytest.mark.parametrize("flood", [call_without_right, publish_without_right])
async def test_a_caller_without_rights_cannot_fill_the_log_and_auditors_get_the_total(
    pki: SamplePki, tmp_path: Path, flood: Callable[[Exchange], Awaitable[None]]
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        before = await audit_size(exchange)
        await flood(exchange)
        after = await audit_size(exchange)
    # One record for each that was told one by one. Should a minute end meanwhile, twice as many, and one with a count.
    assert after[0] - before[0] <= 2 * FEW + 1
    assert after[1] - before[1] <= 20_000
    # What was only counted is written when the broker stops, if not before.
    async with running_exchange(pki, tmp_path / "log") as exchange:
        events = refusals(await replayed(exchange, tmp_path / "bundle"))
    assert count_of(events, POLICE, RightDenied.reason) == CALLS
    assert len(events) <= 2 * FEW + 2


async def test_an_unlisted_peer_is_told_by_the_name_in_its_certificate(pki: SamplePki, tmp_path: Path) -> None:
    stranger = pki.credential(profiles.TLS_CLIENT, agency="stranger")
    certificate, key = stranger.write(tmp_path, "peer")
    async with running_exchange(pki, tmp_path / "log") as exchange:
        files = TlsFiles(certificate, key, pki.folder.trust / "tls-ca.pem")
        with pytest.raises(PeerUnknown):
            await (await exchange.publisher(files=files)).publish(exchange.maker().make(), timeout_seconds=10)
        events = refusals(await replayed(exchange, tmp_path / "bundle"))
    assert [(event.principal.split("/")[4], event.event) for event in events] == [
        ("stranger", RefusalMade(PeerUnknown.reason, ""))
    ]


async def test_a_refused_record_that_was_published_alone_is_told_once(exchange: Exchange, tmp_path: Path) -> None:
    envelope = exchange.maker().make("MatchNotification", "dna")
    with pytest.raises(RightDenied):
        await (await exchange.publisher()).publish(envelope)
    (event,) = refusals(await replayed(exchange, tmp_path / "bundle"))
    assert event.event == RefusalMade(RightDenied.reason, CODEC.parse_body(envelope.body).record_id)
