"""What a publisher can read of its own record: with the archive key of its agency, to which it wraps everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.body import KEY_BYTES
from broker.core.errors import SealInvalid
from broker.core.sealing import SealedContent, sealed_places, section_context, unpad, wrap_info
from broker.core.sections import check_sections, unsalted

if TYPE_CHECKING:
    from broker.core.body import Body
    from broker.core.envelope import Envelope
    from broker.ports import KeyUnwrapper, SectionCipher


def open_own(
    trust_domain: str, body: Body, envelope: Envelope, cipher: SectionCipher, keys: KeyUnwrapper | None
) -> dict[str, bytes]:
    """The contents of a record's sections, for its own publisher. Sealed ones only if an archive key is here.

    Args:
        trust_domain: the exchange.
        body: the record's body.
        envelope: the record, with all of its sections.
        cipher: opens sections.
        keys: the agency's private keys. None: nothing sealed can be read.

    Raises:
        SectionMismatch: a section is not what the body commits to.
        SealInvalid, KeyCommitmentBroken: a wrap or a section is not what the publisher sealed.
    """
    check_sections(body, envelope.sections, complete=True)
    places = sealed_places(body)
    sealed = {body.sections[place].name for place in places}
    contents = {section.name: unsalted(section) for section in envelope.sections if section.name not in sealed}
    held = keys.key_ids() if keys is not None and places else ()
    own = (wrap for wrap in body.key_wraps if wrap.agency == body.publisher and wrap.sections == places)
    wrap = next((wrap for wrap in own if wrap.key_id in held), None)
    if wrap is None or keys is None:
        return contents
    content_keys = keys.unwrap(wrap.key_id, wrap.wrapped_keys, wrap_info(trust_domain, body, wrap))
    if len(content_keys) != KEY_BYTES * len(places):
        message = "a wrap holds another number of content keys than it says"
        raise SealInvalid(message, record_id=body.record_id)
    copies = {section.name: section.content for section in envelope.sections}
    for number, place in enumerate(places):
        section = body.sections[place]
        protected = SealedContent(copies[section.name], section.key_commitment)
        key = content_keys[KEY_BYTES * number :][:KEY_BYTES]
        contents[section.name] = unpad(cipher.open(key, section_context(trust_domain, body, section), protected))
    return contents
