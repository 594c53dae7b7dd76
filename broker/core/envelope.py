"""The envelope: DSSE v1.0.2 over exact bytes (secure-systems-lab/dsse, protocol.md).

The signature covers ``PAE(body_type, body)``. Bodies are verified, then parsed, and never serialised again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

BODY_TYPE: Final = "application/vnd.case-exchange.body.v1+protobuf"
"""The type of a record's body. The PAE contains it, so no other statement of an agency can pass as a record."""

RECEIPTS_TYPE: Final = "application/vnd.case-exchange.receipts.v1"
"""The type of what the broker signs for a set of receipts."""

RECEIVED_TYPE: Final = "application/vnd.case-exchange.received.v1+protobuf"
"""The type of what an agency signs of the copies that it was handed."""

BUNDLE_TYPE: Final = "application/vnd.case-exchange.bundle.v1"
"""The type of what the broker signs for a replay bundle."""

DIRECTORY_TYPE: Final = "application/vnd.case-exchange.directory.v1+json"
"""The type of the directory document."""

SUCCESSION_TYPE: Final = "application/vnd.case-exchange.succession.v1+json"
"""The type of governance's statement that another key signs the directory (docs/directory.md)."""

KEY_STATEMENT_TYPE: Final = "application/vnd.case-exchange.key-statement.v1+json"
"""The type of an agency's statement of its encryption key (docs/keys.md)."""

KEY_RETIREMENT_TYPE: Final = "application/vnd.case-exchange.key-retirement.v1+json"
"""The type of an agency's statement that nothing may be sealed to one of its encryption keys any more."""

ECDSA_P256_SHA256: Final = "ecdsa-p256-sha256"
"""The signature algorithm of records: ASN.1 DER signatures."""

ML_DSA_65: Final = "ml-dsa-65"
"""The signature algorithm that a directory may demand beside it (FIPS 204): pure, with an empty context."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: ``DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload``."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


class Signature(NamedTuple):
    """One signature: a hint at the certificate (SHA-256 of its DER), and the bytes of the signature."""

    certificate_sha256: bytes
    value: bytes


class Section(NamedTuple):
    """The bytes of one section. Plain sections begin with their salt."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Envelope:
    """One record as it travels: signed bytes, signatures, and the sections in this copy.

    ``former_receipt`` is the serialised receipt that the record had before the log lost it (broker/core/former.py).
    It is empty for every other record, and no publisher signs it. ``erased`` names the sections that were erased from
    the log by order of the publisher. Nobody signs that either: the audit stream has the order. ``serialised`` is what
    a codec writes for the envelope, if it was read from bytes; otherwise it is empty.
    """

    body_type: str
    body: bytes
    signatures: tuple[Signature, ...]
    sections: tuple[Section, ...]
    former_receipt: bytes = b""
    erased: tuple[str, ...] = ()
    serialised: bytes = field(default=b"", init=False, compare=False, repr=False)

    def came_as(self, serialised: bytes) -> Envelope:
        """Keep the bytes that a codec writes for this envelope, so that it need not write them again."""
        object.__setattr__(self, "serialised", serialised)
        return self

    @property
    def signed_bytes(self) -> bytes:
        """The pre-authentication encoding that every signature covers."""
        return pae(self.body_type, self.body)

    @property
    def content_bytes(self) -> int:
        """The bytes of the body and of all sections together."""
        return len(self.body) + sum(len(section.content) for section in self.sections)

    @property
    def held_bytes(self) -> int:
        """The bytes of everything in the envelope, as it came: what it takes while it is held, whoever signed it."""
        if self.serialised:
            return len(self.serialised)
        parts = sum(len(each.certificate_sha256) + len(each.value) for each in self.signatures)
        names = sum(len(section.name) for section in self.sections)
        return self.content_bytes + len(self.body_type) + len(self.former_receipt) + parts + names

    @cached_property
    def record_sha256(self) -> bytes:
        """SHA-256 of the signed bytes: the record's identity. It leaves out the signature, which others could vary."""
        return hashlib.sha256(self.signed_bytes).digest()

    def with_sections(self, names: frozenset[str]) -> Envelope:
        """This record with only the named sections. The signed bytes, and so the signatures, do not change."""
        sections = tuple([section for section in self.sections if section.name in names])
        if len(sections) == len(self.sections):
            return self
        return Envelope(self.body_type, self.body, self.signatures, sections, self.former_receipt, self.erased)

    def erase(self, names: frozenset[str]) -> Envelope:
        """This record without the named sections, which are marked as erased. No signed byte changes."""
        left = tuple([section for section in self.sections if section.name not in names])
        erased = (*self.erased, *(section.name for section in self.sections if section.name in names))
        return Envelope(self.body_type, self.body, self.signatures, left, self.former_receipt, erased)

    def with_former_receipt(self, receipt: bytes) -> Envelope:
        """This record with the serialised receipt that it had before the log lost it. No signed byte changes."""
        return Envelope(self.body_type, self.body, self.signatures, self.sections, receipt, self.erased)
