"""What a checkpoint or a receipt of a former incarnation says, by the declarations in the directory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.hideable import first_lines
from broker.core.audit.findings import Severity
from broker.core.bundle import PartitionStart, ProvedBeginning
from broker.core.errors import CheckpointInvalid, DirectoryInvalid
from broker.core.incarnations import Incarnation, Incarnations, SignedCheckpoint, Standing
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note
from broker.core.tree.origin import checkpoint_origin
from broker.trust.directory_incarnations import check_incarnations, incarnation_fields, with_incarnations
from broker.trust.directory_payload import directory_payload, parse_payload
from tests.support.bundles import LOG_ID, LyingExchange, manifest
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import RecordMaker
from tests.support.trees import GrownTree

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.policy import Directory

DNA_0, CASES_1 = StreamPartition("dna", 0), StreamPartition("cases", 1)
DOMAIN = "case-exchange.example"


def signed(size: int, log_id: str = "a", root: bytes = b"", pki: SamplePki | None = None) -> SignedCheckpoint:
    text = Checkpoint(checkpoint_origin(DOMAIN, DNA_0, log_id), size, root or bytes([size]) * 32).marshal()
    value = bytes(64) if pki is None else pki.note_signer.sign(text)
    name, key_id = ("a", bytes(4)) if pki is None else (pki.note_signer.name, pki.note_signer.key_id)
    return SignedCheckpoint.read(marshal_note(text, [NoteSignature(name, key_id, value)]))


def step(former: str, new: str, last: int, survives: int = 0, at_ms: int = 1000) -> Incarnation:
    carried = signed(survives, former) if survives else None
    return Incarnation(
        DNA_0, former, new, signed(last, former), carried, "a disk was lost", at_ms, restored=survives > 0
    )


def test_a_checkpoint_of_a_former_log_is_judged_by_what_survives_and_by_the_declared_end() -> None:
    passage = Incarnations([step("a", "b", last=9, survives=4)]).between(DNA_0, "a", "b")
    assert passage is not None
    for size, continued, standing in (
        (4, True, Standing.CONTINUED),
        (4, False, Standing.FORKED),
        (4, None, Standing.NOT_COMPARED),
        (5, False, Standing.LOST_AS_DECLARED),
        (5, None, Standing.LOST_AS_DECLARED),
        # Accepted after the copy was restored, and before the incarnation.
        (5, True, Standing.CONTINUED),
        (9, False, Standing.LOST_AS_DECLARED),
        (10, False, Standing.MORE_LOST),
        (10, None, Standing.MORE_LOST),
    ):
        assert passage.judge(signed(size).checkpoint, continued=continued) is standing, size
    assert passage.judge(signed(9, root=bytes(32)).checkpoint, continued=False) is Standing.FORKED
    assert [passage.lost(offset, 1000) for offset in (3, 4, 100)] == [False, True, True]
    # What was accepted after the declaration was not lost before it.
    assert not passage.lost(4, 1001)


def test_a_passage_goes_over_every_declared_step_and_over_no_other() -> None:
    declared = Incarnations([step("a", "b", 9, 6), step("b", "c", 8, 5, at_ms=2000), step("x", "y", 3)])
    through = declared.between(DNA_0, "a", "c")
    assert through is not None
    assert (through.survives, through.last.size, through.losses) == (5, 9, ((6, 1000), (5, 2000)))
    assert declared.onward(DNA_0, "a") == through
    # On Kafka, receipts of "a" and "b" both name the topic. Each step loses what was accepted before it.
    for offset, at_ms, lost in (
        (4, 900, False),
        (5, 900, True),
        (6, 900, True),
        (4, 1500, False),
        (5, 1500, True),
        (9, 2000, True),
        (9, 2001, False),
    ):
        assert through.lost(offset, at_ms) is lost, (offset, at_ms)
    larger = Incarnations([step("a", "b", 9, 4), step("b", "c", 8, 7, at_ms=2000)]).between(DNA_0, "a", "c")
    assert larger is not None
    # What "b" accepted at 4 to 6 survived its own loss. It is here, or the log is wrong.
    assert [larger.lost(offset, 1500) for offset in (5, 7)] == [False, True]
    assert larger.lost(5, 1000)
    for former, current in (("c", "a"), ("a", "y"), ("a", "a"), ("b", "a")):
        assert declared.between(DNA_0, former, current) is None
    assert declared.between(CASES_1, "a", "b") is None
    begun = declared.begun(DNA_0, "c")
    assert begun is not None
    assert begun.former_log_id == "b"
    assert declared.covers(signed(9).note, DOMAIN)
    assert not declared.covers(signed(10).note, DOMAIN)
    # The log did not continue it, and what survives says that it does: two trees.
    assert not declared.covers(signed(5).note, DOMAIN)
    assert not declared.covers(signed(2, "c").note, DOMAIN)
    assert not declared.covers(b"no note", DOMAIN)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


def declaring(pki: SamplePki, *declared: Incarnation) -> Directory:
    return replace(pki.directory, incarnations=declared)


def test_a_restored_log_goes_on_as_the_last_one_that_was_restored_from_it() -> None:
    # "d" was made anew in the place of "c", so entries of "c" are not those of "d".
    declared = Incarnations([step("a", "b", 9, 6), step("b", "c", 8, 5), step("c", "d", 7)])
    found = [declared.restored_as(DNA_0, log_id) for log_id in "abcdx"]
    assert found == ["c", "c", "c", "d", "x"]
    assert declared.restored_as(CASES_1, "a") == "a"
    # A circle holds up nobody.
    circle = Incarnations([step("a", "b", 9, 6), step("b", "a", 8, 5)])
    assert [circle.restored_as(DNA_0, log_id) for log_id in "ab"] == ["b", "a"]
    around = circle.onward(DNA_0, "a")
    assert around is not None
    assert (around.survives, around.last.size) == (5, 9)


def test_declarations_are_read_as_they_were_written(pki: SamplePki) -> None:
    directory = declaring(pki, step("a", "b", 9, 6), step("b", "c", 8))
    assert parse_payload(directory_payload(directory), b"").incarnations == directory.incarnations


def test_what_survives_may_be_of_a_log_before_the_former_one(pki: SamplePki) -> None:
    first = step("a", "b", 9, 6)
    later = step("b", "c", 12, 4)._replace(carried=signed(4, "a"))
    directory = declaring(pki, first, later)
    assert parse_payload(directory_payload(directory), b"").incarnations == (first, later)
    # The file of the operator has only the later one.
    entry = json.dumps({"incarnations": [incarnation_fields(later)]}).encode()
    assert with_incarnations(declaring(pki, first), entry, pki.now_ms).incarnations == (first, later)
    with pytest.raises(DirectoryInvalid, match="did not survive in that one"):
        with_incarnations(pki.directory, entry, pki.now_ms)
    for wrong in (signed(7, "a"), signed(4, "x"), signed(4, "c")):
        with pytest.raises(DirectoryInvalid, match="did not survive in that one"):
            parse_payload(directory_payload(declaring(pki, first, later._replace(carried=wrong))), b"")


@pytest.mark.parametrize(
    "declared",
    [
        [step("a", "b", 9), step("a", "c", 9)],
        [step("a", "c", 9), step("b", "c", 9)],
        [step("a", "b", 9), step("b", "a", 9)],
        [step("a", "a", 9)],
        [step("a", "b/c", 9)],
        [step("a", "b", 9, 10)],
        [step("a", "b", 9, at_ms=4_070_908_800_000)],
        [step("a", "b", 9, 4)._replace(carried=signed(4, "c"))],
        [step("a", "b", 9, 4)._replace(restored=False)],
        [step("a", "b", 9, 4)._replace(carried=signed(9, root=bytes(32)))],
        [step("a", "b", 9)._replace(partition=CASES_1)],
        [step("a", "b", 9)._replace(partition=StreamPartition("nothing", 0))],
        [step("a", "b", 9)._replace(reason="")],
        [step("a", "b", 9)._replace(last=SignedCheckpoint(b"no note", signed(9).checkpoint))],
    ],
)
def test_a_declaration_that_contradicts_itself_or_another_is_refused(
    pki: SamplePki, declared: list[Incarnation]
) -> None:
    with pytest.raises(DirectoryInvalid):
        parse_payload(directory_payload(declaring(pki, *declared)), b"")


def test_governance_signs_only_checkpoints_that_the_exchange_signed(pki: SamplePki) -> None:
    true = step("a", "b", 9)._replace(last=signed(9, pki=pki))
    check_incarnations(declaring(pki, true))
    for wrong in (step("a", "b", 9), true._replace(carried=signed(4))):
        with pytest.raises(DirectoryInvalid):
            check_incarnations(declaring(pki, wrong))


class Shown:
    """A bundle of a log that goes on as another one after its first two of four records."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki, self._folder = pki, folder
        clock = ManualClock(pki.now_ms + 1000)
        maker = RecordMaker(pki, clock)
        self.envelopes = [maker.make() for _ in range(4)]
        self._at_ms = clock.value_ms
        self.warnings: list[str] = []

    def codes(self, *declared: Incarnation, log_ids: str = "ffgg", since: int = 0) -> tuple[list[str], list[str]]:
        """The codes of errors, and the first lines of the report. ``log_ids``: the first letter of each record's."""
        exchange = LyingExchange(self.pki, declaring(self.pki, *declared), self.pki.keyring())
        exchange.add(DNA_0, self.envelopes, self._at_ms)
        names = {"f": LOG_ID, "g": "g" * 32}
        batch = exchange.records()
        entries = [entry._replace(log_id=names[name]) for entry, name in zip(batch.entries, log_ids, strict=True)]
        exchange.replace(batch, replace(batch, entries=tuple(entries), receipts=exchange.receipts(entries)))
        tree = GrownTree(map(manifest, entries))
        start: Any = exchange.frames[0]
        leaves: Any = exchange.frames[1]
        exchange.replace(start, replace(start, note=exchange.note(DNA_0, tree, names[log_ids[-1]])))
        exchange.replace(
            leaves,
            replace(
                leaves, leaves=tuple(leaf._replace(hash=tree.nodes[0, at]) for at, leaf in enumerate(leaves.leaves))
            ),
        )
        report = exchange.audit(since=[self.seen(since)] if since else [])
        errors = [item.code for item in report.findings if item.severity is Severity.ERROR]
        self.warnings = [item.code for item in report.findings if item.severity is not Severity.ERROR]
        return errors, list(first_lines(report))

    def former(self, size: int) -> SignedCheckpoint:
        """What the former log signed at a size. Its third and fourth record were others."""
        exchange = LyingExchange(self.pki)
        exchange.add(DNA_0, [*self.envelopes[:2], *self.envelopes[3:1:-1]][:size], self._at_ms)
        start = exchange.frames[0]
        assert isinstance(start, PartitionStart)
        return SignedCheckpoint.read(start.note)

    def seen(self, size: int) -> Path:
        path = self._folder / f"{size}.checkpoint"
        path.write_bytes(self.former(size).note)
        return path

    def declared(self, last: int = 3, survives: int = 2) -> Incarnation:
        carried = self.former(survives) if survives else None
        return Incarnation(
            DNA_0, LOG_ID, "g" * 32, self.former(last), carried, "a test", self._at_ms + 1000, restored=True
        )


