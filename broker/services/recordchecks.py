"""The numbered checks of a published record, before the log is asked. broker/services/publish.py has the others.

1. its size: RecordTooLarge
2. its named signers, (1) to (8) of broker/core/authorship.py: BodyTypeUnsupported, EnvelopeMalformed, KindUnknown,
   SignatureRefused
3. publisher and system are the peer's: SignerNotPrincipal
4. they did sign it, (9) to (12) there, as the directory demands and with certificates that are valid now:
   SignatureRefused, SectionMismatch
5. policy on kind, recipients, sections, purpose, and that it is sealed for those who may have it: RightDenied,
   PeerUnknown, SealingRequired, KeyWrapsInvalid, EncryptionKeyNotInForce
6. not from the future, not expired, unless the log already has it: IssuedInFuture, RecordExpired

A record with a former receipt was accepted before (broker/core/former.py). Then "now" in these checks is the time of
that receipt, and the directory may be that of then. The receipt is checked after (1) and (3), with the directory in
force. If it does not count, the record is refused: FormerReceiptInvalid. Nothing is read from the log for it before.
What the log deletes by its age does not come back: RecordExpired.

A record may wait at its publisher while rights and keys change. So it may be sealed by any version that was in force
between its issue and now (broker/core/sealing.py). If the one in force refuses the seal, the caller brings the others.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar

from broker.core.authorship import Claim, check_proved, check_signature, claim, read_body
from broker.core.entry import NewEntry
from broker.core.errors import (
    CaseExchangeError,
    EncryptionKeyNotInForce,
    KeyWrapsInvalid,
    RecordExpired,
    RecordTooLarge,
    SealingRequired,
    SignerNotPrincipal,
    forget_frames,
)
from broker.core.former import check_former
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS, DirectoryVersion, by_any, versions_at
from broker.core.policy import check_publish, check_times
from broker.core.sealing import check_sealing_since, sealed_from_ms
from broker.core.streams import StreamPartition, partition_of
from broker.ports import Signed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.body import Body
    from broker.core.envelope import Envelope
    from broker.core.identity import Principal
    from broker.ports import Clock, DirectoryInForce, Keyring, RecordCodec, SignatureVerifier, SignerCertificate

_P = ParamSpec("_P")
_T = TypeVar("_T")
_ENVELOPE_OVERHEAD: Final = 64
"""Bytes of framing that are counted for each signature and each section, besides the content."""
_SEALED_OTHERWISE: Final = (EncryptionKeyNotInForce, KeyWrapsInvalid, SealingRequired)
"""Refusals of a record that is perhaps sealed by an earlier version of the directory."""


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """Limits for one record. Durations are milliseconds.

    ``record_bytes``: the bytes of its envelope, without a former receipt. ``clock_skew_ms``: how far a publisher's
    clock may be ahead. ``kept_ms``: how long the log keeps records. None: for ever.
    """

    record_bytes: int = 4 << 20
    clock_skew_ms: int = 120_000
    kept_ms: int | None = None


class Checked(NamedTuple):
    """A record that passed. ``late``: why it could not be accepted now, unless the log already has it."""

    body: Body
    entry: NewEntry
    late: CaseExchangeError | None


class Former(NamedTuple):
    """A record whose former receipt counts.

    ``versions``: the directory versions around the receipt's time. ``sealed_by``: those since it was issued.
    """

    envelope: Envelope
    body: Body
    former_ms: int
    versions: Sequence[DirectoryVersion] = ()
    sealed_by: Sequence[DirectoryVersion] = ()


CameAgain: TypeAlias = Former | CaseExchangeError
"""A record whose former receipt counts, or why it is refused."""


class RecordChecks:
    """See the module. Safe to call from any thread. ``partitions`` gives the number of partitions of a stream."""

    def __init__(
        self,
        *,
        directory: DirectoryInForce,
        keyring: Keyring,
        signatures: SignatureVerifier,
        codec: RecordCodec,
        partitions: Callable[[str], int],
        clock: Clock,
        limits: PublishLimits,
    ) -> None:
        self._directory = directory
        self._keyring = keyring
        self._signatures = signatures
        self._codec = codec
        self._partitions = partitions
        self._clock = clock
        self._limits = limits

    def check_formers(self, principal: Principal, envelopes: Sequence[Envelope]) -> dict[int, CameAgain]:
        """Check the former receipts of a batch: for each record that has one, by its index."""
        return {
            index: _attempt(self._check_former, principal, envelope)
            for index, envelope in enumerate(envelopes)
            if envelope.former_receipt
        }

    def check_all(
        self,
        principal: Principal,
        envelopes: Sequence[Envelope],
        again: Mapping[int, CameAgain],
        sealed_by: Sequence[DirectoryVersion] = (),
    ) -> list[Checked | CaseExchangeError]:
        """Check a batch: for each record, in order, what passed or why it is refused.

        Args:
            principal: who sends it.
            envelopes: the records.
            again: what ``check_formers`` says, with the directory versions of the receipts' times.
            sealed_by: the directory versions that they may be sealed by, besides the one in force.
        """
        claims = [
            self._attempt_again(again[index])
            if envelope.former_receipt
            else _attempt(self._check_claim, principal, envelope)
            for index, envelope in enumerate(envelopes)
        ]
        # (4) The signatures over the exact bytes, for all records of the batch together.
        signed = [
            Signed(certificate, message, signature.value)
            for claimed in claims
            if isinstance(claimed, Claim)
            for message in [claimed.envelope.signed_bytes]
            for certificate, signature in claimed.signers
        ]
        hold = iter(self._signatures.verify(signed))
        checked = [
            _attempt(self._check_proved, item, list(islice(hold, len(item.signers))), sealed_by)
            if isinstance(item, Claim)
            else item
            for item in claims
        ]
        for envelope, result in zip(envelopes, checked, strict=True):
            if isinstance(result, CaseExchangeError):
                self._tell_numbers(principal, envelope, result)
        return checked

    def _check_claim(self, principal: Principal, envelope: Envelope) -> Claim[SignerCertificate]:
        self._check_size(envelope)
        # (2) The signers that the record names.
        body = read_body(envelope, self._codec)
        claimed = claim(envelope, body, self._keyring)
        _check_sender(principal, body)
        return claimed

    def sealed_since_ms(self, envelopes: Sequence[Envelope], results: Sequence[object]) -> int | None:
        """Since when versions may be the ones by which refused records are sealed. None: it would help no record."""
        times = []
        for envelope, result in zip(envelopes, results, strict=True):
            if isinstance(result, _SEALED_OTHERWISE) and not envelope.former_receipt:
                times.append(sealed_from_ms(read_body(envelope, self._codec), self._clock.now_ms()))
        return min(times, default=None)

    def _check_proved(
        self,
        claimed: Claim[SignerCertificate],
        holds: Sequence[bool],
        sealed_by: Sequence[DirectoryVersion],
    ) -> Checked:
        body, now_ms = claimed.body, self._clock.now_ms()
        directory = self._directory.current()
        # (4) The signatures are theirs and enough, the certificates are valid now, and the sections are those signed.
        check_signature(claimed, holds=holds)
        check_proved(claimed, directory, now_ms, complete=True)
        # (5) Policy.
        check_publish(directory, body)
        check_sealing_since(directory, sealed_by, body, claimed.envelope.sections, now_ms)
        # (6) Timing. A record that the log already has keeps its receipt, so the log is asked first.
        return Checked(body, self._entry(claimed.envelope, body), self._late(body, now_ms))

    def _check_former(self, principal: Principal, envelope: Envelope) -> Former:
        self._check_size(envelope)
        body, now_ms = read_body(envelope, self._codec), self._clock.now_ms()
        _check_sender(principal, body)
        statement = check_former(envelope, body, self._codec, [self._version_now(now_ms)], now_ms)
        return Former(envelope, body, statement.accepted_at_ms)

    def _version_now(self, now_ms: int) -> DirectoryVersion:
        return DirectoryVersion(now_ms, self._directory.current(), self._keyring)

    def _attempt_again(self, came: CameAgain) -> Checked | CaseExchangeError:
        return came if isinstance(came, CaseExchangeError) else _attempt(self._check_again, came)

    def _check_again(self, came: Former) -> Checked:
        """The checks under a directory. Such records are rare, so each signature is checked by itself."""
        envelope, body, former_ms, versions, sealed_by = came
        now_ms = self._clock.now_ms()

        def check_under(version: DirectoryVersion) -> None:
            # (2), (4) and (5), as they were then.
            claimed = claim(envelope, body, version.certificates)
            check_signature(claimed)
            check_proved(claimed, version.directory, former_ms, complete=True, slack_ms=CHANGE_OF_DIRECTORY_MS)
            check_publish(version.directory, body)
            at_ms = former_ms - CHANGE_OF_DIRECTORY_MS
            check_sealing_since(version.directory, sealed_by, body, envelope.sections, at_ms)

        by_any([*versions_at(versions, former_ms), self._version_now(now_ms)], check_under)
        late = self._late(body, former_ms)
        if self._limits.kept_ms is not None and former_ms < now_ms - self._limits.kept_ms:
            late = RecordExpired("the log keeps no records of that time any more", record_id=body.record_id)
        return Checked(body, self._entry(envelope, body), late)

    def _tell_numbers(self, principal: Principal, envelope: Envelope, refusal: CaseExchangeError) -> None:
        """Note which numbers a refused record of the principal's used up, if it can be read."""
        if refusal.retriable or "retry_after_ms" in refusal.details or isinstance(refusal, RecordTooLarge):
            return
        with contextlib.suppress(CaseExchangeError):
            body = read_body(envelope, self._codec)
            _check_sender(principal, body)
            refusal.numbers = numbers_of(body)

    def _check_size(self, envelope: Envelope) -> None:
        # (1) Size.
        parts = 1 + len(envelope.sections) + len(envelope.signatures)
        if envelope.content_bytes + _ENVELOPE_OVERHEAD * parts > self._limits.record_bytes:
            message = f"the record is larger than {self._limits.record_bytes} bytes"
            raise RecordTooLarge(message)

    def _late(self, body: Body, now_ms: int) -> CaseExchangeError | None:
        late = _attempt(check_times, body, now_ms, self._limits.clock_skew_ms)
        if late is not None and not late.retriable:
            late.numbers = numbers_of(body)
        return late

    def _entry(self, envelope: Envelope, body: Body) -> NewEntry:
        return NewEntry(
            StreamPartition(body.stream, partition_of(body.case_id, self._partitions(body.stream))),
            body.record_id_bytes,
            body.kind,
            body.case_id,
            tuple(recipient.agency for recipient in body.recipients),
            envelope.record_sha256,
            self._codec.encode_envelope(envelope),
        )


def numbers_of(body: Body) -> tuple[tuple[str, int], ...]:
    """The running numbers of a record, by recipient, for ``CaseExchangeError.numbers``."""
    return tuple((recipient.agency, recipient.sequence) for recipient in body.recipients)


def _check_sender(principal: Principal, body: Body) -> None:
    # (3) The publisher is the sender.
    if (body.publisher, body.system) != (principal.agency, principal.system):
        message = "the record names another agency, or another system of it, as its publisher"
        raise SignerNotPrincipal(message, record_id=body.record_id)


def _attempt(check: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T | CaseExchangeError:
    """Return the result of a check, or the refusal that it raises. So one refused record does not stop the batch."""
    try:
        return check(*arguments, **named)
    except CaseExchangeError as error:
        # Its frames hold the record, and with the answer they would form a cycle.
        forget_frames(error)
        return error
