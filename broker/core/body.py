"""The body of a record: its routing fields and the commitments to its sections. It names no person.

A ``Body`` is made only from bytes with a verified signature, or by the publisher that is about to sign.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from broker.core.errors import EnvelopeMalformed
from broker.core.identity import is_agency_id, is_system_name
from broker.core.streams import AUDIT

SHA256_BYTES: Final = 32
MAX_SECTIONS: Final = 32
MAX_RECIPIENTS: Final = 64
MAX_SIGNERS: Final = 16
MAX_KEY_WRAPS: Final = MAX_RECIPIENTS + 8
"""One for each recipient, and a few for the archive keys of the publisher."""
KEY_BYTES: Final = 32
"""The bytes of a content key, of the commitment to one, and of the id of an encryption key."""
MAX_WRAPPED_BYTES: Final = 1120 + MAX_SECTIONS * KEY_BYTES + 16
"""The size of a wrap of the largest suite (broker/core/encryptionkeys.py) with the content keys of so many sections."""
MAX_TEXT: Final = 200
"""The limit for the characters of a section type or an algorithm: enough for a code or a message name, and no more."""

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_VERSION_AT: Final = 14
_SECTION_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


class Recipient(NamedTuple):
    """An addressed agency, and the number (from 1) of this record among those from the publisher's system to it."""

    agency: str
    sequence: int


class NamedSigner(NamedTuple):
    """The signer at this place of the envelope: SHA-256 of the certificate's DER, and the algorithm."""

    certificate_sha256: bytes
    algorithm: str


class SectionDescriptor(NamedTuple):
    """The signed commitment to one section: SHA-256 of its bytes, and which recipients may have it.

    An empty ``audience`` means every recipient. ``key_commitment`` commits to the content key of a sealed section.
    It is empty for a plain one.
    """

    name: str
    type: str
    sha256: bytes
    audience: frozenset[str]
    key_commitment: bytes = b""

    @property
    def sealed(self) -> bool:
        """Whether only those can read it to whom its content key was wrapped."""
        return bool(self.key_commitment)


class KeyWrap(NamedTuple):
    """Content keys, encrypted to one key of an agency: those of the sections at these places, in this order."""

    agency: str
    key_id: bytes
    sections: tuple[int, ...]
    wrapped_keys: bytes


class RecordReference(NamedTuple):
    """A record beyond doubt: its id, and the SHA-256 of its signed bytes."""

    record_id: str
    record_sha256: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """What a publisher signs. Times are milliseconds since the Unix epoch, UTC.

    ``supplements``: the record whose content keys this one gives to other agencies or keys
    (broker/core/supplements.py). None: it is a record of its own.
    """

    record_id: str
    kind: str
    stream: str
    case_id: str
    publisher: str
    system: str
    recipients: tuple[Recipient, ...]
    issued_at_ms: int
    expires_at_ms: int | None
    in_reply_to: str
    supersedes: str
    purpose: str
    signers: tuple[NamedSigner, ...]
    sections: tuple[SectionDescriptor, ...]
    key_wraps: tuple[KeyWrap, ...] = ()
    supplements: RecordReference | None = None

    @property
    def original_id(self) -> str:
        """The id of the record that this one supplements, or its own."""
        return self.record_id if self.supplements is None else self.supplements.record_id

    @property
    def record_id_bytes(self) -> bytes:
        """The record id as 16 bytes."""
        return bytes.fromhex(self.record_id.replace("-", ""))


class Routing(NamedTuple):
    """The part of a body that says which record it is, where it belongs and who may have what of it."""

    record_id: str
    kind: str
    case_id: str
    publisher: str
    recipients: tuple[Recipient, ...]
    sections: tuple[SectionDescriptor, ...]


def is_uuid(text: str) -> bool:
    """Whether ``text`` is an RFC 9562 UUID in canonical lower-case form."""
    return _UUID.fullmatch(text) is not None


def check_body(body: Body) -> None:
    """Refuse a body that breaks the rules of the format, no matter who signed it.

    Ids must be UUIDs and names must have fixed forms, so that routing fields cannot name a person (design decision 10).
    Which wraps there are is compared with the directory (broker/core/sealing.py), which leaves them no freedom.

    Raises:
        EnvelopeMalformed: it names the field, never its value.
    """
    broken = _broken_field(body)
    if broken:
        message = f"the body's {broken}"
        raise EnvelopeMalformed(message)


