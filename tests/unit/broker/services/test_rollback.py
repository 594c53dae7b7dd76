"""A process that is behind others on its log is not accused; one whose log went back is, until it is proved wrong."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.bundle import ProvedBeginning
from broker.core.entry import NewEntry
from broker.core.errors import CaseExchangeError, EvidenceUnavailable, InputRefused, LogRolledBack
from broker.core.events import RollbackFound
from broker.core.incarnations import Incarnation, Incarnations, SignedCheckpoint
from broker.core.streams import STREAMS, StreamPartition
from broker.core.tree.checkpoint import NoteSignature, marshal_note
from broker.core.tree.origin import checkpoint_origin
from broker.messagelog.sqlite import SoleFollower, SqliteCheckpointStore, SqliteLog
from broker.services.checkpointing import CheckpointFollower, CheckpointSettings
from broker.services.proofs import ProofService
from broker.services.rollback import MAX_PRESENTED_BYTES, Answer, RollbackGuard
from broker.trust.logkeys import DirectoryLogKeys
from tests.support.fakes import FixedDirectory, ListedAudit
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DNA_0 = StreamPartition("dna", 0)
POLICE = "spiffe://case-exchange.example/agency/shanxi-police/gateway"


class Memory:
    def __init__(self) -> None:
        self.data = b""

    def read(self) -> bytes:
        return self.data

    def write(self, data: bytes) -> None:
        self.data = data


class Process:
    """One process on a log, with its own trees. It follows when a test says so."""

    def __init__(self, pki: SamplePki, log: SqliteLog, clock: ManualClock) -> None:
        self._pki = pki
        self._log = log
        self._clock = clock
        self.store = SqliteCheckpointStore(None)
        self.reported: list[CaseExchangeError] = []
        self.audit = ListedAudit()
        self.kept = Memory()
        self.follower = CheckpointFollower(
            log=log,
            store=self.store,
            board=SoleFollower(),
            signer=pki.note_signer,
            trust_domain=pki.directory.trust_domain,
            clock=clock,
            settings=CheckpointSettings(interval_seconds=0.001, evidence_bound_seconds=30),
            report=self.reported.append,
        )

    def guard(self, lag_seconds: float, *declared: Incarnation) -> RollbackGuard:
        return RollbackGuard(
            log=self._log,
            store=self.store,
            proofs=ProofService(self._log, self.store, FixedDirectory(self._pki.directory), CODEC),
            follower=self.follower,
            keys=DirectoryLogKeys(lambda: self._pki.directory),
            trust_domain=self._pki.directory.trust_domain,
            audit=self.audit,
            clock=self._clock,
            kept=self.kept,
            declared=lambda: Incarnations(declared),
            lag_seconds=lag_seconds,
            report=self.reported.append,
        )

    async def note(self) -> bytes:
        head = await self.store.head(DNA_0)
        assert head is not None
        return head.note


class Parts:
    """A log with two records that both processes know, and three more that only ``ahead`` has read."""

    def __init__(self, pki: SamplePki, log: SqliteLog) -> None:
        self.log = log
        self.clock = ManualClock(pki.now_ms)
        self.ahead = Process(pki, log, self.clock)
        self.behind = Process(pki, log, self.clock)

    async def append(self, *numbers: int) -> None:
        digests = [hashlib.sha256(b"%d" % number).digest() for number in numbers]
        await self.log.append(
            [NewEntry(DNA_0, each[:16], "SampleRequest", "case", ("lab",), each, b"value") for each in digests]
        )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def parts(pki: SamplePki) -> AsyncIterator[Parts]:
    log = await SqliteLog.open(None, ManualClock(pki.now_ms))
    parts = Parts(pki, log)
    await parts.append(1, 2)
    for process in (parts.ahead, parts.behind):
        await process.follower.follow_once()
    await parts.append(3, 4, 5)
    await parts.ahead.follower.follow_once()
    yield parts
    for process in (parts.ahead, parts.behind):
        await process.store.close()
    await log.close()


async def test_a_process_that_is_behind_catches_up_before_it_is_judged(parts: Parts) -> None:
    guard, note = parts.behind.guard(lag_seconds=20), await parts.ahead.note()
    presenting = asyncio.create_task(guard.present(POLICE, [note]))
    await asyncio.sleep(0)
    assert not presenting.done()
    await parts.behind.follower.follow_once()
    (answer,) = [each for each in await presenting if each.partition == DNA_0]
    assert answer.proof is not None
    assert (answer.proof.old_size, answer.proof.new_size) == (5, 5)
    guard.check()
    assert not parts.behind.reported


async def test_a_process_that_cannot_follow_is_not_accused(parts: Parts) -> None:
    guard, note = parts.behind.guard(lag_seconds=0.05), await parts.ahead.note()
    parts.clock.value_ms += 31_000
    with pytest.raises(EvidenceUnavailable):
        await guard.present(POLICE, [note])
    await parts.behind.follower.follow_once()
    guard.check()
    assert not parts.behind.audit.events


async def test_what_was_found_is_told_once_with_its_proof_and_is_void_when_the_process_catches_up(
    parts: Parts,
) -> None:
    guard, note = parts.behind.guard(lag_seconds=0.05), await parts.ahead.note()
    for _ in range(2):
        with pytest.raises(LogRolledBack, match="dna/0:5"):
            await guard.present(POLICE, [note])
    # Others are told too, and get no newer checkpoint.
    with pytest.raises(LogRolledBack):
        await guard.present(POLICE, [])
    with pytest.raises(LogRolledBack):
        guard.check()
    assert [(event.principal, event.event) for event in parts.behind.audit.events] == [(POLICE, RollbackFound(note))]
    assert [error.reason for error in parts.behind.reported] == ["LOG_ROLLED_BACK"]
    assert parts.behind.kept.data == note
    await guard.review()
    with pytest.raises(LogRolledBack):
        guard.check()
    await parts.behind.follower.follow_once()
    await guard.review()
    guard.check()
    assert not parts.behind.kept.data


async def test_what_was_found_is_found_again_after_a_restart_and_only_if_it_is_still_true(parts: Parts) -> None:
    parts.behind.kept.data = b"\0".join([b"no note", await parts.ahead.note()])
    guard = parts.behind.guard(lag_seconds=0)
    await guard.load()
    with pytest.raises(LogRolledBack):
        guard.check()
    await parts.behind.follower.follow_once()
    mended = parts.behind.guard(lag_seconds=0)
    await mended.load()
    mended.check()


async def test_a_declared_loss_covers_checkpoints_up_to_its_last_and_no_larger_one(
    pki: SamplePki, parts: Parts
) -> None:
    def of_former(note: bytes, size: int | None = None) -> SignedCheckpoint:
        """The same tree, as a former incarnation of the log signed it, or a tree of another size."""
        checkpoint = SignedCheckpoint.read(note).checkpoint
        origin = checkpoint_origin(pki.directory.trust_domain, DNA_0, "former")
        head = replace(checkpoint, origin=origin, size=size or checkpoint.size)
        signature = pki.note_signer.sign(head.marshal())
        line = NoteSignature(pki.note_signer.name, pki.note_signer.key_id, signature)
        return SignedCheckpoint.read(marshal_note(head.marshal(), [line]))

    last, carried = of_former(await parts.ahead.note()), of_former(await parts.behind.note())
    current = parts.log.log_id("dna")
    declared = Incarnation(DNA_0, "former", current, last, carried, "a disk was lost", pki.now_ms)

    async def presented(note: bytes, *declarations: Incarnation) -> Answer:
        answers = await parts.behind.guard(0, *declarations).present(POLICE, [note])
        (answer,) = [each for each in answers if each.partition == DNA_0]
        return answer

    answer = await presented(last.note, declared)
    assert (answer.proof, answer.loss_accepted, answer.note) == (None, True, await parts.behind.note())
    # What survives is proved, whatever was presented of the former log.
    assert answer.beginnings == (ProvedBeginning(2, ()),)
    answer = await presented(carried.note, declared)
    assert answer.proof is not None
    assert (answer.proof.old_size, answer.loss_accepted) == (2, False)
    assert answer.beginnings == (ProvedBeginning(2, ()),)
    # Who knows this incarnation has had the proof.
    assert (await presented(await parts.behind.note(), declared)).beginnings == ()
    assert (await presented(carried.note, declared._replace(carried=None))).beginnings == ()
    more = of_former(last.note, 6)
    other = of_former(last.note, 2)
    for note, declarations in (
        (last.note, []),
        (more.note, [declared]),
        (other.note, [declared]),
        (last.note, [declared._replace(last=carried)]),
        (last.note, [declared._replace(log_id="another")]),
    ):
        with pytest.raises(LogRolledBack):
            await presented(note, *declarations)


async def test_the_largest_checkpoint_that_was_presented_is_kept(pki: SamplePki, parts: Parts) -> None:
    large = await parts.ahead.note()
    guard = parts.behind.guard(0)
    text = replace(SignedCheckpoint.read(large).checkpoint, size=3).marshal()
    signer = pki.note_signer
    small = marshal_note(text, [NoteSignature(signer.name, signer.key_id, signer.sign(text))])
    for note in (large, small):
        with pytest.raises(LogRolledBack, match="dna/0:5"):
            await guard.present(POLICE, [note])
    assert parts.behind.kept.data == large


async def test_too_many_or_too_large_notes_are_refused_before_they_are_read(parts: Parts) -> None:
    guard = parts.behind.guard(lag_seconds=0)
    partitions = sum(parts.log.partitions(stream) for stream in STREAMS)
    assert await guard.present(POLICE, [b"x"] * partitions)
    for notes in ([b"x"] * (partitions + 1), [b"x" * (MAX_PRESENTED_BYTES + 1)]):
        with pytest.raises(InputRefused):
            await guard.present(POLICE, notes)
