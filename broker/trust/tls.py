"""Check TLS files before a library uses them, because its errors say less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.trust.certificates import load_certificates, validity
from broker.trust.keys import load_signing_key

if TYPE_CHECKING:
    from pathlib import Path


def check_tls_files(certificate: Path, key: Path, now_ms: int) -> None:
    """Check that a TLS certificate is valid now, and that the key belongs to it and is private.

    Raises:
        CertificateInvalid: unreadable, not yet valid, or expired.
        KeyInvalid: unreadable, open to others, not on P-256, or of another certificate.
    """
    leaf = load_certificates(certificate)[0]
    if load_signing_key(key).public_key() != leaf.public_key():
        message = f"{key.name} is not the key of {certificate.name}"
        raise KeyInvalid(message)
    period = validity(leaf)
    if not period.first_ms <= now_ms <= period.last_ms:
        state = "has expired" if now_ms > period.last_ms else "is not valid yet"
        message = f"{certificate.name} {state}"
        raise CertificateInvalid(message)
