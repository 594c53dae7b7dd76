from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from broker.core.audit.brought import BroughtCheckpoint
from broker.core.audit.findings import BatchReport, Compared, EntryFacts, Severity, Stated
from broker.core.audit.witnesses import STALE_MS, WitnessAudit, WitnessPolicyInUse
from broker.core.bundle import BundleLeaf, CosignedCheckpoint, PartitionLeaves, PartitionStart
from broker.core.incarnations import Incarnation, Incarnations, SignedCheckpoint
from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, marshal_note, parse_note
from broker.core.tree.cosignature import with_cosignatures
from broker.core.tree.witnesspolicy import parse_policy
from broker.trust.witnesskeys import witness_checks
from tests.support.trees import GrownTree
from tests.support.witnesses import SampleLog, SampleWitness

if TYPE_CHECKING:
    from broker.core.audit.findings import Finding

CASES_0 = StreamPartition("cases", 0)
TREE = GrownTree(f"sample leaf {index}".encode() for index in range(20))
FORK = GrownTree(f"sample leaf {index}{' of a fork' * (index > 3)}".encode() for index in range(20))
LOG, FORKED = SampleLog(TREE), SampleLog(FORK)
OTHER = SampleLog(TREE, origin="case-exchange.example/cases/0/another-log")
A, B, C = (SampleWitness(f"witness.example/{name}") for name in "abc")
POLICY = parse_policy(
    f"witness a {A.key}\nwitness b {B.key}\nwitness c {C.key}\ngroup two 2 a b c\nquorum two\n".encode()
)


def cosigned(log: SampleLog, size: int, *witnesses: SampleWitness, at: int = 1000) -> bytes:
    note = log.note(size)
    return with_cosignatures(note, [one.cosign(parse_note(note).text, at) for one in witnesses])


def start(note: bytes | None, path: tuple[bytes, ...] = (), *, head: bytes | None = None) -> PartitionStart:
    given = None if note is None else CosignedCheckpoint(note, path)
    return PartitionStart(CASES_0, LOG.note(9) if head is None else head, 0, (), given)


def audit(*, brought: bool = True) -> WitnessAudit:
    return WitnessAudit(WitnessPolicyInUse(POLICY, witness_checks(POLICY), brought), LOG.verifiers)


def codes(made: WitnessAudit, begun: PartitionStart) -> list[str]:
    return [finding.code for finding in made.take(begun)]


def test_a_quorum_over_an_earlier_checkpoint_that_the_log_continues_counts() -> None:
    made = audit()
    assert codes(made, start(cosigned(LOG, 7, A, C), TREE.consistency(7, 9))) == []
    report = made.report()
    assert [(one.size, one.since_s, one.witnesses) for one in report.cosigned] == [
        (7, 1000, ("witness.example/a", "witness.example/c"))
    ]
    assert (report.needed, report.listed, report.brought, report.missing) == (2, 3, True, ())


def test_the_lines_may_stand_on_the_partition_s_own_checkpoint() -> None:
    made = audit()
    assert codes(made, start(None, head=cosigned(LOG, 9, A, B))) == []
    assert made.report().cosigned[0].size == 9


@pytest.mark.parametrize("note", [None, LOG.note(7), cosigned(LOG, 7, B), cosigned(LOG, 7, B, SampleWitness("d"))])
def test_without_a_quorum_the_auditor_s_own_policy_is_broken_and_the_directory_s_is_told(note: bytes | None) -> None:
    path = () if note is None else TREE.consistency(7, 9)
    made, told = audit(), audit(brought=False)
    assert codes(made, start(note, path)) == ["WITNESSES_MISSING"]
    assert codes(told, start(note, path)) == []
    assert made.report().missing == told.report().missing == (CASES_0,)


def test_a_history_that_witnesses_have_not_seen_is_a_fork() -> None:
    """They have cosigned another history. The bundle's is signed by the log too."""
    for path in (FORK.consistency(7, 9), TREE.consistency(7, 9)):
        made = audit(brought=False)
        assert codes(made, start(cosigned(FORKED, 7, A, B), path)) == ["PROOF_INVALID"]
        assert made.report().missing == (CASES_0,)


def test_a_bundle_that_is_shorter_than_what_witnesses_have_cosigned_is_wrong() -> None:
    (finding,) = audit(brought=False).take(start(cosigned(LOG, 12, A, B)))
    assert (finding.code, finding.severity) == ("PROOF_INVALID", Severity.ERROR)
    # Both checkpoints are shown.
    assert [(one.stated, one.value) for one in finding.compared if "size" in one.stated] == [
        (Stated.SIZE_SIGNED, "9"),
        (Stated.SIZE_SEEN, "12"),
    ]
    roots = [b64encode(TREE.roots[size]).decode() for size in (9, 12)]
    assert finding.compared[1] == Compared(Stated.ROOT_SIGNED, roots[0])
    assert finding.compared[3] == Compared(Stated.ROOT_SEEN, roots[1])


