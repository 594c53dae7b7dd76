"""A log that lost, changed or gained something: an audit names the first bad position, for any maker of the bundle."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.audit.findings import MAX_FINDINGS, BatchReport, EntryFacts, FindingsByPosition, Severity, error
from broker.core.audit.partition import PartitionAudit
from broker.core.audit.report import PartitionReport
from broker.core.bundle import (
    BundleEntry,
    BundleLeaf,
    BundleSource,
    PartitionEnd,
    PartitionLeaves,
    PartitionRecords,
    PartitionStart,
    StrayRecord,
)
from broker.core.entry import REPAIRED
from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import marshal_note, parse_note
from tests.support.bundles import LOG_ID, LyingExchange, manifest
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import RecordMaker
from tests.support.trees import GrownTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.audit.report import AuditReport
    from broker.core.envelope import Envelope

DNA_0 = StreamPartition("dna", 0)
# The offsets of the ten records have gaps, as with Kafka's transactions.
GAP = 3
RECORDS = 10
BROKER_SAYS_SO_TOO = {"RECEIPT_INVALID"}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module")
def clock(pki: SamplePki) -> ManualClock:
    return ManualClock(pki.now_ms + 1000)


@pytest.fixture(scope="module")
def maker(pki: SamplePki, clock: ManualClock) -> RecordMaker:
    return RecordMaker(pki, clock)


@pytest.fixture(scope="module")
def envelopes(maker: RecordMaker) -> list[Envelope]:
    return [maker.make() for _ in range(RECORDS)]


@pytest.fixture(params=list(BundleSource))
def exchange(request: pytest.FixtureRequest, pki: SamplePki) -> LyingExchange:
    """Every test here runs for a broker's bundle, and for one that the auditor read from the log."""
    return LyingExchange(pki, source=request.param)


@pytest.fixture
def entries(exchange: LyingExchange, envelopes: list[Envelope], clock: ManualClock) -> list[BundleEntry]:
    return exchange.add(DNA_0, envelopes, clock.value_ms, gap=GAP)


def found(report: AuditReport) -> list[tuple[str, int]]:
    """Errors with a position, in order, without those that only a broker's receipts show."""
    assert all(finding.position is None or finding.position[:2] == DNA_0 for finding in report.findings)
    return [
        (finding.code, finding.position.offset)
        for finding in report.findings
        if finding.severity is Severity.ERROR and finding.position and finding.code not in BROKER_SAYS_SO_TOO
    ]


def unplaced(report: AuditReport) -> list[str]:
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    return [finding.code for finding in errors if finding.position is None]


def stray(offset: int, value: bytes = b"not of this exchange") -> StrayRecord:
    return StrayRecord.of(Position(*DNA_0, offset), "no seal", value, shown=True)


def with_body(entry: BundleEntry, body: bytes) -> BundleEntry:
    return entry._replace(envelope=replace(entry.envelope, body=body))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_log_as_it_was_signed_is_clean(exchange: LyingExchange, entries: list[BundleEntry]) -> None:
    report = exchange.audit()
    assert (report.clean, report.findings, report.records) == (True, (), len(entries))
    assert report.header.source is exchange.source


@pytest.mark.parametrize("at", [0, 4, RECORDS - 1], ids=["first", "middle", "last"])
def test_a_dropped_record_is_named_at_its_position(
    exchange: LyingExchange, entries: list[BundleEntry], at: int
) -> None:
    exchange.hold(*entries[:at], *entries[at + 1 :])
    report = exchange.audit()
    assert found(report) == [("RECORD_MISSING", at * GAP)]
    assert unplaced(report) == []
    # A broker's receipt names the record too; the tree alone knows its leaf.
    (finding,) = (item for item in report.findings if item.code == "RECORD_MISSING")
    assert finding.record_id or f"leaf {at} " in finding.message


def test_a_record_that_never_reached_the_bundle_with_its_receipt_is_named(
    exchange: LyingExchange, entries: list[BundleEntry]
) -> None:
    kept = (*entries[:6], *entries[8:])
    batch = exchange.records()
    exchange.replace(batch, replace(batch, entries=kept, receipts=exchange.receipts(kept)))
    report = exchange.audit()
    assert found(report) == [("RECORD_MISSING", 18), ("RECORD_MISSING", 21)]


