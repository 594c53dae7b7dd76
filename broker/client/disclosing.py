"""Disclose one section of a record to somebody without keys, and check such a disclosure.

A disclosure shows the content key of one section, and no private key. Each section of each record has a key of its
own, so it opens nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.client.opening import unwrapped
from broker.core.disclosure import Disclosure
from broker.core.errors import (
    DisclosureInvalid,
    EnvelopeMalformed,
    KeyCommitmentBroken,
    SealInvalid,
    SealKeyMissing,
    SectionMismatch,
)
from broker.core.sealing import SealedContent, section_context, unpad
from broker.core.sections import check_sections, unsalted

if TYPE_CHECKING:
    from broker.core.body import Body, SectionDescriptor
    from broker.core.envelope import Envelope, Section
    from broker.core.errors import CaseExchangeError
    from broker.ports import KeyUnwrapper, RecordCodec, SectionCipher


class Disclosing(NamedTuple):
    """Makes and checks disclosures of the records of one exchange, which has this trust domain."""

    trust_domain: str
    codec: RecordCodec
    cipher: SectionCipher

    def disclose(self, envelope: Envelope, name: str, agency: str, keys: KeyUnwrapper | None) -> Disclosure:
        """Take one section out of a copy of a record.

        Args:
            envelope: the copy. The caller knows that its publisher signed it, or leaves that to who checks.
            name: the section.
            agency: whose keys these are: a recipient of the record, or its publisher with the archive key.
            keys: the private keys. None: only a plain section can be disclosed.

        Raises:
            EnvelopeMalformed: this is no record.
            SectionMismatch: the record has no such section, this copy does not have it, or it was changed.
            SealKeyMissing: no content key of the section was wrapped to a key that is here.
            SealInvalid, KeyCommitmentBroken: no wrap opens, or the section is not what the publisher sealed.
        """
        body = self.codec.parse_body(envelope.body)
        copy = envelope.with_sections(frozenset({name}))
        descriptor = _descriptor(body, name)
        section = _only_section(body, copy, name)
        if descriptor.sealed:
            key, content = self._opened(body, descriptor, section, agency, keys)
        else:
            key, content = b"", unsalted(section)
        return Disclosure(body.record_id, name, key, content, self.codec.encode_envelope(copy))

    def check(self, disclosure: Disclosure, record: Envelope) -> SectionDescriptor:
        """Check that a disclosed section belongs to a record, opens with its key, and has exactly this content.

        Args:
            disclosure: what the file says.
            record: the record, of which the caller knows that its publisher signed it. It need not have the section.

        Returns:
            What the publisher signed of the section.

        Raises:
            DisclosureInvalid: it is of another record, or has another content than the section.
            SectionMismatch: the section is not the one that was signed: it was changed, or is of another record.
            KeyCommitmentBroken: the content key is not the one that the publisher signed.
            SealInvalid: the section does not open.
        """
        try:
            copy = self.codec.decode_envelope(disclosure.envelope)
        except EnvelopeMalformed as error:
            message = "the record in the disclosure cannot be read"
            raise DisclosureInvalid(message) from error
        body = self.codec.parse_body(record.body)
        if (copy.record_sha256, disclosure.record_id) != (record.record_sha256, body.record_id):
            message = "the record in the disclosure is not the signed record of this id"
            raise DisclosureInvalid(message, record_id=body.record_id)
        descriptor = _descriptor(body, disclosure.section)
        section = _only_section(body, copy, disclosure.section)
        if bool(disclosure.content_key) != descriptor.sealed:
            message = "a sealed section has a content key, and a plain one has none"
            raise DisclosureInvalid(message, record_id=body.record_id, section=descriptor.name)
        if self._content(body, descriptor, section, disclosure.content_key) != disclosure.content:
            message = "the content is not what the section holds"
            raise DisclosureInvalid(message, record_id=body.record_id, section=descriptor.name)
        return descriptor

    def _content(self, body: Body, descriptor: SectionDescriptor, section: Section, key: bytes) -> bytes:
        if not descriptor.sealed:
            return unsalted(section)
        context = section_context(self.trust_domain, body, descriptor)
        return unpad(self.cipher.open(key, context, SealedContent(section.content, descriptor.key_commitment)))

    def _opened(
        self, body: Body, descriptor: SectionDescriptor, section: Section, agency: str, keys: KeyUnwrapper | None
    ) -> tuple[bytes, bytes]:
        """The content key and the content, by the first wrap that opens: a publisher may have two archive keys."""
        place = body.sections.index(descriptor)
        held = () if keys is None else keys.key_ids()
        refusal: CaseExchangeError | None = None
        for wrap in body.key_wraps:
            if keys is not None and wrap.agency == agency and wrap.key_id in held and place in wrap.sections:
                try:
                    key = unwrapped(keys, self.trust_domain, body, wrap)[place]
                    return key, self._content(body, descriptor, section, key)
                except (SealInvalid, KeyCommitmentBroken) as broken:
                    refusal = refusal or broken
        if refusal is not None:
            raise refusal
        message = f"the content key of this section was wrapped to no key of {agency} that is here"
        raise SealKeyMissing(message, record_id=body.record_id, section=descriptor.name)


def _descriptor(body: Body, name: str) -> SectionDescriptor:
    for descriptor in body.sections:
        if descriptor.name == name:
            return descriptor
    message = "the record has no section of this name"
    raise SectionMismatch(message, record_id=body.record_id)


def _only_section(body: Body, copy: Envelope, name: str) -> Section:
    """The one section of a copy, exactly as it was signed."""
    check_sections(body, copy.sections, complete=False)
    if [section.name for section in copy.sections] != [name]:
        message = "the copy does not have this section, or has others too"
        raise SectionMismatch(message, record_id=body.record_id, section=name)
    return copy.sections[0]
