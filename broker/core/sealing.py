"""Sealed sections: what they are bound to, how they are padded, and which wraps a record must have.

Each section of each record has its own content key of 256 bits. Two keys are derived from it. One encrypts the padded
content, the other is the *commitment*, which is in the signed body. A reader compares the commitment before it uses
the content key. AES-GCM alone does not bind a ciphertext to one key: a publisher could show two contents to two
recipients.

A *wrap* holds, for one key of one agency, the content keys of exactly the sections that this agency may have by the
directory at the time of issue. So the broker needs no key to check that a record is sealed for those who may have it,
and for nobody else. Broker, recipient and auditor use the same check (``check_sealing``).

docs/sealing.md has the construction byte by byte, and docs/adr/0055-sealed-sections.md the reasons.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from broker.core.body import KEY_BYTES
from broker.core.encryptionkeys import RECORDS, wrapped_size
from broker.core.errors import EncryptionKeyNotInForce, KeyWrapsInvalid, SealingRequired, SealInvalid
from broker.core.policy import may_be_plain, visible_places

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.core.body import Body, KeyWrap, SectionDescriptor
    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.policy import Directory

ENCRYPT_INFO: Final = b"case-exchange/seal/v1 encrypt\0"
COMMIT_INFO: Final = b"case-exchange/seal/v1 commit\0"
_WRAP_INFO: Final = b"case-exchange/wrap/v1\0"
NONCE_BYTES: Final = 12
_LENGTH_BYTES: Final = 4
LEAST_PADDED: Final = 256
"""The smallest bucket. Most sections without a photograph are of this size or a few times as large."""


class SealedContent(NamedTuple):
    """The bytes of a sealed section, as they travel, and the commitment to its content key."""

    content: bytes
    key_commitment: bytes


def section_context(trust_domain: str, body: Body, section: SectionDescriptor) -> bytes:
    """What a section's keys and ciphertext are bound to: 32 bytes. The same section anywhere else has another one."""
    return _digest(_names(trust_domain, body), section.name.encode(), section.type.encode())


def wrap_info(trust_domain: str, body: Body, wrap: KeyWrap) -> bytes:
    """What a wrap is bound to: the record, the agency, its key, and which content keys are in it."""
    inside = [body.sections[place] for place in wrap.sections]
    listed = b"".join(_prefixed((section.name.encode(), section.key_commitment)) for section in inside)
    return _WRAP_INFO + _digest(_names(trust_domain, body)) + _prefixed((wrap.agency.encode(), wrap.key_id, listed))


def pad(content: bytes) -> bytes:
    """The content behind its length, filled with zeros up to a bucket.

    The buckets are those of Padmé: above the smallest at most a sixteenth is added, and the size of the
    result says little of that of the content.
    """
    return (len(content).to_bytes(_LENGTH_BYTES) + content).ljust(padded_size(len(content)), b"\0")


def padded_size(content_bytes: int) -> int:
    """The bucket of a content of so many bytes."""
    least = max(content_bytes + _LENGTH_BYTES, LEAST_PADDED)
    # Padmé: the lower bits of the size are zero, all but as many as the size's own length has bits.
    exponent = least.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (least + mask) & ~mask


def unpad(padded: bytes) -> bytes:
    """The content of what ``pad`` returned.

    Raises:
        SealInvalid: this is nothing that ``pad`` returns.
    """
    content = padded[_LENGTH_BYTES:][: int.from_bytes(padded[:_LENGTH_BYTES])]
    if pad(content) != padded:
        message = "the content of a sealed section is not padded as it must be"
        raise SealInvalid(message)
    return content


def sealed_for(directory: Directory, agency: str, body: Body) -> tuple[int, ...]:
    """The places of the sealed sections that an agency may have, as a recipient."""
    return tuple(
        [place for place in visible_places(directory, agency, body) or () if body.sections[place].key_commitment]
    )


def sealed_places(body: Body) -> tuple[int, ...]:
    """The places of all sealed sections."""
    return tuple([place for place, section in enumerate(body.sections) if section.key_commitment])