def test_a_record_that_stands_between_two_leaves_is_named(
    exchange: LyingExchange, entries: list[BundleEntry], maker: RecordMaker
) -> None:
    more = entries[4]._replace(position=Position(*DNA_0, 13), envelope=maker.make())
    exchange.hold(*entries[:5], more, *entries[5:])
    assert found(exchange.audit()) == [("RECORD_INSERTED", 13)]


def test_a_record_beyond_the_tree_is_named(
    exchange: LyingExchange, entries: list[BundleEntry], maker: RecordMaker
) -> None:
    exchange.hold(*entries, entries[-1]._replace(position=Position(*DNA_0, 100), envelope=maker.make()))
    assert found(exchange.audit()) == [("RECORD_INSERTED", 100)]


def test_two_records_that_changed_places_are_named_both(exchange: LyingExchange, entries: list[BundleEntry]) -> None:
    second, sixth = entries[2], entries[6]
    swapped = list(entries)
    swapped[2], swapped[6] = second._replace(envelope=sixth.envelope), sixth._replace(envelope=second.envelope)
    exchange.hold(*swapped)
    assert found(exchange.audit()) == [("RECORD_CHANGED", 6), ("RECORD_CHANGED", 18)]


def test_a_changed_byte_is_named_at_its_record(exchange: LyingExchange, entries: list[BundleEntry]) -> None:
    body = entries[3].envelope.body
    # The last byte of a section's digest, so that the body can still be read.
    changed = with_body(entries[3], flipped(body, len(body) - 3))
    exchange.hold(*entries[:3], changed, *entries[4:])
    report = exchange.audit()
    assert report.findings[0].position == entries[3].position
    assert [item for item in found(report) if item[0] == "RECORD_CHANGED"] == [("RECORD_CHANGED", 9)]
    assert {offset for _, offset in found(report)} == {9}


@pytest.mark.parametrize("field", ["accepted_at_ms", "log_id", "epoch"])
def test_a_changed_fact_of_an_entry_is_named_at_its_record(
    exchange: LyingExchange, entries: list[BundleEntry], field: str
) -> None:
    changed: Any = {"accepted_at_ms": entries[5].accepted_at_ms - 1, "log_id": "e" * 32, "epoch": 7}[field]
    exchange.hold(*entries[:5], entries[5]._replace(**{field: changed}), *entries[6:])
    report = exchange.audit()
    assert report.findings[0].position == entries[5].position
    assert ("RECORD_CHANGED", 15) in found(report)
    if field == "log_id":
        assert ("LOG_CHANGED", 15) in found(report)
    if field == "epoch":
        # The entry itself may have had a newer leader. The next one cannot have an older one.
        assert ("LOG_CHANGED", 18) in found(report)


def test_entries_of_another_incarnation_than_the_checkpoints_are_named_from_the_first(
    exchange: LyingExchange, entries: list[BundleEntry]
) -> None:
    assert [report.log_id for report in exchange.audit().partitions] == [LOG_ID]
    start = next(frame for frame in exchange.frames if isinstance(frame, PartitionStart))
    tree = GrownTree(map(manifest, entries))
    exchange.replace(start, replace(start, note=exchange.note(DNA_0, tree, "e" * 32)))
    report = exchange.audit()
    assert found(report) == [("LOG_CHANGED", at * GAP) for at in range(RECORDS)]
    assert [item.log_id for item in report.partitions] == ["e" * 32]


@pytest.mark.parametrize("field", ["log_id", "epoch"])
def test_a_receipt_for_another_log_or_leader_is_named(
    pki: SamplePki, envelopes: list[Envelope], clock: ManualClock, field: str
) -> None:
    exchange = LyingExchange(pki)
    entries = exchange.add(DNA_0, envelopes, clock.value_ms)
    lie: Any = {"log_id": "e" * 32, "epoch": 7}
    told = [entries[0]._replace(**{field: lie[field]}), *entries[1:]]
    batch = exchange.records()
    exchange.replace(batch, replace(batch, receipts=exchange.receipts(told)))
    errors = [finding for finding in exchange.audit().findings if finding.severity is Severity.ERROR]
    assert [(finding.code, finding.position) for finding in errors] == [("RECEIPT_INVALID", entries[0].position)]


