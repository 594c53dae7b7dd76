"""Every numbered check of the publish walk, with real keys, real certificates and a log in memory."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from broker.client.composing import SectionDraft
from broker.core import errors
from broker.core.body import Body, NamedSigner, Recipient, SectionDescriptor
from broker.core.envelope import BODY_TYPE, ECDSA_P256_SHA256, Envelope, Section, Signature
from broker.core.events import AuditEvent, RefusalMade
from broker.core.identity import Principal
from broker.core.policy import RetiredCertificate
from broker.core.receipt import portable_receipt, receipt_message
from broker.core.sections import salted
from broker.core.streams import StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.services.publish import Accepted, PublishOutcome, PublishService
from broker.services.recordchecks import PublishLimits
from broker.services.versions import DirectoryVersions, KnownVersions
from broker.trust.directory import open_directory
from broker.trust.verification import InlineVerifier
from broker.wire.codec import ProtobufCodec
from broker.wire.receipts import receipt_bytes
from tests.support.damage import DamagedLog
from tests.support.fakes import FixedDirectory, ListedAudit, SwitchedEvidence
from tests.support.letters import audit_trail
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from broker.core.bundle import DirectoryDocument
    from broker.core.entry import LogEntry
    from broker.core.inforce import DirectoryVersion
    from broker.core.policy import Directory
    from broker.ports import Signed, Signer

CODEC = ProtobufCodec()
SHANXI = Principal("case-exchange.example", "shanxi-police", "gateway")
DAY_MS = 86_400_000
SECTION = Section("request", salted(bytes(16), b"synthetic"))


class Exchange(NamedTuple):
    pki: SamplePki
    clock: ManualClock
    log: SqliteLog
    audit: ListedAudit
    evidence: SwitchedEvidence
    service: PublishService

    def body(self, number: int = 1) -> Body:
        return Body(
            record_id=f"01990000-0000-7000-8000-{number:012d}",
            kind="SampleRequest",
            stream="dna",
            case_id="01990000-0000-4000-8000-000000000002",
            publisher="shanxi-police",
            system="gateway",
            recipients=(Recipient("national-dna-database", 1),),
            issued_at_ms=self.clock.now_ms(),
            expires_at_ms=None,
            in_reply_to="",
            supersedes="",
            purpose="dna-matching",
            signers=(NamedSigner(self.pki.signer().certificate_sha256, ECDSA_P256_SHA256),),
            sections=(SectionDescriptor("request", "T", hashlib.sha256(SECTION.content).digest(), frozenset()),),
        )

    def sign(self, body: Body, signer: Signer | None = None) -> Envelope:
        signer = signer or self.pki.signer()
        envelope = Envelope(BODY_TYPE, CODEC.encode_body(body), (), (SECTION,))
        signature = Signature(signer.certificate_sha256, signer.sign(envelope.signed_bytes))
        return replace(envelope, signatures=(signature,))

    def sign_with(self, signer: Signer) -> Envelope:
        named = NamedSigner(signer.certificate_sha256, ECDSA_P256_SHA256)
        return self.sign(replace(self.body(), signers=(named,)), signer)

    async def publish(self, *envelopes: Envelope) -> PublishOutcome:
        return await self.service.publish(SHANXI, envelopes)

    async def stored(self) -> int:
        ends = [await self.log.end_offset(StreamPartition("dna", n)) for n in range(self.log.partitions("dna"))]
        return sum(ends)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    root: Path = tmp_path_factory.mktemp("pki")
    return SamplePki.build(root / "pki")


@pytest.fixture
async def exchange(pki: SamplePki) -> AsyncIterator[Exchange]:
    clock = ManualClock(pki.now_ms + 1000)
    log = await SqliteLog.open(None, clock)
    audit, evidence = ListedAudit(), SwitchedEvidence()
    service = publish_service(
        pki, log, clock, evidence=evidence, audit=audit, limits=PublishLimits(record_bytes=10_000)
    )
    yield Exchange(pki, clock, log, audit, evidence, service)
    await log.close()


class WhereChecked(InlineVerifier):
    """Knows in which thread it checked."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        self.threads.append(threading.get_ident())
        return super().verify(signed)


