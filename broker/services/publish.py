"""Accept records: the numbered checks of the publish walk (docs/architecture.md), then the log, then a signed receipt.

1. size, body type, body form, kind on its stream: RecordTooLarge, BodyTypeUnsupported, EnvelopeMalformed, KindUnknown
2. publisher and system are the peer's, and the signer is of its agency: SignerNotPrincipal
3. signature, certificate valid now and not revoked, sections those signed: SignatureRefused, SectionMismatch
4. not from the future, not expired: IssuedInFuture, RecordExpired
5. policy on kind, recipients, sections, purpose: RightDenied, PeerUnknown
6. not seen before with another body: RecordIdConflict
7. append, durably: LogFull, LogUnavailable
8. sign the receipts

The body has to be parsed to learn who signed it; nothing in it is acted upon before its signature has been verified.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar

from broker.core.entry import Appended, NewEntry
from broker.core.envelope import BODY_TYPE, ECDSA_P256_SHA256, Envelope, Signature
from broker.core.errors import (
    BodyTypeUnsupported,
    CaseExchangeError,
    EnvelopeMalformed,
    IssuedInFuture,
    RecordExpired,
    RecordIdConflict,
    RecordTooLarge,
    SignatureInvalid,
    SignerNotPrincipal,
)
from broker.core.events import AuditEvent, RefusalMade
from broker.core.policy import check_publish
from broker.core.receipt import ReceiptStatement, SignedReceipts, receipts_message
from broker.core.sections import check_sections
from broker.core.streams import StreamPartition, check_kind, partition_of
from broker.ports import Signed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.body import Body
    from broker.core.identity import Principal
    from broker.ports import (
        AuditTrail,
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

_P = ParamSpec("_P")
_T = TypeVar("_T")
_CHECKED_AT_ONCE: Final = 2
"""While one batch waits for its signatures to be checked, another is parsed."""
_ENVELOPE_OVERHEAD: Final = 64
"""Bytes of framing counted for each signature and section beside their content."""


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """Bounds on one record: bytes of its envelope, and milliseconds that a publisher's clock may be ahead."""

    record_bytes: int = 4 << 20
    clock_skew_ms: int = 120_000


class Accepted(NamedTuple):
    """A record is in the log; ``receipt_index`` is its statement's place among the receipts."""

    receipt_index: int


Result: TypeAlias = Accepted | CaseExchangeError


class PublishOutcome(NamedTuple):
    """One result for each record, in order, and the receipts of those accepted, if any was."""

    results: tuple[Result, ...]
    receipts: SignedReceipts | None


class _Checked(NamedTuple):
    body: Body
    entry: NewEntry
    late: CaseExchangeError | None
    """Why it could not be accepted anew just now, though it may have been accepted before."""