def test_an_entry_that_names_another_partition_leaves_its_own_place_empty(
    exchange: LyingExchange, entries: list[BundleEntry]
) -> None:
    moved = entries[5]._replace(position=Position("dna", 1, entries[5].position.offset))
    exchange.hold(*entries[:5], moved, *entries[6:])
    findings = exchange.audit().findings
    assert ("MISPLACED", moved.position) in {(finding.code, finding.position) for finding in findings}
    assert ("RECORD_MISSING", entries[5].position) in {(finding.code, finding.position) for finding in findings}


@pytest.mark.parametrize("late", [True, False])
def test_an_entry_outside_of_its_stretch_does_not_fill_its_place(
    exchange: LyingExchange, envelopes: list[Envelope], clock: ManualClock, *, late: bool
) -> None:
    entries = exchange.add(DNA_0, envelopes, clock.value_ms, gap=GAP, stretch=5)
    first, second = (frame for frame in exchange.frames if isinstance(frame, PartitionRecords))
    at = 4 if late else 6
    without = [entry for entry in entries if entry != entries[at]]
    parts = (without[:4], [entries[at], *without[4:]]) if late else ([*without[:5], entries[at]], without[5:])
    for batch, part in zip((first, second), parts, strict=True):
        exchange.replace(batch, replace(batch, entries=tuple(part), receipts=exchange.receipts(part)))
    told = {code for code, offset in found(exchange.audit()) if offset == entries[at].position.offset}
    assert {"RECORD_MISSING", "RECORD_INSERTED"} <= told


def test_a_record_whose_body_cannot_be_read_any_more_is_named(
    exchange: LyingExchange, entries: list[BundleEntry]
) -> None:
    exchange.hold(*entries[:7], with_body(entries[7], b"\xff\xff"), *entries[8:])
    assert found(exchange.audit()) == [("ENVELOPE_MALFORMED", 21), ("RECORD_CHANGED", 21)]


@pytest.mark.parametrize(
    ("offset", "code"),
    [(6, "RECORD_CHANGED"), (7, "RECORD_INSERTED"), (28, "RECORD_INSERTED")],
    ids=["in a record's place", "below the end", "beyond the last leaf"],
)
def test_a_stray_is_named_where_it_stands(
    exchange: LyingExchange, entries: list[BundleEntry], offset: int, code: str
) -> None:
    batch = exchange.records()
    before = tuple(entry for entry in entries if entry.position.offset < offset)
    after = tuple(entry for entry in entries if entry.position.offset > offset)
    parts = [replace(batch, entries=part, receipts=exchange.receipts(part)) for part in (before, after) if part]
    exchange.replace(batch, parts[0], stray(offset), *parts[1:])
    report = exchange.audit()
    assert found(report) == [(code, offset)]
    assert unplaced(report) == []
    assert "no seal" in report.findings[0].message


def repaired(offset: int) -> StrayRecord:
    return StrayRecord.of(Position(*DNA_0, offset), REPAIRED, b"damaged", shown=True)


@pytest.mark.parametrize("first", [True, False])
def test_a_record_for_which_the_same_one_stands_in_is_a_warning_at_its_position(
    exchange: LyingExchange, entries: list[BundleEntry], *, first: bool
) -> None:
    batch = exchange.records()
    if first:
        exchange.replace(batch, repaired(6), batch)
    else:
        exchange.replace(batch, batch, repaired(6))
    report = exchange.audit()
    assert (report.clean, report.records) == (True, len(entries))
    (warned,) = (item for item in report.findings if item.position is not None)
    assert (warned.severity, warned.code, warned.position) == (Severity.WARNING, "RECORD_REPAIRED", entries[2].position)


def test_what_is_said_to_be_repaired_is_an_error_without_the_very_record_of_the_leaf(
    exchange: LyingExchange, entries: list[BundleEntry]
) -> None:
    batch = exchange.records()
    kept = (*entries[:2], *entries[3:])
    exchange.replace(batch, repaired(6), replace(batch, entries=kept, receipts=exchange.receipts(kept)), repaired(7))
    assert found(exchange.audit()) == [("RECORD_CHANGED", 6), ("RECORD_INSERTED", 7)]
    body = flipped(entries[2].envelope.body, -1)
    exchange.hold(*entries[:2], with_body(entries[2], body), *entries[3:])
    assert ("RECORD_CHANGED", 6) in found(exchange.audit())


