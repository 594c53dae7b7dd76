"""Ask the witnesses of the directory to cosign each partition's newest checkpoint (docs/adr/0041-witnesses.md).

A round takes the checkpoints as they are at one moment, and asks all witnesses for them at the same time. What was
answered when the round's time is over counts. A checkpoint that a quorum has cosigned is kept, durably.

Nothing waits for a round: it only reads the store of trees. Witnesses can be late, wrong or dead. Then this is told,
and publishing goes on unless the configuration says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.bundle import CosignedCheckpoint
from broker.core.errors import (
    CaseExchangeError,
    CheckpointInvalid,
    CosignedSizeDiffers,
    EvidenceUnavailable,
    LogRolledBack,
    WitnessRefused,
    WitnessUnavailable,
)
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.cosignature import cosigners, with_cosignatures
from broker.core.tree.witnesspolicy import parse_directory_policy
from broker.services.askedwitness import AskedWitness
from broker.services.cosigningbound import CosigningBound, CosigningSettings
from broker.services.largertrees import LargerTrees
from broker.services.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from broker.core.policy import Directory
    from broker.core.streams import StreamPartition
    from broker.core.tree.checkpoint import NoteSignature, SignatureCheck
    from broker.core.tree.cosignature import WitnessKey
    from broker.core.tree.witnesspolicy import PolicyWitness, WitnessPolicy
    from broker.ports import CheckpointStore, Clock, CosignedStore, Evidence, WitnessCaller
    from broker.services.proofs import ProofService

_REFRESH: Final = 4
"""A checkpoint that does not change is cosigned again when its cosignatures are as old as this part of the bound."""


class _Kept(NamedTuple):
    """A checkpoint with a quorum. ``since_s``: see ``WitnessPolicy.satisfied_since``."""

    size: int
    note: bytes
    since_s: int


class Cosigning:
    """Asks the witnesses. The ports CosignedCheckpoints, and Evidence over that of the log. For one event loop."""

    def __init__(
        self,
        *,
        partitions: Mapping[StreamPartition, str],
        store: CheckpointStore,
        proofs: ProofService,
        kept: CosignedStore,
        directory: Callable[[], Directory],
        checks: Callable[[WitnessPolicy], dict[WitnessKey, SignatureCheck]],
        call: Callable[[PolicyWitness], WitnessCaller],
        evidence: Evidence,
        present: Callable[[str, Sequence[bytes]], Awaitable[object]],
        clock: Clock,
        settings: CosigningSettings,
        report: Callable[[str, CaseExchangeError | None], None],
    ) -> None:
        """Prepare. Nobody is asked before ``run``.

        Args:
            partitions: the partitions, each with the origin of its checkpoints.
            store: the trees of this process.
            proofs: makes proofs from them.
            kept: keeps what a quorum has cosigned.
            directory: gives the newest directory. A new policy counts from the next round on.
            checks: gives the check of a cosignature for each witness of a policy.
            call: gives what asks a witness.
            evidence: the evidence of the log itself.
            present: judges notes of which this log may not be the continuation (``RollbackGuard.present``).
            clock: gives the time.
            settings: how often, and how late.
            report: called with a witness's name and what is wrong, when that changes. None: nothing any more. The
                name is empty for what concerns all of them: COSIGNATURES_LATE comes again after each bound.
        """
        self._partitions = partitions
        self._store = store
        self._proofs = proofs
        self._kept_store = kept
        self._directory = directory
        self._checks_of = checks
        self._call = call
        self._evidence = evidence
        self._larger = LargerTrees(present)
        self._clock = clock
        self._settings = settings
        self._report = report
        self._rounds = Rounds(settings.interval_seconds, report)
        self._text: str | None = None
        self._policy: WitnessPolicy | None = None
        self._checks: dict[WitnessKey, SignatureCheck] = {}
        self._witnesses: list[AskedWitness] = []
        self._collected: dict[StreamPartition, bytes] = {}
        self._kept: dict[StreamPartition, _Kept] = {}
        self._bound = CosigningBound(settings.bound_seconds, clock, self._rounds.troubles)

    def check(self) -> None:
        """See ``Evidence``.

        Raises:
            CosignaturesLate: witnesses are late, and publishing is to stop then.
            LogRolledBack, EvidenceUnavailable
        """
        self._evidence.check()
        if self._settings.stop_publishing and (late := self._bound.late()) is not None:
            raise late

    async def cosigned(self, partition: StreamPartition, size: int) -> CosignedCheckpoint | None:
        """See ``CosignedCheckpoints``."""
        kept = self._kept.get(partition)
        if kept is None or kept.size > size:
            return None
        return CosignedCheckpoint(kept.note, await self._proofs.path_between(partition, kept.size, size))

    async def run(self) -> None:
        """Ask, round after round, until cancelled."""
        try:
            await self._rounds.run(self._ask_and_warn)
        finally:
            self._larger.cancel()
            await self._forget_witnesses()

    async def _ask_and_warn(self) -> None:
        try:
            await self.ask_once()
        finally:
            if (late := self._bound.warning()) is not None:
                self._report("", late)

    async def ask_once(self) -> None:
        """Make one round.

        Raises:
            DirectoryInvalid, LogUnavailable, LogFull, LogError, ExtraMissing, SetupInvalid
        """
        await self._follow_policy()
        began = self._clock.monotonic()
        if self._policy is None or self._policy.quorum is None:
            self._bound.cover(began)
        if self._policy is None:
            return
        try:
            # If checkpoints are late, those that there are can be cosigned.
            with contextlib.suppress(EvidenceUnavailable):
                self._evidence.check()
        except LogRolledBack:
            # Nobody gets a newer checkpoint of it.
            return
        heads = {partition: await self._store.head(partition) for partition in self._partitions}
        asked = {
            partition: head.note
            for partition, head in heads.items()
            if head is not None and self._wanted(partition, head.note)
        }
        try:
            if asked and self._witnesses:
                await self._ask_all(asked)
        finally:
            # Whatever went wrong, what a quorum has cosigned counts.
            if all(head is not None and self._covers(partition, head.note) for partition, head in heads.items()):
                self._bound.cover(began)

    async def _ask_all(self, asked: Mapping[StreamPartition, bytes]) -> None:
        for partition, note in asked.items():
            # While a partition does not grow, cosignatures of several rounds count together.
            if not _same(self._collected.get(partition), note):
                self._collected[partition] = note
        tasks = {asyncio.create_task(self._ask(one, asked)): one for one in self._witnesses}
        try:
            _, late = await asyncio.wait(tasks, timeout=self._settings.timeout_seconds)
            for task in late:
                message = f"the witness took longer than {self._settings.timeout_seconds:g} s"
                self._rounds.tell(tasks[task].name, WitnessUnavailable(message))
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for failed in ended:
            if isinstance(failed, Exception):
                raise failed

    async def _ask(self, witness: AskedWitness, asked: Mapping[StreamPartition, bytes]) -> None:
        """Ask one witness for every checkpoint. What goes wrong with it must not end the round of the others."""
        trouble: CaseExchangeError | None = None
        for partition in witness.in_turn(asked):
            try:
                line = await witness.cosign(partition, asked[partition])
            except WitnessRefused as error:
                trouble = WitnessRefused(f"{error.message}, {partition}", partition=str(partition))
            except CosignedSizeDiffers:
                # It is ahead of this process, which will catch up. Or the log went back. Or the witness lies.
                trouble = await self._judge_larger(witness, partition) or trouble
            except CaseExchangeError as error:
                # One that does not answer is not asked for the rest.
                trouble = error
                break
            else:
                await self._take(partition, line)
        self._rounds.tell(witness.name, trouble)

    async def _judge_larger(self, witness: AskedWitness, partition: StreamPartition) -> CaseExchangeError | None:
        """Let what a witness has cosigned of a larger tree be judged. Return what to tell of the witness."""
        try:
            await self._larger.judge(witness, self._partitions[partition])
        except CaseExchangeError as error:
            return error
        return witness.ahead_again(partition)

    async def _take(self, partition: StreamPartition, line: NoteSignature) -> None:
        """Add a cosignature. If there is a quorum now, keep the checkpoint."""
        note = self._collected[partition] = with_cosignatures(self._collected[partition], [line])
        found = self._with_quorum(note)
        if found is not None:
            await self._kept_store.put(self._partitions[partition], note)
            self._kept[partition] = found

    def _with_quorum(self, note: bytes) -> _Kept | None:
        if self._policy is None:
            return None
        parsed = parse_note(note)
        since_s = self._policy.satisfied_since(cosigners(parsed, self._checks))
        return None if since_s is None else _Kept(Checkpoint.parse(parsed.text).size, note, since_s)

    def _covers(self, partition: StreamPartition, note: bytes) -> bool:
        """Whether a quorum has cosigned what this note says."""
        kept = self._kept.get(partition)
        return kept is not None and _same(kept.note, note)

    def _wanted(self, partition: StreamPartition, note: bytes) -> bool:
        """Whether to ask for it: no quorum has cosigned it, or a quorum has some time ago."""
        if not self._covers(partition, note):
            return True
        age_s = self._clock.now_ms() / 1000 - self._kept[partition].since_s
        return age_s > self._settings.bound_seconds / _REFRESH

    async def _follow_policy(self) -> None:
        """Use the newest directory's policy."""
        directory = self._directory()
        if directory.witness_policy == self._text:
            return
        policy = parse_directory_policy(directory.witness_policy, directory.log_keys)
        await self._forget_witnesses()
        self._kept.clear()
        self._collected.clear()
        self._policy, self._checks = policy, {} if policy is None else self._checks_of(policy)
        self._witnesses = [
            AskedWitness(one, self._call(one), self._checks[one.key], self._proofs, self._clock)
            for one in (() if policy is None else policy.witnesses)
        ]
        for partition, origin in self._partitions.items():
            note = await self._kept_store.cosigned(origin)
            if note is not None:
                self._keep_former(partition, note)
        self._text = directory.witness_policy

    def _keep_former(self, partition: StreamPartition, note: bytes) -> None:
        try:
            found = self._with_quorum(note)
        except CheckpointInvalid as error:
            self._report("", error)
            return
        # Without a quorum of the new policy it does not count any more.
        if found is not None:
            self._kept[partition] = found

    async def _forget_witnesses(self) -> None:
        for witness in self._witnesses:
            await witness.close()
        self._witnesses = []


def _same(note: bytes | None, other: bytes) -> bool:
    """Whether two notes say the same, whoever has signed them."""
    return note is not None and parse_note(note).text == parse_note(other).text