@pytest.mark.parametrize(
    ("records", "content_bytes", "inline"), [(1, 1, True), (2, 1, True), (3, 1, False), (1, 70_000, False)]
)
async def test_only_a_few_small_records_are_checked_in_the_event_loop(
    pki: SamplePki, records: int, content_bytes: int, *, inline: bool
) -> None:
    clock = ManualClock(pki.now_ms + 1000)
    log = await SqliteLog.open(None, clock)
    verifier = WhereChecked()
    service = publish_service(pki, log, clock, signatures=verifier)
    section = SectionDraft("case", "synthetic", bytes(content_bytes))
    maker = RecordMaker(pki, clock)
    outcome = await service.publish(SHANXI, [maker.make(sections=(section,)) for _ in range(records)])
    assert outcome.receipts is not None
    assert len(outcome.receipts.statements) == records
    assert [thread == threading.get_ident() for thread in verifier.threads] == [inline]
    await log.close()


async def test_an_accepted_record_is_stored_and_its_receipt_verifies(exchange: Exchange) -> None:
    envelopes = [exchange.sign(exchange.body(number)) for number in (1, 2, 3)]
    outcome = await exchange.publish(*envelopes)
    assert outcome.results == (Accepted(0), Accepted(1), Accepted(2))
    assert outcome.receipts is not None
    verifier = exchange.pki.keyring().signer(exchange.pki.signer("exchange").certificate_sha256)
    for index in range(3):
        receipt = portable_receipt(outcome.receipts, index)
        verifier.verify(receipt_message(receipt), receipt.signature.value)
    assert await exchange.stored() == 3


async def test_the_same_record_again_gets_the_same_statement(exchange: Exchange) -> None:
    body = replace(exchange.body(), expires_at_ms=exchange.clock.now_ms() + 1000)
    first = await exchange.publish(exchange.sign(body))
    exchange.clock.value_ms += 5000  # the record has expired meanwhile, but it was accepted before
    again = await exchange.publish(exchange.sign(body))
    assert first.receipts is not None
    assert again.receipts is not None
    assert again.receipts.statements == first.receipts.statements
    assert await exchange.stored() == 1


REFUSALS: list[tuple[type[errors.CaseExchangeError], Callable[[Exchange], Envelope]]] = [
    (
        errors.RecordTooLarge,
        lambda x: replace(x.sign(x.body()), sections=(Section("request", bytes(10_001)),)),
    ),
    (errors.BodyTypeUnsupported, lambda x: replace(x.sign(x.body()), body_type="text/plain")),
    (errors.EnvelopeMalformed, lambda x: replace(x.sign(x.body()), body=b"\xff")),
    (errors.EnvelopeMalformed, lambda x: replace(x.sign(x.body()), signatures=())),
    (errors.KindUnknown, lambda x: x.sign(replace(x.body(), kind="Gossip"))),
    (errors.KindUnknown, lambda x: x.sign(replace(x.body(), stream="notices"))),
    (errors.SignerNotPrincipal, lambda x: x.sign(replace(x.body(), publisher="hebei-police"))),
    (errors.SignerNotPrincipal, lambda x: x.sign(replace(x.body(), system="archive"))),
    (errors.SignerNotPrincipal, lambda x: x.sign_with(x.pki.signer("hebei-police"))),
    (errors.SignerUnknown, lambda x: x.sign_with(x.pki.credential().signer)),
    (errors.SignatureInvalid, lambda x: x.sign(x.body(), x.pki.signer("hebei-police"))),
    (
        errors.SignatureInvalid,
        lambda x: replace(x.sign(x.body()), body=x.sign(replace(x.body(), purpose="child-rescue")).body),
    ),
    (errors.SectionMismatch, lambda x: replace(x.sign(x.body()), sections=())),
    (errors.SectionMismatch, lambda x: replace(x.sign(x.body()), sections=(Section("request", bytes(20)),))),
    (errors.IssuedInFuture, lambda x: x.sign(replace(x.body(), issued_at_ms=x.clock.now_ms() + 120_001))),
    (errors.RecordExpired, lambda x: x.sign(replace(x.body(), expires_at_ms=x.clock.now_ms()))),
    (errors.RightDenied, lambda x: x.sign(replace(x.body(), kind="MatchNotification"))),
    (errors.RightDenied, lambda x: x.sign(replace(x.body(), recipients=(Recipient("child-aid-ngo", 1),)))),
    (errors.RightDenied, lambda x: x.sign(replace(x.body(), purpose="curiosity"))),
]


