"""The report on one batch: the facts and the leaf of every entry, and the place and reason of a wrong one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.client.composing import Draft, SectionDraft
from broker.core.audit.findings import (
    BatchReport,
    EntryFacts,
    EntryLeaf,
    FinishedLater,
    RecordedDelivery,
    Republished,
    Severity,
    UnderReign,
    Unprocessed,
)
from broker.core.audit.judge import MOST_SKEW_MS, BatchJudge
from broker.core.body import Recipient
from broker.core.bundle import BundleEntry, BundleSource, PartitionRecords
from broker.core.envelope import Signature
from broker.core.errors import CaseExchangeError, SignatureInvalid
from broker.core.events import (
    AuditEvent,
    DeadLetterMade,
    DeliveryConfirmed,
    DeliveryMade,
    DeliveryRefused,
    RecordsParked,
    SetAsideEnded,
    TakenOver,
)
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS, DirectoryVersion, SignerEnd
from broker.core.receipt import ReceiptStatement, SignedReceipts, portable_receipt, receipts_message
from broker.core.reigns import OfReign
from broker.core.streams import Position, StreamPartition
from broker.core.supplements import repeats
from broker.core.tree.merkle import leaf_hash
from broker.wire.receipts import receipt_bytes
from tests.support.bundles import LyingExchange, audit_record, manifest, without_right
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CASE, CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.audit.findings import Finding
    from broker.core.envelope import Envelope
    from broker.core.events import Event
    from broker.core.policy import Directory

DNA_0 = StreamPartition("dna", 0)
AUDIT_0 = StreamPartition("audit", 0)
LAB_GATEWAY = "spiffe://case-exchange.example/agency/national-dna-database/gateway"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module")
def clock(pki: SamplePki) -> ManualClock:
    return ManualClock(pki.now_ms + 1000)


@pytest.fixture(scope="module")
def entries(pki: SamplePki, clock: ManualClock) -> list[BundleEntry]:
    maker = RecordMaker(pki, clock)
    return LyingExchange(pki).add(DNA_0, [maker.make(), maker.make()], clock.value_ms)


def judge_of(
    pki: SamplePki, *versions: tuple[int, Directory], source: BundleSource = BundleSource.MESSAGE_LOG
) -> BatchJudge:
    listed = versions or ((0, pki.directory),)
    return BatchJudge(
        [DirectoryVersion(from_ms, directory, pki.keyring(directory)) for from_ms, directory in listed], CODEC, source
    )


def judged(
    pki: SamplePki, entries: Sequence[BundleEntry], receipts: SignedReceipts | None = None, **how: BundleSource
) -> BatchReport:
    return judge_of(pki, **how).judge(DNA_0, PartitionRecords(tuple(entries), receipts))


def record_id(entry: BundleEntry) -> str:
    return CODEC.parse_body(entry.envelope.body).record_id


def signed(pki: SamplePki, statements: Sequence[bytes], agency: str = "exchange") -> SignedReceipts:
    signer = pki.signer(agency)
    signature = Signature(signer.certificate_sha256, signer.sign(receipts_message(statements)))
    return SignedReceipts(tuple(statements), signature)


def statement(entry: BundleEntry) -> ReceiptStatement:
    sha256 = entry.envelope.record_sha256
    place = (entry.position, entry.log_id, entry.epoch, entry.accepted_at_ms)
    return ReceiptStatement(record_id(entry), sha256, *place, "shanxi-police")


def receipts(pki: SamplePki, *entries: BundleEntry) -> SignedReceipts:
    return signed(pki, [CODEC.encode_statement(statement(entry)) for entry in entries])


def told(report: BatchReport) -> list[tuple[str, str, Position | None]]:
    assert all(finding.severity is Severity.ERROR for finding in report.findings)
    return [(finding.code, finding.record_id, finding.position) for finding in report.findings]


# --- what is known of an entry ---


def test_of_a_good_entry_its_facts_and_its_leaf_are_reported(pki: SamplePki, entries: list[BundleEntry]) -> None:
    entry = entries[1]
    recipients = (("national-dna-database", 2),)
    assert judged(pki, [entry]) == BatchReport(
        [EntryLeaf(entry.position, record_id(entry), leaf_hash(manifest(entry)))],
        [
            EntryFacts(
                entry.position,
                entry.accepted_at_ms,
                entry.log_id,
                entry.epoch,
                record_id(entry),
                "shanxi-police",
                "gateway",
                "SampleRequest",
                recipients,
                0,
                CASE,
                CODEC.parse_body(entry.envelope.body).issued_at_ms,
                (("case", frozenset()),),
                entry.envelope.record_sha256,
                signer_end=SignerEnd(None, pki.keyring().signer(pki.signer().certificate_sha256).ended_at_ms),
                repeats=repeats(CODEC.parse_body(entry.envelope.body)),
            )
        ],
        [],
        [],
    )


def test_sections_that_are_withheld_are_counted(pki: SamplePki, entries: list[BundleEntry]) -> None:
    envelope = replace(entries[0].envelope, sections=())
    report = judged(pki, [entries[0]._replace(envelope=envelope)])
    assert [item.withheld_sections for item in report.facts] == [1]
    assert report.findings == []


def test_of_an_entry_whose_body_cannot_be_read_there_is_a_leaf_and_no_fact(
    pki: SamplePki, entries: list[BundleEntry]
) -> None:
    broken = entries[0]._replace(envelope=replace(entries[0].envelope, body=b"\xff"))
    report = judged(pki, [broken, entries[1]])
    assert told(report) == [("ENVELOPE_MALFORMED", "", broken.position)]
    assert [leaf.record_id for leaf in report.leaves] == ["", record_id(entries[1])]
    assert [item.position for item in report.facts] == [entries[1].position]


def test_a_refused_entry_is_named_and_its_facts_are_reported_all_the_same(
    pki: SamplePki, entries: list[BundleEntry]
) -> None:
    directory = without_right(pki.directory, "shanxi-police", "SampleRequest")
    report = judge_of(pki, (0, directory)).judge(DNA_0, PartitionRecords(tuple(entries), None))
    assert told(report) == [("RIGHT_DENIED", record_id(entry), entry.position) for entry in entries]
    assert [item.withheld_sections for item in report.facts] == [0, 0]


def test_an_entry_of_another_partition_is_misplaced(pki: SamplePki, entries: list[BundleEntry]) -> None:
    report = judge_of(pki).judge(StreamPartition("dna", 1), PartitionRecords(tuple(entries), None))
    assert told(report) == [("MISPLACED", "", entry.position) for entry in entries]


def test_an_entry_belongs_on_the_stream_that_its_publisher_signed(pki: SamplePki, entries: list[BundleEntry]) -> None:
    moved = entries[0]._replace(position=Position("cases", 0, 0))
    report = judge_of(pki).judge(StreamPartition("cases", 0), PartitionRecords((moved,), None))
    assert told(report) == [("KIND_UNKNOWN", record_id(moved), moved.position)]


def test_a_batch_has_entries(pki: SamplePki) -> None:
    assert told(judged(pki, [])) == [("BUNDLE_INVALID", "", None)]


def test_around_a_change_of_the_directory_either_version_may_allow(
    pki: SamplePki, entries: list[BundleEntry], clock: ManualClock
) -> None:
    less = without_right(pki.directory, "shanxi-police", "SampleRequest")
    for ago_ms, codes in ((CHANGE_OF_DIRECTORY_MS, []), (CHANGE_OF_DIRECTORY_MS + 1, ["RIGHT_DENIED"])):
        judge = judge_of(pki, (0, pki.directory), (clock.value_ms - ago_ms, less))
        report = judge.judge(DNA_0, PartitionRecords((entries[0],), None))
        assert [finding.code for finding in report.findings] == codes


def test_a_record_was_not_accepted_long_before_its_issue_nor_after_its_end(pki: SamplePki, clock: ManualClock) -> None:
    later = ManualClock(clock.value_ms + 2 * MOST_SKEW_MS)
    issued_ms = later.value_ms
    section = SectionDraft("case", "synthetic", b"synthetic")
    to = (Recipient("national-dna-database", 1),)
    draft = Draft("SampleRequest", "dna", CASE, to, "dna-matching", (section,), expires_at_ms=issued_ms + 60_000)
    ends = RecordMaker(pki, later).composer.compose(draft).envelope
    for after_ms, codes in (
        (-MOST_SKEW_MS, []),
        (-MOST_SKEW_MS - 1, ["ISSUED_IN_FUTURE"]),
        (60_000 + CHANGE_OF_DIRECTORY_MS - 1, []),
        (60_000 + CHANGE_OF_DIRECTORY_MS, ["RECORD_EXPIRED"]),
    ):
        (entry,) = LyingExchange(pki).add(DNA_0, [ends], issued_ms)
        report = judged(pki, [entry._replace(accepted_at_ms=issued_ms + after_ms)])
        assert [finding.code for finding in report.findings] == codes, after_ms


def test_nothing_was_accepted_under_a_directory_that_had_expired(
    pki: SamplePki, clock: ManualClock, entries: list[BundleEntry]
) -> None:
    for ago_ms, codes in ((CHANGE_OF_DIRECTORY_MS - 1, []), (CHANGE_OF_DIRECTORY_MS, ["DIRECTORY_UNAVAILABLE"])):
        expired = replace(pki.directory, expires_at_ms=clock.value_ms - ago_ms)
        report = judge_of(pki, (0, expired)).judge(DNA_0, PartitionRecords((entries[0],), None))
        assert [finding.code for finding in report.findings] == codes


# --- receipts ---


def test_receipts_that_say_the_same_are_silent(pki: SamplePki, entries: list[BundleEntry]) -> None:
    report = judged(pki, entries, receipts(pki, *entries), source=BundleSource.BROKER)
    assert report.findings == []


def test_a_broker_gives_receipts_and_the_log_has_none(pki: SamplePki, entries: list[BundleEntry]) -> None:
    missing = [("RECEIPT_INVALID", record_id(entry), entry.position) for entry in entries]
    assert told(judged(pki, entries, source=BundleSource.BROKER)) == missing
    assert told(judged(pki, entries, source=BundleSource.MESSAGE_LOG)) == []


@pytest.mark.parametrize("agency", ["shanxi-police", "nobody that is listed"])
def test_receipts_that_the_exchange_did_not_sign_are_reported_once_for_the_batch(
    pki: SamplePki, entries: list[BundleEntry], agency: str
) -> None:
    given = receipts(pki, *entries)
    if agency == "shanxi-police":
        given = signed(pki, given.statements, agency)
    else:
        given = replace(given, signature=Signature(bytes(32), given.signature.value))
    assert told(judged(pki, entries[:1], given)) == [
        ("RECEIPT_INVALID", "", entries[0].position),
        ("RECORD_MISSING", record_id(entries[1]), entries[1].position),
    ]
    assert told(judged(pki, [], given))[:2] == [("BUNDLE_INVALID", "", None), ("RECEIPT_INVALID", "", None)]


def test_a_receipt_for_a_record_that_is_not_here_names_it(pki: SamplePki, entries: list[BundleEntry]) -> None:
    report = judged(pki, entries[:1], receipts(pki, *entries))
    assert told(report) == [("RECORD_MISSING", record_id(entries[1]), entries[1].position)]


def test_two_receipts_for_one_position_are_one_too_many(pki: SamplePki, entries: list[BundleEntry]) -> None:
    report = judged(pki, entries, receipts(pki, *entries, entries[0]))
    assert told(report) == [("RECEIPT_INVALID", record_id(entries[0]), entries[0].position)]


def test_a_receipt_that_cannot_be_read_leaves_its_record_without_one(
    pki: SamplePki, entries: list[BundleEntry]
) -> None:
    good = receipts(pki, entries[1]).statements
    report = judged(pki, entries, signed(pki, [b"\xff", *good]))
    assert told(report) == [
        ("RECEIPT_INVALID", "", None),
        ("RECEIPT_INVALID", record_id(entries[0]), entries[0].position),
    ]


@pytest.mark.parametrize("lie", [{"record_sha256": bytes(32)}, {"accepted_at_ms": 1}], ids=["digest", "time"])
def test_a_receipt_that_says_something_else_is_reported(
    pki: SamplePki, entries: list[BundleEntry], lie: dict[str, object]
) -> None:
    lying = statement(entries[0])._replace(**lie)  # type: ignore[arg-type]
    report = judged(pki, entries[:1], signed(pki, [CODEC.encode_statement(lying)]))
    assert told(report) == [("RECEIPT_INVALID", record_id(entries[0]), entries[0].position)]


def test_a_receipt_names_a_record_whose_body_cannot_be_read_any_more(
    pki: SamplePki, entries: list[BundleEntry]
) -> None:
    broken = entries[0]._replace(envelope=replace(entries[0].envelope, body=b"\xff"))
    report = judged(pki, [broken], receipts(pki, entries[0]))
    assert told(report)[1] == ("RECEIPT_INVALID", record_id(entries[0]), entries[0].position)


# --- the exchange's signature ---


def test_the_exchange_signs_with_a_certificate_of_any_version(pki: SamplePki) -> None:
    signer = pki.signer("exchange")
    signature = Signature(signer.certificate_sha256, signer.sign(b"message"))
    without = pki.directory_with("exchange", [])
    for versions in ([(0, pki.directory), (1, without)], [(0, without), (1, pki.directory)]):
        judge_of(pki, *versions).check_exchange(b"message", signature)
    with pytest.raises(SignatureInvalid):
        judge_of(pki).check_exchange(b"another", signature)
    with pytest.raises(CaseExchangeError, match="no directory version lists"):
        judge_of(pki, (0, without)).check_exchange(b"message", signature)


def test_an_agencys_signature_is_not_the_exchanges(pki: SamplePki) -> None:
    signer = pki.signer("shanxi-police")
    signature = Signature(signer.certificate_sha256, signer.sign(b"message"))
    with pytest.raises(CaseExchangeError, match="an agency signed"):
        judge_of(pki).check_exchange(b"message", signature)


# --- what the audit stream says ---


async def told_by_audit_stream(pki: SamplePki, clock: ManualClock, *events: AuditEvent) -> BundleEntry:
    envelope = await audit_record(pki, clock, events)
    return BundleEntry(Position(*AUDIT_0, 4), clock.value_ms, "f" * 32, 0, envelope)


async def test_deliveries_are_read_from_the_audit_stream(pki: SamplePki, clock: ManualClock) -> None:
    position = Position(*DNA_0, 7)
    made = AuditEvent(clock.value_ms, LAB_GATEWAY, DeliveryMade(position, "samples", 1, (), (9, 8)))
    confirmed = AuditEvent(clock.value_ms, LAB_GATEWAY, DeliveryConfirmed(position, "samples"))
    entry = await told_by_audit_stream(pki, clock, made, confirmed, made)
    report = judge_of(pki).judge(AUDIT_0, PartitionRecords((entry,), None))
    assert report.findings == []
    positions = [Position(*DNA_0, offset) for offset in (7, 9, 8)]
    lab, at_ms = "national-dna-database", clock.value_ms
    assert report.deliveries == [RecordedDelivery(lab, at, entry.position, (), at_ms) for at in positions] * 2


async def test_what_was_refused_or_given_up_is_read_from_the_audit_stream(pki: SamplePki, clock: ManualClock) -> None:
    position, lab = Position(*DNA_0, 7), "national-dna-database"
    refused = AuditEvent(clock.value_ms, LAB_GATEWAY, DeliveryRefused(position, "samples", "RECORD_INVALID", (9,)))
    dead = AuditEvent(clock.value_ms, LAB_GATEWAY, DeadLetterMade(position, "others", 10, lab, ""))
    damaged = AuditEvent(clock.value_ms, LAB_GATEWAY, DeadLetterMade(position, "third", 0, lab, "", "LOG_CORRUPT"))
    expected = [
        (refused, [Unprocessed(lab, "samples", Position(*DNA_0, offset), "RECORD_INVALID") for offset in (7, 9)]),
        (dead, [Unprocessed(lab, "others", position, "")]),
        (damaged, [Unprocessed(lab, "third", position, "", "LOG_CORRUPT")]),
    ]
    for told, unprocessed in expected:
        entry = await told_by_audit_stream(pki, clock, told)
        report = judge_of(pki).judge(AUDIT_0, PartitionRecords((entry,), None))
        assert (report.findings, report.deliveries, report.unprocessed) == ([], [], unprocessed)


async def test_what_belongs_to_a_reign_is_told_with_it(pki: SamplePki, clock: ManualClock) -> None:
    position, lab = Position(*DNA_0, 7), "national-dna-database"
    events: list[Event] = [
        TakenOver(DNA_0, "samples", lab, 5),
        DeadLetterMade(position, "samples", 10, lab, "", reign=5),
        RecordsParked(position, "samples", lab, "", (9,), reign=5),
        SetAsideEnded(position, "samples", lab, (), reign=5),
        SetAsideEnded(position, "samples", lab),
    ]
    entry = await told_by_audit_stream(pki, clock, *(AuditEvent(clock.value_ms, "", event) for event in events))
    report = judge_of(pki).judge(AUDIT_0, PartitionRecords((entry,), None))
    assert report.findings == []
    reign = OfReign(lab, "samples", DNA_0, 5)
    assert report.unprocessed == [
        UnderReign(reign),
        UnderReign(reign, Unprocessed(lab, "samples", position, "")),
        UnderReign(reign, Unprocessed(lab, "samples", position, "", parked=True)),
        UnderReign(reign, Unprocessed(lab, "samples", Position(*DNA_0, 9), "", parked=True)),
        UnderReign(reign, FinishedLater(lab, "samples", position)),
        FinishedLater(lab, "samples", position),
    ]


async def test_an_audit_record_without_its_section_names_no_delivery(pki: SamplePki, clock: ManualClock) -> None:
    made = AuditEvent(clock.value_ms, LAB_GATEWAY, DeliveryMade(Position(*DNA_0, 7), "samples", 1, ()))
    entry = await told_by_audit_stream(pki, clock, made)
    without = entry._replace(envelope=replace(entry.envelope, sections=()))
    report = judge_of(pki).judge(AUDIT_0, PartitionRecords((without,), None))
    assert (report.findings, report.deliveries) == ([], [])


@pytest.mark.parametrize(
    "event",
    [
        DeliveryMade(Position(*DNA_0, 7), "samples", 1, ()),
        DeliveryRefused(Position(*DNA_0, 7), "samples", "RECORD_INVALID"),
    ],
)
async def test_what_the_exchange_did_not_sign_names_no_delivery_and_no_refusal(
    pki: SamplePki, clock: ManualClock, event: Event
) -> None:
    entry = await told_by_audit_stream(pki, clock, AuditEvent(clock.value_ms, LAB_GATEWAY, event))
    (signature,) = entry.envelope.signatures
    forged = replace(entry.envelope, signatures=(signature._replace(value=bytes(64)),))
    report = judge_of(pki).judge(AUDIT_0, PartitionRecords((entry._replace(envelope=forged),), None))
    assert [finding.code for finding in report.findings] == ["SIGNATURE_INVALID"]
    assert (report.deliveries, report.unprocessed) == ([], [])


async def test_an_audit_record_that_names_no_agency_cannot_be_read(pki: SamplePki, clock: ManualClock) -> None:
    nobody = AuditEvent(clock.value_ms, "nobody", DeliveryMade(Position(*DNA_0, 7), "samples", 1, ()))
    entry = await told_by_audit_stream(pki, clock, nobody)
    report = judge_of(pki).judge(AUDIT_0, PartitionRecords((entry,), None))
    assert told(report) == [("ENVELOPE_MALFORMED", "", entry.position)]
    finding: Finding = report.findings[0]
    assert "cannot be read" in finding.message


# --- published again with a former receipt ---


def came_again(pki: SamplePki, envelope: Envelope, former: BundleEntry, accepted_at_ms: int) -> BundleEntry:
    """The record at another place, with the exchange's receipt for its former one."""
    receipt = receipt_bytes(portable_receipt(receipts(pki, former), 0))
    at = former.position._replace(offset=former.position.offset + 5)
    return former._replace(
        position=at, accepted_at_ms=accepted_at_ms, envelope=envelope.with_former_receipt(receipt), log_id="e" * 32
    )