def test_a_stray_in_a_partition_without_a_record_is_named(exchange: LyingExchange) -> None:
    exchange.add(DNA_0, [], 0)
    exchange.frames.insert(1, stray(0))
    assert found(exchange.audit()) == [("RECORD_INSERTED", 0)]


def test_a_stray_whose_bytes_are_not_those_of_its_digest_is_reported(
    exchange: LyingExchange, entries: list[BundleEntry]
) -> None:
    assert entries
    exchange.frames.insert(-1, replace(stray(100), value=b"not of this exchangE"))
    assert ("BUNDLE_INVALID", 100) in found(exchange.audit())


def test_a_stray_of_another_partition_is_out_of_place(exchange: LyingExchange, entries: list[BundleEntry]) -> None:
    assert entries
    exchange.frames.insert(-1, replace(stray(100), position=Position("dna", 1, 100)))
    (finding,) = exchange.audit().findings
    assert (finding.code, finding.position) == ("MISPLACED", Position("dna", 1, 100))


def test_what_is_wrong_is_reported_in_order_of_position(
    exchange: LyingExchange, envelopes: list[Envelope], clock: ManualClock, maker: RecordMaker
) -> None:
    # In several stretches: 0 to 9, 12 to 21, 24 to 27.
    entries = exchange.add(DNA_0, envelopes, clock.value_ms, gap=GAP, stretch=4)
    first, second, third = (frame for frame in exchange.frames if isinstance(frame, PartitionRecords))
    exchange.replace(first, replace(first, entries=(*entries[:2], *entries[3:4])))
    extra = entries[4]._replace(position=Position(*DNA_0, 14), envelope=maker.make())
    held = (entries[4], extra, with_body(entries[5], b"\xff"), *entries[6:8])
    exchange.replace(second, replace(second, entries=held))
    exchange.replace(third, stray(23), third, stray(40))
    assert [item for item in found(exchange.audit()) if item[0].startswith("RECORD_")] == [
        ("RECORD_MISSING", 6),
        ("RECORD_INSERTED", 14),
        ("RECORD_CHANGED", 15),
        ("RECORD_INSERTED", 23),
        ("RECORD_INSERTED", 40),
    ]


def with_leaf(frame: PartitionLeaves, at: int, **changes: Any) -> PartitionLeaves:
    leaves = list(frame.leaves)
    leaves[at] = leaves[at]._replace(**changes)
    return replace(frame, leaves=tuple(leaves))


def hide_a_drop(frame: PartitionLeaves) -> PartitionLeaves:
    return replace(frame, leaves=(*frame.leaves[:4], *frame.leaves[5:]))


WRONG_LISTS = [
    pytest.param(hide_a_drop, id="a leaf left out"),
    pytest.param(lambda frame: with_leaf(frame, 4, hash=bytes(32)), id="another hash"),
    pytest.param(lambda frame: with_leaf(frame, 4, hash=b"short"), id="no hash"),
    pytest.param(lambda frame: with_leaf(frame, 4, offset=3), id="an offset out of order"),
    pytest.param(lambda frame: with_leaf(frame, 4, offset=9), id="an offset twice"),
    pytest.param(lambda frame: replace(frame, first_index=1), id="another index"),
    pytest.param(
        lambda frame: replace(frame, leaves=(*frame.leaves, BundleLeaf(30, b"short"))), id="one without a hash"
    ),
    pytest.param(lambda frame: replace(frame, leaves=(*frame.leaves, BundleLeaf(30, bytes(32)))), id="a leaf too many"),
]


