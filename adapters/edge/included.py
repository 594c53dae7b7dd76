"""Whether the log keeps what it gave receipts for: each record is proved to be under a checkpoint, once.

A receipt is a promise. The edge asks for the inclusion proof of each record that got one, checks it with the log keys
in the directory, and remembers which records are not proved yet. A record that no checkpoint covers long after its
receipt, or for which the broker then still gives another answer than a proof, or that is not what the receipt says,
is an alarm: RECEIPT_UNCOVERED or RECEIPT_BROKEN in the edge's log, and a number in its status. It is asked for again,
so the alarm ends when the log has it. One record without an answer does not keep the others from being asked for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from broker.core.audit.broughtreceipts import UNCOVERED_AT_MOST_MS, not_covered
from broker.core.errors import (
    CaseExchangeError,
    ConnectionFailed,
    EvidenceRefused,
    PositionUnknown,
    ProofInvalid,
    SpoolUnavailable,
    Unavailable,
)
from broker.core.incarnations import Incarnations
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.leaf import Leaf
from broker.core.tree.origin import incarnation_of
from broker.trust.logkeys import log_verifiers
from broker.wire.receipts import read_receipt, statement_from

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from adapters.edge.spool import Spool
    from broker.client.auditor import InclusionEvidence
    from broker.core.policy import Directory
    from broker.core.receipt import ReceiptStatement
    from broker.core.streams import Position
    from broker.ports import Clock

_log = structlog.get_logger("adapters.edge.included")
COVERED_WITHIN_MS: Final = 120_000
"""So long after its receipt, a record should be covered, or the edge warns. A broker stops publishing after a quarter
of this by default, and clocks may differ. After ``UNCOVERED_AT_MOST_MS`` it is an alarm."""
ANSWERED_WITHIN_MS: Final = UNCOVERED_AT_MOST_MS
"""So long after its receipt, the broker must give a record's proof. Another answer is then an alarm."""
ASKED_AFTER_MS: Final = 10_000
"""A younger receipt is not asked for yet: the broker signs checkpoints each second, so asking would only cost calls."""
_AT_ONCE: Final = 100
_REMEDY: Final = "Keep the spool, export its receipts (`case-exchange receipts export`), and tell governance."


@dataclass(slots=True)
class _Round:
    """One look at every record.

    Whether the broker answered at all, for which records not (100 at most), the first failure, and the longest time
    without cover.
    """

    answered: bool = False
    silent: list[tuple[str, ReceiptStatement]] = field(default_factory=list)
    failure: CaseExchangeError | None = None
    uncovered_ms: int = 0


