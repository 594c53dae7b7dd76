"""Making records to publish, and judging records received: both without trusting the broker.

A recipient verifies, in this order (each with its own error):

1. its publisher signed it (broker/core/authorship.py has the steps): BodyTypeUnsupported, EnvelopeMalformed,
   KindUnknown, SignatureRefused, SectionMismatch
2. the record is addressed to this agency: NotAddressed
3. its publisher had the right to say this to its recipients when the broker accepted it: RightDenied, PeerUnknown
4. each of its sections is one that this agency may have: SectionNotAllowed

Where no directory version is given to judge it by: DirectoryVersionMissing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from broker.core.authorship import check_proved, check_signature, claim, read_body
from broker.core.body import Body, NamedSigner, Recipient, SectionDescriptor, check_body
from broker.core.envelope import BODY_TYPE, Envelope, Section, Signature, pae
from broker.core.errors import NotAddressed, SectionNotAllowed
from broker.core.inforce import by_any
from broker.core.policy import check_publish, visible_sections
from broker.core.sections import SALT_BYTES, salted, unsalted
from broker.core.streams import check_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.identity import Principal
    from broker.core.inforce import DirectoryVersion
    from broker.ports import Clock, Entropy, RecordCodec, Signer


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


class InForce(NamedTuple):
    """The directory versions that a record received is judged by; of each, near to a change, there may be several.

    Attributes:
        accepted: those that may have been in force when the broker accepted it. One that allows it is enough.
        delivered: those that may have been when it was delivered. A section that only these let the agency have was
            rightly not withheld: the broker looks at the rights again before it hands a record over.
    """

    accepted: Sequence[DirectoryVersion]
    delivered: Sequence[DirectoryVersion]


class RecordVerifier:
    """Judges the records that an agency receives. Safe to call from any thread."""

    def __init__(self, agency: str, codec: RecordCodec) -> None:
        self._agency = agency
        self._codec = codec

    def verify(self, envelope: Envelope, accepted_at_ms: int, in_force: InForce) -> VerifiedRecord:
        """Check a record received; the module's header lists the checks and their errors in order.

        Args:
            envelope: the copy received.
            accepted_at_ms: when the broker says that it accepted it. A broker that lies here can only make a record
                look older than a revocation or a change of the directory, which the replayed checkpoints and receipts
                then contradict.
            in_force: the directory versions to judge it by.
        """
        body = read_body(envelope, self._codec)
        return by_any(
            in_force.accepted, lambda version: self._verify(envelope, body, accepted_at_ms, version, in_force)
        )

    def _verify(
        self, envelope: Envelope, body: Body, accepted_at_ms: int, version: DirectoryVersion, in_force: InForce
    ) -> VerifiedRecord:
        # (1) Who signed it.
        claimed = claim(envelope, body, version.certificates)
        check_signature(claimed)
        withheld = check_proved(claimed, accepted_at_ms, complete=False)
        # (2) For us.
        if all(recipient.agency != self._agency for recipient in body.recipients):
            message = "the record is not addressed to this agency"
            raise NotAddressed(message, record_id=body.record_id)
        # (3) Allowed then.
        check_publish(version.directory, body)
        # (4) Of its sections, what we may have, then or now.
        seen_by = [visible_sections(known.directory, self._agency, body) for known in (version, *in_force.delivered)]
        allowed = frozenset[str]().union(*(names for names in seen_by if names is not None))
        for section in envelope.sections:
            if section.name not in allowed:
                message = "the record comes with a section that this agency may not have"
                raise SectionNotAllowed(message, record_id=body.record_id, section=section.name)
        contents = {section.name: unsalted(section) for section in envelope.sections}
        return VerifiedRecord(body, envelope.record_sha256, contents, withheld)