@pytest.fixture
def shown(pki: SamplePki, tmp_path: Path) -> Shown:
    return Shown(pki, tmp_path)


def test_a_log_that_goes_on_as_declared_is_what_was_signed(shown: Shown) -> None:
    assert shown.codes(shown.declared())[0] == []
    assert shown.warnings == []
    for size in (1, 2, 3):
        errors, lines = shown.codes(shown.declared(), since=size)
        assert errors == []
        assert any("cover records that are lost" in line for line in lines) == (size == 3)
    # More records of the former log may stand there: those accepted before the incarnation began.
    assert shown.codes(shown.declared(), log_ids="fffg")[0] == []


def test_an_undeclared_incarnation_and_a_larger_loss_are_named(shown: Shown) -> None:
    assert set(shown.codes()[0]) == {"LOG_CHANGED"}
    assert set(shown.codes(since=1)[0]) == {"LOG_CHANGED"}
    # More is lost than was said.
    assert shown.codes(shown.declared(last=2), since=3)[0] == ["LOG_ROLLED_BACK"]
    # A record of the new log stands where the former one survives, or one of the former log after it.
    assert "LOG_CHANGED" in shown.codes(shown.declared(), log_ids="fggg")[0]
    assert "LOG_CHANGED" in shown.codes(shown.declared(), log_ids="fgfg")[0]
    # What is said to survive does not.
    assert "LOG_FORKED" in shown.codes(shown.declared(last=3, survives=3), log_ids="fffg")[0]


