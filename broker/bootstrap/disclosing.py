"""Disclose a section, and check disclosures: the files and keys for broker/client/disclosing.py."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from broker.bootstrap.export import authored_records
from broker.client.disclosing import Disclosing
from broker.config.edge import load_edge
from broker.core.disclosure import MAX_DISCLOSURE_BYTES, Disclosure
from broker.core.errors import CaseExchangeError, DisclosureInvalid, RecordUnknown
from broker.files import read_file
from broker.trust.certificates import load_certificates, principal_of
from broker.trust.keyfolder import FolderKeys
from broker.trust.sealing import AesGcmCipher
from broker.wire.bundle import MAGIC
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.bootstrap.export import AuthoredRecords

_CODEC = ProtobufCodec()


class CheckedDisclosure(NamedTuple):
    """A disclosure that an auditor brought, and whether it belongs to a record of the bundle.

    Attributes:
        file: the file's name.
        record_id: of which record. Empty: the file cannot be read.
        section: which section.
        kind: the record's kind.
        publisher: who signed the record.
        sealed: whether the section was sealed.
        content_bytes: how long its content is.
        content_sha256: SHA-256 of the content, in hexadecimal.
        refusal: why it proves nothing.
        unchecked: what is wrong with the bundle, so that it was compared with nothing.
    """

    file: str
    record_id: str = ""
    section: str = ""
    kind: str = ""
    publisher: str = ""
    sealed: bool = False
    content_bytes: int = 0
    content_sha256: str = ""
    refusal: CaseExchangeError | None = None
    unchecked: CaseExchangeError | None = None

    @property
    def holds(self) -> bool:
        """Whether it belongs to the signed record."""
        return self.refusal is None and self.unchecked is None


def disclose_section(profile: Path, source: Path, record_id: str, section: str) -> Disclosure:
    """Disclose a section with the keys of an agency.

    Args:
        profile: the agency's edge profile.
        source: a bundle or a proof with the record, or an envelope that an edge has kept (``….envelope``).
        record_id: the record's UUID.
        section: the section's name.

    Raises:
        ConfigInvalid, KeyInvalid, CertificateInvalid: the profile or its files cannot be used.
        RecordUnknown: the source does not have the record.
        CaseExchangeError: as ``authored_records`` and its ``get`` for a bundle, and as ``Disclosing.disclose``.
    """
    config = load_edge(profile)
    principal = principal_of(load_certificates(config.agency.signing_certificate)[0])
    folder = config.agency.encryption_keys
    keys = None if folder == Path() else FolderKeys(folder)
    with source.open("rb") as file:
        is_bundle = file.read(len(MAGIC)) == MAGIC
    if is_bundle:
        found = authored_records(source, (config.trust.governance_key,), (record_id,))
        envelope = found.get(record_id).claim.envelope
    else:
        envelope = _CODEC.decode_envelope(read_file(source, MAX_DISCLOSURE_BYTES))
        if _CODEC.parse_body(envelope.body).record_id != record_id:
            message = "the file has another record"
            raise RecordUnknown(message)
    disclosing = Disclosing(principal.trust_domain, _CODEC, AesGcmCipher())
    return disclosing.disclose(envelope, section, principal.agency, keys)


def check_disclosures(bundle: Path, roots: tuple[Path, ...], files: Sequence[Path]) -> list[CheckedDisclosure]:
    """Check disclosures against the records of a bundle, which the pinned keys lead to. No other key is needed.

    The bundle is read once. If it cannot be read to its end, no disclosure is refused for that: each is ``unchecked``.
    """
    parsed = [_parsed(file) for file in files]
    wanted = {found.record_id for found in parsed if isinstance(found, Disclosure)}
    try:
        records = authored_records(bundle, roots, wanted)
    except CaseExchangeError as fault:
        named = [_named(file, found) for file, found in zip(files, parsed, strict=True)]
        return [each if each.refusal else each._replace(unchecked=fault) for each in named]
    return [_checked(_named(file, found), found, records) for file, found in zip(files, parsed, strict=True)]


def _parsed(file: Path) -> Disclosure | CaseExchangeError:
    try:
        return Disclosure.parse(_read(file))
    except CaseExchangeError as refusal:
        return refusal


def _named(file: Path, found: Disclosure | CaseExchangeError) -> CheckedDisclosure:
    if isinstance(found, CaseExchangeError):
        return CheckedDisclosure(file.name, refusal=found)
    return CheckedDisclosure(file.name, found.record_id, found.section)


def _checked(
    named: CheckedDisclosure, disclosure: Disclosure | CaseExchangeError, records: AuthoredRecords
) -> CheckedDisclosure:
    if isinstance(disclosure, CaseExchangeError):
        return named
    try:
        record = records.get(disclosure.record_id).claim.envelope
        descriptor = Disclosing(records.trust_domain, _CODEC, AesGcmCipher()).check(disclosure, record)
    except CaseExchangeError as refusal:
        return named._replace(refusal=refusal)
    body = _CODEC.parse_body(record.body)
    return named._replace(
        kind=body.kind,
        publisher=body.publisher,
        sealed=descriptor.sealed,
        content_bytes=len(disclosure.content),
        content_sha256=hashlib.sha256(disclosure.content).hexdigest(),
    )


def _read(file: Path) -> bytes:
    try:
        return read_file(file, MAX_DISCLOSURE_BYTES)
    except OSError as error:
        message = f"{file.name} cannot be read: {error.strerror}"
        raise DisclosureInvalid(message) from error
