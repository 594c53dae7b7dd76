"""Accept records: the checks of the publish walk (docs/architecture.md), then the log, then a signed receipt.

Checks (1) to (6) are in broker/services/recordchecks.py. Then a supplement is compared with its original, which
the log must have: SupplementInvalid. Then:

7. not seen before with another body: RecordIdConflict
8. append, durably; put back what the log had before, if it is damaged: LogFull, LogUnavailable
9. sign the receipts
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from broker.core.bundle import LAST_MS
from broker.core.envelope import Signature
from broker.core.errors import CaseExchangeError, RecordIdConflict
from broker.core.receipt import ReceiptStatement, SignedReceipts, receipts_message
from broker.core.sealing import sealed_from_ms
from broker.services.recordchecks import Checked, Former, numbers_of
from broker.services.supplements import SupplementChecks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.entry import Appended
    from broker.core.envelope import Envelope
    from broker.core.identity import Principal
    from broker.core.inforce import DirectoryVersion
    from broker.ports import Evidence, MessageLog, RecordCodec, Signer
    from broker.services.erasing import Erasing
    from broker.services.recordchecks import CameAgain, RecordChecks
    from broker.services.refusals import Refusals
    from broker.services.restoring import Restoring
    from broker.services.slots import Slots
    from broker.services.versions import KnownVersions

_INLINE_RECORDS: Final = 2
_INLINE_BYTES: Final = 64 << 10
"""A batch within both limits is checked at once, in about 0.2 ms."""


class Accepted(NamedTuple):
    """A record is in the log. ``receipt_index`` is the index of its statement in the receipts."""

    receipt_index: int


Result: TypeAlias = Accepted | CaseExchangeError


class PublishOutcome(NamedTuple):
    """One result for each record, in order, and the receipts of the accepted records, if there are any."""

    results: tuple[Result, ...]
    receipts: SignedReceipts | None


CheckedBatch: TypeAlias = tuple[Checked | CaseExchangeError, ...]
"""A batch between its two halves. Opaque to the caller."""


class PublishService:
    """Accepts signed records on behalf of an authenticated principal."""

    def __init__(
        self,
        *,
        checks: RecordChecks,
        versions: KnownVersions,
        codec: RecordCodec,
        log: MessageLog,
        signer: Signer,
        evidence: Evidence,
        refusals: Refusals,
        restoring: Restoring,
        erasing: Erasing,
        slots: Slots,
    ) -> None:
        self._checks = checks
        self._versions = versions
        self._codec = codec
        self._log = log
        self._signer = signer
        self._evidence = evidence
        self._refusals = refusals
        self._restoring = restoring
        self._erasing = erasing
        self._slots = slots
        self._supplements = SupplementChecks(log, codec, erasing.orders)

    async def publish(self, principal: Principal, envelopes: Sequence[Envelope]) -> PublishOutcome:
        """Check and append a batch. A refused record does not stop the others.

        Raises:
            EvidenceUnavailable, DirectoryUnavailable, LogFull, LogUnavailable: for the whole batch. It is safe to
                publish it again: a record that the log already has keeps its position and gets the same statement.
        """
        return await (await self.accept(principal, await self.check(principal, envelopes), lambda: None))

    async def check(self, principal: Principal, envelopes: Sequence[Envelope]) -> CheckedBatch:
        """The first half: checks (1) to (6). A stream's next batch may be checked while the previous one is appended.

        Raises:
            EvidenceUnavailable, DirectoryUnavailable
            LogUnavailable, LogCorrupt: the directory versions of former receipts cannot be read.
        """
        checked = self.check_small(principal, envelopes)
        if checked is not None:
            return checked
        # In threads, so that the log and other streams go on meanwhile.
        again = await self._came_again(principal, envelopes)
        run, check_all = self._slots.run, self._checks.check_all
        results = await run(principal.agency, check_all, principal, envelopes, again)
        since_ms = self._checks.sealed_since_ms(envelopes, results)
        if since_ms is None:
            return tuple(results)
        # A record waited at its publisher, and the directory changed: is it sealed as was right then?
        sealed_by = await self._versions.between(since_ms, LAST_MS)
        return tuple(await run(principal.agency, check_all, principal, envelopes, again, sealed_by))

    async def _came_again(self, principal: Principal, envelopes: Sequence[Envelope]) -> Mapping[int, CameAgain]:
        """What has a former receipt, by its index: whether this counts, and only then the directory of its time."""
        if not any(each.former_receipt for each in envelopes):
            return {}
        again = await self._slots.run(principal.agency, self._checks.check_formers, principal, envelopes)
        # In the order of their times, so that each version is read once, however many there are.
        times = sorted({came.former_ms for came in again.values() if isinstance(came, Former)})
        versions = {at_ms: await self._versions.at(at_ms) for at_ms in times}
        return {
            index: came._replace(versions=versions[came.former_ms], sealed_by=await self._sealed_by(came))
            if isinstance(came, Former)
            else came
            for index, came in again.items()
        }

    async def _sealed_by(self, came: Former) -> Sequence[DirectoryVersion]:
        return await self._versions.between(sealed_from_ms(came.body, came.former_ms), came.former_ms)

    def check_small(self, principal: Principal, envelopes: Sequence[Envelope]) -> CheckedBatch | None:
        """As ``check``, but at once, because to hand a small batch to a thread would take longer. None: it is large."""
        self._evidence.check()
        if len(envelopes) > _INLINE_RECORDS or sum([each.held_bytes for each in envelopes]) > _INLINE_BYTES:
            return None
        if any(each.former_receipt for each in envelopes):
            return None
        results = self._checks.check_all(principal, envelopes, {})
        return tuple(results) if self._checks.sealed_since_ms(envelopes, results) is None else None

    async def accept(
        self, principal: Principal, checked: CheckedBatch, check_order: Callable[[], None]
    ) -> asyncio.Task[PublishOutcome]:
        """The second half: (7) to (9). Returns the append, as a task that raises what the log raises.

        Appends begin in the order of these calls. Each calls ``check_order`` just before, which raises if it must not.

        Raises:
            LogUnavailable: nothing has begun.
        """
        judged = [await self._supplements.check(item) for item in await self._judged(checked)]
        return asyncio.create_task(self._finish(principal, judged, check_order))

    async def _finish(
        self, principal: Principal, judged: Sequence[Checked | CaseExchangeError], check_order: Callable[[], None]
    ) -> PublishOutcome:
        # No await between this and the log's append.
        check_order()
        results: list[Result] = []
        statements: list[bytes] = []
        for answer in await self._append(judged):
            if isinstance(answer, CaseExchangeError):
                results.append(answer)
            else:
                results.append(Accepted(len(statements)))
                statements.append(answer)
        refused = [result for result in results if isinstance(result, CaseExchangeError)]
        await self._refusals.tell(principal.spiffe_id, refused, method="publish")
        if not statements:
            return PublishOutcome(tuple(results), None)
        # (9) One signature covers the batch.
        signature = Signature(self._signer.certificate_sha256, self._signer.sign(receipts_message(statements)))
        return PublishOutcome(tuple(results), SignedReceipts(tuple(statements), signature))

    async def _judged(self, checked: Sequence[Checked | CaseExchangeError]) -> list[Checked | CaseExchangeError]:
        """Refuse what is too late, unless the log has it already."""
        late = [item.entry.record_id for item in checked if isinstance(item, Checked) and item.late is not None]
        known = await self._log.lookup(late) if late else {}
        return [
            item.late
            if isinstance(item, Checked) and item.late is not None and item.entry.record_id not in known
            else item
            for item in checked
        ]

    async def _append(self, judged: Sequence[Checked | CaseExchangeError]) -> list[bytes | CaseExchangeError]:
        """Append what passed the checks. Returns, in order, each record's receipt statement or its refusal."""
        good = [item for item in judged if isinstance(item, Checked)]
        # (7) and (8): the log leaves out what it already has, in the same transaction that appends the others.
        entries = [self._erasing.without_erased(item.entry) for item in good]
        places = await self._log.append(entries) if entries else []
        await self._restoring.offered(zip(entries, places, strict=True))
        ids = [entry.record_id for entry in entries]
        await self._erasing.put_back(list(zip(ids, (place.position for place in places), strict=True)))
        appended = iter(places)
        return [self._answer(item, next(appended)) if isinstance(item, Checked) else item for item in judged]

    def _answer(self, item: Checked, place: Appended) -> bytes | CaseExchangeError:
        if place.record_sha256 != item.entry.record_sha256:
            message = "the log already has this record id, with another body"
            conflict = RecordIdConflict(message, record_id=item.body.record_id)
            conflict.numbers = numbers_of(item.body)
            return conflict
        statement = ReceiptStatement(
            item.body.record_id,
            place.record_sha256,
            place.position,
            place.log_id,
            place.epoch,
            place.accepted_at_ms,
            item.body.publisher,
        )
        return self._codec.encode_statement(statement)
