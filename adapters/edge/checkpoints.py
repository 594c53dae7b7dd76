"""The newest checkpoint that this edge saw of each partition, and its presentation to the broker.

A checkpoint is kept only if a checkpoint key of the directory signed it, and the broker proves that it extends the one
that was kept before. So a log that went back, or that shows different agencies different histories, is recognised by
the next edge that presents its own (docs/adr/0034-a-log-that-went-back.md).

A log that was restored or made anew has another origin. What is kept of the former one is set aside only if the
directory declares the new incarnation, and a last checkpoint that is not smaller (docs/adr/0049-incarnations.md).

The edge asks for every partition of every stream, not only for those with its own records: a log that went back has
lost the end of its audit stream too, whatever else it lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from broker.core.errors import (
    CaseExchangeError,
    EvidenceRefused,
    IncarnationUndeclared,
    LogRolledBack,
    ProofInvalid,
    Unavailable,
)
from broker.core.incarnations import Incarnations, Standing
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.merkle import verify_consistency
from broker.core.tree.origin import checkpoint_origin, incarnation_of, origin_of
from broker.trust.logkeys import log_verifiers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from adapters.edge.spool import Spool
    from broker.client.checkpoints import CheckpointAnswer
    from broker.core.incarnations import Passage
    from broker.core.policy import Directory
    from broker.ports import Clock

_log = structlog.get_logger("adapters.edge.checkpoints")
_FRESH_SECONDS: Final = 1.0
"""What was presented within this time need not be presented again before records are sent."""
_AGAIN_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 1.0


class _Known(NamedTuple):
    """The kept checkpoint of a log and partition."""

    checkpoint: Checkpoint
    note: bytes


class SeenCheckpoints:
    """Keeps and presents checkpoints. For one event loop."""

    def __init__(
        self,
        spool: Spool,
        latest: Callable[[], Directory],
        present: Callable[[Sequence[bytes]], Awaitable[list[CheckpointAnswer]]],
        clock: Clock,
    ) -> None:
        """Begin with what the spool keeps.

        Args:
            spool: keeps the checkpoints.
            latest: gives the newest directory.
            present: presents notes to the broker, and returns its answers.
            clock: says how long ago that was.
        """
        self._spool = spool
        self._latest = latest
        self._present = present
        self._clock = clock
        self._presented_at = -_FRESH_SECONDS
        self._one_at_a_time = asyncio.Lock()

    async def before_sending(self) -> None:
        """Present before records are sent, unless it was done a moment ago.

        Raises:
            LogRolledBack, Unavailable: nothing can be sent now.
            SpoolUnavailable
        """
        if self._clock.monotonic() - self._presented_at < _FRESH_SECONDS:
            return
        try:
            await self.present()
        except (LogRolledBack, Unavailable):
            raise
        except CaseExchangeError as error:
            # Whoever refuses this refuses the records too, and says why there.
            _tell(error)

    async def before_the_end(self) -> None:
        """Present once more, if the broker answered before: a short program has just seen its records accepted."""
        if self._presented_at >= 0:
            with contextlib.suppress(CaseExchangeError, TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self.present()

    async def run(self, every_seconds: float) -> None:
        """Present at once, and then again and again, until cancelled. What goes wrong is logged."""
        while True:
            seconds = every_seconds
            try:
                await self.present()
            except Unavailable:
                # The others, who need the broker for more, say so.
                seconds = min(_AGAIN_SECONDS, every_seconds)
            except CaseExchangeError as error:
                _tell(error)
            except Exception as defect:  # noqa: BLE001 - whatever it is, it must not end the watch
                _log.error("checkpoints cannot be compared", cause=type(defect).__name__)
            await asyncio.sleep(seconds)

    async def present(self) -> None:
        """Present what is kept, check the answers, and keep the newer ones. What cannot be believed is logged.

        Raises:
            LogRolledBack: the log went back behind what was kept here, or at another edge.
            CaseExchangeError: the broker did not answer, or refused.
            SpoolUnavailable
        """
        async with self._one_at_a_time:
            known = await asyncio.to_thread(self._known)
            answers = await self._present([each.note for each in known.values()])
            await asyncio.to_thread(self._take, known, answers)
            self._presented_at = self._clock.monotonic()

    def _known(self) -> dict[str, _Known]:
        return {
            origin: _Known(Checkpoint.parse(parse_note(note).text), note)
            for origin, note in self._spool.notes.newest().items()
        }

    def _take(self, known: Mapping[str, _Known], answers: Sequence[CheckpointAnswer]) -> None:
        newer: dict[str, bytes] = {}
        for answer in answers:
            try:
                checkpoint = self._verified(known, answer)
            except EvidenceRefused as error:
                _tell(error, partition=str(answer.partition))
                continue
            kept = known.get(checkpoint.origin)
            if kept is None or kept.checkpoint.size < checkpoint.size or answer.proof is None:
                newer[checkpoint.origin] = answer.note
        if newer:
            self._spool.notes.keep(newer)

    def _verified(self, known: Mapping[str, _Known], answer: CheckpointAnswer) -> Checkpoint:
        """The checkpoint of an answer. It may be kept.

        Raises:
            CheckpointInvalid: no checkpoint key in the directory signed it, or it is another partition's.
            ProofInvalid: it does not extend the one that was kept, or, as the first one of an incarnation, what the
                directory declares to survive of the former ones.
            IncarnationUndeclared: it is of another log, and the directory does not declare that or what was lost.
            SpoolUnavailable
        """
        directory = self._latest()
        note = parse_note(answer.note)
        verify_note(note, log_verifiers([directory]))
        checkpoint = Checkpoint.parse(note.text)
        incarnation_of(checkpoint.origin, directory.trust_domain, answer.partition)
        kept = known.get(checkpoint.origin)
        if kept is not None:
            if answer.proof is None or answer.proof.old_size != kept.checkpoint.size:
                message = "the broker does not prove that its log continues the checkpoint that was seen before"
                raise ProofInvalid(message)
            answer.proof.check(kept.checkpoint.root, checkpoint.size, checkpoint.root)
        else:
            _check_beginnings(directory, checkpoint, answer)
        self._close_formers(known, checkpoint, answer)
        return checkpoint

    def _close_formers(self, known: Mapping[str, _Known], checkpoint: Checkpoint, answer: CheckpointAnswer) -> None:
        """Set aside what is kept of former incarnations of the partition, if the directory declares what took place.

        Raises:
            IncarnationUndeclared, ProofInvalid
        """
        directory = self._latest()
        declared = Incarnations(directory.incarnations)
        current = incarnation_of(checkpoint.origin, directory.trust_domain, answer.partition)
        place = checkpoint_origin(directory.trust_domain, answer.partition, "")
        for origin, kept in known.items():
            if not origin.startswith(place) or origin == checkpoint.origin:
                continue
            passage = declared.between(answer.partition, origin.removeprefix(place), current)
            # An empty log has lost nothing.
            if kept.checkpoint.size:
                _check_former(kept.checkpoint, checkpoint, answer, passage)
            self._spool.notes.set_aside(origin)


def _check_beginnings(directory: Directory, checkpoint: Checkpoint, answer: CheckpointAnswer) -> None:
    declared, paths = Incarnations(directory.incarnations), {proved.size: proved.path for proved in answer.beginnings}
    for survives in declared.beginnings(*origin_of(checkpoint, directory.trust_domain)):
        path = paths.get(survives.size)
        if path is None:
            message = (
                f"the broker does not prove that the log of {answer.partition} begins with the {survives.size} records "
                "that the directory says survive"
            )
            raise ProofInvalid(message)
        verify_consistency(survives.size, checkpoint.size, survives.root, checkpoint.root, path)


def _check_former(kept: Checkpoint, checkpoint: Checkpoint, answer: CheckpointAnswer, passage: Passage | None) -> None:
    if passage is None:
        message = f"the log of {answer.partition} is another than before, and the directory does not declare it"
        raise IncarnationUndeclared(message, partition=str(answer.partition))
    proof = answer.proof if answer.proof is not None and answer.proof.old_size == kept.size else None
    if proof is not None:
        proof.check(kept.root, checkpoint.size, checkpoint.root)
    match passage.judge(kept, continued=None if proof is None else True):
        case Standing.MORE_LOST:
            message = (
                f"{answer.partition}: a checkpoint of {kept.size} was seen, and the directory declares that the former "
                f"log ended with {passage.last.size}: more is lost than was said"
            )
            raise IncarnationUndeclared(message, partition=str(answer.partition), size=str(kept.size))
        case Standing.LOST_AS_DECLARED:
            text = "records of a former incarnation of the log are lost, as the directory declares: publish them again"
            _log.warning(text, partition=str(answer.partition), survives=passage.survives, last=passage.last.size)
        case Standing.CONTINUED:
            pass
        case _:
            message = "the broker does not prove that its log begins with what the directory says survives"
            raise ProofInvalid(message)


def _tell(error: CaseExchangeError, **fields: str) -> None:
    _log.error(
        "checkpoints cannot be compared", reason=error.reason, cause=error.message, remedy=error.remedy, **fields
    )
