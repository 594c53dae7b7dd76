"""The body of a record: its routing fields and the commitments to its sections. It names no person.

A ``Body`` is only ever made from bytes whose signature has been verified, or by the publisher that is about to sign.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from broker.core.errors import EnvelopeMalformed
from broker.core.identity import is_agency_id

SHA256_BYTES: Final = 32
MAX_SECTIONS: Final = 32
MAX_RECIPIENTS: Final = 64
MAX_TEXT: Final = 200
"""Characters in a purpose or a section type: long enough for a code or a message name, too short for a story."""

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SECTION_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


class Recipient(NamedTuple):
    """An agency addressed, and the publisher's running number (from 1) of records to it."""

    agency: str
    sequence: int


class SectionDescriptor(NamedTuple):
    """The signed commitment to one section: SHA-256 of its bytes, and who of the recipients may have it.

    An empty ``audience`` means every recipient.
    """

    name: str
    type: str
    sha256: bytes
    audience: frozenset[str]


@dataclass(frozen=True, slots=True)
class Body:
    """What a publisher signs. Times are milliseconds since the Unix epoch, UTC."""

    record_id: str
    kind: str
    stream: str
    case_id: str
    publisher: str
    recipients: tuple[Recipient, ...]
    issued_at_ms: int
    expires_at_ms: int | None
    in_reply_to: str
    supersedes: str
    purpose: str
    signer_certificate_sha256: bytes
    signature_algorithm: str
    sections: tuple[SectionDescriptor, ...]

    @property
    def record_id_bytes(self) -> bytes:
        """The record id as 16 bytes."""
        return bytes.fromhex(self.record_id.replace("-", ""))


def is_uuid(text: str) -> bool:
    """Whether ``text`` is an RFC 9562 UUID in canonical lower-case form."""
    return _UUID.fullmatch(text) is not None


def check_body(body: Body) -> None:
    """Refuse a body that breaks the rules of the format, whoever signed it.

    Ids must be UUIDs and names of fixed forms, so that routing fields cannot carry a person (design decision 10).

    Raises:
        EnvelopeMalformed: names the field, never its value.
    """
    broken = _broken_field(body)
    if broken:
        message = f"the body's {broken}"
        raise EnvelopeMalformed(message)


def _broken_field(body: Body) -> str | None:  # noqa: PLR0911 - one for each rule
    if not _UUID7.fullmatch(body.record_id):
        return "record_id is not a UUIDv7 in canonical form"
    if not _UUID.fullmatch(body.case_id):
        return "case_id is not a UUID in canonical form"
    if body.in_reply_to and not is_uuid(body.in_reply_to):
        return "in_reply_to is neither empty nor a canonical UUID"
    if body.supersedes and not is_uuid(body.supersedes):
        return "supersedes is neither empty nor a canonical UUID"
    if not is_agency_id(body.publisher):
        return "publisher is not an agency id"
    if not _PURPOSE.fullmatch(body.purpose):
        return "purpose is not a purpose code"
    if len(body.signer_certificate_sha256) != SHA256_BYTES:
        return "signer_certificate_sha256 is not 32 bytes"
    if body.issued_at_ms <= 0:
        return "issued_at is missing"
    return _broken_recipients(body.recipients) or _broken_sections(body.sections)


def _broken_recipients(recipients: tuple[Recipient, ...]) -> str | None:
    if len(recipients) > MAX_RECIPIENTS:
        return f"recipients are more than {MAX_RECIPIENTS}"
    if len({recipient.agency for recipient in recipients}) != len(recipients):
        return "recipients name an agency twice"
    for recipient in recipients:
        if not is_agency_id(recipient.agency) or recipient.sequence < 1:
            return "recipients hold something that is not an agency id with a sequence number from 1"
    return None


def _broken_sections(sections: tuple[SectionDescriptor, ...]) -> str | None:
    if len(sections) > MAX_SECTIONS:
        return f"sections are more than {MAX_SECTIONS}"
    if len({section.name for section in sections}) != len(sections):
        return "sections use a name twice"
    return next((broken for section in sections if (broken := _broken_section(section))), None)


def _broken_section(section: SectionDescriptor) -> str | None:
    if not _SECTION_NAME.fullmatch(section.name):
        return "sections hold a name that is not lower-case letters, digits and hyphens"
    if len(section.sha256) != SHA256_BYTES:
        return "sections hold a digest that is not 32 bytes"
    if not 0 < len(section.type) <= MAX_TEXT:
        return "sections hold a type that is empty or too long"
    if not all(map(is_agency_id, section.audience)):
        return "sections hold an audience that is not of agency ids"
    return None