@pytest.mark.parametrize(
    ("error", "make"), REFUSALS, ids=[f"{number}-{error.reason}" for number, (error, _) in enumerate(REFUSALS)]
)
async def test_a_refused_record_is_typed_and_not_stored(
    exchange: Exchange, error: type[errors.CaseExchangeError], make: Callable[[Exchange], Envelope]
) -> None:
    outcome = await exchange.publish(make(exchange))
    assert [type(result) for result in outcome.results] == [error]
    assert outcome.receipts is None
    assert await exchange.stored() == 0
    (refusal,) = outcome.results
    assert isinstance(refusal, errors.CaseExchangeError)
    assert len(exchange.audit.events) == (error.security_event or bool(refusal.numbers))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        # For good, and the record is the principal's own: its number is no gap.
        ({"purpose": "curiosity"}, [(("national-dna-database", 1),)]),
        ({"expires_at_ms": 1}, [(("national-dna-database", 1),)]),
        # Nobody uses up another system's numbers.
        ({"system": "archive"}, [()]),
        # It is held, and comes again.
        ({"issued_at_ms": 4_000_000_000_000}, []),
    ],
)
async def test_auditors_learn_the_numbers_of_a_record_that_was_refused_for_good(
    exchange: Exchange, change: dict[str, Any], told: list[tuple[tuple[str, int], ...]]
) -> None:
    await exchange.publish(exchange.sign(replace(exchange.body(), **change)))
    made = [event.event for event in exchange.audit.events]
    assert [event.numbers for event in made if isinstance(event, RefusalMade)] == told


async def test_a_record_id_with_another_body_is_refused_and_reported_to_auditors(exchange: Exchange) -> None:
    body = exchange.body()
    await exchange.publish(exchange.sign(body))
    other = exchange.sign(replace(body, purpose="child-rescue"))
    conflict, good = (await exchange.publish(other, exchange.sign(exchange.body(2)))).results
    assert isinstance(conflict, errors.RecordIdConflict)
    assert conflict.details == {"record_id": body.record_id}
    assert good == Accepted(0)
    refusal = RefusalMade("RECORD_ID_CONFLICT", body.record_id, numbers=(("national-dna-database", 1),))
    told = AuditEvent(exchange.clock.now_ms(), SHANXI.spiffe_id, refusal)
    assert exchange.audit.events == [told]
    assert await exchange.stored() == 2


async def test_a_refusal_before_the_record_has_a_name_is_reported_without_one(exchange: Exchange) -> None:
    await exchange.publish(exchange.sign_with(exchange.pki.credential().signer))
    assert [event.event for event in exchange.audit.events] == [
        RefusalMade("SIGNER_UNKNOWN", "", numbers=(("national-dna-database", 1),))
    ]


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (errors.SignerNotPrincipal, {"publisher": "hebei-police"}),
        (errors.IssuedInFuture, {"issued_at_ms": 1 << 41}),
        (errors.RecordExpired, {"expires_at_ms": 1}),
    ],
    ids=["another agency", "early", "late"],
)
async def test_a_refusal_names_its_record(
    exchange: Exchange, error: type[errors.CaseExchangeError], change: dict[str, Any]
) -> None:
    body = replace(exchange.body(), **change)
    (refused,) = (await exchange.publish(exchange.sign(body))).results
    assert isinstance(refused, error)
    assert refused.details["record_id"] == body.record_id


