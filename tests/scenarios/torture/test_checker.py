"""A checker that finds nothing proves nothing. So each analysis is shown what it must find."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, get_args

import pytest

from broker.core.receipt import ReceiptStatement
from broker.core.streams import Position, StreamPartition
from broker.core.tree.merkle import CompactRange, leaf_hash
from tests.scenarios.torture import checker, nemesis, signed
from tests.scenarios.torture.checker import Violation
from tests.scenarios.torture.evidence import Bundle, InLog
from tests.scenarios.torture.history import (
    CONFIRMED,
    LEASE_LOST,
    Ack,
    Back,
    Delivery,
    History,
    Phase,
    Received,
    Root,
    Sent,
)
from tests.scenarios.torture.members import Trouble, phases
from tests.scenarios.torture.run import Outcome, told

if TYPE_CHECKING:
    from pathlib import Path

PARTITION = StreamPartition("dna", 0)
LEAVES = [leaf_hash(b"%d" % number) for number in range(3)]


def sent(name: str, at: float) -> Sent:
    return Sent(name, name.encode(), "case", at)


def received(name: str, offset: int, at: float, broker: str = "broker-1") -> Received:
    return Received(ReceiptStatement(name, b"", Position(*PARTITION, offset), "a-log", 0, 1000, "police"), broker, at)


def delivery(name: str, offset: int, at: float) -> Delivery:
    return Delivery(Position(*PARTITION, offset), name, name.encode(), "case", 1, offset, "broker-1", at)


def in_log(name: str, offset: int) -> InLog:
    return InLog(name, name.encode(), Position(*PARTITION, offset), 1000)


def root(size: int, source: str = "broker-1", leaves: list[bytes] | None = None) -> Root:
    tree = CompactRange()
    for leaf in (LEAVES if leaves is None else leaves)[:size]:
        tree.append(leaf)
    return Root(PARTITION, size, tree.root(), source, 1.0)


@pytest.fixture
def history() -> History:
    """Three records of one case, published one after the other, delivered and acknowledged."""
    history = History()
    for number, name in enumerate("abc"):
        history.sent[name] = sent(name, number)
        history.received.append(received(name, number, number + 0.5))
        history.deliveries.append(delivery(name, number, number + 0.7))
        history.acks.append(Ack(history.deliveries[-1], CONFIRMED, number + 0.7, number + 0.8))
        history.roots.append(root(number + 1))
    return history


@pytest.fixture
def bundle() -> Bundle:
    records = [in_log(name, number) for number, name in enumerate("abc")]
    return Bundle("kafka", 0, [], records, [], {PARTITION: LEAVES})


def guarantees(history: History, *bundles: Bundle) -> set[str]:
    return {violation.guarantee for violation in checker.violations(history, bundles, {})}


def test_a_run_in_which_all_went_well_has_no_violations(history: History, bundle: Bundle) -> None:
    assert not guarantees(history, bundle, bundle)


def test_a_lost_record_is_found(history: History, bundle: Bundle) -> None:
    del bundle.records[1]
    assert guarantees(history, bundle) == {"kafka: receipted records are there, once"}


def test_a_record_that_stands_twice_or_elsewhere_is_found(history: History, bundle: Bundle) -> None:
    bundle.records.append(in_log("a", 3))
    assert guarantees(history, bundle) == {"kafka: receipted records are there, once"}
    bundle.records[:] = [in_log("a", 0), in_log("b", 2), in_log("c", 1)]
    assert guarantees(history, bundle) == {"kafka: receipted records are there, once"}


def test_two_receipts_that_disagree_are_found(history: History) -> None:
    history.received.append(received("a", 7, 9.0, "broker-2"))
    assert [*checker.disagreeing(history.received)]
    assert [*checker.disagreeing([received("a", 1, 1.0), received("b", 1, 2.0)])]


def test_a_record_that_stands_before_one_that_was_done_when_it_was_sent_is_found(history: History) -> None:
    assert not [*checker.out_of_real_order(history.sent, history.received)]
    history.received[1:] = [received("b", 2, 1.5), received("c", 1, 2.5)]
    assert [*checker.out_of_real_order(history.sent, history.received)]


def test_a_delivery_that_never_came_or_came_out_of_order_is_found(history: History, bundle: Bundle) -> None:
    late = history.deliveries.pop(1)
    history.acks.pop(1)
    lost = {"receipted records are delivered", "receipted records are processed, refused or dead letters"}
    assert guarantees(history, bundle) == lost
    history.deliveries.append(late)
    history.acks.append(Ack(late, LEASE_LOST, 5.0, 5.0))
    lost = {"each case is delivered in order", "receipted records are processed, refused or dead letters"}
    assert guarantees(history, bundle) == lost


def test_a_record_that_was_not_delivered_again_after_a_lost_lease_is_found(history: History, bundle: Bundle) -> None:
    acked = history.acks[1]
    # However late the subscriber was told.
    history.acks[1] = acked._replace(outcome=LEASE_LOST, at=acked.sent_at + 100)
    assert guarantees(history, bundle) == {"receipted records are processed, refused or dead letters"}
    # An acknowledgement of which nobody knows whether it holds is none that surely failed.
    history.acks[1] = acked._replace(outcome="LOG_UNAVAILABLE")
    assert not guarantees(history, bundle)


def test_a_delivery_of_other_bytes_is_found(history: History, bundle: Bundle) -> None:
    history.deliveries.append(history.deliveries[0]._replace(body=b"another"))
    assert guarantees(history, bundle) == {"deliveries are of what was published"}


def test_an_acknowledgement_that_was_confirmed_and_then_undone_is_found(history: History, bundle: Bundle) -> None:
    again = delivery("a", 0, 9.0)
    history.deliveries.append(again)
    assert not guarantees(history, bundle)
    history.acks.append(Ack(again, CONFIRMED, 9.0, 9.1))
    assert guarantees(history, bundle) == {"a confirmed acknowledgement is final"}


def test_a_fork_is_found_wherever_it_was_seen(history: History, bundle: Bundle) -> None:
    history.roots.append(root(2, "topic, read_uncommitted", [LEAVES[0], LEAVES[2]]))
    assert guarantees(history, bundle) == {"one root for each size", "checkpoints are of the final tree"}


def test_a_checkpoint_of_more_than_the_final_tree_is_found(history: History, bundle: Bundle) -> None:
    larger = root(4, leaves=[*LEAVES, leaf_hash(b"lost")])
    history.roots += [larger, larger._replace(source="topic, read_uncommitted", at=9.0, signed_at_ms=61_500)]
    assert checker.violations(history, [replace(bundle, made_at_ms=60_000)], {}) == [
        Violation(
            "the final tree has all that was signed",
            "dna/0: the checkpoint of size 4, signed at 1970-01-01T00:01:01.500+00:00, "
            "is larger than the final tree of 3 leaves, which was exported at 1970-01-01T00:01:00.000+00:00. "
            "Seen: broker-1 at 1.0 s; topic, read_uncommitted at 9.0 s",
        )
    ]
    # Nobody told when it was signed.
    assert "signed at an unknown time" in next(signed.uncovered([larger], bundle))


def test_what_is_kept_has_each_signed_checkpoint_and_the_time_of_day(history: History, tmp_path: Path) -> None:
    history.began_at_ms = 60_000
    history.roots.append(root(3)._replace(note=b"a signed note", signed_at_ms=61_500))
    history.dump(tmp_path / "history.txt")
    kept = (tmp_path / "history.txt").read_text()
    assert kept.startswith("the run began at 1970-01-01T00:01:00.000+00:00\n")
    assert "note=b'a signed note', signed_at_ms=61500)" in kept


def test_bundles_of_different_trees_are_found(history: History, bundle: Bundle) -> None:
    other = replace(bundle, source="broker-1", leaves={PARTITION: LEAVES[::-1]})
    assert guarantees(history, other, bundle) == {"bundles agree"}


def test_what_verify_says_is_not_passed_over(history: History, bundle: Bundle) -> None:
    finding = {"severity": "warning", "code": "SEQUENCE_GAP", "message": "a number is not here"}
    assert guarantees(history, replace(bundle, findings=[finding])) == {"kafka: the bundle verifies"}
    assert guarantees(history, replace(bundle, exit_code=1)) == {"kafka: the bundle verifies"}


def measured(history: History, count: int, seconds: float, *, without: int, without_seconds: float) -> None:
    """Add receipts of a phase of ten seconds in which nothing happens, and of one without witnesses."""
    history.undisturbed, history.without_witnesses = Phase(100, 110), Phase(110, 120)
    for begin, receipts, each in ((100, count, seconds), (110, without, without_seconds)):
        for number in range(receipts):
            asked = begin + number * 9 / receipts
            name = f"{begin} {number}"
            history.sent[name] = sent(name, asked)
            found = received(name, 1000 + begin * 10 + number, asked + each)
            history.received.append(found._replace(asked_at=asked))


@pytest.mark.parametrize(
    ("without", "without_seconds", "delayed"), [(50, 0.02, False), (40, 0.3, False), (10, 0.02, True), (50, 0.9, True)]
)
def test_receipts_that_wait_for_witnesses_are_found(
    history: History, without: int, without_seconds: float, *, delayed: bool
) -> None:
    measured(history, 50, 0.02, without=without, without_seconds=without_seconds)
    assert bool([*checker.delayed(history)]) is delayed


def test_a_witness_that_cosigns_nothing_after_it_was_away_is_found(history: History, bundle: Bundle) -> None:
    history.roots += [root(1, "witness-1"), root(2, "witness-2")._replace(at=0.5)]
    history.back = [Back("witness-1", 2.0), Back("witness-2", 0.7)]
    history.roots += [root(1, "witness-1")._replace(at=3.0), root(3, "witness-2")._replace(at=1.5)]
    assert [*checker.idle(history.back, history.roots)] == ["witness-1 was back at 2.0 s"]
    assert guarantees(history, bundle) == {"a witness that is back cosigns again"}


def test_two_cosigned_roots_of_one_size_are_found_whoever_has_them(history: History, bundle: Bundle) -> None:
    lie = [leaf_hash(b"a lie")] * 3
    history.roots += [root(3, "witness-1"), root(3, "broker-2, cosigned", lie)]
    assert "one root for each size" in guarantees(history, bundle)


def test_the_same_seed_gives_the_same_faults() -> None:
    nodes, brokers, asked = ["node-1", "node-2", "node-3"], ["broker-1", "broker-2"], ["witness-1", "witness-2"]
    assert nemesis.plan(7, 300, nodes, brokers, asked) == nemesis.plan(7, 300, nodes, brokers, asked)
    assert nemesis.plan(7, 300, nodes, brokers, asked) != nemesis.plan(8, 300, nodes, brokers, asked)


def test_a_long_plan_has_every_kind_of_fault() -> None:
    witnesses = ["witness-1", "witness-2"]
    faults = nemesis.plan(7, 300, ["node-1", "node-2", "node-3"], ["broker-1", "broker-2"], witnesses)
    kinds = {(fault.kind, fault.target[:4]) for fault in faults}
    killed_or_paused = {(kind, target) for kind in ("kill", "pause") for target in ("node", "brok", "witn")}
    assert kinds == killed_or_paused | {("restart", "node")}
    # A witness never loses its memory.
    assert not any(fault.wipe for fault in faults if fault.target in witnesses)
    assert any(fault.wipe for fault in faults)
    assert all(0 < fault.seconds <= 15 for fault in faults)


def test_a_dead_letter_is_no_lost_record_and_a_refusal_that_auditors_miss_is_found(
    history: History, bundle: Bundle
) -> None:
    del history.acks[1]
    assert guarantees(history, bundle) == {"receipted records are processed, refused or dead letters"}
    bundle.unprocessed[str(Position(*PARTITION, 1))].add("")
    assert not guarantees(history, bundle)
    history.acks[0] = history.acks[0]._replace(refused="KIT_UNKNOWN")
    assert guarantees(history, bundle) == {"auditors know of every refusal"}
    bundle.unprocessed[str(Position(*PARTITION, 0))].add("KIT_UNKNOWN")
    assert not guarantees(history, bundle)


def test_a_run_has_every_trouble_that_members_make() -> None:
    for seconds in (25, 300):
        planned = phases(7, seconds)
        assert planned == phases(7, seconds)
        assert {phase.trouble for phase in planned} == set(get_args(Trouble))
        assert all(before.at + before.seconds < after.at for before, after in pairwise(planned))


def test_an_exception_that_nobody_handled_is_found() -> None:
    own = ['{"event": "serving"}', "case-exchange: LOG_UNAVAILABLE: Kafka does not answer.", ""]
    assert list(checker.unhandled({"broker-1": own})) == []
    pythons = ["Task exception was never retrieved", "RuntimeError: broken"]
    assert list(checker.unhandled({"broker-1": own, "broker-2": [*pythons, *own]})) == [
        f"broker-2: {line}" for line in pythons
    ]


def test_a_failure_is_told_with_what_is_needed_to_find_its_cause() -> None:
    outcome = Outcome(7, {"receipts": 3}, [Violation("bundles agree", "they do not")], ["   1.0 s  broker-1 is killed"])
    lines = told(outcome).splitlines()
    assert lines[0] == "seed 7"
    assert lines[-2:] == ["   1.0 s  broker-1 is killed", "VIOLATION: bundles agree: they do not"]
    assert told(replace(outcome, violations=[])).splitlines()[-1] == "every guarantee held"
