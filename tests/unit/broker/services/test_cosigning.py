"""A broker asks witnesses: whoever of them is late, dead, wrong or ahead, the others count and nobody waits."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.entry import NewEntry
from broker.core.errors import (
    CaseExchangeError,
    CheckpointInvalid,
    CosignaturesLate,
    CosignedSizeDiffers,
    EvidenceUnavailable,
    InputRefused,
    LogRolledBack,
    LogUnavailable,
    OriginUnknown,
    ProofInvalid,
    WitnessRefused,
    WitnessUnavailable,
)
from broker.core.streams import StreamPartition, every_partition
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.cosignature import cosigners
from broker.core.tree.merkle import verify_consistency
from broker.core.tree.origin import checkpoint_origin
from broker.core.tree.witnesspolicy import parse_policy
from broker.messagelog.sqlite import (
    SoleFollower,
    SqliteCheckpointStore,
    SqliteCosignedStore,
    SqliteLog,
    SqliteWitnessStore,
)
from broker.services.checkpointing import CheckpointFollower, CheckpointSettings
from broker.services.cosigning import Cosigning
from broker.services.cosigningbound import CosigningSettings
from broker.services.largertrees import LargerTrees
from broker.services.proofs import ProofService
from broker.services.witness import WitnessService
from broker.trust.logkeys import DirectoryLogKeys
from broker.trust.witnesskeys import Ed25519Cosigner, witness_checks
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC
from tests.support.witnesses import SampleWitness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.policy import Directory
    from broker.core.tree.addcheckpoint import AddCheckpoint
    from broker.core.tree.checkpoint import NoteSignature
    from broker.core.tree.witnesspolicy import PolicyWitness

DNA_0 = StreamPartition("dna", 0)
SETTINGS = CosigningSettings(interval_seconds=0.001, timeout_seconds=5, bound_seconds=600)


class NearWitness:
    """A witness in this process, over the port WitnessCaller. ``trouble`` is raised instead of an answer."""

    def __init__(self, name: str, clock: ManualClock, pki: SamplePki) -> None:
        self.sample = SampleWitness(f"witness.example/{name}")
        self.store = SqliteWitnessStore(None)
        self._clock = clock
        self._pki = pki
        self.trouble: CaseExchangeError | None = None
        self.silent = False
        self.shows: bytes | None = None
        self.answers_as: SampleWitness | None = None
        self.asked: list[tuple[str, int]] = []
        self.closed = 0

    def service(self) -> WitnessService:
        keys = DirectoryLogKeys(lambda: self._pki.directory).verifiers()
        signer = Ed25519Cosigner(self.sample.key.name, (self.answers_as or self.sample).private_key)
        return WitnessService(self.store, _EveryOrigin(keys), signer, self._clock, lambda *_: None)

    async def add_checkpoint(self, request: AddCheckpoint) -> Sequence[NoteSignature]:
        checkpoint = Checkpoint.parse(parse_note(request.note).text)
        self.asked.append((checkpoint.origin, request.old_size))
        if self.silent:
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble
        try:
            line = await self.service().add_checkpoint(request.marshal())
        except (OriginUnknown, CheckpointInvalid, ProofInvalid) as error:
            raise WitnessRefused(error.message) from error
        return parse_note(parse_note(request.note).text + b"\n" + line).signatures

    async def latest(self, origin: str) -> bytes:
        if self.shows is not None:
            return self.shows
        try:
            return await self.service().latest(hashlib.sha256(origin.encode()).digest())
        except OriginUnknown as error:
            raise WitnessUnavailable(error.message) from error

    async def close(self) -> None:
        self.closed += 1


class _EveryOrigin(dict):  # type: ignore[type-arg] # every origin has the same keys
    def __init__(self, keys: object) -> None:
        super().__init__()
        self._keys = keys

    def get(self, *_: object) -> object:
        return self._keys

    def __getitem__(self, _: object) -> object:
        return self._keys


class Log:
    """Evidence of the log itself, as a test sets it."""

    def __init__(self) -> None:
        self.trouble: CaseExchangeError | None = None
        self.presented: list[tuple[str, bytes]] = []
        self.judged = asyncio.Event()

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    async def present(self, name: str, notes: Sequence[bytes]) -> None:
        self.presented.extend((name, note) for note in notes)
        self.judged.set()


class Parts:
    def __init__(self, pki: SamplePki, log: SqliteLog, clock: ManualClock) -> None:
        self.pki = pki
        self.log = log
        self.clock = clock
        self.store = SqliteCheckpointStore(None)
        self.kept = SqliteCosignedStore(None)
        self.evidence = Log()
        self.witnesses = [NearWitness(name, clock, pki) for name in ("a", "b", "c")]
        self.text = self.policy("2")
        self.reported: list[tuple[str, str]] = []
        self.partitions = {
            partition: checkpoint_origin(pki.directory.trust_domain, partition, log.log_id(partition.stream))
            for partition in every_partition(log.partitions)
        }
        self.follower = CheckpointFollower(
            log=log,
            store=self.store,
            board=SoleFollower(),
            signer=pki.note_signer,
            trust_domain=pki.directory.trust_domain,
            clock=clock,
            settings=CheckpointSettings(),
            report=lambda _: None,
        )

    def policy(self, threshold: str) -> str:
        lines = [
            f"witness w{number} {one.sample.key} https://witness.example/{number}"
            for number, one in enumerate(self.witnesses)
        ]
        return "\n".join([*lines, f"group enough {threshold} w0 w1 w2", "quorum enough", ""])

    def directory(self) -> Directory:
        return replace(self.pki.directory, witness_policy=self.text)

    def cosigning(self, settings: CosigningSettings = SETTINGS) -> Cosigning:
        def call(named: PolicyWitness) -> NearWitness:
            return next(one for one in self.witnesses if one.sample.key == named.key)

        return Cosigning(
            partitions=self.partitions,
            store=self.store,
            proofs=ProofService(self.log, self.store, FixedDirectory(self.pki.directory), CODEC),
            kept=self.kept,
            directory=self.directory,
            checks=witness_checks,
            call=call,
            evidence=self.evidence,
            present=self.evidence.present,
            clock=self.clock,
            settings=settings,
            report=lambda name, error: self.reported.append((name, "" if error is None else error.reason)),
        )

    async def grow(self, *numbers: int) -> int:
        """Append records, and sign checkpoints. Return the size of the partition dna/0."""
        digests = [hashlib.sha256(b"%d" % number).digest() for number in numbers]
        await self.log.append(
            [NewEntry(DNA_0, each[:16], "SampleRequest", "case", ("lab",), each, b"value") for each in digests]
        )
        await self.follower.follow_once()
        head = await self.store.head(DNA_0)
        assert head is not None
        return head.size

    async def who(self, cosigning: Cosigning) -> tuple[int, list[str]]:
        """The size of the cosigned checkpoint of dna/0, and the witnesses that count. Its proof is checked."""
        head = await self.store.head(DNA_0)
        assert head is not None
        found = await cosigning.cosigned(DNA_0, head.size)
        if found is None:
            return -1, []
        parsed = parse_note(found.note)
        old, new = Checkpoint.parse(parsed.text), Checkpoint.parse(parse_note(head.note).text)
        verify_consistency(old.size, new.size, old.root, new.root, found.path)
        who = cosigners(parsed, witness_checks(parse_policy(self.text.encode())))
        return Checkpoint.parse(parsed.text).size, sorted(key.name[-1] for key in who)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def parts(pki: SamplePki) -> AsyncIterator[Parts]:
    clock = ManualClock(pki.now_ms)
    log = await SqliteLog.open(None, clock)
    made = Parts(pki, log, clock)
    await made.grow(1, 2)
    yield made
    for witness in made.witnesses:
        await witness.store.close()
    await made.kept.close()
    await made.store.close()
    await log.close()


async def test_every_partition_s_newest_checkpoint_is_cosigned_by_all_that_answer(parts: Parts) -> None:
    cosigning = parts.cosigning()
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (2, ["a", "b", "c"])
    for partition in parts.partitions:
        assert await cosigning.cosigned(partition, 2)
    assert await cosigning.cosigned(DNA_0, 1) is None
    await parts.grow(3)
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (3, ["a", "b", "c"])
    assert parts.reported == []


async def test_a_proof_begins_where_the_witness_stands(parts: Parts) -> None:
    cosigning = parts.cosigning()
    await cosigning.ask_once()
    await parts.grow(3, 4, 5)
    parts.witnesses[0].asked.clear()
    await cosigning.ask_once()
    assert parts.witnesses[0].asked == [(parts.partitions[DNA_0], 2)]


async def test_a_broker_that_knows_nothing_of_a_witness_learns_where_it_stands(parts: Parts) -> None:
    """As after a restart, or if another broker on the same log has asked it: 409, then a proof from there."""
    await parts.cosigning().ask_once()
    size = await parts.grow(3)
    again = parts.cosigning()
    parts.witnesses[0].asked.clear()
    await again.ask_once()
    assert [old for origin, old in parts.witnesses[0].asked if origin == parts.partitions[DNA_0]] == [0, 2]
    assert await parts.who(again) == (size, ["a", "b", "c"])


async def test_k_witnesses_are_enough_and_fewer_are_not(parts: Parts) -> None:
    cosigning = parts.cosigning()
    parts.witnesses[0].trouble = WitnessUnavailable("the witness did not answer")
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (2, ["b", "c"])
    parts.witnesses[1].trouble = WitnessUnavailable("the witness did not answer")
    await parts.grow(3)
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (2, ["b", "c"])


async def test_cosignatures_of_several_rounds_count_together_while_the_log_does_not_grow(parts: Parts) -> None:
    cosigning = parts.cosigning()
    for one in parts.witnesses:
        one.trouble = WitnessUnavailable("the witness did not answer")
    parts.witnesses[0].trouble = None
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (-1, [])
    parts.witnesses[0].trouble, parts.witnesses[2].trouble = parts.witnesses[1].trouble, None
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (2, ["a", "c"])


async def test_a_witness_that_says_nothing_delays_neither_the_others_nor_the_next_round(parts: Parts) -> None:
    # Long enough for the others on a busy machine.
    cosigning = parts.cosigning(CosigningSettings(timeout_seconds=3.0))
    parts.witnesses[1].silent = True
    async with asyncio.timeout(60):
        await cosigning.ask_once()
        assert await parts.who(cosigning) == (2, ["a", "c"])
        await parts.grow(3)
        await cosigning.ask_once()
    assert await parts.who(cosigning) == (3, ["a", "c"])
    assert parts.reported == [("witness.example/b", "WITNESS_UNAVAILABLE")]


async def test_what_is_wrong_with_a_witness_is_told_once_and_so_is_its_end(parts: Parts) -> None:
    cosigning = parts.cosigning()
    parts.witnesses[1].trouble = WitnessRefused("the witness does not cosign: it does not know the log")
    await cosigning.ask_once()
    await cosigning.ask_once()
    parts.witnesses[1].trouble = None
    await parts.grow(3)
    await cosigning.ask_once()
    assert parts.reported == [("witness.example/b", "WITNESS_REFUSED"), ("witness.example/b", "")]


async def test_a_witness_that_answers_with_another_key_does_not_count(parts: Parts) -> None:
    cosigning = parts.cosigning()
    parts.witnesses[0].answers_as = SampleWitness("stranger.example")
    parts.witnesses[1].answers_as = parts.witnesses[2].sample
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (-1, [])
    assert sorted(parts.reported) == [
        ("witness.example/a", "WITNESS_UNAVAILABLE"),
        ("witness.example/b", "WITNESS_UNAVAILABLE"),
    ]


@pytest.mark.parametrize("seconds", [-400, 400])
async def test_a_witness_with_a_wrong_clock_does_not_count(parts: Parts, seconds: int) -> None:
    cosigning = parts.cosigning()
    parts.witnesses[0]._clock = ManualClock(parts.clock.now_ms() + seconds * 1000)
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (2, ["b", "c"])


async def test_what_a_quorum_has_cosigned_outlives_a_restart(parts: Parts) -> None:
    await parts.cosigning().ask_once()
    for one in parts.witnesses:
        one.trouble = WitnessUnavailable("the witness did not answer")
        one.asked.clear()
    again = parts.cosigning()
    await again.ask_once()
    assert await parts.who(again) == (2, ["a", "b", "c"])
    assert [one.asked for one in parts.witnesses] == [[], [], []]


async def test_a_checkpoint_that_does_not_change_is_cosigned_again_before_its_cosignatures_are_old(
    parts: Parts,
) -> None:
    cosigning = parts.cosigning()
    await cosigning.ask_once()
    asked = parts.witnesses[0].asked
    asked.clear()
    parts.clock.value_ms += 149_000
    await cosigning.ask_once()
    assert asked == []
    parts.clock.value_ms += 3_000
    await cosigning.ask_once()
    assert len(asked) == len(parts.partitions)


async def test_a_new_policy_counts_from_the_next_round_on(parts: Parts) -> None:
    cosigning = parts.cosigning()
    await cosigning.ask_once()
    parts.witnesses[2].trouble = WitnessUnavailable("the witness did not answer")
    await parts.grow(3)
    parts.text = parts.policy("all")
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (2, ["a", "b", "c"])
    assert [one.closed for one in parts.witnesses] == [1, 1, 1]
    parts.text = ""
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (-1, [])


async def test_without_witnesses_nobody_is_asked_and_nothing_is_late(parts: Parts) -> None:
    parts.text = ""
    cosigning = parts.cosigning(CosigningSettings(bound_seconds=60, stop_publishing=True))
    await cosigning.ask_once()
    parts.clock.value_ms += 59_000
    cosigning.check()
    await cosigning.ask_once()
    parts.clock.value_ms += 59_000
    cosigning.check()
    assert [one.asked for one in parts.witnesses] == [[], [], []]


async def test_late_cosignatures_warn_and_stop_publishing_only_if_configured(parts: Parts) -> None:
    for one in parts.witnesses:
        one.trouble = WitnessUnavailable("the witness did not answer")
    goes_on = parts.cosigning(CosigningSettings(bound_seconds=60))
    stops = parts.cosigning(CosigningSettings(bound_seconds=60, stop_publishing=True))
    for cosigning in (goes_on, stops):
        await cosigning.ask_once()
    parts.clock.value_ms += 61_000
    goes_on.check()
    with pytest.raises(CosignaturesLate, match=r"61 s; witness.example/a: the witness did not answer; .*/c: the"):
        stops.check()
    for one in parts.witnesses:
        one.trouble = None
    await stops.ask_once()
    stops.check()


async def test_the_evidence_of_the_log_itself_always_counts(parts: Parts) -> None:
    cosigning = parts.cosigning()
    parts.evidence.trouble = EvidenceUnavailable("checkpoints do not keep up with the log")
    with pytest.raises(EvidenceUnavailable):
        cosigning.check()
    await cosigning.ask_once()
    assert await parts.who(cosigning) == (2, ["a", "b", "c"])


async def test_no_witness_is_asked_for_a_log_that_went_back(parts: Parts) -> None:
    cosigning = parts.cosigning()
    parts.evidence.trouble = LogRolledBack("the log went back")
    await cosigning.ask_once()
    assert [one.asked for one in parts.witnesses] == [[], [], []]


async def test_what_a_witness_has_cosigned_of_a_larger_tree_is_judged(parts: Parts) -> None:
    """So a log that went back is found even if no edge has seen more of it."""
    shorter = parts.cosigning()
    before = await parts.store.head(DNA_0)
    longer = Parts(parts.pki, parts.log, parts.clock)
    longer.witnesses = parts.witnesses
    await longer.grow(3)
    await longer.cosigning().ask_once()
    assert await parts.store.head(DNA_0) == before
    async with asyncio.timeout(60):
        await shorter.ask_once()
        await parts.evidence.judged.wait()
    name, note = parts.evidence.presented[0]
    assert name.startswith("witness.example/")
    assert Checkpoint.parse(parse_note(note).text).size == 3
    await longer.store.close()
    await longer.kept.close()


LARGER = CosignedSizeDiffers("the witness has cosigned another size last", size="999999")


@pytest.mark.parametrize("trouble", [LARGER, InputRefused("an error that no witness may give")])
async def test_a_witness_that_lies_in_any_way_makes_no_honest_quorum_late(
    parts: Parts, trouble: CaseExchangeError
) -> None:
    """It stands at a larger size, and shows nothing of it. Two of three cosign each checkpoint."""
    cosigning = parts.cosigning(CosigningSettings(bound_seconds=60, stop_publishing=True))
    parts.witnesses[0].trouble = trouble
    size = 0
    for number in range(3, 12):
        size = await parts.grow(number)
        parts.clock.value_ms += 20_000
        await cosigning.ask_once()
        cosigning.check()
    assert await parts.who(cosigning) == (size, ["b", "c"])
    assert [name for name, _ in parts.reported] == ["witness.example/a"]


async def test_an_error_of_the_broker_s_own_file_is_told_of_no_witness(parts: Parts) -> None:
    cosigning = parts.cosigning()
    await cosigning.ask_once()
    await parts.kept.close()
    await parts.grow(3)
    with pytest.raises(LogUnavailable):
        await cosigning.ask_once()
    assert parts.reported == []


async def test_a_witness_that_stands_at_a_larger_size_for_ever_is_named(parts: Parts) -> None:
    """The first time says nothing: on a log that processes share, this one may be some records behind."""
    cosigning = parts.cosigning(CosigningSettings(bound_seconds=60, stop_publishing=True))
    for one in parts.witnesses[:2]:
        one.trouble = LARGER
        one.shows = b"what?"
    await cosigning.ask_once()
    assert parts.reported == []
    await cosigning.ask_once()
    await cosigning.ask_once()
    assert sorted(parts.reported) == [(f"witness.example/{name}", "WITNESS_UNAVAILABLE") for name in ("a", "b")]
    parts.clock.value_ms += 61_000
    with pytest.raises(CosignaturesLate, match=r"witness.example/a: the witness stands at a larger size.*example/b: "):
        cosigning.check()


async def test_what_several_witnesses_show_is_judged_for_each(parts: Parts) -> None:
    """So one that lies cannot keep what an honest one shows from being judged. In the end nothing is judged."""
    cosigning = parts.cosigning()
    go_on, presented, ended = asyncio.Event(), list[str](), set[str]()

    async def present(name: str, _: Sequence[bytes]) -> None:
        presented.append(name)
        if len(presented) == 2:
            go_on.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.add(name)

    cosigning._larger = LargerTrees(present)
    for one in parts.witnesses[:2]:
        one.trouble = LARGER
        one.shows = b"what?"
    running = asyncio.create_task(cosigning.run())
    async with asyncio.timeout(60):
        await go_on.wait()
        await cosigning.ask_once()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.sleep(0)
    assert sorted(presented) == sorted(ended) == ["witness.example/a", "witness.example/b"]


async def test_rounds_follow_each_other_and_a_warning_comes_once_in_each_bound(parts: Parts) -> None:
    told = asyncio.Event()
    for one in parts.witnesses:
        one.trouble = InputRefused("an error that no witness may give")
    cosigning = parts.cosigning(CosigningSettings(interval_seconds=0.001, bound_seconds=60))
    report = cosigning._rounds._report

    def report_and_tell(name: str, error: CaseExchangeError | None) -> None:
        report(name, error)
        told.set()

    cosigning._report = cosigning._rounds._report = report_and_tell
    running = asyncio.create_task(cosigning.run())
    async with asyncio.timeout(60):
        await told.wait()
        parts.clock.value_ms += 61_000
        while ("", "COSIGNATURES_LATE") not in parts.reported:  # noqa: ASYNC110 - time is the test's
            await asyncio.sleep(0.001)
        for one in parts.witnesses:
            one.trouble = None
        while (await parts.who(cosigning))[0] != 2:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert parts.reported.count(("", "COSIGNATURES_LATE")) == 1
    assert ("witness.example/a", "INPUT_REFUSED") in parts.reported
    assert "" not in {name for name, reason in parts.reported if reason == "INPUT_REFUSED"}
    assert parts.witnesses[0].closed