def test_a_record_that_came_again_is_judged_at_its_former_receipts_time_and_named(
    pki: SamplePki, entries: list[BundleEntry]
) -> None:
    former = entries[0]
    later_ms = former.accepted_at_ms + 60_000
    again = came_again(pki, former.envelope, former, later_ms)
    without = without_right(pki.directory, "shanxi-police", "SampleRequest")
    judge = judge_of(pki, (0, pki.directory), (later_ms - CHANGE_OF_DIRECTORY_MS - 1, without))
    report = judge.judge(DNA_0, PartitionRecords((again,), None))
    assert report.findings == []
    at = (former.position, former.log_id, former.accepted_at_ms)
    assert report.republished == [Republished(record_id(former), again.position, *at)]
    # Its leaf is that of its new place, and without the receipt the later directory decides.
    assert report.leaves == [EntryLeaf(again.position, record_id(former), leaf_hash(manifest(again)))]
    plain = again._replace(envelope=former.envelope)
    assert told(judge.judge(DNA_0, PartitionRecords((plain,), None))) == [
        ("RIGHT_DENIED", record_id(former), again.position)
    ]
    # A bundle may hold only the version of the new acceptance. One that allows it is enough.
    assert judged(pki, [again]).findings == []


def test_a_former_receipt_that_does_not_count_is_a_finding_and_proves_no_time(
    pki: SamplePki, entries: list[BundleEntry]
) -> None:
    first, second = entries
    stranger = came_again(pki, second.envelope, first, second.accepted_at_ms + 1)
    garbage = stranger._replace(envelope=second.envelope.with_former_receipt(b"none"))
    for again in (stranger, garbage):
        report = judged(pki, [again])
        assert told(report) == [("FORMER_RECEIPT_INVALID", record_id(second), again.position)]
        assert report.republished == []
    # The time of its acceptance decides then: the signer's certificate has ended.
    late = stranger._replace(accepted_at_ms=pki.now_ms + 100 * 365 * 86_400_000)
    assert [code for code, *_ in told(judged(pki, [late]))] == [
        "FORMER_RECEIPT_INVALID",
        "SIGNER_CERTIFICATE_INVALID",
    ]
