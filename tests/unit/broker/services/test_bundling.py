"""Bundles of a log that somebody changed: they contain everything that is left, and the audit finds the positions."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.core.bundle import (
    MAX_STRAY_BYTES,
    BundleHeader,
    BundleSource,
    DirectoryDocument,
    PartitionLeaves,
    PartitionRecords,
    StrayRecord,
)
from broker.core.entry import Stray
from broker.core.errors import LogCorrupt
from broker.core.streams import AUDIT, DNA, Position, StreamPartition
from broker.messagelog.sqlite import SoleFollower, SqliteCheckpointStore, SqliteLog
from broker.services import bundling
from broker.services.audittrail import AuditTrailService
from broker.services.checkpointing import CheckpointFollower, CheckpointSettings
from broker.trust.system import SystemEntropy
from tests.support.damage import DamagedLog, rewritten, without_value
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CODEC, RecordMaker
from tests.support.replays import Bundle, bundle_maker, made, order
from tests.unit.broker.services.test_subscribe import SHANXI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.bundle import Frame
    from broker.core.entry import LogEntry
    from broker.ports import TreeHead
    from tests.support.damage import Change

RECORDS = 12
DNA_0 = StreamPartition(DNA, 0)


class Parts(NamedTuple):
    pki: SamplePki
    log: SqliteLog
    store: SqliteCheckpointStore
    times: list[int]
    path: Path

    async def bundle(
        self,
        change: Change = lambda entry: entry,
        strays: list[Stray] | None = None,
        *,
        signed: bool = False,
        begin: int | None = None,
        until: int | None = None,
        sections: str = "*",
    ) -> Bundle:
        """A bundle of the log after a change. ``begin`` and ``until`` are places of records."""
        maker = bundle_maker(
            self.pki,
            DamagedLog(self.log, change, strays or []),
            self.store,
            self.pki.signer("exchange") if signed else None,
        )
        asked = order(
            [DNA, AUDIT],
            sections=sections,
            accepted_from_ms=None if begin is None else self.times[begin],
            accepted_until_ms=None if until is None else self.times[until],
        )
        return await made(maker, asked, self.path / "bundle", self.pki)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def parts(pki: SamplePki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    """Twelve records in one partition, a second apart, in stretches of five and batches of two."""
    monkeypatch.setattr(bundling, "_LEAVES", 5)
    monkeypatch.setattr(bundling, "_BATCH_RECORDS", 2)
    clock = ManualClock(pki.now_ms + 1000)
    log, store = await SqliteLog.open(None, clock, partitions={DNA: 1, AUDIT: 1}), SqliteCheckpointStore(None)
    directory, signer = FixedDirectory(pki.directory), pki.signer("exchange")
    await AuditTrailService(
        directory=directory,
        system="broker",
        signer=signer,
        codec=CODEC,
        log=log,
        entropy=SystemEntropy(),
        clock=clock,
    ).directory_in_force()
    publisher = publish_service(pki, log, clock, directory=directory, signer=signer)
    maker, times = RecordMaker(pki, clock), []
    for _ in range(RECORDS):
        clock.value_ms += 1000
        times.append(clock.value_ms)
        await publisher.publish(SHANXI, [maker.make()])
    follower = CheckpointFollower(
        log=log,
        store=store,
        board=SoleFollower(),
        signer=pki.note_signer,
        trust_domain="case-exchange.example",
        clock=clock,
        settings=CheckpointSettings(),
        report=lambda _: None,
    )
    await follower.follow_once()
    yield Parts(pki, log, store, times, tmp_path)
    await store.close()
    await log.close()


def at(offset: int, change: Change) -> Change:
    return lambda entry: change(entry) if entry.position == Position(*DNA_0, offset) else entry


def no_more(entry: LogEntry) -> None:
    """The entry as a log returns it after it was deleted."""
    assert entry


def other_body(entry: LogEntry) -> LogEntry:
    body = CODEC.parse_body(CODEC.decode_envelope(entry.value).body)
    return rewritten(entry, body=CODEC.encode_body(replace(body, purpose="child-rescue")))


def stray(offset: int, value: bytes = b"foreign", partition: StreamPartition = DNA_0) -> Stray:
    return Stray.of(Position(*partition, offset), "no seal", value)


def strays_of(frames: list[Frame]) -> list[StrayRecord]:
    return [frame for frame in frames if isinstance(frame, StrayRecord)]


def batches_of(frames: list[Frame]) -> list[PartitionRecords]:
    return [frame for frame in frames if isinstance(frame, PartitionRecords)]


@pytest.mark.parametrize("signed", [True, False])
async def test_a_sound_log_makes_a_clean_bundle_with_every_leaf(parts: Parts, *, signed: bool) -> None:
    bundle = await parts.bundle(signed=signed)
    report = bundle.report()
    assert (report.clean, report.findings, report.records) == (True, (), RECORDS + 1)
    frames = bundle.frames()
    listed = [frame for frame in frames if isinstance(frame, PartitionLeaves)]
    assert [(frame.first_index, len(frame.leaves)) for frame in listed] == [(0, 5), (5, 5), (10, 2), (0, 1)]
    assert all(len(frame.entries) <= 2 for frame in batches_of(frames))
    assert isinstance(frames[0], BundleHeader)
    assert frames[0].source is (BundleSource.BROKER if signed else BundleSource.MESSAGE_LOG)


async def test_leaves_come_with_the_records_that_they_stand_for(parts: Parts) -> None:
    frames = (await parts.bundle()).frames()
    kinds = [type(frame).__name__.removeprefix("Partition") for frame in frames]
    stretch = ["Leaves", "Records", "Records", "Records"]
    begin = kinds.index("Start")
    assert kinds[begin : kinds.index("End") + 1] == ["Start", *stretch, *stretch, "Leaves", "Records", "End"]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(no_more, "RECORD_MISSING", id="deleted"),
        pytest.param(without_value, "RECORD_MISSING", id="its bytes lost"),
        pytest.param(lambda entry: entry._replace(value=b"\xff"), "RECORD_CHANGED", id="unreadable"),
        pytest.param(other_body, "RECORD_CHANGED", id="another body"),
        pytest.param(lambda entry: rewritten(entry, sections=()), "RECORD_CHANGED", id="a section less"),
        pytest.param(lambda entry: entry._replace(epoch=3), "RECORD_CHANGED", id="another leader"),
        pytest.param(lambda entry: entry._replace(log_id="e" * 32), "RECORD_CHANGED", id="another log"),
        pytest.param(lambda entry: entry._replace(accepted_at_ms=-1), "RECORD_CHANGED", id="no time"),
    ],
)
@pytest.mark.parametrize("offset", [0, 4, 5, RECORDS - 1])
async def test_one_record_is_named_at_its_position_whatever_happened_to_it(
    parts: Parts, *, signed: bool, change: Change, code: str, offset: int
) -> None:
    bundle = await parts.bundle(at(offset, change), signed=signed)
    named = bundle.named()
    position = Position(*DNA_0, offset)
    assert (code, position) in named
    assert named[0][1] == position
    assert {item for found, item in named if found not in {"LOG_CHANGED", "OUT_OF_ORDER"}} == {position}


async def test_a_log_that_lost_everything_makes_a_bundle_that_names_everything(parts: Parts) -> None:
    bundle = await parts.bundle(no_more)
    assert bundle.named() == [
        *(("RECORD_MISSING", Position(*DNA_0, offset)) for offset in range(RECORDS)),
        ("RECORD_MISSING", Position(AUDIT, 0, 0)),
    ]
    # Even the directory was lost. The one in force replaces it, and the audit says so where it matters.
    (document,) = (frame for frame in bundle.frames() if isinstance(frame, DirectoryDocument))
    assert document.document == parts.pki.directory.document


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("offset", [3, RECORDS, RECORDS + 70])
async def test_a_stray_is_named_where_it_stands(parts: Parts, *, signed: bool, offset: int) -> None:
    # In a record's place the log returns no entry.
    bundle = await parts.bundle(at(3, no_more) if offset == 3 else at(99, no_more), [stray(offset)], signed=signed)
    code = "RECORD_CHANGED" if offset == 3 else "RECORD_INSERTED"
    assert bundle.named() == [(code, Position(*DNA_0, offset))]
    (found,) = strays_of(bundle.frames())
    assert (found.reason, found.value, found.value_size) == ("no seal", b"", 7)


@pytest.mark.parametrize("batch", [1, 2, 4, 250])
async def test_strays_stand_among_the_records_in_order_and_each_in_its_own_partition(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(bundling, "_BATCH_RECORDS", batch)
    planted = [stray(2), stray(9), stray(RECORDS), stray(RECORDS + 1), stray(7, partition=StreamPartition(AUDIT, 0))]
    lost = {2, 9}
    bundle = await parts.bundle(lambda entry: None if entry.position in _places(lost) else entry, planted)
    order_in_bundle = [
        position
        for frame in bundle.frames()
        for position in (
            [entry.position for entry in frame.entries]
            if isinstance(frame, PartitionRecords)
            else [frame.position]
            if isinstance(frame, StrayRecord)
            else []
        )
    ]
    assert order_in_bundle == [
        *(Position(*DNA_0, offset) for offset in range(RECORDS + 2)),
        Position(AUDIT, 0, 0),
        Position(AUDIT, 0, 7),
    ]
    assert [position for _, position in bundle.named()] == [item.position for item in planted]


def _places(offsets: set[int]) -> set[Position]:
    return {Position(*DNA_0, offset) for offset in offsets}


async def test_a_period_has_the_strays_up_to_its_neighbours_and_no_others(parts: Parts) -> None:
    # Records 4 to 6 are the period. Strays at 3 or 7 belong to others. Only the period is between them.
    planted = [stray(offset) for offset in range(RECORDS + 3)]
    bundle = await parts.bundle(at(99, no_more), planted, begin=4, until=7)
    assert [item.position.offset for item in strays_of(bundle.frames())] == [4, 5, 6]
    last = await parts.bundle(at(99, no_more), planted, begin=11)
    assert [item.position.offset for item in strays_of(last.frames())] == [11, 12, 13, 14]
    none = await parts.bundle(at(99, no_more), planted, begin=5, until=5)
    assert strays_of(none.frames()) == []


async def test_what_no_leaf_stands_for_between_two_periods_is_in_both(parts: Parts) -> None:
    # The tree is that of every record except two, as if those two had been put between the others later.
    store = SqliteCheckpointStore(None)
    follower = CheckpointFollower(
        log=DamagedLog(parts.log, lambda entry: None if entry.position in _places({4, 8}) else entry),
        store=store,
        board=SoleFollower(),
        signer=parts.pki.note_signer,
        trust_domain="case-exchange.example",
        clock=ManualClock(parts.times[-1]),
        settings=CheckpointSettings(),
        report=lambda _: None,
    )
    await follower.follow_once()
    other = parts._replace(store=store)
    assert (await other.bundle(signed=True)).named() == [
        ("RECORD_INSERTED", Position(*DNA_0, 4)),
        ("RECORD_INSERTED", Position(*DNA_0, 8)),
    ]
    for begin, until, found in ((None, 4, [4]), (5, 8, [4, 8]), (5, 7, [4]), (9, None, [8]), (6, 6, []), (4, 5, [4])):
        bundle = await other.bundle(begin=begin, until=until)
        assert [item.position.offset for item in strays_of(bundle.frames())] == found
    await store.close()


async def test_a_receipt_is_given_only_for_what_the_tree_stands_for(parts: Parts) -> None:
    bundle = await parts.bundle(at(4, other_body), signed=True)
    given = [
        CODEC.parse_statement(statement).position.offset
        for batch in batches_of(bundle.frames())
        if batch.receipts is not None
        for statement in batch.receipts.statements
        if batch.entries[0].position.stream == DNA
    ]
    assert given == [offset for offset in range(RECORDS) if offset != 4]
    # If no record of a batch is a good one, nothing is signed.
    all_changed = await parts.bundle(
        lambda entry: other_body(entry) if entry.position.stream == DNA else entry, signed=True
    )
    assert {
        batch.receipts for batch in batches_of(all_changed.frames()) if batch.entries[0].position.stream == DNA
    } == {None}


async def test_without_a_signer_there_are_no_receipts(parts: Parts) -> None:
    assert {batch.receipts for batch in batches_of((await parts.bundle()).frames())} == {None}


async def test_who_may_not_have_every_section_gets_no_bytes_that_cannot_be_redacted(parts: Parts) -> None:
    broken = at(4, lambda entry: entry._replace(value=b"\xff canary" + entry.value))
    bundle = await parts.bundle(broken, [stray(RECORDS, b"canary too")], sections="case")
    assert [(item.reason, item.value) for item in strays_of(bundle.frames())] == [("unreadable", b""), ("no seal", b"")]
    assert all(item.value_size for item in strays_of(bundle.frames()))
    assert b"canary" not in bundle.path.read_bytes()


async def test_of_a_large_stray_only_the_beginning_is_taken_along(parts: Parts) -> None:
    large = at(4, lambda entry: entry._replace(value=b"\xff" * (MAX_STRAY_BYTES + 1)))
    bundle = await parts.bundle(large)
    (found,) = strays_of(bundle.frames())
    assert (len(found.value), found.value_size) == (MAX_STRAY_BYTES, MAX_STRAY_BYTES + 1)
    assert bundle.named() == [("RECORD_CHANGED", Position(*DNA_0, 4))]


async def test_of_what_nobody_of_the_exchange_appended_a_bundle_has_place_size_and_digest(parts: Parts) -> None:
    bundle = await parts.bundle(strays=[stray(RECORDS, b"canary")])
    (found,) = strays_of(bundle.frames())
    assert (found.value, found.value_size, found.value_sha256) == (b"", 6, sha256(b"canary").digest())
    assert b"canary" not in bundle.path.read_bytes()
    assert bundle.named() == [("RECORD_INSERTED", Position(*DNA_0, RECORDS))]


async def test_a_partition_ends_where_its_checkpoint_did_though_the_tree_grows_meanwhile(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, hidden = SqliteCheckpointStore(None), _places(set(range(7, RECORDS)))
    heads: dict[StreamPartition, TreeHead | None] = {}
    for log in (DamagedLog(parts.log, lambda entry: None if entry.position in hidden else entry), parts.log):
        follower = CheckpointFollower(
            log=log,
            store=store,
            board=SoleFollower(),
            signer=parts.pki.note_signer,
            trust_domain="case-exchange.example",
            clock=ManualClock(parts.times[-1]),
            settings=CheckpointSettings(),
            report=lambda _: None,
        )
        with contextlib.suppress(LogCorrupt):
            # The first pass finds that its log ends too early, after it has covered what there is.
            await follower.follow_once()
        for partition in (DNA_0, StreamPartition(AUDIT, 0)):
            heads.setdefault(partition, await store.head(partition))

    async def older_head(partition: StreamPartition) -> TreeHead | None:
        return heads[partition]

    monkeypatch.setattr(store, "head", older_head)
    for until in (None, RECORDS - 1):
        report = (await parts._replace(store=store).bundle(until=until)).report()
        assert "TREE_MISMATCH" not in {finding.code for finding in report.findings}
        assert report.partitions[0].end_index == 7
    await store.close()


async def test_where_every_directory_version_is_from_after_the_period_the_first_is_taken_along(parts: Parts) -> None:
    later = parts.times[-1] + 3_600_000

    def put_off(entry: LogEntry) -> LogEntry:
        return entry._replace(accepted_at_ms=later) if entry.position.stream == AUDIT else entry

    bundle = await parts.bundle(put_off, until=5)
    (document,) = (frame for frame in bundle.frames() if isinstance(frame, DirectoryDocument))
    assert document == DirectoryDocument(parts.pki.directory.document, later)
    assert "DIRECTORY_MISSING" in bundle.codes()


async def test_a_partition_without_a_checkpoint_is_no_bundle(parts: Parts) -> None:
    store = SqliteCheckpointStore(None)
    with pytest.raises(LogCorrupt):
        await parts._replace(store=store).bundle()
    await store.close()
