"""Accept records: the numbered checks of the publish walk (docs/architecture.md), then the log, then a signed receipt.

1. its size: RecordTooLarge
2. its named signer, (1) to (8) of broker/core/authorship.py: BodyTypeUnsupported, EnvelopeMalformed, KindUnknown,
   SignatureRefused
3. publisher and system are the peer's: SignerNotPrincipal
4. the signer did sign it, (9) to (11) there, with a certificate that is valid now: SignatureRefused, SectionMismatch
5. policy on kind, recipients, sections, purpose: RightDenied, PeerUnknown
6. not from the future, not expired, unless the log already has it: IssuedInFuture, RecordExpired
7. not seen before with another body: RecordIdConflict
8. append, durably; put back what the log had before, if it is damaged: LogFull, LogUnavailable
9. sign the receipts
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar

from broker.core.authorship import Claim, check_proved, check_signature, claim, read_body
from broker.core.entry import Appended, NewEntry
from broker.core.envelope import Envelope, Signature
from broker.core.errors import (
    CaseExchangeError,
    IssuedInFuture,
    RecordExpired,
    RecordIdConflict,
    RecordTooLarge,
    SignerNotPrincipal,
)
from broker.core.policy import check_publish
from broker.core.receipt import ReceiptStatement, SignedReceipts, receipts_message
from broker.core.streams import StreamPartition, partition_of
from broker.ports import Signed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.body import Body
    from broker.core.identity import Principal
    from broker.ports import (
        Clock,
        DirectoryInForce,
        Evidence,
        Keyring,
        MessageLog,
        RecordCodec,
        SignatureVerifier,
        Signer,
        SignerCertificate,
    )
    from broker.services.refusals import Refusals
    from broker.services.restoring import Restoring

_P = ParamSpec("_P")
_T = TypeVar("_T")
_CHECKED_AT_ONCE: Final = 2
"""While one batch waits for its signatures to be checked, another is parsed."""
_INLINE_RECORDS: Final = 2
_INLINE_BYTES: Final = 64 << 10
"""A batch within both limits is checked at once, in about 0.2 ms."""
_ENVELOPE_OVERHEAD: Final = 64
"""Bytes of framing that are counted for each signature and each section, besides the content."""


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """Limits for one record: the bytes of its envelope, and how many milliseconds a publisher's clock may be ahead."""

    record_bytes: int = 4 << 20
    clock_skew_ms: int = 120_000


class Accepted(NamedTuple):
    """A record is in the log. ``receipt_index`` is the index of its statement in the receipts."""

    receipt_index: int


Result: TypeAlias = Accepted | CaseExchangeError


class PublishOutcome(NamedTuple):
    """One result for each record, in order, and the receipts of the accepted records, if there are any."""

    results: tuple[Result, ...]
    receipts: SignedReceipts | None


class _Checked(NamedTuple):
    body: Body
    entry: NewEntry
    late: CaseExchangeError | None
    """Why the record could not be accepted now, unless the log already has it."""


CheckedBatch: TypeAlias = tuple[_Checked | CaseExchangeError, ...]
"""A batch between its two halves. Opaque to the caller."""


