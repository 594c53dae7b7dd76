"""Make records to publish: sealed, signed, and the same bytes however often they are sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from broker.client.sealing import salt_all
from broker.client.signing import ALONE
from broker.core.body import Body, Recipient, SectionDescriptor, check_body
from broker.core.envelope import BODY_TYPE, Envelope, Section, Signature, pae
from broker.core.sealing import check_sealing
from broker.core.streams import check_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.client.sealing import Sealing
    from broker.client.signing import Signers, Signing
    from broker.core.identity import Principal
    from broker.ports import Clock, Entropy, RecordCodec, Signer


class SectionDraft(NamedTuple):
    """One section to be published. An empty ``audience`` means every recipient of the record."""

    name: str
    type: str
    content: bytes
    audience: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        # What is in a record stays out of tracebacks and logs.
        return f"SectionDraft({self.name!r}, {self.type!r}, {len(self.content)} bytes)"


@dataclass(frozen=True, slots=True)
class Draft:
    """A record before it is signed. ``expires_at_ms`` is milliseconds since the Unix epoch. None: it never expires."""

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
    """A signed record: the signed body, and the envelope to be published."""

    body: Body
    envelope: Envelope


class RecordComposer:
    """Turns drafts into signed envelopes, for one system of an agency. Safe to call from any thread."""

    def __init__(
        self,
        principal: Principal,
        signer: Signer,
        codec: RecordCodec,
        entropy: Entropy,
        clock: Clock,
        *,
        sealing: Sealing | None = None,
        signing: Signing = ALONE,
    ) -> None:
        """Take what records are made with.

        Args:
            principal: the publishing system.
            signer: its signing key.
            codec: serialises bodies.
            entropy: where ids, salts and keys come from.
            clock: says when a record is issued.
            sealing: what sections are sealed with. None: all are plain, which needs the right to it.
            signing: who else signs. Without it every record has one signature.
        """
        self._principal = principal
        self._signer = signer
        self._codec = codec
        self._entropy = entropy
        self._clock = clock
        self._sealing = sealing
        self._signing = signing

    def use(self, signer: Signer) -> None:
        """Sign with another key from the next record on."""
        self._signer = signer

    def compose(self, draft: Draft) -> Composed:
        """Seal the sections and put their digests into the body, serialise the body once, and sign those bytes.

        If others must sign too, the envelope lacks their signatures (broker/client/signing.py). Sections that the
        directory lets this agency publish plain are salted instead. Each call makes a new record with a new id. So keep
        the envelope: after a failure, send the same envelope again.

        Raises:
            EnvelopeMalformed, KindUnknown: the draft breaks a rule, so the broker would refuse it.
            EncryptionKeyMissing, PeerUnknown, SealInvalid: it cannot be sealed for a recipient.
            SigningKeyMissing: it cannot be signed as the directory demands.
        """
        check_kind(draft.kind, draft.stream)
        now_ms = self._clock.now_ms()
        signers = self._signing.signers(self._principal.agency, draft.kind, now_ms, self._signer)
        body = Body(
            record_id=self._entropy.record_id(),
            kind=draft.kind,
            stream=draft.stream,
            case_id=draft.case_id,
            publisher=self._principal.agency,
            system=self._principal.system,
            recipients=draft.recipients,
            issued_at_ms=now_ms,
            expires_at_ms=draft.expires_at_ms,
            in_reply_to=draft.in_reply_to,
            supersedes=draft.supersedes,
            purpose=draft.purpose,
            signers=signers.named,
            sections=tuple(SectionDescriptor(item.name, item.type, b"", item.audience) for item in draft.sections),
        )
        protect = salt_all if self._sealing is None else self._sealing.protect
        return self._signed(signers, *protect(body, [item.content for item in draft.sections], self._entropy))

    def issue_again(self, envelope: Envelope) -> Composed:
        """Sign a record anew that was refused because of its time: with the time of now, and all else as it was.

        Its id and its numbers stay. So only a record that is surely in no log may be issued again. Otherwise its
        recipients might get the other one, and its publisher no receipt.

        Args:
            envelope: the record, with all of its sections.

        Raises:
            EnvelopeMalformed: it cannot be read. SigningKeyMissing: it cannot be signed as the directory demands.
            EncryptionKeyNotInForce, KeyWrapsInvalid, SealingRequired, PeerUnknown: by the newest directory it cannot
                be sealed as it is at the new time. Nobody can seal it anew without its contents.
        """
        body, now_ms = self._codec.parse_body(envelope.body), self._clock.now_ms()
        signers = self._signing.signers(body.publisher, body.kind, now_ms, self._signer)
        body = replace(body, issued_at_ms=now_ms, signers=signers.named)
        if self._sealing is not None:
            check_sealing(self._sealing.directory(), body, now_ms)
        return self._signed(signers, body, envelope.sections)

    def supplement(self, body: Body, sections: tuple[Section, ...], content_keys: Mapping[int, bytes]) -> Composed:
        """Sign a body that names its original (broker/client/readdressing.py), as a new one. Raises as ``compose``."""
        now_ms, system = self._clock.now_ms(), self._principal.system
        signers = self._signing.signers(body.publisher, body.kind, now_ms, self._signer)
        record_id = self._entropy.record_id()
        new = replace(body, record_id=record_id, system=system, issued_at_ms=now_ms, signers=signers.named)
        new = replace(new, key_wraps=()) if self._sealing is None else self._sealing.wrapped(new, content_keys)
        return self._signed(signers, new, sections)

    def _signed(self, signers: Signers, body: Body, sections: tuple[Section, ...]) -> Composed:
        check_body(body)
        data = self._codec.encode_body(body)
        message = pae(BODY_TYPE, data)
        signatures = tuple(Signature(each.certificate_sha256, each.sign(message)) for each in signers.own)
        return Composed(body, Envelope(BODY_TYPE, data, signatures, sections))
