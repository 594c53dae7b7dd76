"""Sealed sections: what they are bound to, how they are padded, and which wraps a record must have.

Each section of each record has its own content key of 256 bits. Two keys are derived from it. One encrypts the padded
content, the other is the *commitment*, which is in the signed body. A reader compares the commitment before it uses
the content key. AES-GCM alone does not bind a ciphertext to one key: a publisher could show two contents to two
recipients.

A *wrap* holds, for one key of one agency, the content keys of exactly the sections that this agency may have by the
directory when it was sealed. So the broker needs no key to check that a record is sealed for those who may have it,
and for nobody else. Broker, recipient and auditor use the same check (``check_sealing``).

docs/sealing.md has the construction byte by byte, and docs/adr/0055-sealed-sections.md the reasons.
"""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from broker.core.body import KEY_BYTES
from broker.core.encryptionkeys import LONGEST_WAIT_MS, RECORDS, TAG_BYTES, wrapped_size
from broker.core.errors import (
    CaseExchangeError,
    EncryptionKeyNotInForce,
    EnvelopeMalformed,
    KeyWrapsInvalid,
    SealingRequired,
    SealInvalid,
)
from broker.core.inforce import versions_between
from broker.core.policy import may_be_plain, visible_places

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.core.body import Body, KeyWrap, SectionDescriptor
    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.envelope import Section
    from broker.core.inforce import DirectoryVersion
    from broker.core.policy import Directory

ENCRYPT_INFO: Final = b"case-exchange/seal/v1 encrypt\0"
COMMIT_INFO: Final = b"case-exchange/seal/v1 commit\0"
_WRAP_INFO: Final = b"case-exchange/wrap/v1\0"
NONCE_BYTES: Final = 12
_LENGTH_BYTES: Final = 4
_AGAIN_MS: Final = 60_000
"""When to ask again whether the directory lists a key."""
LEAST_PADDED: Final = 256
"""The smallest bucket. Most sections without a photograph are of this size or a few times as large."""


class SealedContent(NamedTuple):
    """The bytes of a sealed section, as they travel, and the commitment to its content key."""

    content: bytes
    key_commitment: bytes


def section_context(trust_domain: str, body: Body, section: SectionDescriptor) -> bytes:
    """What a section's keys and ciphertext are bound to: 32 bytes. The same section anywhere else has another one.

    A supplement has the sections of its original, as they are.
    """
    return _digest(_names(trust_domain, body, body.original_id), section.name.encode(), section.type.encode())


def wrap_info(trust_domain: str, body: Body, wrap: KeyWrap) -> bytes:
    """What a wrap is bound to: the record, the agency, its key, and which content keys are in it."""
    inside = [body.sections[place] for place in wrap.sections]
    listed = b"".join(_prefixed((section.name.encode(), section.key_commitment)) for section in inside)
    return (
        _WRAP_INFO
        + _digest(_names(trust_domain, body, body.record_id))
        + _prefixed((wrap.agency.encode(), wrap.key_id, listed))
    )


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


def sealed_from_ms(body: Body, accepted_at_ms: int) -> int:
    """Since when a version of the directory must have been in force to be one that the record may be sealed by."""
    return min(accepted_at_ms, max(body.issued_at_ms, accepted_at_ms - LONGEST_WAIT_MS))


def check_sealing_by_any(directories: Iterable[Directory], body: Body, accepted_at_ms: int) -> Directory:
    """``check_sealing`` by versions that were in force between the issue and the acceptance: one is enough.

    While a record waits at its publisher, rights and keys may change. It was sealed by the rule of then, and cannot be
    sealed anew. What its sender and its recipients may do is judged elsewhere, by the version of the acceptance.

    Args:
        directories: the versions, that of the acceptance first. The next one is taken only if one does not allow it.
        body: as for ``check_sealing``.
        accepted_at_ms: as for ``check_sealing``.

    Returns:
        The version that allows it.

    Raises:
        CaseExchangeError: as ``check_sealing`` by the first.
    """
    refusal: CaseExchangeError | None = None
    for directory in directories:
        try:
            check_sealing(directory, body, accepted_at_ms)
        except CaseExchangeError as refused:
            refusal = refusal or refused
        else:
            return directory
    raise refusal or SealInvalid("there is no directory version to judge the seal by", record_id=body.record_id)