async def test_a_record_from_the_future_is_told_when_its_time_comes(exchange: Exchange) -> None:
    body = replace(exchange.body(), issued_at_ms=exchange.clock.now_ms() + 120_007)
    (refused,) = (await exchange.publish(exchange.sign(body))).results
    assert isinstance(refused, errors.IssuedInFuture)
    assert refused.details == {"record_id": body.record_id, "retry_after_ms": "7"}


@pytest.mark.parametrize(("ahead_ms", "accepted"), [(120_000, True), (120_001, False)])
async def test_a_publishers_clock_may_be_ahead_by_so_much(
    exchange: Exchange,
    ahead_ms: int,
    accepted: bool,  # noqa: FBT001
) -> None:
    body = replace(exchange.body(), issued_at_ms=exchange.clock.now_ms() + ahead_ms)
    (result,) = (await exchange.publish(exchange.sign(body))).results
    assert isinstance(result, Accepted) is accepted


@pytest.mark.parametrize(("room", "accepted"), [(0, True), (-1, False)])
async def test_a_record_is_as_large_as_its_parts_and_their_framing(
    exchange: Exchange,
    room: int,
    accepted: bool,  # noqa: FBT001
) -> None:
    envelope = exchange.sign(exchange.body())
    # A body, a section and a signature, 64 bytes counted for each.
    size = len(envelope.body) + len(SECTION.content) + 3 * 64
    exchange.service._checks._limits = PublishLimits(record_bytes=size + room)
    (result,) = (await exchange.publish(envelope)).results
    assert isinstance(result, errors.RecordTooLarge) is not accepted


@pytest.mark.parametrize("agency", ["shanxi-police", "hebei-police"])
async def test_a_record_comes_from_the_system_that_signed_it(exchange: Exchange, agency: str) -> None:
    signer = exchange.pki.signer(agency)
    named = (NamedSigner(signer.certificate_sha256, ECDSA_P256_SHA256),)
    body = replace(exchange.body(), publisher=agency, system="another", signers=named)
    (refused,) = (await exchange.publish(exchange.sign(body, signer))).results
    assert isinstance(refused, errors.SignerNotPrincipal)
    assert "or another system of it" in refused.message
    assert refused.details == {"record_id": body.record_id}


async def test_what_the_check_of_signatures_says_counts(exchange: Exchange) -> None:
    class Strict(InlineVerifier):
        def verify(self, signed: Sequence[Signed]) -> list[bool]:
            return [False for _ in signed]

    exchange.service._checks._signatures = Strict()
    (result,) = (await exchange.publish(exchange.sign(exchange.body()))).results
    assert isinstance(result, errors.SignatureInvalid)


async def test_a_refused_record_does_not_hold_up_the_others(exchange: Exchange) -> None:
    good, bad = exchange.sign(exchange.body(1)), exchange.sign(replace(exchange.body(2), purpose="curiosity"))
    outcome = await exchange.publish(bad, good)
    assert outcome.results[1] == Accepted(0)
    assert isinstance(outcome.results[0], errors.RightDenied)


async def test_without_evidence_nothing_is_accepted(exchange: Exchange) -> None:
    exchange.evidence.available = False
    with pytest.raises(errors.EvidenceUnavailable):
        await exchange.publish(exchange.sign(exchange.body()))
    assert await exchange.stored() == 0


# --- what comes again with its former receipt ---


async def receipt_of(exchange: Exchange, envelope: Envelope) -> bytes:
    outcome = await exchange.publish(envelope)
    assert outcome.results == (Accepted(0),)
    assert outcome.receipts is not None
    return receipt_bytes(portable_receipt(outcome.receipts, 0))