def test_a_bundle_that_does_not_show_what_survives_says_so(shown: Shown, pki: SamplePki) -> None:
    def codes(survives: SignedCheckpoint, first: int, *proofs: ProvedBeginning) -> list[str]:
        begun = Incarnation(DNA_0, "a", LOG_ID, signed(9, "a"), survives, "a test", 1, restored=True)
        exchange = LyingExchange(pki, declaring(pki, begun), pki.keyring())
        exchange.accepted_from_ms = 1
        entries = exchange.add(DNA_0, shown.envelopes, pki.now_ms + 1000, period=(first, 4))
        tree.update({"": GrownTree(map(manifest, entries))})
        start: Any = exchange.frames[0]
        exchange.replace(start, replace(start, beginnings=proofs))
        return [item.code for item in exchange.audit().findings if item.code != "PERIOD_EDGES"]

    tree: dict[str, GrownTree] = {}
    exchange = LyingExchange(pki)
    exchange.add(DNA_0, shown.envelopes[:2], pki.now_ms + 1000)
    start: Any = exchange.frames[0]
    true = signed(2, "a", root=SignedCheckpoint.read(start.note).checkpoint.root)
    assert codes(true, 2) == []
    assert codes(signed(2, "a"), 2) == ["LOG_FORKED"]
    # The tree of two is not shown: nobody can tell from this bundle.
    for survives in (true, signed(2, "a")):
        assert codes(survives, 3) == ["CHECKPOINT_NOT_COMPARED"]
    assert codes(signed(5, "a"), 5 - 1) == ["LOG_FORKED"]
    # A proof tells it.
    proof = ProvedBeginning(2, tree[""].consistency(2, 4))
    assert codes(true, 3, proof) == []
    assert codes(signed(2, "a"), 3, proof) == ["PROOF_INVALID"]
    assert codes(true, 3, proof._replace(path=())) == ["PROOF_INVALID"]
    # One of another size says nothing.
    assert codes(true, 3, ProvedBeginning(3, tree[""].consistency(3, 4))) == ["CHECKPOINT_NOT_COMPARED"]
    # Where the leaves tell it, no proof is needed, and none contradicts them.
    assert codes(true, 2, proof._replace(path=())) == []
    assert codes(signed(2, "a"), 2, proof) == ["LOG_FORKED"]