def test_a_checkpoint_of_another_log_or_without_the_log_s_line_does_not_count() -> None:
    strangers = marshal_note(parse_note(LOG.note(9)).text, [A.cosign(parse_note(LOG.note(9)).text, 1000)])
    assert codes(audit(), start(cosigned(OTHER, 9, A, B))) == ["CHECKPOINT_INVALID"]
    assert codes(audit(), start(strangers)) == ["CHECKPOINT_INVALID"]
    assert codes(audit(), start(b"no note\n")) == ["CHECKPOINT_INVALID"]


def test_what_witnesses_have_cosigned_of_a_former_log_counts_as_far_as_it_survives() -> None:
    carried, last = (SignedCheckpoint.read(OTHER.note(size)) for size in (7, 12))
    declared = Incarnations([Incarnation(CASES_0, "another-log", "a-log", last, carried, "a test", 1, restored=True)])
    using = WitnessPolicyInUse(POLICY, witness_checks(POLICY), brought=True)

    def judged(log: SampleLog, size: int) -> tuple[list[str], list[int]]:
        made = WitnessAudit(using, LOG.verifiers, declared=declared)
        found = codes(made, start(cosigned(log, size, A, B), TREE.consistency(size, 9)))
        return found, [one.size for one in made.report().cosigned]

    for size in (3, 7):
        assert judged(OTHER, size) == ([], [size])
    assert judged(OTHER, 8) == (["CHECKPOINT_INVALID"], [])
    assert judged(SampleLog(TREE, origin="case-exchange.example/cases/0/third"), 3) == (["CHECKPOINT_INVALID"], [])
    # What survives is the beginning of this log, or there were two histories.
    assert judged(SampleLog(FORK, origin=OTHER.origin), 7) == (["PROOF_INVALID"], [])


def test_a_forged_line_of_a_known_witness_is_wrong_though_enough_others_have_signed() -> None:
    text = parse_note(LOG.note(9)).text
    forged = C.cosign(text.replace(b"\n9\n", b"\n8\n"), 1000)
    note = with_cosignatures(cosigned(LOG, 9, A, B), [forged])
    assert codes(audit(), start(note)) == ["CHECKPOINT_INVALID"]


def test_without_a_policy_there_are_no_witnesses() -> None:
    made = WitnessAudit(None, LOG.verifiers)
    assert codes(made, start(cosigned(LOG, 9, A, B))) == []
    report = made.report()
    assert (report.needed, report.listed, report.brought, report.cosigned, report.timed) == (0, 0, False, (), 0)


NOW_MS = 1_800_000_000_000


def leaves(first: int, count: int) -> PartitionLeaves:
    """Every second offset has an entry."""
    return PartitionLeaves(first, tuple(BundleLeaf(2 * index, bytes(32)) for index in range(first, first + count)))


def batch(*entries: tuple[int, int]) -> BatchReport:
    """The report on entries: the index of each leaf, and its age in milliseconds when the bundle was made."""
    facts = [
        EntryFacts(Position(*CASES_0, 2 * index), NOW_MS - age, "log", 0, str(index), "a", "s", "k", (), 0)
        for index, age in entries
    ]
    return BatchReport([], facts, [], [])


def stale(made: WitnessAudit, report: BatchReport) -> list[str]:
    found = made.take_batch(report, NOW_MS)
    assert all(finding.severity is Severity.WARNING for finding in found)
    return [finding.code for finding in found]


@pytest.mark.parametrize("brought", [True, False])
def test_records_that_witnesses_should_long_have_cosigned_are_a_warning(*, brought: bool) -> None:
    made = audit(brought=brought)
    assert codes(made, start(cosigned(LOG, 3, A, B), TREE.consistency(3, 9))) == []
    for part in (leaves(0, 2), leaves(2, 4), leaves(6, 3)):
        made.take_leaves(part)
    # What is cosigned may be of any age, and what is not may wait for a while.
    assert stale(made, batch((1, 10 * STALE_MS), (2, 5 * STALE_MS))) == []
    assert stale(made, batch((3, STALE_MS))) == []
    assert stale(made, batch((3, STALE_MS + 1))) == ["WITNESSES_STALE"]
    # Once for a partition.
    assert stale(made, batch((4, STALE_MS + 1))) == []
    assert [(one.size, one.shown) for one in made.report().cosigned] == [(3, 9)]


def test_a_period_after_all_that_witnesses_have_cosigned_is_stale_too() -> None:
    made = audit()
    assert codes(made, start(cosigned(LOG, 3, A, B), TREE.consistency(3, 9))) == []
    made.take_leaves(leaves(5, 2))
    assert stale(made, batch((5, 2 * STALE_MS))) == ["WITNESSES_STALE"]


def test_what_is_cosigned_to_its_end_is_never_stale_and_one_partition_s_bound_is_not_the_next_one_s() -> None:
    made = audit()
    assert codes(made, start(cosigned(LOG, 3, A, B), TREE.consistency(3, 9))) == []
    made.take_leaves(leaves(0, 9))
    assert codes(made, start(None, head=cosigned(LOG, 9, A, B))) == []
    made.take_leaves(leaves(0, 9))
    assert stale(made, batch((8, 2 * STALE_MS))) == []


