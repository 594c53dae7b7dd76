"""A caller without rights, or without TLS, cannot fill the log or stop the others. Auditors learn how much it tried."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.client.subscriber import SubscribeOptions
from broker.core.bundle import PartitionRecords
from broker.core.errors import CaseExchangeError, LogFull, PeerUnknown, RightDenied
from broker.core.events import RefusalMade
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


class Refusal(NamedTuple):
    principal: str
    made: RefusalMade


def refusals(bundle: Bundle) -> list[Refusal]:
    """What an auditor reads of refusals in a bundle."""
    return [
        Refusal(event.principal, event.event)
        for frame in bundle.frames()
        if isinstance(frame, PartitionRecords)
        for entry in frame.entries
        if entry.position.stream == AUDIT and CODEC.parse_body(entry.envelope.body).kind == AUDIT_EVENTS
        for section in entry.envelope.sections
        for event in CODEC.decode_audit_events(unsalted(section))
        if isinstance(event.event, RefusalMade)
    ]


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
    # Without a quota of refusals, which alone would make the flood slow.
    async with running_exchange(pki, tmp_path / "log", quotas={"refusals_per_second": 0}) as exchange:
        before = await audit_size(exchange)
        await flood(exchange)
        after = await audit_size(exchange)
    # One record for each that was told one by one. Should a minute end meanwhile, twice as many, and one with a count.
    assert after[0] - before[0] <= 2 * FEW + 1
    assert after[1] - before[1] <= 20_000
    # What was only counted is written when the broker stops, if not before.
    async with running_exchange(pki, tmp_path / "log") as exchange:
        told = refusals(await replayed(exchange, tmp_path / "bundle"))
    assert {(principal, made.reason) for principal, made in told} == {(POLICE, RightDenied.reason)}
    assert sum(made.count for _, made in told) == CALLS
    assert len(told) <= 2 * FEW + 2


async def test_an_unlisted_peer_is_told_by_the_name_in_its_certificate(pki: SamplePki, tmp_path: Path) -> None:
    stranger = pki.credential(profiles.TLS_CLIENT, agency="stranger")
    certificate, key = stranger.write(tmp_path, "peer")
    async with running_exchange(pki, tmp_path / "log") as exchange:
        files = TlsFiles(certificate, key, pki.folder.trust / "tls-ca.pem")
        with pytest.raises(PeerUnknown):
            await (await exchange.publisher(files=files)).publish(exchange.maker().make(), timeout_seconds=10)
        ((principal, made),) = refusals(await replayed(exchange, tmp_path / "bundle"))
    assert principal.startswith("spiffe://case-exchange.example/agency/stranger/")
    assert made == RefusalMade(PeerUnknown.reason, "")


async def test_a_refused_record_that_was_published_alone_is_told_once(exchange: Exchange, tmp_path: Path) -> None:
    envelope = exchange.maker().make("MatchNotification", "dna")
    with pytest.raises(RightDenied):
        await (await exchange.publisher()).publish(envelope)
    (told,) = refusals(await replayed(exchange, tmp_path / "bundle"))
    record_id, numbers = CODEC.parse_body(envelope.body).record_id, (("national-dna-database", 1),)
    assert told.made == RefusalMade(RightDenied.reason, record_id, numbers=numbers)


async def test_a_broker_that_is_too_full_for_records_still_delivers_and_tells_auditors(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await (await exchange.publisher()).publish(exchange.maker().make())
    # No disk is so large that so much of it is free.
    async with running_exchange(pki, tmp_path / "log", log={"disk_reserve_bytes": 1 << 60}) as exchange:
        channel = await exchange.channel("shanxi-police")
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        publisher = await exchange.publisher()
        with pytest.raises(LogFull):
            await publisher.publish(exchange.maker().make())
        with pytest.raises(RightDenied):
            await publisher.publish(exchange.maker().make("MatchNotification", "dna"))
        options = SubscribeOptions("samples", frozenset({"SampleRequest"}))
        async with asyncio.timeout(60), (await exchange.subscriber()).subscribe(options) as stream:
            delivered = await anext(aiter(stream))
            await stream.ack([each.delivery_id for each in delivered])
        bundle = await replayed(exchange, tmp_path / "bundle")
    assert [told.made.reason for told in refusals(bundle)] == [RightDenied.reason]
    assert bundle.report().deliveries == len(delivered) == 1