class Again(NamedTuple):
    """Another log of the same exchange, which has lost everything, under a later time and directory."""

    log: SqliteLog
    clock: ManualClock
    service: PublishService

    async def publish(self, *envelopes: Envelope) -> list[str]:
        """What became of each: accepted, or the reason."""
        outcome = await self.service.publish(SHANXI, envelopes)
        return ["" if isinstance(result, Accepted) else result.reason for result in outcome.results]


@contextlib.asynccontextmanager
async def lost_everything(
    pki: SamplePki, now_ms: int, directory: Directory | None = None, *, knows_version: bool = False, **parts: Any
) -> AsyncIterator[Again]:
    """``knows_version``: the log still says that the sample's directory was in force from the beginning."""
    clock = ManualClock(pki.now_ms)
    log = await SqliteLog.open(None, clock)
    directory = directory or pki.directory
    if knows_version:
        await audit_trail(pki, log, clock).directory_in_force()
    clock.value_ms = now_ms
    trust: dict[str, Any] = {"directory": FixedDirectory(directory), "keyring": pki.keyring(directory)}
    yield Again(log, clock, publish_service(pki, log, clock, **trust, **parts))
    await log.close()


async def test_what_has_expired_since_is_accepted_again_with_its_former_receipt_and_keeps_it(
    exchange: Exchange, pki: SamplePki
) -> None:
    body = replace(exchange.body(), expires_at_ms=exchange.clock.now_ms() + 1)
    envelope = exchange.sign(body)
    former = await receipt_of(exchange, envelope)
    async with lost_everything(pki, exchange.clock.now_ms() + DAY_MS) as again:
        assert await again.publish(envelope) == ["RECORD_EXPIRED"]
        # Beside others, in order: each of these is judged by itself.
        fresh = [exchange.sign(exchange.body(number)) for number in (2, 3)]
        came = envelope.with_former_receipt(former)
        assert await again.publish(fresh[0], came, fresh[1]) == ["", "", ""]
        (entry,) = [each for each in await entries(again.log) if each.record_id == body.record_id_bytes]
        assert CODEC.decode_envelope(entry.value).former_receipt == former
        assert entry.record_sha256 == envelope.record_sha256
        # The log has it now: the same statement, whatever comes with it.
        assert await again.publish(came, envelope) == ["", ""]
        assert len(await entries(again.log)) == 3


async def test_a_certificate_and_a_right_that_ended_since_are_those_of_the_former_receipts_time(
    exchange: Exchange, pki: SamplePki
) -> None:
    envelope = exchange.sign(exchange.body())
    former = await receipt_of(exchange, envelope)
    came = envelope.with_former_receipt(former)
    police = pki.directory.agencies["shanxi-police"]
    for name, changed in {
        "retired": replace(
            police,
            signing_certificates=(),
            retired_certificates=(RetiredCertificate(police.signing_certificates[0], exchange.clock.now_ms() + 1),),
        ),
        "unlisted": replace(police, signing_certificates=(pki.credential().der,)),
        "without the right": replace(police, publish={}),
    }.items():
        now = replace(pki.directory, version=9, agencies={**pki.directory.agencies, "shanxi-police": changed})
        async with lost_everything(pki, exchange.clock.now_ms() + DAY_MS, now, knows_version=True) as again:
            assert await again.publish(envelope) != [""], name
            assert await again.publish(came) == [""], name
        # If the log has lost the former version too, the version in force decides.
        async with lost_everything(pki, exchange.clock.now_ms() + DAY_MS, now) as again:
            expected = {"retired": [""], "unlisted": ["SIGNER_UNKNOWN"], "without the right": ["RIGHT_DENIED"]}
            assert await again.publish(came) == expected[name], name


