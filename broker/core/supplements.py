"""Supplements: records that give the sections of an earlier record to other agencies, or to another key.

A supplement is an ordinary record with its own id, time, signature, recipients and numbers. It has the sections of its
original byte for byte, with their digests and key commitments, so what it says is what the original said. Nobody needs
a key to see that. New are only the wraps, with the same content keys. Its body names the original by id and digest.

The check: the original is the record that the supplement names (id and digest), is no supplement itself, and the
supplement repeats of it publisher, kind, stream, case, purpose, ``in_reply_to``, ``supersedes`` and expiry, and of each
section the name, type, digest, key commitment, and whether it is for named agencies only. Broker and auditor
use it where they have the original, and a recipient that has opened it.

docs/adr/0057-readdressing.md has the reasons.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from broker.core.errors import SupplementInvalid

if TYPE_CHECKING:
    from broker.core.body import Body, RecordReference

_LENGTH_BYTES: Final = 4


class Repeats(NamedTuple):
    """What a record repeats if it is a supplement, or a supplement to it must repeat; and which record it names."""

    terms: bytes = b""
    supplements: RecordReference | None = None


class Repeated(NamedTuple):
    """What of a record decides whether another one is a supplement to it: 65 bytes, however large the record is."""

    record_sha256: bytes
    terms: bytes
    is_supplement: bool


def repeated(body: Body, record_sha256: bytes) -> Repeated:
    """What a supplement to this record must have in common with it. ``record_sha256``: of its signed bytes."""
    return Repeated(record_sha256, repeats(body).terms, body.supplements is not None)


def repeats(body: Body) -> Repeats:
    """The digest of all that a supplement repeats of its original, 32 bytes, and the record that this body names."""
    texts = (
        body.publisher,
        body.kind,
        body.stream,
        body.case_id,
        body.purpose,
        body.in_reply_to,
        body.supersedes,
        "" if body.expires_at_ms is None else str(body.expires_at_ms),
    )
    parts = [text.encode() for text in texts]
    for section in body.sections:
        named = b"named" if section.audience else b"all"
        parts += [section.name.encode(), section.type.encode(), section.sha256, section.key_commitment, named]
    digest = hashlib.sha256(b"".join(len(part).to_bytes(_LENGTH_BYTES) + part for part in parts)).digest()
    return Repeats(digest, body.supplements)


def check_supplement(supplement: Body, original: Repeated | None) -> None:
    """Check a supplement against the record whose id it names.

    Args:
        supplement: a body that names an original.
        original: what ``repeated`` says of that record. None: there is none that can be compared.

    Raises:
        SupplementInvalid
    """
    if original is None:
        _refuse(supplement, "names a record that the log does not have, or not whole")
    if original.is_supplement:
        _refuse(supplement, "names a record that is a supplement itself")
    if repeats(supplement).terms != original.terms:
        _refuse(supplement, "has another publisher, kind, stream, case or other sections than the record that it names")
    if supplement.supplements is None or supplement.supplements.record_sha256 != original.record_sha256:
        _refuse(supplement, "names a record of this id with other signed bytes")


def _refuse(supplement: Body, what: str) -> NoReturn:
    message = f"the supplement {what}"
    raise SupplementInvalid(message, record_id=supplement.record_id)
