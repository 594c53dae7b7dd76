"""Give a record that this agency published to other agencies, or to another key of a recipient: as a supplement.

The sections go as they were sealed. The archive key opens the content keys, and they are wrapped anew. So the
newcomer gets what the others got, bit for bit, and anybody can see that it is the same (broker/core/supplements.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from broker.core.authorship import check_signature, claim, read_body
from broker.core.body import Recipient, RecordReference
from broker.core.errors import NotReaddressable, RightDenied, SignerNotPrincipal
from broker.core.policy import check_publish, check_times, visible_places
from broker.core.sealing import check_sealing
from broker.core.sections import check_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.client.composing import Composed, RecordComposer
    from broker.client.opening import Opening
    from broker.core.body import Body
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory
    from broker.ports import Clock, Keyring, RecordCodec


@dataclass(frozen=True, slots=True)
class Readdresser:
    """Makes supplements to an agency's own records. ``directory`` is the newest version that the agency knows."""

    agency: str
    composer: RecordComposer
    codec: RecordCodec
    keyring: Keyring
    opening: Opening
    directory: Callable[[], Directory]
    clock: Clock

    def original(self, envelope: Envelope) -> Body:
        """The body of a record of this agency, as its signer signed it, with all of its sections.

        Whoever hands over the bytes, the broker too, cannot have anything signed that the agency has not signed before.

        Raises:
            SignerNotPrincipal: another agency published it.
            EnvelopeMalformed, SignatureRefused: this agency did not sign it, or its signer is not trusted any more.
            NotReaddressable: sections of it were erased.
            SectionMismatch: a section is missing, or is not the signed one.
        """
        body = read_body(envelope, self.codec)
        if body.publisher != self.agency:
            message = "another agency published the record, and only that agency can readdress it"
            raise SignerNotPrincipal(message, record_id=body.record_id)
        claimed = claim(envelope, body, self.keyring)
        check_signature(claimed)
        for signed in claimed.signers:
            signed.certificate.check_trusted(body.issued_at_ms, self.clock.now_ms())
        if envelope.erased:
            message = f"erased for good: {', '.join(envelope.erased)}"
            raise NotReaddressable(message, record_id=body.record_id)
        check_sections(body, envelope.sections, complete=True)
        return body

    def supplement(self, envelope: Envelope, recipients: Sequence[Recipient]) -> Composed:
        """Sign a supplement to a record for these recipients, with their next numbers.

        Args:
            envelope: the record, or a supplement to it, with all sections.
            recipients: who gets it.

        Raises:
            CaseExchangeError: as ``original``; or
            SealKeyMissing: the archive key to which it was sealed is not here.
            SealInvalid: it cannot be opened.
            RightDenied, PeerUnknown, SealingRequired: today's directory does not allow it.
            RecordExpired: its own time is over.
            EncryptionKeyMissing: a recipient has no key in force.
            NotReaddressable: it has sections that its publisher gave to other agencies by name only.
        """
        body, directory = self.original(envelope), self.directory()
        agencies = frozenset(recipient.agency for recipient in recipients)
        sections = list(body.sections)
        for place, section in enumerate(sections):
            if section.audience:
                sections[place] = section._replace(audience=section.audience & agencies)
                if not sections[place].audience:
                    message = "a section of the record was given to other agencies by name"
                    raise NotReaddressable(message, record_id=body.record_id, section=section.name)
        named = body.supplements or RecordReference(body.record_id, envelope.record_sha256)
        new = replace(body, recipients=tuple(recipients), sections=tuple(sections), supplements=named)
        # Before anything is opened.
        check_publish(directory, new)
        check_times(new, max(new.issued_at_ms, self.clock.now_ms()), 0)
        for agency in sorted(agencies):
            if not visible_places(directory, agency, new):
                message = f"{agency} may have no section of the record"
                raise RightDenied(message, record_id=body.record_id)
        own = self.opening.open_own(directory.trust_domain, body, envelope)
        composed = self.composer.supplement(new, envelope.sections, own.content_keys)
        check_sealing(directory, composed.body, composed.body.issued_at_ms)
        return composed