async def test_a_signer_that_was_revoked_before_the_former_receipt_stays_refused(
    exchange: Exchange, pki: SamplePki
) -> None:
    stolen, lists = pki.revoked_from(pki.now + timedelta(seconds=1))
    directory = pki.directory_with("shanxi-police", [stolen.der])
    trust: dict[str, Any] = {"directory": FixedDirectory(directory), "keyring": pki.keyring(directory, lists)}
    envelope = exchange.sign_with(stolen.signer)
    for at_ms, reasons in ((pki.now_ms + 999, [""]), (pki.now_ms + 1000, ["SIGNER_REVOKED"])):
        # The exchange did not know of the revocation when it accepted the record.
        clock = ManualClock(at_ms)
        log = await SqliteLog.open(None, clock)
        unaware: dict[str, Any] = {"directory": FixedDirectory(directory), "keyring": pki.keyring(directory)}
        outcome = await publish_service(pki, log, clock, **unaware).publish(SHANXI, [envelope])
        await log.close()
        assert outcome.receipts is not None
        came = envelope.with_former_receipt(receipt_bytes(portable_receipt(outcome.receipts, 0)))
        clock = ManualClock(pki.now_ms + DAY_MS)
        log = await SqliteLog.open(None, clock)
        outcome = await publish_service(pki, log, clock, **trust).publish(SHANXI, [envelope, came])
        await log.close()
        told = ["" if isinstance(result, Accepted) else result.reason for result in outcome.results]
        assert told == ["SIGNER_REVOKED", *reasons]


async def test_a_former_receipt_that_proves_nothing_is_refused_and_told_to_auditors(
    exchange: Exchange, pki: SamplePki
) -> None:
    envelope, other = exchange.sign(exchange.body()), exchange.sign(exchange.body(2))
    former = await receipt_of(exchange, envelope)
    audit = ListedAudit()
    async with lost_everything(pki, exchange.clock.now_ms(), audit=audit) as again:
        for false in (b"none", former[:-1] + bytes([former[-1] ^ 1]), former + bytes(8192)):
            assert await again.publish(envelope.with_former_receipt(false)) == ["FORMER_RECEIPT_INVALID"]
        assert await again.publish(other.with_former_receipt(former)) == ["FORMER_RECEIPT_INVALID"]
        assert await entries(again.log) == []
        assert {event.event.reason for event in audit.events if isinstance(event.event, RefusalMade)} == {
            "FORMER_RECEIPT_INVALID"
        }
        # Without it, it is a record as any other. With it, a body that was changed is none of the exchange's.
        assert await again.publish(other, envelope.with_former_receipt(former)) == ["", ""]
        forged = replace(envelope, signatures=other.signatures).with_former_receipt(former)
        assert await again.publish(forged) == ["SIGNATURE_INVALID"]


async def test_only_its_publisher_brings_a_record_back(exchange: Exchange, pki: SamplePki) -> None:
    envelope = exchange.sign(exchange.body())
    came = envelope.with_former_receipt(await receipt_of(exchange, envelope))
    async with lost_everything(pki, exchange.clock.now_ms()) as again:
        for thief in (replace(SHANXI, agency="hebei-police"), replace(SHANXI, system="case-system")):
            (result,) = (await again.service.publish(thief, [came])).results
            assert isinstance(result, errors.SignerNotPrincipal)


async def test_what_the_log_no_longer_keeps_does_not_come_back(exchange: Exchange, pki: SamplePki) -> None:
    envelope = exchange.sign(exchange.body())
    came = envelope.with_former_receipt(await receipt_of(exchange, envelope))
    limits = PublishLimits(kept_ms=DAY_MS)
    async with lost_everything(pki, exchange.clock.now_ms() + DAY_MS + 1, limits=limits) as again:
        (result,) = (await again.service.publish(SHANXI, [came])).results
        assert isinstance(result, errors.RecordExpired)
        assert result.details == {"record_id": exchange.body().record_id}
    async with lost_everything(pki, exchange.clock.now_ms() + DAY_MS, limits=limits) as again:
        assert await again.publish(came) == [""]
        # What it has is not asked for its age.
        again.clock.value_ms += DAY_MS
        assert await again.publish(came) == [""]


