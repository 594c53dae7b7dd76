"""An operator with every key of the exchange, and what an auditor notices by what was brought.

These are the lines of the table in docs/findings.md.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.cli.hideable import could_hide, first_lines
from broker.cli.reportjson import report_facts
from broker.cli.verify import verdict
from broker.client.composing import SectionDraft
from broker.core.audit.broughtreceipts import UNCOVERED_AT_MOST_MS
from broker.core.audit.findings import Severity
from broker.core.audit.received import SKEW_MS, ReceivedCopy, ReceivedReport
from broker.core.audit.witnesses import STALE_MS, WitnessPolicyInUse, WitnessReport
from broker.core.bundle import BundleEnd, BundleEntry, BundleSource, CosignedCheckpoint, PartitionStart
from broker.core.envelope import RECEIVED_TYPE, Signature, pae
from broker.core.errors import EvidenceFileInvalid
from broker.core.events import AuditEvent, DeliveryMade, ProofMade, RefusalMade
from broker.core.incarnations import Incarnation, SignedCheckpoint
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS
from broker.core.logkeyends import EndedLogKey, LastPosition
from broker.core.policy import ReceiveRight
from broker.core.receipt import portable_receipt
from broker.core.streams import STREAMS, Position, StreamPartition
from broker.core.tree.checkpoint import parse_note
from broker.core.tree.cosignature import with_cosignatures
from broker.core.tree.merkle import leaf_hash
from broker.core.tree.witnesspolicy import parse_policy
from broker.trust.keyring import DirectoryKeyring
from broker.trust.revocation import RevocationLists
from broker.trust.witnesskeys import witness_checks
from broker.wire.frames import frame_from
from broker.wire.receiptfile import write_receipts
from broker.wire.receipts import receipt_bytes
from broker.wire.receivedcopies import copies_bytes, signed_copies_bytes
from certs import profiles
from tests.support.bundles import LOG_ID, LyingExchange, audit_record, manifest
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, OTHER_CASE, RecordMaker
from tests.support.trees import GrownTree
from tests.support.witnesses import SampleWitness

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.audit.report import AuditReport
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory

DNA_0 = StreamPartition("dna", 0)
HEBEI = "hebei-police"
BOTH = ("case", "identity")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


class World(NamedTuple):
    """An honest log of dna/0: three records of Shanxi, one of Hebei between them, and one of Hebei at the end."""

    pki: SamplePki
    at_ms: int
    envelopes: list[Envelope]
    entries: list[BundleEntry]
    other: Envelope
    folder: Path

    def shown(self, *places: int, at: Sequence[int] | None = None) -> LyingExchange:
        """The exchange that shows these records of the log, at these offsets, under a tree that it signed anew."""
        exchange = LyingExchange(self.pki)
        envelopes = [self.other if place < 0 else self.envelopes[place] for place in places]
        exchange.add(DNA_0, envelopes, self.at_ms, offsets=places if at is None else at)
        return exchange

    def record_id(self, place: int) -> str:
        return CODEC.parse_body(self.envelopes[place].body).record_id

    def receipts(self, *places: int) -> Path:
        """A file of the receipts for these records."""
        signed = LyingExchange(self.pki).receipts(self.entries)
        assert signed is not None
        path = self.folder / "receipts"
        with path.open("wb") as file:
            write_receipts(file, [], [receipt_bytes(portable_receipt(signed, place)) for place in places])
        return path

    def checkpoint(self, size: int) -> Path:
        """The checkpoint of the honest log at this size."""
        start = self.shown(*range(size)).frames[0]
        assert isinstance(start, PartitionStart)
        path = self.folder / f"{size}.checkpoint"
        path.write_bytes(start.note)
        return path


@pytest.fixture
def world(pki: SamplePki, tmp_path: Path) -> World:
    clock = ManualClock(pki.now_ms + 1000)
    shanxi, hebei = RecordMaker(pki, clock), RecordMaker(pki, clock, HEBEI)
    envelopes = [shanxi.make(), shanxi.make(case=OTHER_CASE), hebei.make(), shanxi.make(), hebei.make()]
    entries = LyingExchange(pki).add(DNA_0, envelopes, clock.value_ms)
    return World(pki, clock.value_ms, envelopes, entries, RecordMaker(pki, clock, HEBEI).make(), tmp_path)


def errors(report: AuditReport) -> list[tuple[str, Position | None]]:
    return [(item.code, item.position) for item in report.findings if item.severity is Severity.ERROR]


ALL = range(5)
LIES = [
    pytest.param((0, 1, 2, 3), None, [4], "LOG_ROLLED_BACK", id="drops the tail"),
    pytest.param((0, 1, 3), None, [2, 4], "LOG_ROLLED_BACK", id="drops a publisher"),
    pytest.param((0, 2, 3, 4), None, [1], "LOG_ROLLED_BACK", id="drops a middle record"),
    pytest.param((0, 3, 2, 1, 4), (0, 1, 2, 3, 4), [1, 3], "LOG_FORKED", id="reorders"),
    pytest.param((0, 1, -1, 3, 4), (0, 1, 2, 3, 4), [2], "LOG_FORKED", id="forks"),
    pytest.param((0, 1), None, [2, 3, 4], "LOG_ROLLED_BACK", id="rolls back"),
]


@pytest.mark.parametrize(("places", "at", "broken", "by_since"), LIES)
def test_a_lie_of_the_operator_is_named_by_what_was_brought(
    world: World, places: tuple[int, ...], at: tuple[int, ...] | None, broken: list[int], by_since: str
) -> None:
    exchange = world.shown(*places, at=at)
    # Nothing brought. The tree is signed, and every record in it is sound.
    report = exchange.audit()
    assert report.clean
    # A gap in the numbers is a question, and only numbers in the middle make one.
    gaps = [item.message for item in report.findings]
    assert bool(gaps) == (places == (0, 2, 3, 4)), gaps
    # Receipts: each record is named by position and id.
    report = exchange.audit(receipts=[world.receipts(*ALL)])
    found = [item for item in report.findings if item.code in {"RECEIPT_BROKEN", "RECEIPT_UNCOVERED"}]
    assert [item.position for item in found] == [world.entries[place].position for place in broken]
    assert [item.record_id for item in found] == [world.record_id(place) for place in broken]
    last = max(places if at is None else at)
    assert [item.code for item in found] == [
        "RECEIPT_UNCOVERED" if world.entries[place].position.offset > last else "RECEIPT_BROKEN" for place in broken
    ]
    assert report.brought.kept == 5 - len(broken)
    assert report.brought.broken + report.brought.uncovered == len(broken)
    # A checkpoint that was seen before.
    report = exchange.audit(since=[world.checkpoint(5)])
    assert by_since in {code for code, _ in errors(report)}
    assert report.brought.continued == 0


@pytest.mark.parametrize(
    ("places", "at", "continued", "stale"),
    [
        pytest.param((0, 1, 2, 3), None, 4, [], id="drops the tail"),
        pytest.param((0, 1, 3), None, 2, ["WITNESSES_STALE"], id="drops a publisher"),
        pytest.param((0, 2, 3, 4), None, 1, ["WITNESSES_STALE"], id="drops a middle record"),
        pytest.param((0, 3, 2, 1, 4), (0, 1, 2, 3, 4), 1, ["WITNESSES_STALE"], id="reorders"),
        pytest.param((0, 1, -1, 3, 4), (0, 1, 2, 3, 4), 2, ["WITNESSES_STALE"], id="forks"),
        pytest.param((0, 1), None, 2, [], id="rolls back"),
    ],
)
def test_a_lie_of_the_operator_is_named_by_the_auditors_own_witnesses(
    world: World, places: tuple[int, ...], at: tuple[int, ...] | None, continued: int, stale: list[str]
) -> None:
    """They have cosigned the honest log. ``continued`` is the size up to which the lie is like it."""
    witness = SampleWitness("witness.example/a")
    policy = parse_policy(f"witness a {witness.key}\nquorum a\n".encode())
    using = WitnessPolicyInUse(policy, witness_checks(policy), brought=True)
    exchange = world.shown(*places, at=at)
    # The bundle is made when all should long be cosigned.
    exchange.made_at_ms = world.at_ms + STALE_MS + 1
    start = exchange.frames[0]
    assert isinstance(start, PartitionStart)
    tree = GrownTree(map(manifest, exchange.records().entries))

    def codes(size: int) -> list[str]:
        given = None
        if size:
            note = world.checkpoint(size).read_bytes()
            path = tree.consistency(size, len(places)) if size <= len(places) else ()
            cosigned = with_cosignatures(note, [witness.cosign(parse_note(note).text, world.at_ms // 1000 + 1)])
            given = CosignedCheckpoint(cosigned, path)
        exchange.frames[0] = replace(start, cosigned=given)
        report = exchange.audit(witnesses=using)
        return [item.code for item in report.findings if item.code != "SEQUENCE_GAP"]

    # The operator shows what they cosigned last, or nothing, or what they cosigned before the lie begins.
    assert codes(5) == ["PROOF_INVALID"]
    assert codes(0) == ["WITNESSES_MISSING"]
    assert codes(continued) == stale


def test_a_broken_receipt_shows_what_stands_in_its_place(world: World) -> None:
    exchange = world.shown(0, 1, -1, 3, 4, at=ALL)
    report = exchange.audit(receipts=[world.receipts(*ALL)])
    (found,) = [item for item in report.findings if item.code == "RECEIPT_BROKEN"]
    other, lost = CODEC.parse_body(world.other.body).record_id, world.envelopes[2].record_sha256
    here = exchange.records().entries[2]
    assert found.message.endswith(f"{other} stands there instead, with the SHA-256 {world.other.record_sha256.hex()}")
    expected = [
        ("record_receipt", lost.hex()),
        ("leaf_receipt", leaf_hash(manifest(world.entries[2])).hex()),
        ("leaf_signed", leaf_hash(manifest(here)).hex()),
        ("record_id_here", other),
        ("record_here", world.other.record_sha256.hex()),
    ]
    assert [(each.stated.value, each.value) for each in found.compared] == expected
    as_json = [item["compared"] for item in report_facts(report)["findings"] if item["code"] == found.code]
    assert as_json == [[{"stated": stated, "value": value} for stated, value in expected]]
    # The tree has another leaf, and the bundle leaves out its record.
    exchange.hold(*(entry for place, entry in enumerate(exchange.records().entries) if place != 2))
    report = exchange.audit(receipts=[world.receipts(2)])
    (found,) = [item for item in report.findings if item.code == "RECEIPT_BROKEN"]
    assert "the signed tree has another leaf there" in found.message.lower()
    assert [each.stated.value for each in found.compared] == [name for name, _ in expected[:3]]
    # Nothing is there. A list of leaves that is not that of the signed tree says nothing.
    for gone in (world.shown(0, 1, 3, 4), world.shown(0, 1, -1, 3, 4, at=ALL)):
        start = gone.frames[0]
        assert isinstance(start, PartitionStart)
        if len(gone.records().entries) == len(ALL):
            gone.replace(start, replace(start, note=world.checkpoint(5).read_bytes()))
        report = gone.audit(receipts=[world.receipts(2)])
        (found,) = [item for item in report.findings if item.code == "RECEIPT_BROKEN"]
        assert "leaf_signed" not in [each.stated.value for each in found.compared]


def test_an_honest_log_keeps_every_receipt_and_continues_every_checkpoint(world: World) -> None:
    exchange = world.shown(*ALL)
    seen = [world.checkpoint(size) for size in (1, 3, 5)]
    report = exchange.audit(receipts=[world.receipts(*ALL)], since=seen)
    assert (report.clean, report.findings) == (True, ())
    assert (report.brought.receipts, report.brought.kept) == (5, 5)
    assert (report.brought.checkpoints, report.brought.continued) == (3, 3)
    # A folder of checkpoints is as good.
    assert exchange.audit(since=[world.folder]).brought.continued == 3


def test_a_record_whose_receipt_was_not_brought_can_be_dropped(world: World) -> None:
    report = world.shown(0, 1, 3).audit(receipts=[world.receipts(0, 1, 3)])
    assert report.clean
    assert "records whose receipts you did not bring, and another order among them" in list(could_hide(report))


def test_a_fork_is_not_named_by_an_older_checkpoint(world: World) -> None:
    report = world.shown(0, 1, -1, 3, 4, at=ALL).audit(since=[world.checkpoint(2)])
    assert (report.clean, report.brought.continued) == (True, 1)
    assert any("what it did since yours" in line for line in could_hide(report))


def test_a_report_says_first_what_could_be_hidden_by_what_was_brought(world: World) -> None:
    exchange = world.shown(*ALL)
    nothing = list(first_lines(exchange.audit()))
    assert nothing[0].startswith("you brought no receipts and no checkpoints")
    assert any("a publisher's whole traffic" in line for line in nothing)
    full = list(first_lines(exchange.audit(receipts=[world.receipts(*ALL)], since=[world.checkpoint(3)])))
    assert full[0].startswith("receipts brought: 5. Of their records 5 are in their places")
    assert full[1].startswith("checkpoints brought: 1. The log here continues 1 of them")
    assert not any("a publisher's whole traffic" in line or "no checkpoint proves" in line for line in full)


def test_what_a_quorum_of_the_auditors_own_witnesses_cosigned_cannot_be_another_log(world: World) -> None:
    report = world.shown(*ALL).audit()
    partition = StreamPartition("dna", 0)
    cases = ((1, True, (), False), (0, True, (), True), (1, False, (), True), (1, True, (partition,), True))
    for needed, brought, missing, other_log in cases:
        witnesses = WitnessReport(needed, 2, brought, (), missing)
        lines = list(could_hide(replace(report, witnesses=witnesses)))
        assert any("it once showed another log" in line for line in lines) is other_log
        assert any("your witnesses have cosigned" in line for line in lines) is not other_log


def test_receipts_for_what_the_bundle_does_not_cover_are_outside_and_no_finding(world: World) -> None:
    brought = [world.receipts(*ALL)]
    empty = world.shown(0)
    empty.accepted_until_ms, empty.made_at_ms = world.at_ms, world.at_ms + UNCOVERED_AT_MOST_MS
    report = empty.audit(receipts=brought)
    assert (report.brought.outside, report.brought.kept, report.brought.broken) == (4, 1, 0)
    other = LyingExchange(world.pki)
    other.add(StreamPartition("cases", 0), [], world.at_ms)
    assert other.audit(receipts=brought).brought.outside == 5
    early = world.shown(0)
    early.made_at_ms = world.at_ms - 1
    assert early.audit(receipts=brought).brought.outside == 4


def test_a_record_at_the_end_is_uncovered_and_ten_minutes_later_an_error_but_one_in_the_middle_is_broken(
    world: World,
) -> None:
    for made_after_ms, severity in ((UNCOVERED_AT_MOST_MS, Severity.WARNING), (600_001, Severity.ERROR)):
        exchange = world.shown(0, 1, 3)
        exchange.made_at_ms = world.at_ms + made_after_ms
        report = exchange.audit(receipts=[world.receipts(*ALL)])
        assert (report.brought.uncovered, report.brought.broken) == (1, 1)
        (uncovered,) = [item for item in report.findings if item.code == "RECEIPT_UNCOVERED"]
        assert uncovered.severity is severity
        assert "not covered by a checkpoint for 600 s" in uncovered.message
        assert "not there" not in uncovered.message
        assert [item.position for item in report.findings if item.code == "RECEIPT_BROKEN"] == [
            world.entries[2].position
        ]


def test_a_receipt_says_whether_the_exchange_contradicts_itself_or_only_the_record_is_missing(world: World) -> None:
    def said(exchange: LyingExchange) -> list[str]:
        found = exchange.audit(receipts=[world.receipts(1)]).findings
        return [item.message for item in found if item.code == "RECEIPT_BROKEN"]

    agrees = "the signed tree has it there, too"
    # Whoever makes the bundle, or reaches the storage, can leave a record out.
    left_out = world.shown(*ALL)
    left_out.hold(world.entries[0], *world.entries[2:])
    (message,) = said(left_out)
    assert agrees in message
    (message,) = said(world.shown(0, 2, 3, 4))
    assert agrees not in message
    # A list of leaves that is not the signed tree's says nothing.
    start = world.shown(0, 2, 3, 4).frames[0]
    assert isinstance(start, PartitionStart)
    left_out.replace(left_out.frames[0], start)
    report = left_out.audit(receipts=[world.receipts(1)])
    assert "TREE_MISMATCH" in {item.code for item in report.findings}
    (message,) = said(left_out)
    assert agrees not in message


def test_a_backdated_bundle_does_not_hide_a_dropped_middle_record(world: World) -> None:
    exchange = world.shown(0, 1, 3, 4)
    exchange.made_at_ms = world.at_ms - 1
    report = exchange.audit(receipts=[world.receipts(*ALL)])
    assert errors(report) == [("RECEIPT_BROKEN", world.entries[2].position)]
    assert report.brought.outside == 0
    # Nor does a period that ends, or begins, at another time than the records that are shown.
    for exchange.accepted_from_ms, exchange.accepted_until_ms in ((None, world.at_ms), (world.at_ms + 1, None)):
        report = exchange.audit(receipts=[world.receipts(*ALL)])
        assert ("RECEIPT_BROKEN", world.entries[2].position) in errors(report)


def test_receipts_from_before_the_period_are_outside(world: World) -> None:
    exchange = LyingExchange(world.pki)
    exchange.accepted_from_ms = world.at_ms + 1
    exchange.add(DNA_0, world.envelopes, world.at_ms, period=(3, 5))
    report = exchange.audit(receipts=[world.receipts(*ALL)])
    assert (report.brought.outside, report.brought.kept, report.brought.broken) == (3, 2, 0)


def test_an_auditor_who_knows_a_shorter_bound_of_the_exchange_excuses_no_record_before_it(world: World) -> None:
    bound_ms = 4000
    for made_after_ms, clean in ((bound_ms, True), (bound_ms + 1, False)):
        exchange = world.shown(0, 1, 2, 3)
        exchange.made_at_ms = world.at_ms + made_after_ms
        report = exchange.audit(receipts=[world.receipts(*ALL)], covered_within_ms=bound_ms)
        assert (report.brought.uncovered, report.brought.broken) == (1, 0)
        assert report.clean is clean
        assert {item.code for item in report.findings} == {"RECEIPT_UNCOVERED"}


def test_a_receipt_that_the_exchange_did_not_sign_counts_for_nothing_and_accuses_nobody(world: World) -> None:
    path = world.receipts(0, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = lines[2][:200] + (b"A" if lines[2][200:201] != b"A" else b"B") + lines[2][201:]
    path.write_bytes(b"".join([*lines[:2], damaged, b"receipt !\n", b"something\n"]))
    report = world.shown(0).audit(receipts=[path])
    assert (report.clean, report.brought.receipts, report.brought.unproved) == (True, 1, 3)
    assert "RECEIPT_UNPROVED" in {item.code for item in report.findings}


def test_a_receipt_that_is_brought_twice_counts_once(world: World) -> None:
    path = world.receipts(0, 0, 1)
    assert world.shown(*ALL).audit(receipts=[path, path]).brought.receipts == 2


def test_files_of_another_kind_are_refused(world: World) -> None:
    path = world.folder / "file"
    path.write_bytes(b"case-exchange bundle v1\n")
    with pytest.raises(EvidenceFileInvalid, match="not a file of receipts"):
        world.shown(0).audit(receipts=[path])
    empty = world.folder / "empty"
    empty.mkdir()
    with pytest.raises(EvidenceFileInvalid, match="no file"):
        world.shown(0).audit(since=[empty])


def test_a_checkpoint_that_no_log_key_signed_counts_for_nothing(world: World) -> None:
    path = world.checkpoint(5)
    path.write_bytes(path.read_bytes().replace(b"\n5\n", b"\n6\n"))
    report = world.shown(*ALL).audit(since=[path])
    assert (report.clean, report.brought.unproved_checkpoints, report.brought.continued) == (True, 1, 0)
    assert [item.code for item in report.findings] == ["CHECKPOINT_UNPROVED"]


def test_a_checkpoint_beyond_the_end_of_its_key_is_told_apart_from_one_that_nobody_signed(world: World) -> None:
    seen = world.checkpoint(5)
    last = (LastPosition(DNA_0, LOG_ID, 3, 3),)
    ended = EndedLogKey(world.pki.directory.log_keys[0], world.at_ms, last)
    directory = replace(world.pki.directory, ended_log_keys=(ended,))
    exchange = LyingExchange(world.pki, directory, world.pki.keyring())
    exchange.add(DNA_0, world.envelopes[:3], world.at_ms)
    report = exchange.audit(since=[seen])
    assert (report.clean, report.brought.checkpoints, report.brought.unproved_checkpoints) == (True, 0, 1)
    (found,) = report.findings
    assert (found.code, "dna/0: a checkpoint of 5" in found.message) == ("CHECKPOINT_BEYOND_END", True)
    (seen.parent / "none.checkpoint").write_bytes(seen.read_bytes().replace(b"\n5\n", b"\n6\n"))
    report = exchange.audit(since=[seen.parent / "none.checkpoint", seen])
    assert {item.code for item in report.findings} == {"CHECKPOINT_UNPROVED", "CHECKPOINT_BEYOND_END"}


def test_a_checkpoint_of_another_log_or_before_the_period_is_said_to_be_so(world: World) -> None:
    exchange = LyingExchange(world.pki)
    exchange.accepted_from_ms = world.at_ms
    exchange.add(DNA_0, world.envelopes, world.at_ms, period=(3, 5))
    report = exchange.audit(since=[world.checkpoint(2)])
    assert "CHECKPOINT_NOT_COMPARED" in {item.code for item in report.findings}
    assert exchange.audit(since=[world.checkpoint(4)]).brought.continued == 1
    again = world.shown(*ALL)
    start = again.frames[0]
    assert isinstance(start, PartitionStart)
    other = world.folder / "other.checkpoint"
    tree = GrownTree(map(manifest, world.entries))
    other.write_bytes(again.note(DNA_0, tree, "e" * 32))
    assert [code for code, _ in errors(again.audit(since=[other]))] == ["LOG_CHANGED"]


def test_a_partition_that_the_bundle_leaves_out_was_seen_before(world: World) -> None:
    exchange = LyingExchange(world.pki)
    exchange.streams.append("dna")
    found = errors(exchange.audit(since=[world.checkpoint(5)]))
    assert ("LOG_ROLLED_BACK", None) in found


def test_a_bundle_that_breaks_off_accuses_nobody_with_what_was_brought(world: World) -> None:
    exchange = world.shown(*ALL)
    frames = exchange.serialized()
    for kept in range(len(frames)):
        report = exchange.audit(frames=frames[:kept], receipts=[world.receipts(*ALL)], since=[world.checkpoint(5)])
        assert {code for code, _ in errors(report)} == {"BUNDLE_INVALID"}, kept
        assert (report.brought.receipts, report.brought.not_judged, report.brought.broken) == (5, 5, 0)
        assert verdict(report).startswith("THE BUNDLE BREAKS OFF")
        assert "not judged, because the bundle breaks off" in next(first_lines(report))
    whole = exchange.audit(receipts=[world.receipts(*ALL)])
    assert (whole.brought.not_judged, whole.broken_off) == (0, False)


def with_another_digest(exchange: LyingExchange) -> list[bytes]:
    """The frames of a bundle whose maker wrote a digest of other bytes into the last one, which its signature holds."""
    *frames, last = exchange.serialized()
    end = frame_from(last)
    assert isinstance(end, BundleEnd)
    return [*frames, CODEC.encode_frame(replace(end, sha256=bytes(32)))]


def test_an_operator_cannot_pass_off_its_own_bundle_as_damaged_on_its_way(world: World) -> None:
    exchange = world.shown(0, 1, 3, 4)
    report = exchange.audit(frames=with_another_digest(exchange), receipts=[world.receipts(*ALL)])
    assert {code for code, _ in errors(report)} == {"BUNDLE_INVALID", "RECEIPT_BROKEN"}
    assert verdict(report).startswith("THE LOG DIFFERS")


def test_a_damaged_bundle_accuses_nobody_only_if_nothing_contradicts_the_log(world: World) -> None:
    honest, dropped = world.shown(*ALL), world.shown(0, 1, 3, 4)
    for exchange, accuses_nobody in ((honest, True), (dropped, False)):
        *frames, last = with_another_digest(exchange)
        end = frame_from(last)
        assert isinstance(end, BundleEnd)
        assert end.signature is not None
        spoilt = replace(end, signature=end.signature._replace(value=bytes(70)))
        frames.append(CODEC.encode_frame(spoilt))
        report = exchange.audit(frames=frames, receipts=[world.receipts(*ALL)])
        assert "BUNDLE_DAMAGED" in {code for code, _ in errors(report)}
        assert ("accuses nobody" in verdict(report)) is accuses_nobody
        assert ("get it again, and keep both" in verdict(report)) is not accuses_nobody


def test_receipts_read_from_files_that_were_joined_or_have_other_line_ends_and_blank_lines(world: World) -> None:
    exchange = world.shown(*ALL)
    first, second = world.receipts(0, 1).read_bytes(), world.receipts(2, 3, 4).read_bytes()
    path = world.folder / "joined"
    for content in (
        first + second,
        (first + second).replace(b"\n", b"\r\n"),
        first + b"\n\r\n" + second.replace(b"\n", b"\n\n"),
        first + second.removesuffix(b"\n"),
    ):
        path.write_bytes(content)
        brought = exchange.audit(receipts=[path]).brought
        assert (brought.receipts, brought.kept, brought.unproved) == (5, 5, 0)


def test_records_that_were_moved_with_former_receipts_are_said_to_be_so(world: World) -> None:
    signed = LyingExchange(world.pki).receipts(world.entries)
    assert signed is not None
    # The publisher does not sign the former receipt, so the exchange can add it to any record that it moves.
    moved = [
        replace(envelope, former_receipt=receipt_bytes(portable_receipt(signed, place)))
        for place, envelope in enumerate(world.envelopes)
    ]
    exchange = LyingExchange(world.pki)
    exchange.add(DNA_0, [moved[place] for place in (0, 3, 2, 1, 4)], world.at_ms)
    report = exchange.audit(receipts=[world.receipts(*ALL)])
    assert report.brought.again > 0
    lines = list(could_hide(report))
    assert any(line.startswith(f"{report.brought.again} records were moved, unless") for line in lines)
    honest = could_hide(world.shown(*ALL).audit(receipts=[world.receipts(*ALL)]))
    assert not any("records were moved" in line for line in honest)


def test_only_a_checkpoint_with_records_of_every_partition_excludes_another_log(world: World) -> None:
    def other_log(report: AuditReport) -> bool:
        return any("it once showed another log" in line for line in could_hide(report))

    exchange = world.shown(*ALL)
    empty = exchange.audit(since=[world.checkpoint(0)])
    assert (empty.brought.continued, other_log(empty)) == (1, True)
    assert not other_log(exchange.audit(since=[world.checkpoint(0), world.checkpoint(3)]))
    exchange.add(StreamPartition("dna", 1), [world.other], world.at_ms)
    report = exchange.audit(since=[world.checkpoint(5)])
    assert (report.brought.continued, other_log(report)) == (1, True)


def test_receipts_count_by_the_signed_directory_in_their_own_file_if_the_bundle_lacks_their_key(world: World) -> None:
    directory = world.pki.directory
    exchange_itself = directory.agencies[directory.exchange]
    agencies = {**directory.agencies, directory.exchange: replace(exchange_itself, signing_certificates=())}
    # An operator can leave a version out of the bundle.
    lacking = replace(directory, agencies=agencies)
    exchange = LyingExchange(world.pki, lacking, source=BundleSource.MESSAGE_LOG)
    exchange.add(DNA_0, [world.envelopes[place] for place in (0, 1, 3, 4)], world.at_ms, offsets=(0, 1, 3, 4))
    path = world.receipts(*ALL)
    assert exchange.audit(receipts=[path]).brought.unproved == 5
    title, *lines = path.read_bytes().splitlines(keepends=True)
    stranger = b"directory " + b64encode(b"{}") + b"\n"
    path.write_bytes(b"".join([title, stranger, *lines]))
    assert exchange.audit(receipts=[path]).brought.unproved == 5
    own = b"directory " + b64encode(directory.document) + b"\n"
    path.write_bytes(b"".join([title, stranger, own, *lines]))
    report = exchange.audit(receipts=[path])
    assert (report.brought.unproved, report.brought.kept, report.brought.broken) == (0, 4, 1)


CASES_0, AUDIT_0 = StreamPartition("cases", 0), StreamPartition("audit", 0)
NGO = "child-aid-ngo"
NGO_GATEWAY = f"spiffe://case-exchange.example/agency/{NGO}/gateway"


def case_for_ngo(maker: RecordMaker) -> Envelope:
    """A case with a section that the directory does not let the NGO have."""
    sections = [SectionDraft(name, "synthetic", name.encode()) for name in ("case", "identity")]
    return maker.make("CaseRecord", "cases", to=(NGO,), purpose="child-rescue", sections=sections)


async def delivered_to_ngo(
    world: World, directory: Directory | None, at_ms: int, withheld: tuple[str, ...]
) -> LyingExchange:
    exchange = LyingExchange(world.pki, directory)
    clock = ManualClock(at_ms)
    exchange.add(CASES_0, [case_for_ngo(RecordMaker(world.pki, clock))], at_ms)
    made = AuditEvent(at_ms, NGO_GATEWAY, DeliveryMade(Position(*CASES_0, 0), "cases", 1, withheld))
    exchange.add(AUDIT_0, [await audit_record(world.pki, clock, [made])], at_ms)
    return exchange


async def test_a_section_that_is_logged_as_over_delivered_is_named_with_nothing_brought(world: World) -> None:
    exchange = await delivered_to_ngo(world, None, world.at_ms, ())
    report = exchange.audit()
    assert errors(report) == [("SECTION_NOT_ALLOWED", Position(*AUDIT_0, 0))]
    told = "the record at cases/0/0 was delivered to child-aid-ngo with the section identity"
    assert told in report.findings[0].message
    honest = (await delivered_to_ngo(world, None, world.at_ms, ("identity",))).audit()
    assert (honest.clean, honest.findings) == (True, ())


@pytest.mark.parametrize(
    ("agency", "withheld", "code", "told"),
    [
        pytest.param("shanxi-police", (), "", "", id="publisher"),
        pytest.param(NGO, ("identity",), "", "", id="recipient"),
        pytest.param("national-audit", ("case", "identity"), "", "", id="auditor"),
        pytest.param(NGO, (), "SECTION_NOT_ALLOWED", "with the section identity", id="recipient, too much"),
        pytest.param(
            "national-audit", ("case",), "SECTION_NOT_ALLOWED", "the section identity", id="auditor, too much"
        ),
        pytest.param(HEBEI, BOTH, "DELIVERY_ASTRAY", "no party and no auditor", id="anybody else"),
    ],
)
async def test_a_proof_that_was_handed_out_is_judged_like_a_delivery(
    world: World, agency: str, withheld: tuple[str, ...], code: str, told: str
) -> None:
    exchange = LyingExchange(world.pki)
    clock = ManualClock(world.at_ms)
    exchange.add(CASES_0, [case_for_ngo(RecordMaker(world.pki, clock))], world.at_ms)
    principal = f"spiffe://case-exchange.example/agency/{agency}/gateway"
    made = AuditEvent(world.at_ms, principal, ProofMade(Position(*CASES_0, 0), "a court asks", withheld))
    exchange.add(AUDIT_0, [await audit_record(world.pki, clock, [made])], world.at_ms)
    report = exchange.audit()
    assert errors(report) == ([(code, Position(*AUDIT_0, 0))] if code else [])
    assert not code or told in report.findings[0].message
    assert report.deliveries == 0


async def test_deliveries_are_judged_by_the_directory_of_their_time(world: World) -> None:
    member = world.pki.directory.agencies[NGO]
    widened = {**member.receive, "CaseRecord": ReceiveRight(frozenset({"*"}), frozenset({"*"}))}
    agencies = {**world.pki.directory.agencies, NGO: replace(member, receive=widened)}
    exchange = await delivered_to_ngo(world, replace(world.pki.directory, agencies=agencies), world.at_ms, ())
    assert exchange.audit().findings == ()
    gone = {kind: right for kind, right in member.receive.items() if kind != "CaseRecord"}
    agencies[NGO] = replace(member, receive=gone)
    report = (await delivered_to_ngo(world, replace(world.pki.directory, agencies=agencies), world.at_ms, ())).audit()
    assert ("SECTION_NOT_ALLOWED", Position(*AUDIT_0, 0)) in errors(report)
    assert any("did not let it have the record" in item.message for item in report.findings)


async def test_a_delivery_under_an_expired_directory_is_named(world: World) -> None:
    for late_ms, named in ((-1, False), (0, True)):
        expires_at_ms = world.at_ms - CHANGE_OF_DIRECTORY_MS - late_ms
        directory = replace(world.pki.directory, expires_at_ms=expires_at_ms)
        report = (await delivered_to_ngo(world, directory, world.at_ms, ("identity",))).audit()
        assert (("SECTION_NOT_ALLOWED", Position(*AUDIT_0, 0)) in errors(report)) is named


def test_a_record_that_was_signed_with_a_revoked_key_is_named_whether_its_list_is_there_or_not(world: World) -> None:
    revoked = world.pki.revoked[profiles.SIGNING.authority]
    directory = world.pki.directory_with(HEBEI, [revoked.der])
    maker = RecordMaker(world.pki, ManualClock(world.at_ms), HEBEI)
    maker.composer._signer = revoked.signer
    lists = RevocationLists([], directory.signing_authorities, grace_ms=0)
    for keyring, code in ((None, "SIGNER_REVOKED"), (DirectoryKeyring(directory, lists), "REVOCATION_UNAVAILABLE")):
        exchange = LyingExchange(world.pki, directory, keyring)
        exchange.add(DNA_0, [maker.make()], world.at_ms)
        assert (code, Position(*DNA_0, 0)) in errors(exchange.audit())


def test_an_operator_who_moves_a_record_within_its_case_is_asked_about_with_nothing_brought(world: World) -> None:
    report = world.shown(0, 3, 2, 1, 4, at=ALL).audit()
    assert report.findings == ()  # records of other cases may pass each other
    maker = RecordMaker(world.pki, ManualClock(world.at_ms))
    first, second = maker.make(), maker.make()
    exchange = LyingExchange(world.pki)
    exchange.add(DNA_0, [second, first], world.at_ms)
    (found,) = exchange.audit().findings
    assert (found.code, found.severity, found.position) == ("SEQUENCE_FALLS", Severity.WARNING, Position(*DNA_0, 1))


def reported(world: World, *copies: tuple[Envelope, int, tuple[str, ...]], at_ms: int, signer: str = NGO) -> Path:
    """A file in which the NGO says what it was handed: records of cases/0, at these offsets, with these sections."""
    told = [
        ReceivedCopy(
            CODEC.parse_body(envelope.body).record_id, envelope.record_sha256, Position(*CASES_0, offset), at_ms, names
        )
        for envelope, offset, names in copies
    ]
    data, key = copies_bytes(NGO, told), world.pki.signer(signer)
    signature = Signature(key.certificate_sha256, key.sign(pae(RECEIVED_TYPE, data)))
    path = world.folder / "reported"
    with path.open("wb") as file:
        write_receipts(file, [], [], [signed_copies_bytes(data, signature)])
    return path


async def case_at_ngo(
    world: World, *logged: Sequence[str], directory: Directory | None = None
) -> tuple[LyingExchange, Envelope]:
    """A whole log with a case for the NGO, and these deliveries of it, each with the sections that were withheld."""
    listed, clock = directory or world.pki.directory, ManualClock(world.at_ms)
    exchange = LyingExchange(world.pki, listed, world.pki.keyring())
    envelope = case_for_ngo(RecordMaker(world.pki, clock))
    exchange.add(CASES_0, [envelope], world.at_ms)
    made = [
        AuditEvent(world.at_ms, NGO_GATEWAY, DeliveryMade(Position(*CASES_0, 0), "cases", attempt, tuple(withheld)))
        for attempt, withheld in enumerate(logged, 1)
    ]
    exchange.add(AUDIT_0, [await audit_record(world.pki, clock, made)] if made else [], world.at_ms)
    for stream in set(STREAMS) - {"cases", "audit"}:
        exchange.add(StreamPartition(stream, 0), [], world.at_ms)
    exchange.made_at_ms = world.at_ms + 2 * SKEW_MS
    return exchange, envelope


@pytest.mark.parametrize(
    ("logged", "got", "code", "told"),
    [
        pytest.param([["identity"]], ("case",), "", "", id="as logged"),
        pytest.param([["identity"]], BOTH, "SECTION_NOT_ALLOWED", "that is the section identity", id="over-delivered"),
        pytest.param([], ("case",), "DELIVERY_UNLOGGED", "the log has no delivery of it", id="not logged"),
        pytest.param([], BOTH, "SECTION_NOT_ALLOWED", "that is the section identity", id="over-delivered, not logged"),
        pytest.param([BOTH], ("case",), "DELIVERY_UNLOGGED", "it withheld case", id="logged as withheld"),
    ],
)
async def test_what_a_recipient_reports_is_compared_with_the_log_and_the_directory(
    world: World, logged: list[list[str]], got: tuple[str, ...], code: str, told: str
) -> None:
    exchange, envelope = await case_at_ngo(world, *logged)
    # Nothing brought: nothing is wrong, and the report says what could be hidden.
    report = exchange.audit()
    assert (report.clean, report.received) == (True, None)
    assert any("did not log: bring what agencies got" in line for line in could_hide(report))
    report = exchange.audit(delivered=[reported(world, (envelope, 0, got), at_ms=world.at_ms)])
    assert errors(report) == ([(code, Position(*CASES_0, 0))] if code else [])
    assert all(told in item.message and NGO in item.message for item in report.findings)
    assert report.received == ReceivedReport(copies=1, agreed=not code, wrong=bool(code))
    assert any("reports you did not bring" in line for line in could_hide(report))
    assert any(line.startswith("copies that agencies report: 1. ") for line in first_lines(report))


async def test_a_record_that_was_delivered_and_dropped_is_named_by_its_recipient(world: World) -> None:
    exchange, _ = await case_at_ngo(world, ["identity"])
    other = case_for_ngo(RecordMaker(world.pki, ManualClock(world.at_ms)))
    report = exchange.audit(delivered=[reported(world, (other, 1, ("case",)), at_ms=world.at_ms)])
    assert errors(report) == [("DELIVERY_UNLOGGED", Position(*CASES_0, 1))]
    # The bundle has not every stream: then it may stand elsewhere.
    exchange.streams.remove("dna")
    report = exchange.audit(delivered=[reported(world, (other, 1, ("case",)), at_ms=world.at_ms)])
    assert report.received is not None
    assert (report.received.outside, report.received.wrong) == (1, 0)


async def test_what_a_declared_loss_may_have_taken_with_it_accuses_nobody(world: World) -> None:
    lost = case_for_ngo(RecordMaker(world.pki, ManualClock(world.at_ms)))
    former = LyingExchange(world.pki)
    former.add(CASES_0, [lost, lost], world.at_ms)
    former.add(AUDIT_0, [], world.at_ms)
    last = {
        each.partition: SignedCheckpoint.read(each.note) for each in former.frames if isinstance(each, PartitionStart)
    }

    async def judged(partition: StreamPartition, *, declared_at_ms: int, stands: bool) -> tuple[list[str], int]:
        step = Incarnation(partition, LOG_ID, "g" * 32, last[partition], None, "a test", declared_at_ms)
        exchange, envelope = await case_at_ngo(world, directory=replace(world.pki.directory, incarnations=(step,)))
        copy = (envelope, 0, ("case",)) if stands else (lost, 1, ("case",))
        report = exchange.audit(delivered=[reported(world, copy, at_ms=world.at_ms)])
        assert report.received is not None
        return [item.code for item in report.findings if item.code.startswith("DELIVER")], report.received.lost

    later, before = world.at_ms + 1, world.at_ms - SKEW_MS - 1
    assert await judged(CASES_0, declared_at_ms=later, stands=False) == (["DELIVERY_LOST_DECLARED"], 1)
    assert await judged(AUDIT_0, declared_at_ms=later, stands=True) == (["DELIVERY_LOST_DECLARED"], 1)
    for partition, at_ms, stands in (
        (AUDIT_0, later, False),
        (CASES_0, later, True),
        (CASES_0, before, False),
        (AUDIT_0, before, True),
    ):
        found = await judged(partition, declared_at_ms=at_ms, stands=stands)
        assert found == (["DELIVERY_UNLOGGED"], 0), (partition, at_ms)


async def test_a_report_about_the_last_hour_or_one_that_the_agency_did_not_sign_accuses_nobody(world: World) -> None:
    exchange, envelope = await case_at_ngo(world)
    late = reported(world, (envelope, 0, ("case",)), at_ms=exchange.made_at_ms - SKEW_MS)
    report = exchange.audit(delivered=[late])
    assert (report.clean, report.received) == (True, ReceivedReport(copies=1, outside=1))
    forged = reported(world, (envelope, 0, BOTH), at_ms=world.at_ms, signer=HEBEI)
    report = exchange.audit(delivered=[forged])
    assert (report.clean, report.received) == (True, ReceivedReport(unproved=1))
    assert [item.code for item in report.findings] == ["DELIVERED_UNPROVED"]
    late = reported(world, (envelope, 0, ("case",)), at_ms=world.at_ms)
    report = exchange.audit(frames=exchange.serialized()[:-1], delivered=[late])
    assert report.received == ReceivedReport(copies=1, not_judged=1)


def test_a_record_with_a_time_before_what_witnesses_cosigned_without_it_is_named(world: World) -> None:
    """Four records are true. The operator adds the fifth an hour later, and says that it came with them."""
    witness = SampleWitness("witness.example/a")
    policy = parse_policy(f"witness a {witness.key}\nquorum a\n".encode())
    using = WitnessPolicyInUse(policy, witness_checks(policy), brought=True)
    exchange = world.shown(*ALL)
    start = exchange.frames[0]
    assert isinstance(start, PartitionStart)
    # The bundle has only what witnesses have cosigned since.
    newest = with_cosignatures(start.note, [witness.cosign(parse_note(start.note).text, world.at_ms // 1000 + 7200)])
    exchange.frames[0] = replace(start, note=newest)
    report = exchange.audit(witnesses=using)
    assert (report.clean, report.findings) == (True, ())
    assert any("accepted later than it says: bring cosigned checkpoints" in line for line in could_hide(report))
    path = world.checkpoint(4)
    note = path.read_bytes()
    for seconds, named in ((STALE_MS // 1000, False), (STALE_MS // 1000 + 1, True)):
        time_s = -(-world.at_ms // 1000) + seconds
        path.write_bytes(with_cosignatures(note, [witness.cosign(parse_note(note).text, time_s)]))
        report = exchange.audit(witnesses=using, since=[path])
        found = [(item.code, item.position) for item in report.findings]
        assert found == ([("BACKDATED", Position(*DNA_0, 4))] if named else [])
        assert any("ten minutes later than it says" in line for line in could_hide(report))
    # A stranger's line says nothing.
    stranger = SampleWitness("witness.example/b")
    path.write_bytes(with_cosignatures(note, [stranger.cosign(parse_note(note).text, world.at_ms // 1000 + 7200)]))
    assert exchange.audit(witnesses=using, since=[path]).findings == ()


async def test_a_refusal_that_never_was_closes_a_gap_and_a_receipt_names_the_record_all_the_same(world: World) -> None:
    exchange = world.shown(0, 2, 3, 4)
    principal = "spiffe://case-exchange.example/agency/shanxi-police/gateway"
    numbers = ((CODEC.parse_body(world.envelopes[1].body).recipients[0].agency, 2),)
    refusal = AuditEvent(world.at_ms, principal, RefusalMade("RIGHT_DENIED", world.record_id(1), numbers=numbers))
    exchange.add(AUDIT_0, [await audit_record(world.pki, ManualClock(world.at_ms), [refusal])], world.at_ms)
    report = exchange.audit()
    assert (report.findings, report.refused_numbers) == ((), 1)
    assert errors(exchange.audit(receipts=[world.receipts(1)])) == [("RECEIPT_BROKEN", world.entries[1].position)]


def test_a_record_that_is_backdated_after_its_receipt_is_named_by_the_receipt(world: World) -> None:
    exchange = LyingExchange(world.pki)
    exchange.add(DNA_0, world.envelopes, world.at_ms - 500)
    assert exchange.audit().findings == ()
    assert errors(exchange.audit(receipts=[world.receipts(4)])) == [("RECEIPT_BROKEN", world.entries[4].position)]


async def test_what_a_recipient_reports_counts_without_revocation_lists_and_not_if_its_key_was_revoked(
    world: World,
) -> None:
    exchange, envelope = await case_at_ngo(world)
    brought = [reported(world, (envelope, 0, ("case",)), at_ms=world.at_ms)]
    authorities = world.pki.directory.signing_authorities
    exchange._keyring = DirectoryKeyring(world.pki.directory, RevocationLists([], authorities, grace_ms=0))
    assert ("DELIVERY_UNLOGGED", Position(*CASES_0, 0)) in errors(exchange.audit(delivered=brought))
    revoked = world.pki.revoked[profiles.SIGNING.authority]
    listing = LyingExchange(world.pki, world.pki.directory_with(HEBEI, [revoked.der]))
    listing.add(CASES_0, [], world.at_ms)
    listing.made_at_ms = world.at_ms + 1000
    told = copies_bytes(HEBEI, [ReceivedCopy(world.record_id(0), bytes(32), Position(*CASES_0, 0), world.at_ms, ())])
    signature = Signature(revoked.signer.certificate_sha256, revoked.signer.sign(pae(RECEIVED_TYPE, told)))
    with brought[0].open("wb") as file:
        write_receipts(file, [], [], [signed_copies_bytes(told, signature)])
    assert listing.audit(delivered=brought).received == ReceivedReport(unproved=1)
