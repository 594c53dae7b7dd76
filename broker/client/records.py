"""Making records to publish, and judging records received: both without trusting the broker.

A recipient verifies, in this order (each with its own error):

1. the body's type, then its form: BodyTypeUnsupported, EnvelopeMalformed
2. the kind belongs on its stream: KindUnknown
3. the signing certificate is listed for the publisher: SignerUnknown, SignerNotPrincipal
4. its signature over the exact bytes: SignatureInvalid
5. it was valid, and not revoked, when the broker accepted the record: SignerCertificateInvalid, SignerRevoked
6. the record is addressed to this agency: NotAddressed
7. the sections present are those that were signed: SectionMismatch
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from broker.core.body import Body, NamedSigner, Recipient, SectionDescriptor, check_body
from broker.core.envelope import BODY_TYPE, Envelope, Section, Signature, pae
from broker.core.errors import (
    BodyTypeUnsupported,
    EnvelopeMalformed,
    NotAddressed,
    SignatureInvalid,
    SignerNotPrincipal,
)
from broker.core.sections import SALT_BYTES, check_sections, salted, unsalted
from broker.core.streams import check_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.identity import Principal
    from broker.ports import Clock, Entropy, Keyring, RecordCodec, Signer


class SectionDraft(NamedTuple):
    """One section to be published. An empty ``audience`` means every recipient of the record."""

    name: str
    type: str
    content: bytes
    audience: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Draft:
    """A record before it is signed. ``expires_at_ms`` is milliseconds since the Unix epoch, or None for never."""

    kind: str
    stream: str
    case_id: str
    recipients: tuple[Recipient, ...]
    purpose: str
    sections: tuple[SectionDraft, ...]
    in_reply_to: str = ""
    supersedes: str = ""
    expires_at_ms: int | None = None


class Composed(NamedTuple):
    """A signed record: what was signed, and the envelope to be published."""

    body: Body
    envelope: Envelope


class RecordComposer:
    """Turns drafts into signed envelopes on behalf of one system of an agency. Safe to call from any thread."""

    def __init__(
        self, principal: Principal, signer: Signer, codec: RecordCodec, entropy: Entropy, clock: Clock
    ) -> None:
        self._principal = principal
        self._signer = signer
        self._codec = codec
        self._entropy = entropy
        self._clock = clock

    def compose(self, draft: Draft) -> Composed:
        """Salt and commit to the sections, serialise the body once, and sign those bytes.

        Each call makes a new record with an id of its own. Keep the envelope and send that again after a failure.

        Raises:
            EnvelopeMalformed, KindUnknown: the draft breaks a rule that the broker would refuse it for.
        """
        check_kind(draft.kind, draft.stream)
        sections = tuple(
            Section(item.name, salted(self._entropy.token(SALT_BYTES), item.content)) for item in draft.sections
        )
        body = Body(
            record_id=self._entropy.record_id(),
            kind=draft.kind,
            stream=draft.stream,
            case_id=draft.case_id,
            publisher=self._principal.agency,
            system=self._principal.system,
            recipients=draft.recipients,
            issued_at_ms=self._clock.now_ms(),
            expires_at_ms=draft.expires_at_ms,
            in_reply_to=draft.in_reply_to,
            supersedes=draft.supersedes,
            purpose=draft.purpose,
            signers=(NamedSigner(self._signer.certificate_sha256, self._signer.algorithm),),
            sections=tuple(
                SectionDescriptor(item.name, item.type, hashlib.sha256(section.content).digest(), item.audience)
                for item, section in zip(draft.sections, sections, strict=True)
            ),
        )
        check_body(body)
        data = self._codec.encode_body(body)
        signature = Signature(self._signer.certificate_sha256, self._signer.sign(pae(BODY_TYPE, data)))
        return Composed(body, Envelope(BODY_TYPE, data, (signature,), sections))


@dataclass(frozen=True, slots=True)
class VerifiedRecord:
    """A record whose signature holds: its body, the contents of the sections present, the names of those withheld."""

    body: Body
    record_sha256: bytes
    sections: Mapping[str, bytes]
    withheld_sections: tuple[str, ...]


class RecordVerifier:
    """Judges the records that an agency receives. Safe to call from any thread."""

    def __init__(self, agency: str, keyring: Keyring, codec: RecordCodec) -> None:
        self._agency = agency
        self._keyring = keyring
        self._codec = codec

    def verify(self, envelope: Envelope, accepted_at_ms: int) -> VerifiedRecord:
        """Check a record received; the module's header lists the checks and their errors in order.

        Args:
            envelope: the copy received.
            accepted_at_ms: when the broker says that it accepted it. A broker that lies here can only make a record
                look older than a revocation, which the replayed checkpoints and receipts then contradict.
        """
        # (1) Type, then form.
        if envelope.body_type != BODY_TYPE:
            message = "the envelope's body type is not that of a record"
            raise BodyTypeUnsupported(message)
        body = self._codec.parse_body(envelope.body)
        # (2) Kind and stream.
        check_kind(body.kind, body.stream)
        if len(envelope.signatures) != 1 or len(body.signers) != 1:
            message = "a record carries exactly one signature"
            raise EnvelopeMalformed(message, record_id=body.record_id)
        (signature,), (signer,) = envelope.signatures, body.signers
        # (3) The publisher's certificate.
        if signature.certificate_sha256 != signer.certificate_sha256:
            message = "the signature's certificate is not the one that the body names"
            raise SignatureInvalid(message, record_id=body.record_id)
        certificate = self._keyring.signer(signer.certificate_sha256)
        if certificate.agency != body.publisher:
            message = "the signing certificate is another agency's"
            raise SignerNotPrincipal(message, record_id=body.record_id)
        # (4) The exact bytes.
        certificate.verify(envelope.signed_bytes, signature.value)
        # (5) Valid then.
        certificate.check_valid(accepted_at_ms)
        # (6) For us.
        if all(recipient.agency != self._agency for recipient in body.recipients):
            message = "the record is not addressed to this agency"
            raise NotAddressed(message, record_id=body.record_id)
        # (7) The sections that were signed, as far as they are here.
        withheld = check_sections(body, envelope.sections, complete=False)
        contents = {section.name: unsalted(section) for section in envelope.sections}
        return VerifiedRecord(body, envelope.record_sha256, contents, withheld)