async def test_what_comes_again_passes_every_other_check_of_then(exchange: Exchange, pki: SamplePki) -> None:
    # Another broker of the exchange allowed its publishers' clocks to be further ahead.
    log = await SqliteLog.open(None, exchange.clock)
    patient = publish_service(pki, log, exchange.clock, limits=PublishLimits(clock_skew_ms=DAY_MS))
    envelope = exchange.sign(replace(exchange.body(), issued_at_ms=exchange.clock.now_ms() + DAY_MS))
    outcome = await patient.publish(SHANXI, [envelope])
    await log.close()
    assert outcome.receipts is not None
    came = envelope.with_former_receipt(receipt_bytes(portable_receipt(outcome.receipts, 0)))
    async with lost_everything(pki, exchange.clock.now_ms() + 2 * DAY_MS) as again:
        assert await again.publish(came) == ["ISSUED_IN_FUTURE"]
        assert await again.publish(replace(came, sections=())) == ["SECTION_MISMATCH"]


async def test_a_former_receipt_does_not_make_a_record_too_large(exchange: Exchange, pki: SamplePki) -> None:
    envelope = exchange.sign(exchange.body())
    former = await receipt_of(exchange, envelope)
    size = envelope.content_bytes + 3 * 64
    for largest, reasons in ((size, [""]), (size - 1, ["RECORD_TOO_LARGE"])):
        limits = PublishLimits(record_bytes=largest)
        async with lost_everything(pki, exchange.clock.now_ms(), limits=limits) as again:
            assert await again.publish(envelope.with_former_receipt(former)) == reasons


class ReadLog(DamagedLog):
    """Counts what is read whole."""

    reads = 0

    async def read(self, *arguments: Any, **named: Any) -> list[LogEntry]:
        self.reads += 1
        return await super().read(*arguments, **named)


async def test_only_a_former_receipt_that_counts_makes_the_broker_read_directory_versions_and_only_those_of_its_time(
    exchange: Exchange, pki: SamplePki
) -> None:
    envelope, other = exchange.sign(exchange.body()), exchange.sign(exchange.body(2))
    former = await receipt_of(exchange, envelope)
    clock = ManualClock(pki.now_ms)
    stored = await SqliteLog.open(None, clock)
    for number in range(1, 71):
        await audit_trail(pki, stored, clock, replace(pki.directory, version=number)).directory_in_force()
        clock.value_ms += DAY_MS // 100
    log, opened = ReadLog(stored), list[int]()

    def read(found: DirectoryDocument) -> DirectoryVersion:
        directory = open_directory(found.document, pki.governance)
        opened.append(directory.version)
        return pki.version(directory, in_force_from_ms=found.in_force_from_ms)

    service = publish_service(pki, log, clock, versions=KnownVersions(DirectoryVersions(log, CODEC), read))
    junk = [b"x", former[:-1] + bytes([former[-1] ^ 1]), bytes(4096)]
    false = [*(envelope.with_former_receipt(each) for each in junk), other.with_former_receipt(former)]
    outcome = await service.publish(SHANXI, false)
    assert {type(result) for result in outcome.results} == {errors.FormerReceiptInvalid}
    assert (log.reads, opened) == (0, [])
    came = envelope.with_former_receipt(former)
    for _ in range(2):
        assert (await service.publish(SHANXI, [came, came])).results == (Accepted(0), Accepted(1))
        # The second time, the log is not asked again.
        assert (log.reads, opened) == (1, [1])
    await stored.close()


async def entries(log: SqliteLog) -> list[LogEntry]:
    partitions = [StreamPartition("dna", number) for number in range(log.partitions("dna"))]
    return [entry for each in partitions for entry in await log.read(each, 0, 100, 1 << 20)]