@pytest.mark.parametrize("alter", WRONG_LISTS)
def test_a_list_of_leaves_that_is_not_the_signed_trees_proves_no_position(
    exchange: LyingExchange, entries: list[BundleEntry], alter: object
) -> None:
    assert callable(alter)
    listed = exchange.frames[1]
    exchange.replace(listed, alter(listed))
    exchange.hold(*entries[:4], *entries[5:])
    exchange.frames.insert(-1, stray(40))
    report = exchange.audit()
    assert "TREE_MISMATCH" in unplaced(report)
    codes = {code for code, _ in found(report)}
    # A broker's receipts still name what is missing. A list that proves nothing adds no finding.
    assert codes == ({"RECORD_MISSING"} if exchange.source is BundleSource.BROKER else set())
    (mismatch,) = (finding for finding in report.findings if finding.code == "TREE_MISMATCH")
    assert "dna/0: the leaves listed are not those of the signed checkpoint" in mismatch.message
    assert mismatch.message.endswith("something that is no record is said to stand at dna/0/40")


def test_a_mismatch_names_no_stray_where_there_is_none(exchange: LyingExchange, entries: list[BundleEntry]) -> None:
    assert entries
    listed = exchange.frames[1]
    assert isinstance(listed, PartitionLeaves)
    exchange.replace(listed, hide_a_drop(listed))
    (mismatch,) = (finding for finding in exchange.audit().findings if finding.code == "TREE_MISMATCH")
    assert "no record" not in mismatch.message


def test_what_was_found_by_the_leaves_and_not_kept_is_counted(
    exchange: LyingExchange, entries: list[BundleEntry]
) -> None:
    assert entries
    exchange.frames[-1:-1] = [stray(100 + number) for number in range(MAX_FINDINGS + 5)]
    report = exchange.audit()
    assert len(report.findings) == MAX_FINDINGS
    assert report.findings_left_out == 5


def test_a_bundle_without_the_list_of_leaves_proves_nothing(
    exchange: LyingExchange, entries: list[BundleEntry]
) -> None:
    assert entries
    del exchange.frames[1]
    assert unplaced(exchange.audit()) == ["BUNDLE_INVALID", "TREE_MISMATCH"]


def unsigned(start: PartitionStart) -> PartitionStart:
    return replace(start, note=start.note[: start.note.index(b"\n\n") + 2])


def signed_by_a_stranger(start: PartitionStart) -> PartitionStart:
    """Under the name and id of the listed key, which anyone can write."""
    note = parse_note(start.note)
    (listed,) = note.signatures
    key = Ed25519PrivateKey.generate()
    return replace(start, note=marshal_note(note.text, [listed._replace(value=key.sign(note.text))]))


WRONG_STARTS = [
    pytest.param(lambda start: replace(start, note=b"no note"), "CHECKPOINT_INVALID", id="no note"),
    pytest.param(unsigned, "CHECKPOINT_INVALID", id="no signature"),
    pytest.param(signed_by_a_stranger, "CHECKPOINT_INVALID", id="a stranger's signature"),
    pytest.param(lambda start: replace(start, first_index=2), "PROOF_INVALID", id="no tree to the left"),
]


@pytest.mark.parametrize(("alter", "code"), WRONG_STARTS)
def test_a_partition_without_a_checkpoint_that_holds_is_reported_and_nothing_is_proved_by_it(
    exchange: LyingExchange, entries: list[BundleEntry], alter: Callable[[PartitionStart], PartitionStart], code: str
) -> None:
    assert entries
    start = exchange.frames[0]
    assert isinstance(start, PartitionStart)
    exchange.replace(start, alter(start))
    exchange.frames.insert(-1, stray(100))
    report = exchange.audit()
    assert report.partitions == ()
    # The second: the stream has no partition that was proved.
    assert unplaced(report) == [code, "BUNDLE_INVALID"]
    assert report.findings[0].message.startswith("dna/0: ")
    assert found(report) == []


def test_a_checkpoint_of_another_partition_proves_nothing(exchange: LyingExchange, entries: list[BundleEntry]) -> None:
    assert entries
    start = exchange.frames[0]
    assert isinstance(start, PartitionStart)
    exchange.replace(start, replace(start, note=exchange.note(StreamPartition("dna", 1), GrownTree([]))))
    report = exchange.audit()
    assert unplaced(report)[0] == "CHECKPOINT_INVALID"
    assert "another partition" in report.findings[0].message


