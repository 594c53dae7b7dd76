"""Open the sealed sections of a record with the private keys of an agency: its recipient, or its own publisher.

A publisher wraps every content key to its archive key too. So it can read its own record, and give it to others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.body import KEY_BYTES
from broker.core.errors import SealInvalid, SealKeyMissing
from broker.core.sealing import SealedContent, sealed_for, sealed_places, section_context, unpad, wrap_info
from broker.core.sections import check_sections, unsalted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.body import Body, KeyWrap
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory
    from broker.ports import KeyUnwrapper, SectionCipher


class Opening(NamedTuple):
    """What records are opened with: the private keys of one agency."""

    cipher: SectionCipher
    keys: KeyUnwrapper

    def open(self, directory: Directory, agency: str, body: Body, envelope: Envelope) -> dict[str, bytes]:
        """The contents of the sealed sections in this copy whose content keys were wrapped to a key of the agency.

        Args:
            directory: the version by which ``check_sealing`` allowed the record.
            agency: the agency, a recipient of the record.
            body: the record's body. The sections of the copy were compared with it.
            envelope: the received copy.

        Raises:
            SealKeyMissing: the private key is not here.
            SealInvalid, KeyCommitmentBroken: a wrap or a section is not what the publisher sealed.
        """
        present = {section.name for section in envelope.sections}
        wrap = _own(body, agency, sealed_for(directory, agency, body), self.keys)
        if wrap is None or not any(body.sections[place].name in present for place in wrap.sections):
            return {}
        trust_domain = directory.trust_domain
        return self._contents(trust_domain, body, envelope, unwrapped(self.keys, trust_domain, body, wrap))

    def open_own(self, trust_domain: str, body: Body, envelope: Envelope) -> OwnRecord:
        """The contents of all sections of a record of this agency, and the content keys of the sealed ones.

        Args:
            trust_domain: the exchange.
            body: the record's body. The agency is its publisher.
            envelope: the record with all of its sections.

        Raises:
            SectionMismatch: a section is missing, for example an erased one, or is not what the body commits to.
            SealKeyMissing: the archive key is not here, or the record was sealed to none.
            SealInvalid, KeyCommitmentBroken: a wrap or a section is not what the publisher sealed.
        """
        check_sections(body, envelope.sections, complete=True)
        places = sealed_places(body)
        wrap = _own(body, body.publisher, places, self.keys)
        if places and wrap is None:
            message = "the record was sealed to no archive key of its publisher"
            raise SealKeyMissing(message, record_id=body.record_id)
        keys = {} if wrap is None else unwrapped(self.keys, trust_domain, body, wrap)
        contents = plain_contents(body, envelope) | self._contents(trust_domain, body, envelope, keys)
        return OwnRecord(keys, contents)

    def _contents(
        self, trust_domain: str, body: Body, envelope: Envelope, content_keys: Mapping[int, bytes]
    ) -> dict[str, bytes]:
        copies = {section.name: section.content for section in envelope.sections}
        opened = {}
        for place, content_key in content_keys.items():
            section = body.sections[place]
            if section.name in copies:
                sealed = SealedContent(copies[section.name], section.key_commitment)
                context = section_context(trust_domain, body, section)
                opened[section.name] = unpad(self.cipher.open(content_key, context, sealed))
        return opened


class OwnRecord(NamedTuple):
    """A record as its publisher opens it: content keys by the section's place, contents by its name."""

    content_keys: Mapping[int, bytes]
    contents: Mapping[str, bytes]

    def __repr__(self) -> str:
        # What is in a record stays out of tracebacks and logs, and so do its keys.
        return f"OwnRecord({len(self.contents)} sections)"


def plain_contents(body: Body, envelope: Envelope) -> dict[str, bytes]:
    """The contents of the sections in this copy that are not sealed. They were compared with the body."""
    sealed = {section.name for section in body.sections if section.sealed}
    return {section.name: unsalted(section) for section in envelope.sections if section.name not in sealed}


def unwrapped(keys: KeyUnwrapper, trust_domain: str, body: Body, wrap: KeyWrap) -> dict[int, bytes]:
    """The content keys in a wrap, by the place of their sections.

    Raises:
        SealKeyMissing: the private key is not here.
        SealInvalid: the wrap is not what the publisher made.
    """
    inside = keys.unwrap(wrap.key_id, wrap.wrapped_keys, wrap_info(trust_domain, body, wrap))
    if len(inside) != KEY_BYTES * len(wrap.sections):
        message = "a wrap holds another number of content keys than it says"
        raise SealInvalid(message, record_id=body.record_id)
    return {place: inside[KEY_BYTES * number :][:KEY_BYTES] for number, place in enumerate(wrap.sections)}


def _own(body: Body, agency: str, places: tuple[int, ...], keys: KeyUnwrapper) -> KeyWrap | None:
    """The wrap that the agency can open. None: the record has no sealed section for it."""
    own = [wrap for wrap in body.key_wraps if wrap.agency == agency and wrap.sections == places]
    if not places or not own:
        return None
    held = keys.key_ids()
    # If it seems to have none of them, it looks again, or says so.
    return next((wrap for wrap in own if wrap.key_id in held), own[0])
