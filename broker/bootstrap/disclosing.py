"""Disclose a section, and check disclosures: the files and keys for broker/client/disclosing.py."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from broker.bootstrap.export import signed_record
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
        refusal: why it proves nothing. None: it belongs to the signed record.
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
        CaseExchangeError: as ``signed_record`` for a bundle, and as ``Disclosing.disclose``.
    """
    config = load_edge(profile)
    principal = principal_of(load_certificates(config.agency.signing_certificate)[0])
    folder = config.agency.encryption_keys
    keys = None if folder == Path() else FolderKeys(folder)
    with source.open("rb") as file:
        is_bundle = file.read(len(MAGIC)) == MAGIC
    if is_bundle:
        envelope = signed_record(source, (config.trust.governance_key,), record_id).envelope
    else:
        envelope = _CODEC.decode_envelope(read_file(source, MAX_DISCLOSURE_BYTES))
        if _CODEC.parse_body(envelope.body).record_id != record_id:
            message = "the file has another record"
            raise RecordUnknown(message)
    disclosing = Disclosing(principal.trust_domain, _CODEC, AesGcmCipher())
    return disclosing.disclose(envelope, section, principal.agency, keys)


def check_disclosures(bundle: Path, roots: tuple[Path, ...], files: Sequence[Path]) -> list[CheckedDisclosure]:
    """Check disclosures against the records of a bundle, which the pinned keys lead to. No other key is needed.

    Raises:
        CaseExchangeError: the trust material of the bundle cannot be used, as in ``verify_bundle``.
    """
    return [_checked(bundle, roots, file) for file in files]


def _checked(bundle: Path, roots: tuple[Path, ...], file: Path) -> CheckedDisclosure:
    found = CheckedDisclosure(file.name)
    try:
        disclosure = Disclosure.parse(_read(file))
        found = found._replace(record_id=disclosure.record_id, section=disclosure.section)
        record = signed_record(bundle, roots, disclosure.record_id)
        # The signer's certificate names the exchange: the directory that lists it is that of the pinned key.
        trust_domain = principal_of(record.certificate).trust_domain
        descriptor = Disclosing(trust_domain, _CODEC, AesGcmCipher()).check(disclosure, record.envelope)
    except CaseExchangeError as refusal:
        return found._replace(refusal=refusal)
    body = _CODEC.parse_body(record.envelope.body)
    return found._replace(
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
