"""Recognise a log that went back, by the checkpoints that others keep (docs/adr/0034-a-log-that-went-back.md).

An old copy of log and checkpoints together agrees with itself. But every edge keeps the newest checkpoint that it saw
of each partition, and presents it. What a checkpoint key of the directory signed for this log was true once: the tree
had this size and root. So a tree that is smaller, or has another root at this size, lost accepted records.

- Anybody may present anything. Only a valid signature counts, over an origin of one of the log's partitions.
- If it is of another log id, it is judged by the declaration of the incarnation (broker/core/incarnations.py). If there
  is none, a log whose records have receipts was replaced.
- A process on Kafka may only be behind. It gets a bounded time to catch up. If it catches up later, what it found is
  void: every finding is judged again, about once a second.
- While something is found, nobody can publish, and nobody gets a newer checkpoint from here: edges must not take the
  new branch for the only one. Subscriptions go on: a delivery loses nothing, and the records that are left were
  accepted.
- What was found is kept in a file, as the notes themselves, and judged again at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import CaseExchangeError, CheckpointInvalid, InputRefused, LogRolledBack, PositionUnknown
from broker.core.events import AuditEvent, RollbackFound
from broker.core.incarnations import Standing
from broker.core.streams import every_partition
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.merkle import CompactRange, range_coordinates
from broker.core.tree.origin import origin_of
from broker.services.proofs import proved_beginnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from broker.core.bundle import ProvedBeginning
    from broker.core.incarnations import Incarnations
    from broker.core.streams import StreamPartition
    from broker.ports import AuditTrail, CheckpointStore, Clock, KeptBytes, LogKeys, MessageLog
    from broker.services.checkpointing import CheckpointFollower
    from broker.services.proofs import ConsistencyProof, ProofService

MAX_PRESENTED_BYTES: Final = 16 << 10
"""The largest note that is read. Today a note has 250 bytes. Witnesses will add some."""
BETWEEN_NOTES: Final = b"\0"
"""Between the notes that are kept. No note has a control character."""


class Answer(NamedTuple):
    """The newest checkpoint of a partition.

    ``proof`` shows that it extends the one that was presented: None if none was, or it does not count. Then
    ``loss_accepted`` says whether the directory declares that it does not extend it. ``beginnings`` are for what is
    declared to survive, unless a checkpoint of this incarnation was presented.
    """

    partition: StreamPartition
    note: bytes
    proof: ConsistencyProof | None
    loss_accepted: bool = False
    beginnings: tuple[ProvedBeginning, ...] = ()


class _Signed(NamedTuple):
    """A checkpoint of a partition with a valid signature, and the incarnation of the log that it is of."""

    partition: StreamPartition
    log_id: str
    checkpoint: Checkpoint
    note: bytes


class _Verdict(Enum):
    EXTENDED = auto()
    SHORTER = auto()
    OTHER = auto()


class RollbackGuard:
    """Judges presented checkpoints. It is the port Evidence, over that of the follower. For one event loop."""

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        proofs: ProofService,
        follower: CheckpointFollower,
        keys: LogKeys,
        trust_domain: str,
        audit: AuditTrail,
        clock: Clock,
        kept: KeptBytes,
        declared: Callable[[], Incarnations],
        lag_seconds: float,
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        """Prepare. Nothing is found before ``load``.

        Args:
            log: the log.
            store: its trees in this process.
            proofs: makes proofs from them.
            follower: extends them.
            keys: the checkpoint keys in the directory.
            trust_domain: the beginning of the origins.
            audit: is told what was found, with the proof.
            clock: gives the time of that.
            kept: keeps what was found for the next start.
            declared: gives the incarnations that the newest directory declares.
            lag_seconds: how long this process may be behind others on the same log. 0: there are no others.
            report: called with what was found, for the operator.
        """
        self._log = log
        self._store = store
        self._proofs = proofs
        self._follower = follower
        self._keys = keys
        self._audit = audit
        self._clock = clock
        self._kept = kept
        self._declared = declared
        self._lag_seconds = lag_seconds
        self._report = report
        self._trust_domain = trust_domain
        self._partitions = every_partition(log.partitions)
        self._found: dict[StreamPartition, _Signed] = {}

    def check(self) -> None:
        """See ``Evidence``.

        Raises:
            LogRolledBack: the log contradicts a checkpoint.
            EvidenceUnavailable
        """
        for found in self._found.values():
            raise _rolled_back(found)
        self._follower.check()

    async def load(self) -> None:
        """Judge again what was found before the restart.

        Raises:
            LogUnavailable
        """
        before = await asyncio.to_thread(self._kept.read)
        kept = await asyncio.to_thread(self._read, before.split(BETWEEN_NOTES))
        for signed in kept.values():
            if await self._contradicts(signed):
                self._found[signed.partition] = signed
                self._report(_rolled_back(signed))
        if before:
            await self._keep()

    async def review(self) -> None:
        """Judge again what was found: this process may have caught up.

        Raises:
            LogUnavailable
        """
        void = [signed for signed in self._found.values() if not await self._contradicts(signed)]
        for signed in void:
            if self._found.get(signed.partition) is signed:
                del self._found[signed.partition]
        if void:
            await self._keep()

    async def present(self, principal: str, notes: Sequence[bytes]) -> list[Answer]:
        """Judge checkpoints, and answer with the newest of every partition.

        Args:
            principal: who presents them.
            notes: signed notes, at most one of each partition.

        Raises:
            InputRefused: there are too many notes, or one is too large.
            LogRolledBack: the log contradicts one of them, or one that was presented before.
            EvidenceUnavailable, LogUnavailable: this process is behind, and it is not known why.
        """
        if len(notes) > len(self._partitions) or any(len(note) > MAX_PRESENTED_BYTES for note in notes):
            message = f"at most one checkpoint of each partition can be presented, of {MAX_PRESENTED_BYTES} bytes"
            raise InputRefused(message)
        # In a thread, because there can be hundreds of signatures.
        presented = await asyncio.to_thread(self._read, notes)
        against = [signed for signed in presented.values() if await self._contradicts_after_a_while(signed)]
        # The largest proves all that the smaller ones prove.
        known = {partition: found.checkpoint.size for partition, found in self._found.items()}
        new = [signed for signed in against if known.get(signed.partition, -1) < signed.checkpoint.size]
        self._found.update({signed.partition: signed for signed in new})
        if new:
            await self._tell(principal, new)
        for found in self._found.values():
            raise _rolled_back(found)
        answers = [await self._answer(partition, presented.get(partition)) for partition in self._partitions]
        return [answer for answer in answers if answer is not None]

    def _read(self, notes: Iterable[bytes]) -> dict[StreamPartition, _Signed]:
        """What counts: the largest checkpoint of each partition."""
        found: dict[StreamPartition, _Signed] = {}
        for note in notes:
            with contextlib.suppress(CheckpointInvalid):
                parsed = parse_note(note)
                checkpoint = Checkpoint.parse(parsed.text)
                partition, log_id = origin_of(checkpoint, self._trust_domain)
                if partition not in self._partitions:
                    continue
                verify_note(parsed, self._keys.verifiers())
                known = found.get(partition)
                if known is None or known.checkpoint.size < checkpoint.size:
                    found[partition] = _Signed(partition, log_id, checkpoint, note)
        return found

    async def _contradicts_after_a_while(self, signed: _Signed) -> bool:
        if self._lag_seconds and await self._judge(signed) is _Verdict.SHORTER:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lag_seconds):
                    while await self._judge(signed) is _Verdict.SHORTER:
                        await self._follower.passed()
            # A process that cannot read the log, or cannot follow it, knows nothing.
            self._follower.check()
            await self._log.ping()
        return await self._contradicts(signed)

    async def _contradicts(self, signed: _Signed) -> bool:
        if signed.log_id == self._log.log_id(signed.partition.stream):
            return await self._judge(signed) is not _Verdict.EXTENDED
        # An empty log has lost nothing.
        return signed.checkpoint.size > 0 and await self._standing(signed) not in {
            Standing.CONTINUED,
            Standing.LOST_AS_DECLARED,
        }

    async def _standing(self, signed: _Signed) -> Standing | None:
        """What a checkpoint of a former incarnation says of this log. None: the incarnation is not declared."""
        current = self._log.log_id(signed.partition.stream)
        passage = self._declared().between(signed.partition, signed.log_id, current)
        if passage is None:
            return None
        return passage.judge(signed.checkpoint, continued=await self._judge(signed) is _Verdict.EXTENDED)

    async def _judge(self, signed: _Signed) -> _Verdict:
        partition, size = signed.partition, signed.checkpoint.size
        head = await self._store.head(partition)
        if head is None or head.size < size:
            return _Verdict.SHORTER
        frontier = await self._store.nodes(partition, range_coordinates(0, size))
        return _Verdict.EXTENDED if CompactRange(size, frontier).root() == signed.checkpoint.root else _Verdict.OTHER

    async def _answer(self, partition: StreamPartition, presented: _Signed | None) -> Answer | None:
        proof = None
        try:
            if presented is not None and await self._judge(presented) is _Verdict.EXTENDED:
                proof = await self._proofs.prove_consistency(partition, presented.checkpoint.size)
            note = await self._proofs.checkpoint(partition) if proof is None else proof.note
            beginnings: tuple[ProvedBeginning, ...] = ()
            if presented is None or presented.log_id != self._log.log_id(partition.stream):
                declared, domain = self._declared(), self._trust_domain
                beginnings = await proved_beginnings(self._store, declared, domain, partition, note)
        except PositionUnknown:
            # It has no checkpoint yet, or none that holds what survives.
            return None
        lost = presented is not None and proof is None
        return Answer(partition, note, proof, loss_accepted=lost, beginnings=beginnings)

    async def _tell(self, principal: str, found: Sequence[_Signed]) -> None:
        await self._keep()
        for signed in found:
            self._report(_rolled_back(signed))
        at_ms = self._clock.now_ms()
        try:
            await self._audit.record([AuditEvent(at_ms, principal, RollbackFound(signed.note)) for signed in found])
        except CaseExchangeError as error:
            # It stays found without this, and the operator has been told.
            self._report(error)

    async def _keep(self) -> None:
        data = BETWEEN_NOTES.join(signed.note for signed in self._found.values())
        await asyncio.to_thread(self._kept.write, data)


def _rolled_back(found: _Signed) -> LogRolledBack:
    partition, size = found.partition, found.checkpoint.size
    message = f"the log went back: it does not continue a signed checkpoint, {partition}:{size}"
    return LogRolledBack(message, partition=str(partition), size=str(size))