def test_a_report_says_which_leaves_of_which_tree_are_here(
    exchange: LyingExchange, envelopes: list[Envelope], clock: ManualClock
) -> None:
    exchange.accepted_from_ms = 0
    entries = exchange.add(DNA_0, envelopes, clock.value_ms, gap=GAP, period=(3, RECORDS))
    tree = GrownTree(map(manifest, entries))
    assert exchange.audit().partitions == (
        PartitionReport(
            DNA_0,
            LOG_ID,
            RECORDS,
            b64encode(tree.roots[-1]).decode(),
            3,
            RECORDS,
            entries[-1].position.offset,
            entries[3].position.offset,
            proved=True,
        ),
    )


@pytest.mark.parametrize(
    ("period", "part", "told"),
    [
        ((None, None), (0, 10), []),
        ((None, None), (2, 10), ["the bundle leaves out the log's beginning"]),
        ((None, None), (0, 8), ["the bundle leaves out the log's end"]),
        ((0, None), (2, 10), []),
        ((0, None), (2, 8), ["the bundle leaves out the log's end"]),
        ((None, 1 << 50), (0, 8), []),
        ((None, 1 << 50), (2, 8), ["the bundle leaves out the log's beginning"]),
    ],
)
def test_a_bundle_leaves_out_no_more_than_its_period_says(
    exchange: LyingExchange,
    envelopes: list[Envelope],
    clock: ManualClock,
    *,
    period: tuple[int | None, int | None],
    part: tuple[int, int],
    told: list[str],
) -> None:
    exchange.accepted_from_ms, exchange.accepted_until_ms = period
    exchange.add(DNA_0, envelopes, clock.value_ms, period=part)
    missing = [finding.message for finding in exchange.audit().findings if finding.code == "RECORD_MISSING"]
    assert missing == [f"dna/0: {what}" for what in told]


def test_the_end_promises_as_many_leaves_as_are_listed(exchange: LyingExchange, entries: list[BundleEntry]) -> None:
    assert entries
    end = exchange.frames[-1]
    assert isinstance(end, PartitionEnd)
    exchange.replace(end, replace(end, end_index=RECORDS - 1))
    report = exchange.audit()
    assert ("BUNDLE_INVALID", "dna/0: the bundle promises leaves up to 9, not 10") in {
        (finding.code, finding.message) for finding in report.findings
    }


@pytest.mark.parametrize(
    ("from_ms", "until_ms", "codes"),
    [(0, 1, []), (1, 1, ["OUT_OF_PERIOD"]), (0, 0, ["OUT_OF_PERIOD"]), (1, None, ["OUT_OF_PERIOD"]), (None, 1, [])],
)
def test_an_entry_lies_within_the_period_that_the_header_says(
    exchange: LyingExchange,
    envelopes: list[Envelope],
    clock: ManualClock,
    *,
    from_ms: int | None,
    until_ms: int | None,
    codes: list[str],
) -> None:
    """From the first millisecond on, and before the last. Here both are given as distances from the entry."""
    exchange.accepted_from_ms = None if from_ms is None else clock.value_ms + from_ms
    exchange.accepted_until_ms = None if until_ms is None else clock.value_ms + until_ms
    (entry,) = exchange.add(DNA_0, envelopes[:1], clock.value_ms)
    assert found(exchange.audit()) == [(code, entry.position.offset) for code in codes]


FIRST_FACTS = EntryFacts(Position(*DNA_0, 4), 1000, LOG_ID, 5, "", "", "", "", (), 0)


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"accepted_at_ms": 999}, ["OUT_OF_ORDER"]),
        ({"accepted_at_ms": 1001}, []),
        ({"epoch": 6}, []),
        ({"epoch": 4}, ["LOG_CHANGED"]),
        ({"log_id": "e" * 32}, ["LOG_CHANGED"]),
    ],
)
def test_an_entry_is_not_earlier_than_the_one_before_it_and_of_the_same_log(
    exchange: LyingExchange, changes: dict[str, Any], codes: list[str]
) -> None:
    second = FIRST_FACTS._replace(position=Position(*DNA_0, 5), **changes)
    assert followed(exchange, FIRST_FACTS, second) == [(code, second.position) for code in codes]


@pytest.mark.parametrize("offset", [3, 4])
def test_an_entry_stands_behind_the_one_before_it(exchange: LyingExchange, offset: int) -> None:
    second = FIRST_FACTS._replace(position=Position(*DNA_0, offset))
    assert followed(exchange, FIRST_FACTS, second) == [("OUT_OF_ORDER", second.position)]


