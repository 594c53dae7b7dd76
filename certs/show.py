"""Describes the content of a trust file. For a private key, only which public key it belongs to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from broker.core.errors import PeerIdentityMissing, SetupInvalid
from broker.files import read_file
from broker.trust.certificates import fingerprint, load_certificates, principal_of
from certs.profiles import profile_of

if TYPE_CHECKING:
    from pathlib import Path

Facts = dict[str, str | int | list[str]]

MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def describe(path: Path) -> list[Facts]:
    """Describe a file of certificates, a revocation list or a key: one item for each object in it.

    Raises:
        SetupInvalid: it is none of these.
    """
    try:
        data = read_file(path, MAX_FILE_BYTES)
        if b"X509 CRL-----" in data:
            return [_revocation_list(x509.load_pem_x509_crl(data))]
        if b"PRIVATE KEY-----" in data:
            key = load_pem_private_key(data, password=None)
            return [{"type": "private key", "public_key_sha256": _key_sha256(key.public_key())}]
        if b"PUBLIC KEY-----" in data:
            return [{"type": "public key", "public_key_sha256": _key_sha256(load_pem_public_key(data))}]
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        message = f"{path.name} cannot be read as a certificate, revocation list or key"
        raise SetupInvalid(message) from None
    return [_certificate(certificate) for certificate in load_certificates(path)]


def _certificate(certificate: x509.Certificate) -> Facts:
    profile = profile_of(certificate)
    facts: Facts = {
        "type": "certificate",
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "profile": profile.name if profile else "not a leaf profile of this exchange",
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "sha256": fingerprint(certificate).hex(),
        "public_key_sha256": _key_sha256(certificate.public_key()),
    }
    try:
        facts["principal"] = principal_of(certificate).spiffe_id
    except PeerIdentityMissing as error:
        facts["principal"] = f"none: {error.message}"
    return facts


def _revocation_list(crl: x509.CertificateRevocationList) -> Facts:
    return {
        "type": "revocation list",
        "issuer": crl.issuer.rfc4514_string(),
        "number": crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
        "issued": crl.last_update_utc.isoformat(),
        "next_update": crl.next_update_utc.isoformat() if crl.next_update_utc else "never",
        "revoked": [f"{entry.serial_number:x} since {entry.revocation_date_utc.isoformat()}" for entry in crl],
    }


def _key_sha256(key: object) -> str:
    encode = getattr(key, "public_bytes")  # noqa: B009 - every public key has it; the library has no common base class
    encoded: bytes = encode(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()
