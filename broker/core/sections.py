"""Sections: salted commitments. A copy can leave out sections and still verify.

A plain section's bytes are ``salt (16 bytes) || content``, and the body commits to their SHA-256. Without the salt,
someone who may not have the section could guess a name or a locus and check the guess against the digest. RFC 9901
section 9.3 says the same of disclosures.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from broker.core.errors import SectionMismatch

if TYPE_CHECKING:
    from broker.core.body import Body, Routing
    from broker.core.envelope import Section

SALT_BYTES: Final = 16


def salted(salt: bytes, content: bytes) -> bytes:
    """A plain section's bytes.

    Raises:
        ValueError: the salt is not 16 bytes. It must be new for each section of each record.
    """
    if len(salt) != SALT_BYTES:
        message = f"a section's salt is {SALT_BYTES} bytes"
        raise ValueError(message)
    return salt + content


def unsalted(section: Section) -> bytes:
    """The content of a plain section, without its salt."""
    return section.content[SALT_BYTES:]


def check_sections(
    body: Body | Routing, sections: tuple[Section, ...], *, complete: bool, erased: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Check that these sections are those that the body commits to. Return the names of the withheld ones.

    Args:
        body: a verified body, or the routing of one.
        sections: the sections in this copy.
        complete: whether every section must be present, as at publishing.
        erased: the sections that were erased from the log. They must not be here.

    Raises:
        SectionMismatch: a section is unknown, repeated, too short for a salt, not the signed one, or, if ``complete``,
            missing and not erased. The message names the section by its place, not by its content.
    """
    committed = {descriptor.name: descriptor.sha256 for descriptor in body.sections}
    for number, section in enumerate(sections, start=1):
        digest = committed.pop(section.name, None)
        if digest is None:
            message = f"section {number} of the envelope is not one that the body commits to, or is repeated"
            raise SectionMismatch(message, record_id=body.record_id)
        if len(section.content) < SALT_BYTES or hashlib.sha256(section.content).digest() != digest:
            message = f"section {section.name} does not match the digest that was signed"
            raise SectionMismatch(message, record_id=body.record_id, section=section.name)
    if not committed.keys() >= set(erased):
        message = "the envelope says that a section was erased, and it is here, or was never signed"
        raise SectionMismatch(message, record_id=body.record_id)
    missing = committed.keys() - set(erased)
    if complete and missing:
        message = f"{len(missing)} signed sections are missing from the envelope"
        raise SectionMismatch(message, record_id=body.record_id)
    return tuple(committed)