def _broken_field(body: Body) -> str | None:  # noqa: PLR0911 - one for each rule
    # Its own records have UUIDv8, so that no agency can take an id that the exchange will use. Older ones have UUIDv7.
    versions = "78" if body.stream == AUDIT else "7"
    if not is_uuid(body.record_id) or body.record_id[_VERSION_AT] not in versions:
        return "record_id is not a UUIDv7 in canonical form"
    if not is_uuid(body.case_id):
        return "case_id is not a UUID in canonical form"
    if body.in_reply_to and not is_uuid(body.in_reply_to):
        return "in_reply_to is neither empty nor a canonical UUID"
    if body.supersedes and not is_uuid(body.supersedes):
        return "supersedes is neither empty nor a canonical UUID"
    if not is_agency_id(body.publisher):
        return "publisher is not an agency id"
    if not is_system_name(body.system):
        return "system is not the name of a system"
    if not _PURPOSE.fullmatch(body.purpose):
        return "purpose is not a purpose code"
    if body.issued_at_ms <= 0:
        return "issued_at is missing"
    broken = _broken_recipients(body.recipients) or _broken_signers(body.signers) or _broken_sections(body.sections)
    return broken or _broken_wraps(body.key_wraps) or _broken_reference(body)


def _broken_reference(body: Body) -> str | None:
    named = body.supplements
    if named is None:
        return None
    if not is_uuid(named.record_id) or named.record_id[_VERSION_AT] != "7" or len(named.record_sha256) != SHA256_BYTES:
        return "supplements is not the id and the digest of an agency's record"
    return "supplements is the record itself" if named.record_id == body.record_id else None


def _broken_recipients(recipients: tuple[Recipient, ...]) -> str | None:
    if len(recipients) > MAX_RECIPIENTS:
        return f"recipients are more than {MAX_RECIPIENTS}"
    if len({recipient.agency for recipient in recipients}) != len(recipients):
        return "recipients name an agency twice"
    for recipient in recipients:
        if not is_agency_id(recipient.agency) or recipient.sequence < 1:
            return "recipients hold something that is not an agency id with a sequence number from 1"
    return None


def _broken_signers(signers: tuple[NamedSigner, ...]) -> str | None:
    if not 0 < len(signers) <= MAX_SIGNERS:
        return f"signers are not 1 to {MAX_SIGNERS}"
    if len({signer.certificate_sha256 for signer in signers}) != len(signers):
        return "signers name a certificate twice"
    for signer in signers:
        if len(signer.certificate_sha256) != SHA256_BYTES or not 0 < len(signer.algorithm) <= MAX_TEXT:
            return "signers hold something that is not a digest of 32 bytes with an algorithm"
    return None


def _broken_sections(sections: tuple[SectionDescriptor, ...]) -> str | None:
    if len(sections) > MAX_SECTIONS:
        return f"sections are more than {MAX_SECTIONS}"
    if len({section.name for section in sections}) != len(sections):
        return "sections use a name twice"
    return next((broken for section in sections if (broken := _broken_section(section))), None)


def _broken_wraps(wraps: tuple[KeyWrap, ...]) -> str | None:
    if len(wraps) > MAX_KEY_WRAPS:
        return f"key wraps are more than {MAX_KEY_WRAPS}"
    for wrap in wraps:
        if not is_agency_id(wrap.agency) or len(wrap.key_id) != KEY_BYTES:
            return "key wraps hold something that is not for a key of an agency"
        if not 0 < len(wrap.sections) <= MAX_SECTIONS or not 0 < len(wrap.wrapped_keys) <= MAX_WRAPPED_BYTES:
            return "key wraps hold one with no content keys, or with more than a record can have"
    return None


def _broken_section(section: SectionDescriptor) -> str | None:
    if not _SECTION_NAME.fullmatch(section.name):
        return "sections hold a name that is not lower-case letters, digits and hyphens"
    if len(section.sha256) != SHA256_BYTES:
        return "sections hold a digest that is not 32 bytes"
    if not 0 < len(section.type) <= MAX_TEXT:
        return "sections hold a type that is empty or too long"
    if not all(map(is_agency_id, section.audience)):
        return "sections hold an audience that is not of agency ids"
    if len(section.key_commitment) not in (0, KEY_BYTES):
        return f"sections hold a key commitment that is not {KEY_BYTES} bytes"
    return None