class IncludedRecords:
    """Asks for the proofs. For one event loop."""

    def __init__(
        self,
        spool: Spool,
        latest: Callable[[], Directory],
        prove: Callable[[Position], Awaitable[InclusionEvidence]],
        clock: Clock,
    ) -> None:
        """Begin.

        Args:
            spool: has the receipts, and which of them are not proved yet.
            latest: gives the newest directory.
            prove: asks the broker for the inclusion proof of a position.
            clock: says how old a receipt is.
        """
        self._spool = spool
        self._latest = latest
        self._prove = prove
        self._clock = clock

    async def run(self, every_seconds: float) -> None:
        """Look again and again, until cancelled. What goes wrong is logged."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await self.look()
            except Unavailable:
                # The others, who need the broker for more, say so.
                continue
            except CaseExchangeError as error:
                _log.error("receipts cannot be compared with the log", reason=error.reason, cause=error.message)
            except Exception as defect:  # noqa: BLE001 - whatever it is, it must not end the watch
                _log.error("receipts cannot be compared with the log", cause=type(defect).__name__)

    async def look(self) -> None:
        """Ask for the proof of every record that has none.

        Raises:
            CaseExchangeError: the broker did not answer for a record, or refused the request. Every other record was
                asked for all the same. This is the first such error.
            SpoolUnavailable
        """
        asked, last = _Round(), ""
        while waiting := await asyncio.to_thread(self._spool.unproved.after, last, _AT_ONCE):
            proved = list[str]()
            try:
                for record_id, receipt in waiting:
                    if await self._ask(record_id, statement_from(read_receipt(receipt).statement), asked):
                        proved.append(record_id)
            finally:
                await asyncio.to_thread(self._spool.unproved.proved, proved)
            last = waiting[-1][0]
        # A broker that nobody reaches accuses nobody. One that answers for others, and not for this record, does.
        for record_id, said in asked.silent if asked.answered else ():
            await self._alarm_if_late(record_id, said, "the connection broke")
        broken = await asyncio.to_thread(self._spool.unproved.broken)
        if broken:
            _log.error("the log does not keep receipts", reason="RECEIPT_BROKEN", count=broken, remedy=_REMEDY)
        if asked.uncovered_ms:
            _log.warning(
                "records with a receipt wait", reason="RECEIPT_UNCOVERED", cause=not_covered(asked.uncovered_ms)
            )
        if asked.failure is not None:
            raise asked.failure

    async def _ask(self, record_id: str, said: ReceiptStatement, asked: _Round) -> bool:
        """Whether the record is proved. An answer that is no proof is noted, and the next record is asked for."""
        if self._clock.now_ms() - said.accepted_at_ms < ASKED_AFTER_MS:
            return False
        try:
            proved = await self._is_proved(record_id, said, asked)
        except SpoolUnavailable:
            raise
        except ConnectionFailed as failure:
            asked.failure = asked.failure or failure
            if len(asked.silent) < _AT_ONCE:
                asked.silent.append((record_id, said))
            return False
        except CaseExchangeError as failure:
            asked.failure = asked.failure or failure
            await self._alarm_if_late(record_id, said, failure.message)
            return False
        asked.answered = True
        return proved

    async def _is_proved(self, record_id: str, said: ReceiptStatement, asked: _Round) -> bool:
        try:
            await asyncio.to_thread(self._check, said, await self._prove(said.position))
        except (PositionUnknown, ProofInvalid) as refused:
            if self._lost_as_declared(record_id, said):
                return True
            if isinstance(refused, ProofInvalid):
                await self._alarm(record_id, said, refused.message)
                return False
            waited_ms = self._clock.now_ms() - said.accepted_at_ms
            if waited_ms >= UNCOVERED_AT_MOST_MS:
                await self._alarm(record_id, said, not_covered(waited_ms), "RECEIPT_UNCOVERED")
            elif waited_ms >= COVERED_WITHIN_MS:
                asked.uncovered_ms = max(asked.uncovered_ms, waited_ms)
        except EvidenceRefused as refused:
            await self._alarm(record_id, said, refused.message)
        else:
            return True
        return False

    def _lost_as_declared(self, record_id: str, said: ReceiptStatement) -> bool:
        """Whether the receipt is of a former incarnation, and the directory declares that the record is lost."""
        declared = Incarnations(self._latest().incarnations)
        passage = declared.onward(said.position.stream_partition, said.log_id)
        if passage is None or not passage.lost(said.position.offset, said.accepted_at_ms):
            return False
        text = "a record with a receipt is lost, as the directory declares: `case-exchange publish --again`"
        _log.warning(text, record_id=record_id, position=str(said.position))
        return True

    async def _alarm_if_late(self, record_id: str, said: ReceiptStatement, cause: str) -> None:
        if self._clock.now_ms() - said.accepted_at_ms >= ANSWERED_WITHIN_MS:
            await self._alarm(record_id, said, f"the broker gives no proof of the record: {cause}")

    async def _alarm(self, record_id: str, said: ReceiptStatement, cause: str, reason: str = "RECEIPT_BROKEN") -> None:
        if await asyncio.to_thread(self._spool.unproved.break_off, record_id):
            _log.error(
                "the log does not keep the receipt of a record",
                reason=reason,
                record_id=record_id,
                position=str(said.position),
                cause=cause,
                remedy=_REMEDY,
            )

    def _check(self, said: ReceiptStatement, evidence: InclusionEvidence) -> None:
        """Check that a proof is for what a receipt says.

        Raises:
            CheckpointInvalid: no log key signed the checkpoint, or it is another partition's.
            ProofInvalid: it proves something else, or is of another tree than the checkpoint that was kept.
        """
        directory = self._latest()
        note = parse_note(evidence.note)
        verify_note(note, log_verifiers([directory]))
        checkpoint = Checkpoint.parse(note.text)
        log_id = incarnation_of(checkpoint.origin, directory.trust_domain, said.position.stream_partition)
        leaf = Leaf(said.position, said.log_id, said.epoch, said.record_id, said.record_sha256, said.accepted_at_ms)
        passage = Incarnations(directory.incarnations).between(said.position.stream_partition, said.log_id, log_id)
        # What survives of a former incarnation keeps its leaf.
        if (log_id != said.log_id and passage is None) or evidence.leaf != leaf.marshal():
            message = "the log has something else there than the receipt says"
            raise ProofInvalid(message)
        evidence.check(checkpoint.size, checkpoint.root)
        kept = self._spool.notes.newest().get(checkpoint.origin)
        if kept is not None:
            seen = Checkpoint.parse(parse_note(kept).text)
            if seen.size == checkpoint.size and seen.root != checkpoint.root:
                message = "the exchange signed two trees of one size: the one of the proof, and the one that was kept"
                raise ProofInvalid(message)