def check_sealing(directory: Directory, body: Body) -> None:
    """Check that a record is sealed for those who may have it, and for nobody else. No key is needed.

    All of this must hold, by the directory, at the time of issue:

    1. a section that is plain may be so: SealingRequired
    2. each wrap is for a recipient or for the publisher's own archive: KeyWrapsInvalid
    3. each is for a key of that agency that was in force: EncryptionKeyNotInForce
    4. each has the content keys of exactly the sealed sections that the agency may have (an archive key: of all), and
       the size that this takes: KeyWrapsInvalid
    5. each recipient that may have a sealed section has one wrap, and no agency has two for the same use but the
       publisher, whose archive keys have one each: KeyWrapsInvalid

    Args:
        directory: the version to judge by.
        body: a body that ``check_publish`` allows.

    Raises:
        SealingRequired, KeyWrapsInvalid, EncryptionKeyNotInForce
    """
    for section in body.sections:
        if not section.key_commitment and not may_be_plain(directory, body, section.name):
            message = f"{body.publisher} may not publish this section of a {body.kind} plain"
            raise SealingRequired(message, record_id=body.record_id, section=section.name)
    everything = sealed_places(body)
    due = {}
    if everything:
        due = {recipient.agency: sealed_for(directory, recipient.agency, body) for recipient in body.recipients}
    archives: set[bytes] = set()
    for wrap in body.key_wraps:
        key = _key_of(directory, body, wrap)
        inside = due.pop(wrap.agency, ()) if key.use == RECORDS else everything
        if not inside or wrap.key_id in archives:
            _refuse_wraps(body, wrap.agency, "is one too many")
        if key.use != RECORDS:
            archives.add(wrap.key_id)
        if wrap.sections != inside:
            _refuse_wraps(body, wrap.agency, "holds the keys of other sections than the agency may have")
        if len(wrap.wrapped_keys) != wrapped_size(key.suite, KEY_BYTES * len(inside)):
            _refuse_wraps(body, wrap.agency, "has not the size that the agency's key and its sections take")
    missing = sorted([agency for agency, places in due.items() if places])
    if missing:
        _refuse_wraps(body, missing[0], "is missing, though the agency may have a sealed section")


def check_past_sealing(directory: Directory, body: Body) -> None:
    """As ``check_sealing``, for an audit: a version without any encryption key is from before sections were sealed.

    Brokers and edges make no such exception. Who has seen a key statement takes no version without it.
    """
    if any(agency.encryption_keys for agency in directory.agencies.values()):
        check_sealing(directory, body)


def _key_of(directory: Directory, body: Body, wrap: KeyWrap) -> EncryptionKey:
    listed = directory.agencies.get(wrap.agency)
    known = [] if listed is None else [key for key in listed.encryption_keys if key.key_id == wrap.key_id]
    key = known[0] if known else None
    if key is None or not key.in_force(body.issued_at_ms):
        message = f"it is sealed to a key of {wrap.agency} that was not in force when it was issued, or is not known"
        raise EncryptionKeyNotInForce(message, record_id=body.record_id, agency=wrap.agency)
    if key.use != RECORDS and wrap.agency != body.publisher:
        _refuse_wraps(body, wrap.agency, "is for the archive of an agency that is not the publisher")
    return key


def _refuse_wraps(body: Body, agency: str, what: str) -> NoReturn:
    message = f"a wrap for {agency} {what}"
    raise KeyWrapsInvalid(message, record_id=body.record_id, agency=agency)


def _names(trust_domain: str, body: Body) -> Sequence[bytes]:
    texts = (trust_domain, body.publisher, body.record_id, body.stream, body.kind)
    return [text.encode() for text in texts]


def _digest(names: Iterable[bytes], *more: bytes) -> bytes:
    return hashlib.sha256(_prefixed((*names, *more))).digest()


def _prefixed(parts: Iterable[bytes]) -> bytes:
    """Each part behind its length, so that no two lists give the same bytes."""
    return b"".join(len(part).to_bytes(_LENGTH_BYTES) + part for part in parts)
