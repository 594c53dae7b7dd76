"""The ids of the exchange's own records: no agency can take one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import pytest

from broker.core.body import NamedSigner
from broker.core.envelope import BODY_TYPE, ECDSA_P256_SHA256, Envelope, Signature
from broker.core.errors import CaseExchangeError, EnvelopeMalformed
from broker.core.events import AuditEvent, RefusalMade
from broker.core.identity import Principal
from broker.core.streams import AUDIT, StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.services.audittrail import AuditTrailService
from broker.services.versions import DirectoryVersions
from broker.trust.system import SystemEntropy
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.entry import LogEntry

SHANXI = Principal("case-exchange.example", "shanxi-police", "gateway")
AUDIT_0 = StreamPartition(AUDIT, 0)


class Exchange(NamedTuple):
    pki: SamplePki
    clock: ManualClock
    log: SqliteLog

    def trail(self, log: SqliteLog) -> AuditTrailService:
        return AuditTrailService(
            directory=FixedDirectory(self.pki.directory),
            system="broker",
            signer=self.pki.signer("exchange"),
            codec=CODEC,
            log=log,
            entropy=SystemEntropy(),
            clock=self.clock,
        )

    async def written(self) -> list[LogEntry]:
        """What the exchange writes into a log of its own: a directory version, and an event."""
        log = await SqliteLog.open(None, self.clock, partitions={AUDIT: 1, "dna": 1})
        trail = self.trail(log)
        await trail.directory_in_force()
        await trail.record([AuditEvent(self.clock.now_ms(), "spiffe://a", RefusalMade("RIGHT_DENIED", ""))])
        entries = await log.read(AUDIT_0, 0, 10, 1 << 20)
        await log.close()
        return entries

    async def publish_as(self, record_id: str, **fields: str) -> CaseExchangeError | None:
        """Shanxi publishes a good request with this id. The refusal, or None."""
        signer = self.pki.signer()
        made = RecordMaker(self.pki, self.clock).make()
        named = (NamedSigner(signer.certificate_sha256, ECDSA_P256_SHA256),)
        body = replace(CODEC.parse_body(made.body), record_id=record_id, signers=named, **fields)  # type: ignore[arg-type] # texts only
        bare = Envelope(BODY_TYPE, CODEC.encode_body(body), (), made.sections)
        signature = Signature(signer.certificate_sha256, signer.sign(bare.signed_bytes))
        service = publish_service(self.pki, self.log, self.clock)
        (result,) = (await service.publish(SHANXI, [replace(bare, signatures=(signature,))])).results
        return result if isinstance(result, CaseExchangeError) else None


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def exchange(pki: SamplePki) -> AsyncIterator[Exchange]:
    clock = ManualClock(pki.now_ms)
    log = await SqliteLog.open(None, clock, partitions={AUDIT: 1, "dna": 1})
    yield Exchange(pki, clock, log)
    await log.close()


@pytest.mark.parametrize("own", [0, 1], ids=["the next directory version", "an event"])
async def test_no_agency_can_take_the_id_of_a_record_of_the_exchange(exchange: Exchange, own: int) -> None:
    """Whoever has the directory's document can compute the id of its record, before the exchange writes it."""
    guessed = str(UUID(bytes=(await exchange.written())[own].record_id))
    assert await exchange.publish_as(guessed) is not None
    assert await exchange.publish_as(guessed, stream=AUDIT) is not None
    await exchange.trail(exchange.log).directory_in_force()
    (kept,) = await DirectoryVersions(exchange.log, CODEC).in_force_at(exchange.clock.now_ms())
    assert kept.document == exchange.pki.directory.document


async def test_no_record_of_the_exchange_has_an_id_that_a_record_on_another_stream_may_have(exchange: Exchange) -> None:
    for entry in await exchange.written():
        body = CODEC.parse_body(CODEC.decode_envelope(entry.value).body)
        with pytest.raises(EnvelopeMalformed, match="record_id"):
            CODEC.parse_body(CODEC.encode_body(replace(body, stream="dna")))


async def test_the_same_directory_version_has_the_same_id_in_every_process(exchange: Exchange) -> None:
    assert (await exchange.written())[0].record_id == (await exchange.written())[0].record_id
    assert (await exchange.written())[1].record_id != (await exchange.written())[1].record_id