class _Claim(NamedTuple):
    """A record whose signature is still to be checked. Nothing in its body has been acted upon."""

    envelope: Envelope
    body: Body
    certificate: SignerCertificate


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
        audit: AuditTrail,
        clock: Clock,
        limits: PublishLimits,
    ) -> None:
        self._directory = directory
        self._keyring = keyring
        self._codec = codec
        self._log = log
        self._signer = signer
        self._evidence = evidence
        self._audit = audit
        self._clock = clock
        self._limits = limits
        self._signatures = signatures
        self._checking = asyncio.Semaphore(_CHECKED_AT_ONCE)

    async def publish(self, principal: Principal, envelopes: Sequence[Envelope]) -> PublishOutcome:
        """Check and append a batch. A refused record does not hold up the others.

        Raises:
            EvidenceUnavailable, DirectoryUnavailable, LogFull, LogUnavailable: for the whole batch. Publishing it again
                is safe: what the log holds already keeps its place and gets the same statement.
        """
        return await self.accept(principal, await self.check(principal, envelopes))

    async def check(self, principal: Principal, envelopes: Sequence[Envelope]) -> CheckedBatch:
        """The first half: checks (1) to (5). A stream's next batch may be checked while the last is being appended.

        Raises:
            EvidenceUnavailable, DirectoryUnavailable
        """
        self._evidence.check()
        # In a thread, so that the log and other streams go on meanwhile; few of them (docs/adr/0008).
        async with self._checking:
            return tuple(await asyncio.to_thread(self._check_all, principal, envelopes))

    async def accept(self, principal: Principal, checked: CheckedBatch) -> PublishOutcome:
        """The second half: (6) to (8). Batches are appended in the order of these calls.

        Raises:
            LogFull, LogUnavailable
        """
        results: list[Result] = [item if isinstance(item, CaseExchangeError) else Accepted(-1) for item in checked]
        statements: list[bytes] = []
        await self._append(checked, results, statements)
        await self._tell_auditors(principal, results)
        if not statements:
            return PublishOutcome(tuple(results), None)
        # (8) One signature covers the batch.
        signature = Signature(self._signer.certificate_sha256, self._signer.sign(receipts_message(statements)))
        return PublishOutcome(tuple(results), SignedReceipts(tuple(statements), signature))

    def _check_all(self, principal: Principal, envelopes: Sequence[Envelope]) -> list[_Checked | CaseExchangeError]:
        claims = [_attempt(self._check_claim, principal, envelope) for envelope in envelopes]
        # (3) Signatures over the exact bytes, all of the batch together.
        signed = [
            Signed(claim.certificate, claim.envelope.signed_bytes, claim.envelope.signatures[0].value)
            for claim in claims
            if isinstance(claim, _Claim)
        ]
        hold = iter(self._signatures.verify(signed))
        return [_attempt(self._check_proved, item, next(hold)) if isinstance(item, _Claim) else item for item in claims]

    def _check_claim(self, principal: Principal, envelope: Envelope) -> _Claim:
        # (1) Size and type.
        body = self._check_form(envelope)
        # (2) Who says it is who brings it, and the signer is of the same agency.
        if (body.publisher, body.system) != (principal.agency, principal.system):
            message = "the record names another agency, or another system of it, as its publisher"
            raise SignerNotPrincipal(message, record_id=body.record_id)
        (signature,), (signer,) = envelope.signatures, body.signers
        certificate = self._keyring.signer(signer.certificate_sha256)
        if certificate.agency != principal.agency:
            message = "the signing certificate is another agency's"
            raise SignerNotPrincipal(message, record_id=body.record_id)
        if signature.certificate_sha256 != signer.certificate_sha256:
            message = "the signature's certificate is not the one that the body names"
            raise SignatureInvalid(message, record_id=body.record_id)
        return _Claim(envelope, body, certificate)

    def _check_proved(self, claim: _Claim, holds: bool) -> _Checked:  # noqa: FBT001 - private, called once just above
        envelope, body, certificate = claim
        now_ms = self._clock.now_ms()
        # (3) The signature holds, its certificate is valid now and not revoked, the sections are those signed.
        if not holds:
            message = "the signature is not by this key over these bytes"
            raise SignatureInvalid(message, record_id=body.record_id)
        certificate.check_valid(now_ms)
        check_sections(body, envelope.sections, complete=True)
        # (4) Timing. A record that the log holds already keeps its receipt, so this is decided after looking.
        late = self._late(body, now_ms)
        # (5) Policy.
        check_publish(self._directory.current(), body)
        return _Checked(body, self._entry(envelope, body), late)

    def _check_form(self, envelope: Envelope) -> Body:
        parts = [len(envelope.body), *(len(section.content) for section in envelope.sections)]
        if sum(parts) + _ENVELOPE_OVERHEAD * (len(parts) + len(envelope.signatures)) > self._limits.record_bytes:
            message = f"the record is larger than {self._limits.record_bytes} bytes"
            raise RecordTooLarge(message)
        if envelope.body_type != BODY_TYPE:
            message = "the envelope's body type is not that of a record"
            raise BodyTypeUnsupported(message)
        body = self._codec.parse_body(envelope.body)
        check_kind(body.kind, body.stream)
        if len(envelope.signatures) != 1 or [one.algorithm for one in body.signers] != [ECDSA_P256_SHA256]:
            message = f"a record carries exactly one signature, of algorithm {ECDSA_P256_SHA256}"
            raise EnvelopeMalformed(message, record_id=body.record_id)
        return body

    def _late(self, body: Body, now_ms: int) -> CaseExchangeError | None:
        if body.issued_at_ms > now_ms + self._limits.clock_skew_ms:
            return IssuedInFuture("the record was issued in the future", record_id=body.record_id)
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

    async def _append(
        self, checked: Sequence[_Checked | CaseExchangeError], results: list[Result], statements: list[bytes]
    ) -> None:
        good = [(index, item) for index, item in enumerate(checked) if isinstance(item, _Checked)]
        known: dict[bytes, Appended] = {}
        late = [item.entry.record_id for _, item in good if item.late is not None]
        if late:
            known = await self._log.lookup(late)
            for index, item in good:
                if item.late is not None and item.entry.record_id not in known:
                    results[index] = item.late
            good = [(index, item) for index, item in good if item.late is None or item.entry.record_id in known]
        if not good:
            return
        # (6) and (7): the log leaves out what it holds already, in the same transaction that appends the rest.
        appended = await self._log.append([item.entry for _, item in good])
        for (index, item), place in zip(good, appended, strict=True):
            if place.record_sha256 != item.entry.record_sha256:
                message = "the record id is in the log already, with another body"
                results[index] = RecordIdConflict(message, record_id=item.body.record_id)
                continue
            results[index] = Accepted(len(statements))
            statements.append(self._statement(item.body, place))

    def _statement(self, body: Body, place: Appended) -> bytes:
        digest, at_ms = place.record_sha256, place.accepted_at_ms
        statement = ReceiptStatement(
            body.record_id, digest, place.position, place.log_id, place.epoch, at_ms, body.publisher
        )
        return self._codec.encode_statement(statement)

    async def _tell_auditors(self, principal: Principal, results: Sequence[Result]) -> None:
        events = [
            AuditEvent(
                self._clock.now_ms(),
                principal.spiffe_id,
                RefusalMade(result.reason, result.details.get("record_id", "")),
            )
            for result in results
            if isinstance(result, CaseExchangeError) and result.security_event
        ]
        if events:
            await self._audit.record(events)


def _attempt(check: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T | CaseExchangeError:
    """What a check returns, or the refusal that it raises: one record's refusal does not stop the batch."""
    try:
        return check(*arguments, **named)
    except CaseExchangeError as error:
        return error