def test_a_log_begins_with_what_survived_every_loss_of_its_formers() -> None:
    def sizes(*declared: Incarnation) -> list[int]:
        return [tree.size for tree in Incarnations(declared).beginnings(DNA_0, "c")]

    assert sizes(step("a", "b", 9, 4), step("b", "c", 8, 6)) == [6, 4]
    assert sizes(step("a", "b", 9, 6), step("b", "c", 8, 4)) == [4]
    assert sizes(step("a", "b", 9, 4), step("b", "c", 8)) == []
    assert sizes(step("a", "b", 9), step("b", "c", 8, 4)) == [4]
    assert sizes() == sizes(step("c", "d", 9, 4)) == []
    declared = Incarnations([step("a", "b", 9, 4), step("b", "c", 8, 6)])
    assert list(declared.formers(DNA_0, "c")) == [("b", 6), ("a", 4)]
    head = signed(9, "c").checkpoint
    for checkpoint in (signed(12, "c"), signed(6, "b"), signed(4, "a")):
        declared.check_of_log(checkpoint.checkpoint, head)
    for checkpoint in (signed(7, "b"), signed(5, "a"), signed(1, "d"), signed(1, "")):
        with pytest.raises(CheckpointInvalid):
            declared.check_of_log(checkpoint.checkpoint, head)
