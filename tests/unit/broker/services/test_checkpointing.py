"""The follower: one tree per partition, over a log and a store in memory."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.core.entry import NewEntry
from broker.core.errors import (
    CaseExchangeError,
    CheckpointConflict,
    EvidenceUnavailable,
    FollowerFenced,
    LogCorrupt,
    LogUnavailable,
    PositionUnknown,
)
from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.leaf import Leaf
from broker.core.tree.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from broker.messagelog.sqlite import SoleFollower, SqliteCheckpointStore, SqliteLog
from broker.ports import TreeExtension, TreeHead
from broker.services.checkpointing import CheckpointFollower, CheckpointSettings
from broker.services.proofs import ProofService
from broker.trust.signing import note_verifier
from tests.support.damage import DamagedLog
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.entry import LogEntry
    from broker.ports import MessageLog

DNA_0 = StreamPartition("dna", 0)


class Parts(NamedTuple):
    pki: SamplePki
    clock: ManualClock
    log: SqliteLog
    store: SqliteCheckpointStore
    reported: list[CaseExchangeError]

    def follower(self, log: MessageLog | None = None) -> CheckpointFollower:
        return CheckpointFollower(
            log=log or self.log,
            store=self.store,
            board=SoleFollower(),
            signer=self.pki.note_signer,
            trust_domain="case-exchange.example",
            clock=self.clock,
            settings=CheckpointSettings(interval_seconds=0.001, evidence_bound_seconds=30),
            report=self.reported.append,
        )

    def proofs(self) -> ProofService:
        return ProofService(self.log, self.store, FixedDirectory(self.pki.directory), CODEC)

    @property
    def origin(self) -> str:
        return f"case-exchange.example/dna/0/{self.log.log_id('dna')}"

    async def append(self, *numbers: int) -> None:
        entries = []
        for number in numbers:
            digest = hashlib.sha256(b"%d" % number).digest()
            entries.append(NewEntry(DNA_0, digest[:16], "SampleRequest", "case", ("lab",), digest, b"value"))
        await self.log.append(entries)

    async def checkpoint(self) -> Checkpoint:
        head = await self.store.head(DNA_0)
        assert head is not None
        note = parse_note(head.note)
        signer = self.pki.note_signer
        verify_note(note, {(signer.name, signer.key_id): note_verifier(signer.public_key)})
        return Checkpoint.parse(note.text)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def parts(pki: SamplePki) -> AsyncIterator[Parts]:
    clock = ManualClock(pki.now_ms)
    log, store = await SqliteLog.open(None, clock), SqliteCheckpointStore(None)
    yield Parts(pki, clock, log, store, [])
    await store.close()
    await log.close()


async def test_an_empty_log_has_signed_checkpoints_of_empty_trees(parts: Parts) -> None:
    await parts.follower().follow_once()
    assert await parts.checkpoint() == Checkpoint(parts.origin, 0, EMPTY_ROOT)


async def test_what_was_appended_is_under_the_next_checkpoint_and_provable(parts: Parts) -> None:
    await parts.append(*range(10))
    await parts.follower().follow_once()
    checkpoint = await parts.checkpoint()
    assert checkpoint.size == 10
    proofs = parts.proofs()
    for offset in range(10):
        proof = await proofs.prove_inclusion("lab", Position("dna", 0, offset))
        verify_inclusion(proof.leaf_index, 10, leaf_hash(proof.leaf), proof.path, checkpoint.root)
        assert Leaf.parse(proof.leaf).position.offset == offset


async def test_a_follower_that_starts_again_goes_on_with_the_same_tree(parts: Parts) -> None:
    await parts.append(*range(5))
    await parts.follower().follow_once()
    before = await parts.checkpoint()
    await parts.append(*range(5, 300))
    await parts.follower().follow_once()
    after = await parts.checkpoint()
    proof = await parts.proofs().prove_consistency(DNA_0, 5)
    verify_consistency(5, 300, before.root, after.root, proof.path)


async def test_a_follower_that_starts_again_reads_only_what_has_no_checkpoint(parts: Parts) -> None:
    await parts.append(*range(300))
    await parts.follower().follow_once()
    await parts.append(300, 301)
    read: list[int] = []

    def seen(entry: LogEntry) -> LogEntry:
        read.append(entry.position.offset)
        return entry

    await parts.follower(DamagedLog(parts.log, seen)).first_pass()
    assert read == [300, 301]


async def test_what_is_not_covered_yet_has_no_proof(parts: Parts) -> None:
    await parts.append(1)
    await parts.follower().follow_once()
    await parts.append(2)
    proofs = parts.proofs()
    for position in (Position("dna", 0, 1), Position("dna", 0, 99), Position("dna", 9, 0), Position("none", 0, 0)):
        with pytest.raises(PositionUnknown):
            await proofs.prove_inclusion("lab", position)
    with pytest.raises(PositionUnknown):
        await proofs.prove_consistency(DNA_0, 2)


async def test_of_a_record_that_cannot_be_read_any_more_its_recipients_still_get_the_proof(parts: Parts) -> None:
    await parts.append(1)
    await parts.follower().follow_once()
    assert (await parts.proofs().prove_inclusion("lab", Position("dna", 0, 0))).leaf
    with pytest.raises(PositionUnknown):
        await parts.proofs().prove_inclusion("shanxi-police", Position("dna", 0, 0))


async def test_a_second_follower_ends_the_first_and_publishing_stops(parts: Parts) -> None:
    follower = parts.follower()
    await follower.follow_once()
    follower.check()
    await parts.append(1)
    await parts.follower().follow_once()
    await parts.append(2)
    with pytest.raises(CheckpointConflict):
        await follower.run()
    with pytest.raises(EvidenceUnavailable):
        follower.check()
    assert [type(error) for error in parts.reported] == [CheckpointConflict]


async def test_a_store_that_was_changed_is_not_gone_on_from(parts: Parts) -> None:
    await parts.append(1)
    await parts.follower().follow_once()
    head = await parts.store.head(DNA_0)
    assert head is not None
    await parts.store.extend(DNA_0, 1, TreeExtension((), (), TreeHead(1, head.note.replace(b"\n1\n", b"\n7\n"), 1)))
    with pytest.raises(LogCorrupt):
        await parts.follower().follow_once()


async def test_a_log_that_was_cut_short_is_noticed(parts: Parts) -> None:
    await parts.append(1, 2, 3)
    await parts.follower().follow_once()
    shorter = await SqliteLog.open(None, parts.clock)
    await shorter.begin_incarnation(parts.log.log_id("dna"))
    with pytest.raises(LogCorrupt, match="cut short"):
        await parts.follower(shorter).follow_once()
    await shorter.close()


async def test_checkpoints_of_another_incarnation_of_the_log_are_not_gone_on_from(parts: Parts) -> None:
    await parts.follower().follow_once()
    anew = await SqliteLog.open(None, parts.clock)
    with pytest.raises(LogCorrupt, match="another incarnation"):
        await parts.follower(anew).follow_once()
    await anew.close()


async def test_evidence_that_is_too_old_stops_publishing_and_comes_back(parts: Parts) -> None:
    follower = parts.follower()
    with pytest.raises(EvidenceUnavailable):
        follower.check()
    await follower.follow_once()
    parts.clock.value_ms += 30_000
    follower.check()
    parts.clock.value_ms += 1
    with pytest.raises(EvidenceUnavailable):
        follower.check()
    await follower.follow_once()
    follower.check()


async def test_a_log_that_fails_is_reported_and_tried_again(parts: Parts, tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db", parts.clock)
    follower = parts.follower(log)
    await follower.follow_once()
    await log.close()
    twice = asyncio.Event()

    def report(error: CaseExchangeError) -> None:
        parts.reported.append(error)
        if len(parts.reported) > 1:
            twice.set()

    follower._report = report
    running = asyncio.create_task(follower.run())
    # A closed log answers every read with LogUnavailable; its ends are still known, so an append elsewhere is needed.
    log._tail.ends[DNA_0] = 1
    async with asyncio.timeout(60):
        await twice.wait()
    running.cancel()
    assert {type(error) for error in parts.reported} == {LogUnavailable}


async def test_a_partition_that_changes_hands_meanwhile_does_not_end_the_first_pass(parts: Parts) -> None:
    class Contested(SoleFollower):
        async def publish(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
            if not parts.reported:
                message = "another process follows this partition now"
                raise FollowerFenced(message, partition=str(partition))
            await super().publish(partition, size, extension)

    follower = parts.follower()
    follower._board = Contested()
    async with asyncio.timeout(60):
        await follower.first_pass()
    assert {type(error) for error in parts.reported} == {FollowerFenced}
    follower.check()


async def test_covered_returns_once_a_checkpoint_covers_the_entry(parts: Parts) -> None:
    follower = parts.follower()
    running = asyncio.create_task(follower.run())
    await parts.append(1, 2)
    async with asyncio.timeout(60):
        await follower.covered({DNA_0: 2})
    assert (await parts.checkpoint()).size == 2
    running.cancel()
