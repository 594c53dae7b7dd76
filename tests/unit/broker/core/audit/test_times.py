"""Times that are proved without the exchange, and what contradicts them. The rules are in docs/adr/0052."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.audit.findings import BatchReport, EntryFacts, Severity
from broker.core.audit.times import BACKDATED_MS, CLOCKS_MS, SECOND_MS, STAMPED_WITHIN_MS, Stamp, TimesAudit
from broker.core.audit.witnesses import CosignedPartition
from broker.core.bundle import BundleLeaf, PartitionLeaves, PartitionStart, TimestampedCheckpoint
from broker.core.errors import TimestampInvalid
from broker.core.incarnations import NONE_DECLARED, Incarnation, Incarnations, SignedCheckpoint
from broker.core.inforce import SignerEnd
from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note
from tests.support.trees import GrownTree

if TYPE_CHECKING:
    from broker.core.audit.times import TimesReport

DNA_0 = StreamPartition("dna", 0)
ORIGIN = "case-exchange.example/dna/0/log"
TREE = GrownTree(b"leaf %d" % number for number in range(8))
ALL = 8
NOON = 1_800_000_000_000


def text(size: int, tree: GrownTree = TREE, origin: str = ORIGIN) -> bytes:
    return Checkpoint(origin, size, tree.roots[size]).marshal()


def stamp(size: int, at_ms: int, *, shown: int = ALL) -> TimestampedCheckpoint:
    """A timestamp that proves this time of the tree of this size. ``check`` reads the time out of the response."""
    return TimestampedCheckpoint(text(size), TREE.consistency(size, shown), b"%d" % at_ms)


def check(response: bytes, message: bytes) -> Stamp:
    if not response.isdigit() or b"\n" not in message:
        refusal = "the timestamp does not hold"
        raise TimestampInvalid(refusal)
    # It states the second that ends then.
    return Stamp(int(response) - SECOND_MS, "sample authority")


def facts(
    index: int, at_ms: int, revoked_at_ms: int | None = None, ended_at_ms: int | None = None, *, again: bool = False
) -> EntryFacts:
    record_id = f"01990000-0000-7000-8000-{index:012d}"
    sent = ("shanxi-police", "gateway", "SampleRequest", (("national-dna-database", index + 1),), 0)
    end = SignerEnd(revoked_at_ms, ended_at_ms)
    return EntryFacts(Position(*DNA_0, 10 * index), at_ms, "f" * 32, 0, record_id, *sent, again=again, signer_end=end)


class Auditing:
    def __init__(
        self, audit: TimesAudit, *stamps: TimestampedCheckpoint, cosigned: CosignedPartition | None = None
    ) -> None:
        self.audit = audit
        note = marshal_note(text(ALL), [NoteSignature("log", bytes(4), bytes(64))])
        audit.start(PartitionStart(DNA_0, note, 0, ()), cosigned)
        self.found = [(item.severity, item.code) for one in stamps for item in audit.take(one)]
        audit.take_leaves(PartitionLeaves(0, tuple(BundleLeaf(10 * n, bytes(32)) for n in range(ALL))))

    def records(self, *entries: EntryFacts, made_at_ms: int = NOON) -> list[tuple[Severity, str, str]]:
        found = self.audit.take_batch(BatchReport([], list(entries), [], []), made_at_ms)
        return [(item.severity, item.code, item.record_id) for item in found]

    def report(self) -> TimesReport:
        return self.audit.report()


def cosigned(size: int, at_ms: int) -> CosignedPartition:
    return CosignedPartition(DNA_0, size, ALL, (at_ms - SECOND_MS) // 1000, ("witness.example/a",))


HONEST = [facts(index, NOON + index * 1000) for index in range(ALL)]


def test_honest_times_are_no_finding_and_are_told() -> None:
    audit = Auditing(TimesAudit(check), stamp(3, NOON + 3000), stamp(7, NOON + 7000), cosigned=cosigned(8, NOON + 9000))
    assert audit.found == []
    assert audit.records(*HONEST) == []
    report = audit.report()
    assert (report.timestamps, report.unproved, report.unchecked, report.records) == (2, 0, 0, 8)
    assert [(one.size, one.at_ms, one.witnesses) for one in report.proven] == [
        (3, NOON + 3000, False),
        (8, NOON + 9000, True),
    ]


@pytest.mark.parametrize("witnesses", [False, True])
def test_a_record_that_was_accepted_after_a_tree_with_it_existed_is_a_contradiction(*, witnesses: bool) -> None:
    def found(at_ms: int) -> list[tuple[Severity, str, str]]:
        by = {"cosigned": cosigned(3, NOON)} if witnesses else {}
        audit = Auditing(TimesAudit(check), *([] if witnesses else [stamp(3, NOON)]), **by)
        # The fourth record is not in the tree of three.
        return audit.records(facts(3, at_ms), facts(2, at_ms))

    assert found(NOON + CLOCKS_MS) == []
    late = found(NOON + CLOCKS_MS + 1)
    assert late == [(Severity.ERROR, "TIME_CONTRADICTED", facts(2, 0).record_id)]


def test_what_was_stamped_of_a_former_log_counts_as_far_as_it_survives() -> None:
    former, last = "case-exchange.example/dna/0/former", SignedCheckpoint(b"", Checkpoint(ORIGIN, 9, bytes(32)))
    carried = SignedCheckpoint(b"", Checkpoint(ORIGIN, 5, TREE.roots[5]))
    declared = Incarnations([Incarnation(DNA_0, "former", "log", last, carried, "a test", 1, restored=True)])
    other = GrownTree(b"other %d" % number for number in range(8))

    def judged(size: int, of: Incarnations = declared, tree: GrownTree = TREE, origin: str = former) -> Auditing:
        one = stamp(size, NOON)
        return Auditing(TimesAudit(check, declared=of), replace(one, text=text(size, tree, origin)))

    for size in (3, 5):
        assert judged(size).found == []
        assert [(one.size, one.at_ms) for one in judged(size).report().proven] == [(size, NOON)]
    late = judged(3).records(facts(2, NOON + CLOCKS_MS + 1))
    assert late == [(Severity.ERROR, "TIME_CONTRADICTED", facts(2, 0).record_id)]
    # Beyond what survives, undeclared, or of a third log, it says nothing.
    unproved = [(Severity.WARNING, "TIMESTAMP_UNPROVED")]
    assert judged(6).found == judged(3, NONE_DECLARED).found == unproved
    assert judged(3, origin="case-exchange.example/dna/0/third").found == unproved
    assert judged(3, origin="case-exchange.example/dna/1/former").found == unproved
    # What survives is the beginning of this log, or there were two histories.
    assert judged(3, tree=other).found == [(Severity.ERROR, "PROOF_INVALID")]


def test_a_record_that_was_accepted_long_before_a_stamped_tree_without_it_was_backdated() -> None:
    def found(at_ms: int, backdated_after_ms: int = BACKDATED_MS) -> list[tuple[Severity, str, str]]:
        audit = Auditing(TimesAudit(check, backdated_after_ms=backdated_after_ms), stamp(3, NOON))
        return audit.records(facts(2, at_ms), facts(3, at_ms), facts(4, at_ms))

    assert found(NOON - BACKDATED_MS - CLOCKS_MS) == []
    # The first of a kind has the finding.
    named = [(Severity.ERROR, "BACKDATED", facts(3, 0).record_id)]
    assert found(NOON - BACKDATED_MS - CLOCKS_MS - 1) == named
    # A shorter bound leaves no less room for clocks.
    for bound_ms in (0, 1000):
        assert found(NOON - bound_ms - CLOCKS_MS, bound_ms) == []
        assert found(NOON - bound_ms - CLOCKS_MS - 1, bound_ms) == named


def test_a_certificate_that_was_revoked_before_the_first_proof_is_a_warning_and_after_it_is_not() -> None:
    def found(revoked_at_ms: int | None, index: int = 2) -> list[tuple[Severity, str, str]]:
        audit = Auditing(TimesAudit(check), stamp(3, NOON), stamp(5, NOON + 50_000))
        return audit.records(facts(index, NOON - 1000, revoked_at_ms))

    assert found(None) == []
    assert found(NOON + 1) == []
    warned = [(Severity.WARNING, "REVOKED_BEFORE_PROOF", facts(2, 0).record_id)]
    assert found(NOON) == found(NOON - 500) == warned
    # In the tree of five, but not in that of three; and in no tree of a proven time.
    assert [code for _, code, _ in found(NOON + 1, 4)] == ["REVOKED_BEFORE_PROOF"]
    assert [code for _, code, _ in found(NOON + 900_000, 7)] == ["REVOKED_BEFORE_PROOF"]


LATE_MS = STAMPED_WITHIN_MS + BACKDATED_MS + CLOCKS_MS


@pytest.mark.parametrize("proved", ["stamp", "cosigned", "not at all"])
def test_a_certificate_that_ended_while_too_few_trees_were_stamped_is_a_warning(proved: str) -> None:
    """The fourth record. A tree without it was stamped before, and the first proof of it is from noon, if any."""

    def found(accepted_at_ms: int, ended_at_ms: int | None, *, again: bool = False) -> list[tuple[Severity, str, str]]:
        before, at_noon = stamp(3, accepted_at_ms - 1), [stamp(4, NOON)] if proved == "stamp" else []
        by = {"cosigned": cosigned(4, NOON)} if proved == "cosigned" else {}
        audit = Auditing(TimesAudit(check), before, *at_noon, **by)
        made_at_ms = NOON if proved == "not at all" else NOON + 9 * LATE_MS
        return audit.records(facts(3, accepted_at_ms, None, ended_at_ms, again=again), made_at_ms=made_at_ms)

    late_ms = NOON - LATE_MS - 1
    warned = [(Severity.WARNING, "ENDED_BEFORE_PROOF", facts(3, 0).record_id)]
    assert found(late_ms, NOON) == found(late_ms, late_ms + 1) == warned
    # Proved while it was good, proved as soon as an honest exchange can, never ended.
    assert found(late_ms, NOON + 1) == found(late_ms + 1, NOON) == found(late_ms, None) == []
    # Accepted before, by a former receipt.
    assert found(late_ms, NOON, again=True) == []


def test_before_the_first_stamp_nothing_is_said_of_ended_certificates() -> None:
    audit = Auditing(TimesAudit(check), stamp(4, NOON), cosigned=cosigned(3, NOON - 3 * LATE_MS))
    assert audit.records(facts(3, NOON - 2 * LATE_MS, None, NOON)) == []


def test_what_proves_an_end_with_a_shorter_bound_is_as_much_shorter() -> None:
    def found(accepted_at_ms: int) -> list[tuple[Severity, str, str]]:
        stamps = stamp(3, accepted_at_ms), stamp(4, NOON)
        audit = Auditing(TimesAudit(check, backdated_after_ms=1000), *stamps)
        return audit.records(facts(3, accepted_at_ms, None, NOON))

    assert found(NOON - STAMPED_WITHIN_MS - CLOCKS_MS - 1000) == []
    assert [code for _, code, _ in found(NOON - STAMPED_WITHIN_MS - CLOCKS_MS - 1001)] == ["ENDED_BEFORE_PROOF"]


def test_without_any_proof_nothing_is_said_of_revoked_certificates() -> None:
    audit = Auditing(TimesAudit(check))
    assert audit.records(facts(2, NOON, NOON + 1)) == []
    assert audit.report().proven == ()


def test_a_timestamp_over_another_history_is_an_error() -> None:
    other = GrownTree(b"other %d" % number for number in range(8))
    forked = TimestampedCheckpoint(text(3, other), TREE.consistency(3, ALL), b"%d" % NOON)
    larger = GrownTree([*TREE.leaves, b"dropped"])
    longer = TimestampedCheckpoint(text(9, larger), (), b"%d" % NOON)
    for stamped in (forked, longer):
        audit = Auditing(TimesAudit(check), stamped)
        assert audit.found == [(Severity.ERROR, "PROOF_INVALID")]
        assert audit.report().proven == ()


def test_a_timestamp_that_no_pinned_authority_gave_counts_for_nothing() -> None:
    wrong = TimestampedCheckpoint(text(3), TREE.consistency(3, ALL), b"junk")
    foreign = TimestampedCheckpoint(text(3, origin="other.example/dna/0/log"), TREE.consistency(3, ALL), b"%d" % NOON)
    for stamped in (wrong, foreign):
        audit = Auditing(TimesAudit(check), stamped)
        assert audit.found == [(Severity.WARNING, "TIMESTAMP_UNPROVED")]
        assert audit.records(facts(2, NOON + 10 * CLOCKS_MS)) == []
        assert (audit.report().unproved, audit.report().proven) == (1, ())


def test_timestamps_that_cannot_be_checked_are_counted_with_the_reason() -> None:
    audit = Auditing(TimesAudit(why_unchecked="a library is missing"), stamp(3, NOON))
    assert audit.found == []
    assert audit.records(facts(2, NOON + 10 * CLOCKS_MS)) == []
    report = audit.report()
    assert (report.unchecked, report.why_unchecked, report.proven) == (1, "a library is missing", ())


def test_what_is_proved_of_one_partition_says_nothing_of_another() -> None:
    audit = Auditing(TimesAudit(check), stamp(8, NOON))
    note = marshal_note(
        text(ALL, origin="case-exchange.example/dna/1/log"), [NoteSignature("log", bytes(4), bytes(64))]
    )
    audit.audit.start(PartitionStart(StreamPartition("dna", 1), note, 0, ()), None)
    assert audit.records(facts(2, NOON + 10 * CLOCKS_MS)) == []
    assert [one.size for one in audit.report().proven] == [8]


def test_of_trees_that_were_stamped_in_another_order_the_time_decides() -> None:
    """The tree of five was stamped first. So that of three, its beginning, is as old."""
    audit = Auditing(TimesAudit(check), stamp(3, NOON + 50_000), stamp(5, NOON))
    assert audit.records(facts(2, NOON - 1000, NOON + 1)) == []
    assert [(one.size, one.at_ms) for one in audit.report().proven] == [(5, NOON), (3, NOON + 50_000)]
    # That of one was stamped last: the fourth record was not in it either.
    audit = Auditing(TimesAudit(check), stamp(1, NOON), stamp(3, NOON - 50_000))
    early = facts(3, NOON - BACKDATED_MS - CLOCKS_MS - 1)
    assert audit.records(early) == [(Severity.ERROR, "BACKDATED", early.record_id)]


def test_everything_is_counted_over_all_partitions() -> None:
    dna_1, origin = StreamPartition("dna", 1), "case-exchange.example/dna/1/log"
    wrong = TimestampedCheckpoint(text(3), TREE.consistency(3, ALL), b"junk")
    audit = Auditing(TimesAudit(check), stamp(8, NOON), wrong, wrong)
    note = marshal_note(text(ALL, origin=origin), [NoteSignature("log", bytes(4), bytes(64))])
    audit.audit.start(PartitionStart(dna_1, note, 0, ()), None)
    other = TimestampedCheckpoint(text(8, origin=origin), (), b"%d" % (NOON + 1000))
    assert audit.audit.take(other) == []
    report = audit.report()
    assert (report.timestamps, report.unproved, report.unchecked, report.why_unchecked) == (2, 2, 0, "")
    assert [(one.partition, one.at_ms) for one in report.proven] == [(DNA_0, NOON), (dna_1, NOON + 1000)]
    unchecked = Auditing(TimesAudit(), stamp(3, NOON), stamp(5, NOON))
    assert (unchecked.report().unchecked, unchecked.report().why_unchecked) == (2, "")


def test_who_proves_it_is_named() -> None:
    late = facts(2, NOON + 2 * CLOCKS_MS)
    for audit, who in (
        (Auditing(TimesAudit(check), stamp(3, NOON)), "a timestamp authority (sample authority)"),
        (Auditing(TimesAudit(check), cosigned=cosigned(3, NOON)), "witnesses (witness.example/a)"),
    ):
        (finding,) = audit.audit.take_batch(BatchReport([], [late], [], []), NOON)
        assert f"after {who} proved a tree with it" in finding.message