def check_sealing_since(
    directory: Directory,
    versions: Sequence[DirectoryVersion],
    body: Body,
    sections: Iterable[Section],
    accepted_at_ms: int,
) -> Directory:
    """``check_sealing_by_any``: by the directory, or by those of these versions that were in force since the issue.

    Each sealed section must have a size that sealing gives, so that no size tells more than its bucket.

    Args:
        directory: the version of the acceptance.
        versions: in the order in which they came into force.
        body: as for ``check_sealing``.
        sections: those that are here.
        accepted_at_ms: as for ``check_sealing``.

    Raises:
        CaseExchangeError: as ``check_sealing``.
        EnvelopeMalformed: a sealed section has another size.
    """
    sealed = {section.name for section in body.sections if section.key_commitment}
    for section in sections:
        padded = len(section.content) - NONCE_BYTES - TAG_BYTES
        if section.name in sealed and (padded < LEAST_PADDED or padded_size(padded - _LENGTH_BYTES) != padded):
            message = "a sealed section has a size that no sealed section has"
            raise EnvelopeMalformed(message, record_id=body.record_id, section=section.name)
    since = versions_between(versions, sealed_from_ms(body, accepted_at_ms), accepted_at_ms)
    return check_sealing_by_any(chain([directory], (one.directory for one in since)), body, accepted_at_ms)


def check_sealing(directory: Directory, body: Body, accepted_at_ms: int) -> None:
    """Check that a record is sealed for those who may have it, and for nobody else. No key is needed.

    All of this must hold, by the directory:

    1. a section that is plain may be so: SealingRequired
    2. each wrap is for a recipient or for the publisher's own archive: KeyWrapsInvalid
    3. each is for a key of that agency that was in force at the time of issue, and had not ended longer than
       ``LONGEST_WAIT_MS`` before the acceptance: a publisher can date a record back, into the life of a key that was
       destroyed since: EncryptionKeyNotInForce
    4. each has the content keys of exactly the sealed sections that the agency may have (an archive key: of all), and
       the size that this takes: KeyWrapsInvalid
    5. each recipient that may have a sealed section has one wrap, and no agency has two for the same use but the
       publisher, whose archive keys have one each: KeyWrapsInvalid

    Args:
        directory: the version to judge by.
        body: a body that ``check_publish`` allows.
        accepted_at_ms: when it was accepted: milliseconds since the Unix epoch, UTC.

    Raises:
        SealingRequired, KeyWrapsInvalid
        EncryptionKeyNotInForce: if a key is not known, but may be to a newer version, the detail ``retry_after_ms``
            says when to try again.
        PeerUnknown: the directory does not list an agency of the record.
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
        key = _key_of(directory, body, wrap, accepted_at_ms)
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


def check_past_sealing(
    directory: Directory,
    versions: Sequence[DirectoryVersion],
    body: Body,
    sections: Iterable[Section],
    accepted_at_ms: int,
) -> None:
    """As ``check_sealing_since``, for an audit: a version without any encryption key is from before sealing.

    Brokers and edges make no such exception. Who has seen a key statement takes no version without it.
    """
    if any(agency.encryption_keys for agency in directory.agencies.values()):
        check_sealing_since(directory, versions, body, sections, accepted_at_ms)


def _key_of(directory: Directory, body: Body, wrap: KeyWrap, accepted_at_ms: int) -> EncryptionKey:
    listed = directory.agencies.get(wrap.agency)
    key = None if listed is None else listed.keys_by_id.get(wrap.key_id)
    if key is None:
        message = f"it is sealed to a key of {wrap.agency} that the directory does not list"
        ended = listed is None or any(one.key_id == wrap.key_id for one in listed.key_retirements)
        # The publisher may have a newer directory.
        known_later = not ended and body.issued_at_ms > accepted_at_ms - LONGEST_WAIT_MS
        again = {"retry_after_ms": str(_AGAIN_MS)} if known_later else {}
        raise EncryptionKeyNotInForce(message, record_id=body.record_id, agency=wrap.agency, **again)
    if not key.in_force(body.issued_at_ms) or accepted_at_ms >= key.ends_at_ms + LONGEST_WAIT_MS:
        message = f"it is sealed to a key of {wrap.agency} that was not in force when it was issued, or ended long ago"
        raise EncryptionKeyNotInForce(message, record_id=body.record_id, agency=wrap.agency)
    if key.use != RECORDS and wrap.agency != body.publisher:
        _refuse_wraps(body, wrap.agency, "is for the archive of an agency that is not the publisher")
    return key


def _refuse_wraps(body: Body, agency: str, what: str) -> NoReturn:
    message = f"a wrap for {agency} {what}"
    raise KeyWrapsInvalid(message, record_id=body.record_id, agency=agency)


def _names(trust_domain: str, body: Body, record_id: str) -> Sequence[bytes]:
    texts = (trust_domain, body.publisher, record_id, body.stream, body.kind)
    return [text.encode() for text in texts]


def _digest(names: Iterable[bytes], *more: bytes) -> bytes:
    return hashlib.sha256(_prefixed((*names, *more))).digest()


def _prefixed(parts: Iterable[bytes]) -> bytes:
    """Each part behind its length, so that no two lists give the same bytes."""
    return b"".join(len(part).to_bytes(_LENGTH_BYTES) + part for part in parts)