class PublishService:
    """Accepts signed records on behalf of an authenticated principal."""

    def __init__(
        self,
        *,
        directory: DirectoryInForce,
        keyring: Keyring,
        signatures: SignatureVerifier,
        codec: RecordCodec,
        log: MessageLog,
        signer: Signer,
        evidence: Evidence,
        refusals: Refusals,
        restoring: Restoring,
        clock: Clock,
        limits: PublishLimits,
    ) -> None:
        self._directory = directory
        self._keyring = keyring
        self._codec = codec
        self._log = log
        self._signer = signer
        self._evidence = evidence
        self._refusals = refusals
        self._restoring = restoring
        self._clock = clock
        self._limits = limits
        self._signatures = signatures
        self._checking = asyncio.Semaphore(_CHECKED_AT_ONCE)

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
        """
        checked = self.check_small(principal, envelopes)
        if checked is not None:
            return checked
        # In threads, so that the log and other streams go on meanwhile. There are only a few (docs/adr/0008).
        async with self._checking:
            return tuple(await asyncio.to_thread(self._check_all, principal, envelopes))

    def check_small(self, principal: Principal, envelopes: Sequence[Envelope]) -> CheckedBatch | None:
        """As ``check``, but at once, because to hand a small batch to a thread would take longer. None: it is large."""
        self._evidence.check()
        if len(envelopes) > _INLINE_RECORDS or sum([each.content_bytes for each in envelopes]) > _INLINE_BYTES:
            return None
        return tuple(self._check_all(principal, envelopes))

    async def accept(
        self, principal: Principal, checked: CheckedBatch, check_order: Callable[[], None]
    ) -> asyncio.Task[PublishOutcome]:
        """The second half: (7) to (9). Returns the append, as a task that raises what the log raises.

        Appends begin in the order of these calls. Each calls ``check_order`` just before, which raises if it must not.

        Raises:
            LogUnavailable: nothing has begun.
        """
        judged = await self._judged(checked)
        return asyncio.create_task(self._finish(principal, judged, check_order))

    async def _finish(
        self, principal: Principal, judged: Sequence[_Checked | CaseExchangeError], check_order: Callable[[], None]
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

    def _check_all(self, principal: Principal, envelopes: Sequence[Envelope]) -> list[_Checked | CaseExchangeError]:
        claims = [_attempt(self._check_claim, principal, envelope) for envelope in envelopes]
        # (4) The signatures over the exact bytes, for all records of the batch together.
        signed = [
            Signed(claimed.certificate, claimed.envelope.signed_bytes, claimed.signature.value)
            for claimed in claims
            if isinstance(claimed, Claim)
        ]
        hold = iter(self._signatures.verify(signed))
        return [_attempt(self._check_proved, item, next(hold)) if isinstance(item, Claim) else item for item in claims]

    def _check_claim(self, principal: Principal, envelope: Envelope) -> Claim[SignerCertificate]:
        # (1) Size.
        parts = 1 + len(envelope.sections) + len(envelope.signatures)
        if envelope.content_bytes + _ENVELOPE_OVERHEAD * parts > self._limits.record_bytes:
            message = f"the record is larger than {self._limits.record_bytes} bytes"
            raise RecordTooLarge(message)
        # (2) The signer that the record names.
        body = read_body(envelope, self._codec)
        claimed = claim(envelope, body, self._keyring)
        # (3) The publisher is the sender.
        if (body.publisher, body.system) != (principal.agency, principal.system):
            message = "the record names another agency, or another system of it, as its publisher"
            raise SignerNotPrincipal(message, record_id=body.record_id)
        return claimed

    def _check_proved(self, claimed: Claim[SignerCertificate], holds: bool) -> _Checked:  # noqa: FBT001 - private, called once just above
        body, now_ms = claimed.body, self._clock.now_ms()
        # (4) The signature is theirs, the certificate is valid now, and the sections are those signed.
        check_signature(claimed, holds=holds)
        check_proved(claimed, now_ms, complete=True)
        # (5) Policy.
        check_publish(self._directory.current(), body)
        # (6) Timing. A record that the log already has keeps its receipt, so the log is asked first.
        return _Checked(body, self._entry(claimed.envelope, body), self._late(body, now_ms))

    def _late(self, body: Body, now_ms: int) -> CaseExchangeError | None:
        early = body.issued_at_ms - self._limits.clock_skew_ms - now_ms
        if early > 0:
            return IssuedInFuture("it was issued in the future", record_id=body.record_id, retry_after_ms=str(early))
        if body.expires_at_ms is not None and body.expires_at_ms <= now_ms:
            return RecordExpired("the record has expired", record_id=body.record_id)
        return None

    def _entry(self, envelope: Envelope, body: Body) -> NewEntry:
        return NewEntry(
            StreamPartition(body.stream, partition_of(body.case_id, self._log.partitions(body.stream))),
            body.record_id_bytes,
            body.kind,
            body.case_id,
            tuple(recipient.agency for recipient in body.recipients),
            envelope.record_sha256,
            self._codec.encode_envelope(envelope),
        )

    async def _judged(self, checked: Sequence[_Checked | CaseExchangeError]) -> list[_Checked | CaseExchangeError]:
        """Refuse what is too late, unless the log has it already."""
        late = [item.entry.record_id for item in checked if isinstance(item, _Checked) and item.late is not None]
        known = await self._log.lookup(late) if late else {}
        return [
            item.late
            if isinstance(item, _Checked) and item.late is not None and item.entry.record_id not in known
            else item
            for item in checked
        ]

    async def _append(self, judged: Sequence[_Checked | CaseExchangeError]) -> list[bytes | CaseExchangeError]:
        """Append what passed the checks. Returns, in order, each record's receipt statement or its refusal."""
        good = [item for item in judged if isinstance(item, _Checked)]
        # (7) and (8): the log leaves out what it already has, in the same transaction that appends the others.
        places = await self._log.append([item.entry for item in good]) if good else []
        await self._restoring.offered(zip((item.entry for item in good), places, strict=True))
        appended = iter(places)
        return [self._answer(item, next(appended)) if isinstance(item, _Checked) else item for item in judged]

    def _answer(self, item: _Checked, place: Appended) -> bytes | CaseExchangeError:
        if place.record_sha256 != item.entry.record_sha256:
            message = "the log already has this record id, with another body"
            return RecordIdConflict(message, record_id=item.body.record_id)
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


def _attempt(check: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T | CaseExchangeError:
    """Return the result of a check, or the refusal that it raises. So one refused record does not stop the batch."""
    try:
        return check(*arguments, **named)
    except CaseExchangeError as error:
        return error
