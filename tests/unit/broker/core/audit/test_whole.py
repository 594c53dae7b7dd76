"""The judgement of the whole, from the reports on batches: what no batch and no partition can show alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.audit.findings import (
    MAX_FINDINGS,
    BatchReport,
    EntryFacts,
    EntryLeaf,
    Finding,
    FinishedLater,
    RecordedDelivery,
    Severity,
    UnderReign,
    Unprocessed,
    error,
)
from broker.core.audit.sequences import COVERED_WITHIN_MS
from broker.core.audit.whole import BundleAudit
from broker.core.body import RecordReference
from broker.core.bundle import (
    BundleEnd,
    BundleHeader,
    BundleSource,
    PartitionEnd,
    PartitionLeaves,
    PartitionStart,
    StrayRecord,
)
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS
from broker.core.reigns import OfReign
from broker.core.streams import STREAMS, Position, StreamPartition
from broker.core.supplements import Repeats
from broker.core.tree.checkpoint import VerifierKey
from broker.trust.signing import note_verifier
from tests.support.bundles import LyingExchange
from tests.support.pki import SamplePki
from tests.support.trees import GrownTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.audit.report import AuditReport

DNA_0 = StreamPartition("dna", 0)
DNA_1 = StreamPartition("dna", 1)
NOW = 1_000_000
END_OF_NONE = PartitionEnd(0, ())
LAST = BundleEnd(0, 0, None)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


class Auditing:
    """An audit of partitions without a leaf, so that only the reports are judged."""

    def __init__(
        self,
        pki: SamplePki,
        *,
        trust_domain: str = "case-exchange.example",
        period: tuple[int | None, int | None] = (None, None),
        streams: tuple[str, ...] = ("dna",),
        directories_from_ms: int = 0,
        made_at_ms: int = 10 * NOW,
        partitions: dict[str, int] | None = None,
    ) -> None:
        self._exchange = LyingExchange(pki)
        keys = [VerifierKey.parse(text) for text in pki.directory.log_keys]
        header = BundleHeader(
            trust_domain, "spiffe://a", "test", made_at_ms, *period, streams, BundleSource.MESSAGE_LOG
        )
        self.audit = BundleAudit(
            header,
            replace(pki.directory, partitions=partitions or {}),
            {(key.name, key.key_id): note_verifier(key.public_key) for key in keys},
            directories_from_ms=directories_from_ms,
        )

    def start(self, partition: StreamPartition = DNA_0) -> None:
        note = self._exchange.note(partition, GrownTree([]))
        self.audit.start_partition(PartitionStart(partition, note, 0, ()))

    def end(self) -> None:
        self.audit.end_partition(END_OF_NONE)

    def partition(self, *reports: BatchReport, at: StreamPartition = DNA_0) -> None:
        self.start(at)
        for report in reports:
            self.audit.add_batch(report)
        self.end()

    def finish(self, end: BundleEnd | None = LAST, frames: int = 0) -> AuditReport:
        return self.audit.finish(end, frames)


def facts(
    number: int,
    *recipients: tuple[str, int],
    publisher: str = "shanxi-police",
    at_ms: int = NOW,
    offset: int | None = None,
    withheld: int = 0,
) -> EntryFacts:
    """The facts of the record of this number, at the offset of this number."""
    position = Position(*DNA_0, number if offset is None else offset)
    record_id = f"01990000-0000-7000-8000-{number:012d}"
    log_id, sent = "f" * 32, (publisher, "gateway", "SampleRequest", recipients)
    return EntryFacts(position, at_ms, log_id, 0, record_id, *sent, withheld)


def batch(*entries: EntryFacts, deliveries: tuple[RecordedDelivery, ...] = (), findings: int = 0) -> BatchReport:
    wrong = [error("RECEIPT_INVALID", "wrong", position=Position(*DNA_0, 500 + n)) for n in range(findings)]
    return BatchReport([], list(entries), list(deliveries), wrong)


def told(report: AuditReport) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in report.findings]


def codes(report: AuditReport) -> list[str]:
    return [finding.code for finding in report.findings]


def test_reports_without_a_finding_are_clean_and_counted(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    delivery = RecordedDelivery("lab", Position(*DNA_0, 0), Position("audit", 0, 0))
    refused = Unprocessed("lab", "samples", Position(*DNA_0, 0), "RECORD_INVALID")
    auditing.partition(
        batch(facts(0, ("lab", 1), withheld=1), deliveries=(delivery,)),
        replace(batch(facts(1, ("lab", 2), withheld=2)), unprocessed=[refused]),
    )
    report = auditing.finish()
    assert report.clean
    assert report.findings == ()
    assert (report.withheld_sections, report.deliveries, report.findings_left_out) == (3, 1, 0)
    assert report.unprocessed == (refused,)
    assert [item.partition for item in report.partitions] == [DNA_0]


def test_what_was_told_under_a_reign_that_was_over_is_listed_apart_and_accuses_nobody(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    first, second = OfReign("lab", "samples", DNA_0, 1), OfReign("lab", "samples", DNA_0, 2)
    dead, late = (Unprocessed("lab", "samples", Position(*DNA_0, offset), "") for offset in (0, 1))
    ended = FinishedLater("lab", "samples", Position(*DNA_0, 0))
    auditing.partition(
        replace(batch(), unprocessed=[UnderReign(first), UnderReign(first, dead), UnderReign(second)]),
        replace(batch(), unprocessed=[UnderReign(first, late), UnderReign(first, ended), UnderReign(first)]),
    )
    report = auditing.finish()
    assert report.clean
    assert report.unprocessed == (dead,)
    assert report.void == (late, ended)


def test_records_are_counted_over_all_batches(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    auditing.start()
    for leaves in (2, 1):
        auditing.audit.add_batch(BatchReport([EntryLeaf(Position(*DNA_0, 0), "", bytes(32))] * leaves, [], [], []))
    auditing.end()
    report = auditing.finish(BundleEnd(0, 3, None))
    assert report.records == 3
    assert "BUNDLE_INVALID" not in codes(report)


def test_the_header_names_the_exchange_of_the_directory(pki: SamplePki) -> None:
    auditing = Auditing(pki, trust_domain="another.example")
    assert codes(auditing.finish())[0] == "HEADER_INVALID"


# --- how many are kept ---


@pytest.mark.parametrize(("made", "left_out"), [(MAX_FINDINGS, 0), (MAX_FINDINGS + 3, 3)])
def test_findings_beyond_the_bound_are_counted_and_the_report_is_not_clean(
    pki: SamplePki, made: int, left_out: int
) -> None:
    auditing = Auditing(pki)
    auditing.partition()
    for number in range(made):
        auditing.audit.add(Finding(Severity.WARNING, "SEQUENCE_GAP", str(number)))
    report = auditing.finish()
    assert [finding.message for finding in report.findings] == [str(number) for number in range(MAX_FINDINGS)]
    assert report.findings_left_out == left_out
    assert report.clean is (left_out == 0)


def test_however_many_were_found_before_the_first_of_each_partition_is_reported(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    for _ in range(MAX_FINDINGS):
        auditing.audit.add(error("BUNDLE_INVALID", "before"))
    auditing.partition(batch(findings=3), at=DNA_0)
    auditing.partition(batch(findings=2), at=DNA_1)
    report = auditing.finish()
    assert [finding.position for finding in report.findings[MAX_FINDINGS:]] == [Position(*DNA_0, 500)] * 2
    assert report.findings_left_out == 3


def test_what_a_partition_did_not_keep_is_counted(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    auditing.partition(batch(findings=MAX_FINDINGS + 5))
    auditing.partition(batch(findings=MAX_FINDINGS + 2), at=DNA_1)
    assert auditing.finish().findings_left_out == 5 + 2 + MAX_FINDINGS - 1


# --- partitions ---


def test_a_partition_that_breaks_off_keeps_what_was_found_and_says_where(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    auditing.start(DNA_0)
    auditing.audit.add_batch(batch(facts(7), findings=1))
    auditing.start(DNA_1)
    auditing.audit.add_batch(batch(findings=1))
    report = auditing.finish()
    placed = [(finding.code, finding.position) for finding in report.findings[:4]]
    assert placed == [
        ("BUNDLE_INVALID", Position(*DNA_0, 7)),
        ("RECEIPT_INVALID", Position(*DNA_0, 500)),
        ("RECEIPT_INVALID", Position(*DNA_0, 500)),
        ("BUNDLE_INVALID", None),
    ]
    assert "dna/0: the bundle breaks off within" in report.findings[0].message
    assert report.partitions == ()


def test_a_partition_stands_in_a_bundle_once(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    auditing.partition()
    auditing.partition()
    assert ("BUNDLE_INVALID", "the partition dna/0 stands twice in the bundle") in told(auditing.finish())


@pytest.mark.parametrize(
    "outside",
    [
        lambda audit: audit.add_leaves(PartitionLeaves(0, ())),
        lambda audit: audit.add_batch(batch(facts(0, ("lab", 5)))),
        lambda audit: audit.add_stray(StrayRecord.of(Position(*DNA_0, 0), "no seal", b"", shown=True)),
        lambda audit: audit.end_partition(END_OF_NONE),
    ],
    ids=["leaves", "records", "stray", "end"],
)
def test_what_stands_outside_of_a_partition_is_reported_and_not_judged(
    pki: SamplePki, outside: Callable[[BundleAudit], None]
) -> None:
    auditing = Auditing(pki)
    auditing.partition()
    outside(auditing.audit)
    report = auditing.finish()
    assert codes(report) == ["BUNDLE_INVALID"]
    assert report.records == 0


@pytest.mark.parametrize(
    ("streams", "partitions", "message"),
    [
        pytest.param(("dna", "cases"), [DNA_0], "the bundle lacks a partition of the stream cases", id="a stream"),
        pytest.param(("dna",), [DNA_1], "the bundle lacks a partition of the stream dna", id="the first"),
        pytest.param(
            ("dna",), [DNA_0, StreamPartition("dna", 2)], "the bundle lacks a partition of the stream dna", id="between"
        ),
        pytest.param((), [DNA_0], "the header does not promise the stream dna", id="not promised"),
    ],
)
def test_every_partition_promised_is_there_and_no_other(
    pki: SamplePki, streams: tuple[str, ...], partitions: list[StreamPartition], message: str
) -> None:
    auditing = Auditing(pki, streams=streams)
    for partition in partitions:
        auditing.partition(at=partition)
    assert told(auditing.finish()) == [("BUNDLE_INVALID", message)]


def test_if_the_directory_says_how_many_partitions_a_stream_has_none_of_the_last_may_be_missing(
    pki: SamplePki,
) -> None:
    def found(promised: dict[str, int], *shown: StreamPartition) -> list[str]:
        auditing = Auditing(pki, partitions=promised)
        for partition in shown:
            auditing.partition(at=partition)
        return codes(auditing.finish())

    assert found({"dna": 2, "cases": 9}, DNA_0, DNA_1) == found({}, DNA_0) == found({"cases": 2}, DNA_0) == []
    for promised in ({"dna": 3}, {"dna": 1}):
        assert found(promised, DNA_0, DNA_1) == ["BUNDLE_INVALID"]


def test_partitions_may_come_in_any_order(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    auditing.partition(at=DNA_1)
    auditing.partition(at=DNA_0)
    assert codes(auditing.finish()) == []


# --- the last frame ---


@pytest.mark.parametrize(
    ("end", "frames", "message"),
    [
        (None, 0, "the bundle breaks off before its last frame"),
        (BundleEnd(5, 0, None), 4, "the bundle's last frame promises other numbers of frames or records"),
        (BundleEnd(4, 1, None), 4, "the bundle's last frame promises other numbers of frames or records"),
    ],
    ids=["none", "frames", "records"],
)
def test_the_last_frame_says_how_much_there_is(
    pki: SamplePki, end: BundleEnd | None, frames: int, message: str
) -> None:
    auditing = Auditing(pki)
    auditing.partition()
    assert told(auditing.finish(end, frames)) == [("BUNDLE_INVALID", message)]


# --- over all records ---


def test_a_record_that_stands_twice_is_named_the_second_time(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    auditing.partition(batch(facts(3), facts(3, offset=4), facts(5)))
    (finding,) = auditing.finish().findings
    assert finding == error("RECORD_REPEATED", "the record stands twice", facts(3).record_id, Position(*DNA_0, 4))


@pytest.mark.parametrize(
    ("early_ms", "missing"), [(CHANGE_OF_DIRECTORY_MS, []), (CHANGE_OF_DIRECTORY_MS + 1, ["DIRECTORY_MISSING"])]
)
def test_a_record_from_before_the_first_directory_is_reported_but_for_a_moment(
    pki: SamplePki, early_ms: int, missing: list[str]
) -> None:
    auditing = Auditing(pki, directories_from_ms=NOW)
    auditing.partition(batch(facts(0, at_ms=NOW - early_ms)))
    assert codes(auditing.finish()) == missing


@pytest.mark.parametrize(
    ("numbers", "code", "message"),
    [
        ((1, 2, 2, 3), "SEQUENCE_REPEATED", "police/gateway gave the number 2 to two records for lab"),
        ((1, 3), "SEQUENCE_GAP", "number 2 of police/gateway to lab are not here"),
        ((1, 2, 5), "SEQUENCE_GAP", "numbers 3 to 4 of police/gateway to lab are not here"),
        ((2, 3), "SEQUENCE_GAP", "number 1 of police/gateway to lab are not here"),
        ((4,), "SEQUENCE_GAP", "numbers 1 to 3 of police/gateway to lab are not here"),
    ],
)
def test_running_numbers_have_neither_gap_nor_repetition(
    pki: SamplePki, numbers: tuple[int, ...], code: str, message: str
) -> None:
    auditing = Auditing(pki, streams=STREAMS)
    for stream in set(STREAMS) - {"dna"}:
        auditing.partition(at=StreamPartition(stream, 0))
    entries = [facts(at, ("lab", number), ("ngo", at + 1), publisher="police") for at, number in enumerate(numbers)]
    # The numbers of another publisher, or to another recipient, have nothing to do with them.
    auditing.partition(batch(*entries, facts(99, ("lab", 1), publisher="ministry")))
    report = auditing.finish()
    assert codes(report) == [code]
    assert report.findings[0].message.startswith(message)
    assert report.clean is (code == "SEQUENCE_GAP")


def test_a_period_may_begin_with_any_number(pki: SamplePki) -> None:
    auditing = Auditing(pki, period=(0, None))
    auditing.partition(batch(facts(0, ("lab", 7)), facts(1, ("lab", 8))))
    assert codes(auditing.finish()) == ["PERIOD_EDGES"]


@pytest.mark.parametrize("period", [(0, None), (None, NOW + 1), (0, NOW + 1)])
def test_of_a_period_the_edges_cannot_be_known(pki: SamplePki, period: tuple[int | None, int | None]) -> None:
    auditing = Auditing(pki, period=period)
    auditing.partition()
    report = auditing.finish()
    assert codes(report) == ["PERIOD_EDGES"]
    assert report.clean


def test_a_delivery_is_judged_by_the_record_if_that_is_here(pki: SamplePki) -> None:
    here, elsewhere, event_at = Position(*DNA_0, 0), Position("cases", 0, 0), Position("audit", 0, 9)
    auditing = Auditing(pki)
    deliveries = (
        RecordedDelivery("ngo", elsewhere, event_at),
        RecordedDelivery("ngo", here, event_at),
        RecordedDelivery("lab", here, event_at),
    )
    auditing.partition(batch(facts(0, ("lab", 1)), deliveries=deliveries))
    report = auditing.finish()
    message = "the record at dna/0/0 was delivered to ngo, not addressed by it"
    assert report.findings == (error("DELIVERY_ASTRAY", message, position=event_at),)
    assert report.deliveries == 3


@pytest.mark.parametrize(
    ("made_at_ms", "code"),
    [(NOW + COVERED_WITHIN_MS, "NOT_YET_COVERED"), (NOW + COVERED_WITHIN_MS + 1, "SEQUENCE_GAP")],
)
def test_a_number_before_one_that_was_just_accepted_is_not_yet_covered_and_later_it_is_a_gap(
    pki: SamplePki, made_at_ms: int, code: str
) -> None:
    auditing = Auditing(pki, made_at_ms=made_at_ms)
    auditing.partition(batch(facts(0, ("lab", 1)), facts(1, ("lab", 3))))
    report = auditing.finish()
    assert codes(report) == [code]
    assert "number 2 of shanxi-police/gateway to lab" in report.findings[0].message
    assert report.clean


def test_an_old_gap_stays_a_gap_when_newer_numbers_were_just_accepted(pki: SamplePki) -> None:
    auditing = Auditing(pki, made_at_ms=NOW + COVERED_WITHIN_MS + 5)
    auditing.partition(batch(facts(0, ("lab", 1)), facts(1, ("lab", 3)), facts(2, ("lab", 4), at_ms=NOW + 5)))
    assert codes(auditing.finish()) == ["SEQUENCE_GAP"]


# --- supplements ---

TERMS = b"t" * 32


def original(number: int) -> EntryFacts:
    return facts(number, ("lab", number + 1))._replace(record_sha256=bytes([number]) * 32, repeats=Repeats(TERMS))


def supplement(number: int, named: EntryFacts) -> EntryFacts:
    reference = RecordReference(named.record_id, named.record_sha256)
    return original(number)._replace(repeats=Repeats(TERMS, reference))


def test_a_supplement_to_a_supplement_is_found(pki: SamplePki) -> None:
    auditing = Auditing(pki)
    first = supplement(1, original(0))
    second = supplement(2, first)
    auditing.partition(batch(original(0), first, second))
    (finding,) = [each for each in auditing.finish().findings if each.code == "SUPPLEMENT_INVALID"]
    assert (finding.record_id, finding.position) == (second.record_id, second.position)
