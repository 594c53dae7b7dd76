"""Making records to publish, and judging records received: both without trusting the broker.

A recipient verifies, in this order (each with its own error):

1. its publisher signed it (broker/core/authorship.py has the steps): BodyTypeUnsupported, EnvelopeMalformed,
   KindUnknown, SignatureRefused, SectionMismatch
2. the record is addressed to this agency: NotAddressed
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from broker.core.authorship import check_proved, check_signature, claim, read_body
from broker.core.body import Body, Recipient, SectionDescriptor, check_body
from broker.core.envelope import BODY_TYPE, Envelope, Section, Signature, pae
from broker.core.errors import NotAddressed
from broker.core.sections import SALT_BYTES, salted, unsalted
from broker.core.streams import check_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class RecordComposer:
    """Turns drafts into signed envelopes on behalf of one agency. Safe to call from any thread."""

    def __init__(self, agency: str, signer: Signer, codec: RecordCodec, entropy: Entropy, clock: Clock) -> None:
        self._agency = agency
        self._signer = signer
        self._codec = codec
        self._entropy = entropy
        self._clock = clock

    def compose(self, draft: Draft) -> Envelope:
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
            publisher=self._agency,
            recipients=draft.recipients,
            issued_at_ms=self._clock.now_ms(),
            expires_at_ms=draft.expires_at_ms,
            in_reply_to=draft.in_reply_to,
            supersedes=draft.supersedes,
            purpose=draft.purpose,
            signer_certificate_sha256=self._signer.certificate_sha256,
            signature_algorithm=self._signer.algorithm,
            sections=tuple(
                SectionDescriptor(item.name, item.type, hashlib.sha256(section.content).digest(), item.audience)
                for item, section in zip(draft.sections, sections, strict=True)
            ),
        )
        check_body(body)
        data = self._codec.encode_body(body)
        signature = Signature(self._signer.certificate_sha256, self._signer.sign(pae(BODY_TYPE, data)))
        return Envelope(BODY_TYPE, data, (signature,), sections)


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
        # (1) Who signed it.
        body = read_body(envelope, self._codec)
        claimed = claim(envelope, body, self._keyring)
        check_signature(claimed)
        withheld = check_proved(claimed, accepted_at_ms, complete=False)
        # (2) For us.
        if all(recipient.agency != self._agency for recipient in body.recipients):
            message = "the record is not addressed to this agency"
            raise NotAddressed(message, record_id=body.record_id)
        contents = {section.name: unsalted(section) for section in envelope.sections}
        return VerifiedRecord(body, envelope.record_sha256, contents, withheld)
