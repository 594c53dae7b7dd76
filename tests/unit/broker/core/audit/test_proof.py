"""A proof of one record, also by an exchange that holds all of its own keys and lies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.cli.hideable import first_lines
from broker.cli.proofreport import heading_lines
from broker.cli.verify import verdict
from broker.core.audit.findings import Severity
from broker.core.audit.witnesses import WitnessPolicyInUse
from broker.core.bundle import CosignedCheckpoint, PartitionEnd, PartitionLeaves, PartitionRecords, PartitionStart
from broker.core.receipt import portable_receipt
from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import parse_note
from broker.core.tree.cosignature import with_cosignatures
from broker.core.tree.merkle import range_coordinates
from broker.core.tree.witnesspolicy import parse_policy
from broker.trust.witnesskeys import witness_checks
from broker.wire.receiptfile import write_receipts
from broker.wire.receipts import receipt_bytes
from tests.support.bundles import LyingExchange, manifest
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, RecordMaker
from tests.support.trees import GrownTree
from tests.support.witnesses import SampleWitness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from broker.core.audit.report import AuditReport
    from broker.core.bundle import BundleEntry, Frame
    from broker.core.envelope import Envelope

DNA_0 = StreamPartition("dna", 0)
PLACE, ALL = 2, 5
"""The proved record is the third of five."""
WITNESS = SampleWitness("witness.example/alpha")


class Proof(NamedTuple):
    exchange: LyingExchange
    envelopes: list[Envelope]
    entries: list[BundleEntry]

    def record_id(self, place: int = PLACE) -> str:
        return CODEC.parse_body(self.envelopes[place].body).record_id

    def frame(self, kind: type[Frame]) -> Frame:
        return next(frame for frame in self.exchange.frames if isinstance(frame, kind))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def proof(pki: SamplePki) -> Proof:
    clock = ManualClock(pki.now_ms + 1000)
    maker = RecordMaker(pki, clock)
    exchange = LyingExchange(pki)
    envelopes = [maker.make() for _ in range(ALL)]
    entries = exchange.add(DNA_0, envelopes, clock.value_ms, period=(PLACE, PLACE + 1))
    made = Proof(exchange, envelopes, entries)
    exchange.proved_record = made.record_id()
    return made


def errors(report: AuditReport) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity is Severity.ERROR}


def test_a_proof_says_what_it_proves_and_what_it_does_not(proof: Proof) -> None:
    report = proof.exchange.audit()
    assert report.findings == ()
    proved = report.proved
    assert proved is not None
    assert (proved.record_id, proved.publisher, proved.system) == (proof.record_id(), "shanxi-police", "gateway")
    assert (proved.position, proved.accepted_at_ms) == (
        proof.entries[PLACE].position,
        proof.entries[PLACE].accepted_at_ms,
    )
    assert (proved.leaf_index, proved.tree_size, proved.cosigned) == (PLACE, ALL, None)
    text = "\n".join((*first_lines(report), *heading_lines(report), verdict(report)))
    assert "number 3 of a tree of 5 records" in text
    assert "that none is missing" in text
    assert "no witnesses have cosigned a tree with this record" in text
    assert text.endswith(
        "proved: the record is unchanged, signed by its publisher, and in a tree that the exchange signed"
    )


def _receipts(proof: Proof, path: Path, entries: Sequence[BundleEntry]) -> Path:
    signed = proof.exchange.receipts(entries)
    assert signed is not None
    with path.open("wb") as file:
        write_receipts(file, [], [receipt_bytes(portable_receipt(signed, place)) for place in range(len(entries))])
    return path


def _checkpoint(proof: Proof, path: Path, partition: StreamPartition, entries: Sequence[BundleEntry]) -> Path:
    path.write_bytes(proof.exchange.note(partition, GrownTree(map(manifest, entries))))
    return path


def test_an_honest_proof_with_everything_brought_is_clean(proof: Proof, tmp_path: Path) -> None:
    """The publisher has true receipts of other records, and the board true checkpoints of other partitions."""
    moved = [entry._replace(position=Position("dna", 1, place)) for place, entry in enumerate(proof.entries[:PLACE])]
    receipts = _receipts(proof, tmp_path / "receipts", proof.entries)
    here = _checkpoint(proof, tmp_path / "here", DNA_0, proof.entries)
    other = _checkpoint(proof, tmp_path / "other", StreamPartition("dna", 1), moved)
    report = proof.exchange.audit(receipts=[receipts], since=[here, other])
    assert report.findings == ()
    assert report.proved is not None
    assert (report.brought.kept, report.brought.outside, report.brought.continued) == (1, ALL - 1, 1)
    # The proof takes what witnesses have cosigned. The log may have a newer tree.
    newer = _checkpoint(proof, tmp_path / "newer", DNA_0, [*proof.entries, proof.entries[0]])
    report = proof.exchange.audit(since=[newer])
    assert [(item.severity, item.code) for item in report.findings] == [(Severity.WARNING, "CHECKPOINT_NOT_COMPARED")]


def test_a_receipt_that_the_proved_leaf_contradicts_is_broken(proof: Proof, tmp_path: Path) -> None:
    shown, other = proof.entries[PLACE], proof.entries[PLACE + 1]
    elsewhere = shown._replace(position=other.position)
    in_its_place = other._replace(position=shown.position)
    in_another_stream = shown._replace(position=Position("cases", 0, 0))
    for entry in (elsewhere, in_its_place, in_another_stream):
        report = proof.exchange.audit(receipts=[_receipts(proof, tmp_path / "receipts", [entry])])
        assert errors(report) == {"RECEIPT_BROKEN"}
        assert report.proved is None
    fork = _checkpoint(proof, tmp_path / "fork", DNA_0, [*proof.entries[:-1], proof.entries[0]])
    assert errors(proof.exchange.audit(since=[fork])) == {"LOG_FORKED"}


def test_a_replay_cannot_pass_as_a_proof_nor_a_proof_as_a_replay(proof: Proof) -> None:
    proof.exchange.proved_record = ""
    report = proof.exchange.audit()
    assert errors(report) == {"RECORD_MISSING"}
    assert report.proved is None


def _another_id(proof: Proof) -> None:
    proof.exchange.proved_record = proof.record_id(PLACE + 1)


def _no_record(proof: Proof) -> None:
    proof.exchange.replace(proof.frame(PartitionRecords))


def _record_of_another_leaf(proof: Proof) -> None:
    other = proof.entries[PLACE + 1]
    batch = proof.exchange.records()
    proof.exchange.replace(batch, replace(batch, entries=(other,), receipts=proof.exchange.receipts([other])))
    _another_id(proof)


def _later_acceptance(proof: Proof) -> None:
    other = proof.entries[PLACE]._replace(accepted_at_ms=proof.entries[PLACE].accepted_at_ms + 1)
    batch = proof.exchange.records()
    proof.exchange.replace(batch, replace(batch, entries=(other,), receipts=proof.exchange.receipts([other])))


def _another_index(proof: Proof) -> None:
    start, leaves, end = (proof.frame(kind) for kind in (PartitionStart, PartitionLeaves, PartitionEnd))
    assert isinstance(start, PartitionStart)
    assert isinstance(leaves, PartitionLeaves)
    tree = GrownTree(map(manifest, proof.entries))
    at = PLACE + 1
    left = tuple(tree.nodes[node] for node in range_coordinates(0, at))
    right = tuple(tree.nodes[node] for node in range_coordinates(at + 1, ALL))
    proof.exchange.replace(start, replace(start, first_index=at, left_hashes=left))
    proof.exchange.replace(leaves, replace(leaves, first_index=at))
    proof.exchange.replace(end, PartitionEnd(at + 1, right))


def _hash_beside_it(proof: Proof) -> None:
    start = proof.frame(PartitionStart)
    assert isinstance(start, PartitionStart)
    proof.exchange.replace(start, replace(start, left_hashes=(bytes(32), *start.left_hashes[1:])))


def _two_partitions(proof: Proof) -> None:
    proof.exchange.add(StreamPartition("dna", 1), proof.envelopes[:1], proof.entries[0].accepted_at_ms)


LIES = [
    pytest.param(_another_id, {"BUNDLE_INVALID"}, id="another id"),
    pytest.param(_no_record, {"BUNDLE_INVALID", "RECORD_MISSING"}, id="no record"),
    pytest.param(_record_of_another_leaf, {"RECORD_INSERTED", "RECORD_MISSING"}, id="a record of another leaf"),
    pytest.param(_later_acceptance, {"RECORD_CHANGED"}, id="another time of acceptance"),
    pytest.param(_another_index, {"TREE_MISMATCH"}, id="another index"),
    pytest.param(_hash_beside_it, {"TREE_MISMATCH"}, id="another hash beside it"),
    pytest.param(_two_partitions, {"BUNDLE_INVALID"}, id="another partition too"),
]


@pytest.mark.parametrize(("lie", "codes"), LIES)
def test_an_exchange_that_lies_proves_nothing(proof: Proof, lie: Callable[[Proof], None], codes: set[str]) -> None:
    """It signs whatever it sends, so no signature over the whole tells."""
    lie(proof)
    report = proof.exchange.audit()
    assert errors(report) == codes
    assert report.proved is None
    assert not verdict(report).startswith("proved")


def test_every_frame_counts_and_stands_in_its_place(proof: Proof) -> None:
    frames = proof.exchange.serialized()
    for at, data in enumerate(frames):
        for changed in (
            [*frames[:at], *frames[at + 1 :]],
            [*frames[:at], data, data, *frames[at + 1 :]],
            [*frames[:at], *frames[at + 1 : at + 2], data, *frames[at + 2 :]] if at + 1 < len(frames) else frames[:1],
        ):
            report = proof.exchange.audit(changed)
            assert not report.clean, at
            assert report.proved is None


def test_no_byte_of_a_frame_can_change(proof: Proof) -> None:
    frames = proof.exchange.serialized()
    for at, data in enumerate(frames):
        for place in range(0, len(data), 7):
            changed = bytearray(data)
            changed[place] ^= 1
            report = proof.exchange.audit([*frames[:at], bytes(changed), *frames[at + 1 :]])
            assert not report.clean, (at, place)
            assert report.proved is None


def _cosigned(proof: Proof, size: int) -> WitnessPolicyInUse:
    """Let the witness cosign the checkpoint of this size, and show it. Return the auditor's own policy."""
    start = proof.frame(PartitionStart)
    assert isinstance(start, PartitionStart)
    tree = GrownTree(map(manifest, proof.entries[:size]))
    note = proof.exchange.note(DNA_0, tree)
    note = with_cosignatures(note, [WITNESS.cosign(parse_note(note).text, proof.entries[0].accepted_at_ms // 1000)])
    left = [tree.nodes[node] for node in range_coordinates(0, PLACE)]
    right = [tree.nodes[node] for node in range_coordinates(PLACE + 1, size)]
    end = proof.frame(PartitionEnd)
    proof.exchange.replace(start, replace(start, note=note, left_hashes=tuple(left)))
    proof.exchange.replace(end, PartitionEnd(PLACE + 1, tuple(right)))
    policy = parse_policy(f"witness w {WITNESS.key} https://w.example\nquorum w\n".encode())
    return WitnessPolicyInUse(policy, witness_checks(policy), brought=True)


def test_a_proof_names_the_witnesses_of_a_tree_with_the_record(proof: Proof) -> None:
    policy = _cosigned(proof, PLACE + 1)
    report = proof.exchange.audit(witnesses=policy)
    assert report.findings == ()
    assert report.proved is not None
    assert report.proved.cosigned is not None
    assert report.proved.cosigned.witnesses == (WITNESS.key.name,)
    text = "\n".join((*first_lines(report), *heading_lines(report), verdict(report)))
    assert f"cosigned by {WITNESS.key.name}" in text
    assert text.endswith("in a tree that the exchange and its witnesses have signed")
    told = list(first_lines(proof.exchange.audit(witnesses=policy._replace(brought=False))))
    assert any("--witness-policy" in line for line in told)


@pytest.mark.parametrize("brought", [True, False])
def test_what_witnesses_cosigned_before_the_record_does_not_prove_it(proof: Proof, *, brought: bool) -> None:
    policy = _cosigned(proof, ALL)._replace(brought=brought)
    start = proof.frame(PartitionStart)
    assert isinstance(start, PartitionStart)
    tree = GrownTree(map(manifest, proof.entries))
    earlier = proof.exchange.note(DNA_0, GrownTree(tree.leaves[:PLACE]))
    cosigned = with_cosignatures(
        earlier, [WITNESS.cosign(parse_note(earlier).text, proof.entries[0].accepted_at_ms // 1000)]
    )
    note = proof.exchange.note(DNA_0, tree)
    shown = replace(start, note=note, cosigned=CosignedCheckpoint(cosigned, tree.consistency(PLACE, ALL)))
    proof.exchange.replace(start, shown)
    # The record is too young for a warning.
    proof.exchange.made_at_ms = proof.entries[PLACE].accepted_at_ms + 1000
    report = proof.exchange.audit(witnesses=policy)
    missing = ("WITNESSES_MISSING", Severity.ERROR, proof.record_id())
    assert [(one.code, one.severity, one.record_id) for one in report.findings] == ([missing] if brought else [])
    assert all("older than the record" in one.message for one in report.findings)
    assert (report.proved is None) is brought
    assert any("no witnesses have cosigned a tree with this record" in line for line in first_lines(report))


def test_a_proof_without_cosignatures_has_one_finding_by_a_policy_that_was_brought(proof: Proof) -> None:
    policy = parse_policy(f"witness w {WITNESS.key}\nquorum w\n".encode())
    report = proof.exchange.audit(witnesses=WitnessPolicyInUse(policy, witness_checks(policy), brought=True))
    assert [one.code for one in report.findings] == ["WITNESSES_MISSING"]
    assert report.proved is None