def test_a_cosigned_checkpoint_of_no_records_says_nothing_of_a_log_that_has_some() -> None:
    empty = start(cosigned(LOG, 0, A, B), ())
    made, told = audit(), audit(brought=False)
    assert (codes(made, empty), made.report().missing) == (["WITNESSES_MISSING"], (CASES_0,))
    assert (codes(told, empty), told.report().missing) == ([], (CASES_0,))
    # Of an empty log it is all.
    assert codes(audit(), start(None, head=cosigned(LOG, 0, A, B))) == []


def test_a_policy_without_a_quorum_finds_nothing_missing_or_stale() -> None:
    policy = parse_policy(f"witness a {A.key}\nquorum none\n".encode())
    made = WitnessAudit(WitnessPolicyInUse(policy, witness_checks(policy), brought=True), LOG.verifiers)
    assert codes(made, start(cosigned(LOG, 0, A), ())) == []
    made.take_leaves(leaves(0, 9))
    assert stale(made, batch((0, 2 * STALE_MS))) == []
    assert (made.report().needed, made.report().missing) == (0, ())


NOW_S = NOW_MS // 1000


def seen(
    size: int, *witnesses: SampleWitness, at: int = NOW_S, partition: StreamPartition = CASES_0
) -> BroughtCheckpoint:
    """A checkpoint that the auditor brings, with these witnesses' lines."""
    note = parse_note(cosigned(LOG, size, *witnesses, at=at))
    return BroughtCheckpoint(partition, "a-log", Checkpoint.parse(note.text), note)


def bringing(*brought: BroughtCheckpoint) -> WitnessAudit:
    """An audit by a policy that demands no witness, so that nothing is missing or stale."""
    policy = parse_policy(f"witness a {A.key}\nwitness b {B.key}\nquorum none\n".encode())
    made = WitnessAudit(WitnessPolicyInUse(policy, witness_checks(policy), brought=True), LOG.verifiers, brought)
    assert codes(made, start(LOG.note(9), ())) == []
    made.take_leaves(leaves(0, 9))
    return made


def backdated(made: WitnessAudit, report: BatchReport) -> list[Finding]:
    return [finding for finding in made.take_batch(report, NOW_MS) if finding.code == "BACKDATED"]


def test_a_record_that_is_much_older_than_a_cosigned_tree_without_it_is_a_warning() -> None:
    made = audit()
    assert codes(made, start(cosigned(LOG, 3, A, B, at=NOW_S), TREE.consistency(3, 9))) == []
    for part in (leaves(0, 2), leaves(2, 4), leaves(6, 3)):
        made.take_leaves(part)
    # In the tree it may be of any age. After it, it may be a little older.
    assert backdated(made, batch((2, 9 * STALE_MS), (3, STALE_MS))) == []
    (found,) = backdated(made, batch((3, STALE_MS + 1500), (4, STALE_MS + 1500)))
    assert (found.severity, found.record_id, found.position) == (Severity.WARNING, "3", Position(*CASES_0, 6))
    assert "accepted 601 s before witnesses cosigned a tree of 3 records without it" in found.message
    # Once for each checkpoint.
    assert backdated(made, batch((5, 9 * STALE_MS))) == []


def test_what_the_auditor_brings_bounds_the_times_of_its_own_partition() -> None:
    made = bringing(
        seen(3, A), seen(5, A, B), seen(0, B), seen(5, C), seen(2, A, partition=StreamPartition("cases", 1))
    )
    assert made.report().timed == 3
    found = backdated(made, batch((0, 2 * STALE_MS), (1, 2 * STALE_MS)))
    assert [(one.record_id, "tree of 0 records" in one.message) for one in found] == [("0", True)]
    # Each of the other two is met in one batch.
    found = backdated(made, batch(*((index, 2 * STALE_MS) for index in range(9))))
    assert sorted((one.record_id, one.message[one.message.index("tree of") :][:9]) for one in found) == [
        ("3", "tree of 3"),
        ("5", "tree of 5"),
    ]


def test_of_several_witnesses_that_cosigned_what_is_brought_the_earliest_time_counts() -> None:
    note = LOG.note(3)
    lines = [one.cosign(parse_note(note).text, at) for one, at in ((A, NOW_S), (B, NOW_S - 100))]
    both = parse_note(with_cosignatures(note, lines))
    made = bringing(BroughtCheckpoint(CASES_0, "a-log", Checkpoint.parse(both.text), both))
    assert backdated(made, batch((3, STALE_MS + 100_000))) == []
    assert len(backdated(made, batch((3, STALE_MS + 100_001)))) == 1


def test_the_warning_of_stale_cosignatures_says_how_much_they_cover() -> None:
    made = audit()
    assert codes(made, start(cosigned(LOG, 3, A, B), TREE.consistency(3, 9))) == []
    made.take_leaves(leaves(0, 9))
    (finding,) = made.take_batch(batch((4, 2 * STALE_MS)), NOW_MS)
    assert "cases/0: witnesses have cosigned only the first 3 of 9 records" in finding.message
    assert "over 10 minutes before the bundle was made" in finding.message