def followed(exchange: LyingExchange, *facts: EntryFacts) -> list[tuple[str, Position | None]]:
    """The findings for entries that follow each other."""
    start = PartitionStart(DNA_0, exchange.note(DNA_0, GrownTree([])), 0, ())
    audit = PartitionAudit(start, exchange.header(), "case-exchange.example", {})
    audit.add_batch(BatchReport([], list(facts), [], []))
    return [(finding.code, finding.position) for finding in audit.findings() if finding.position is not None]


@pytest.mark.parametrize("period", [(0, 4), (3, 8), (6, 10), (5, 5)])
def test_a_period_is_compared_with_its_own_leaves(
    exchange: LyingExchange, envelopes: list[Envelope], clock: ManualClock, period: tuple[int, int]
) -> None:
    exchange.accepted_from_ms, exchange.accepted_until_ms = 0, clock.value_ms + 1
    entries = exchange.add(DNA_0, envelopes, clock.value_ms, gap=GAP, period=period, stretch=3)
    assert exchange.audit().clean
    if period[0] == period[1]:
        return
    gone = entries[period[0] + 1]
    batch = exchange.records()
    exchange.hold(*(entry for entry in batch.entries if entry != gone))
    assert found(exchange.audit()) == [("RECORD_MISSING", gone.position.offset)]


def test_a_period_of_other_leaves_than_those_listed_is_a_mismatch(
    exchange: LyingExchange, envelopes: list[Envelope], clock: ManualClock
) -> None:
    exchange.accepted_from_ms, exchange.accepted_until_ms = 0, clock.value_ms + 1
    exchange.add(DNA_0, envelopes, clock.value_ms, period=(3, 8))
    end = exchange.frames[-1]
    assert isinstance(end, PartitionEnd)
    exchange.replace(end, replace(end, right_hashes=end.right_hashes[:-1]))
    assert unplaced(exchange.audit()) == ["TREE_MISMATCH"]


def test_a_broker_gives_a_receipt_for_every_record(
    pki: SamplePki, envelopes: list[Envelope], clock: ManualClock
) -> None:
    exchange = LyingExchange(pki)
    entries = exchange.add(DNA_0, envelopes, clock.value_ms)
    batch = exchange.records()
    exchange.replace(batch, replace(batch, receipts=None))
    report = exchange.audit()
    assert [finding.position for finding in report.findings] == [entry.position for entry in entries]
    assert {finding.code for finding in report.findings} == {"RECEIPT_INVALID"}


def test_receipts_in_a_bundle_that_was_read_from_the_log_are_checked_all_the_same(
    pki: SamplePki, envelopes: list[Envelope], clock: ManualClock
) -> None:
    broker = LyingExchange(pki)
    entries = broker.add(DNA_0, envelopes, clock.value_ms)
    auditor = LyingExchange(pki, source=BundleSource.MESSAGE_LOG)
    auditor.add(DNA_0, envelopes, clock.value_ms)
    batch = auditor.records()
    auditor.replace(batch, replace(batch, receipts=broker.receipts(entries[:-1])))
    assert [(finding.code, finding.position) for finding in auditor.audit().findings] == [
        ("RECEIPT_INVALID", entries[-1].position)
    ]


def test_a_lost_directory_version_is_reported_once_and_casts_no_doubt_on_records(
    pki: SamplePki, envelopes: list[Envelope], clock: ManualClock
) -> None:
    exchange = LyingExchange(pki, directories_from_ms=clock.value_ms + 60_000)
    exchange.add(DNA_0, envelopes, clock.value_ms)
    assert [finding.code for finding in exchange.audit().findings] == ["DIRECTORY_MISSING"]


def test_of_too_many_findings_those_of_the_lowest_positions_are_kept() -> None:
    findings = FindingsByPosition()
    findings.add(error("TREE_MISMATCH", "of no position"))
    for offset in range(MAX_FINDINGS + 50, 0, -1):
        findings.add(error("RECORD_MISSING", "gone", position=Position(*DNA_0, offset)))
    kept = list(findings)
    assert [finding.position for finding in kept] == [Position(*DNA_0, n) for n in range(1, MAX_FINDINGS + 1)]
    assert findings.left_out == 51
