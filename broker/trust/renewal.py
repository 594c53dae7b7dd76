"""What is laid into a key folder takes the place of what is there, while programs run.

A renewal begins with a new key and a request beside the certificate in use: ``tls.next.key`` and ``tls.next.csr``
beside ``tls.pem``. The authority's answer is laid beside them as ``tls.next.pem``. Whoever uses the certificate then
puts key and certificate in their places. Two programs may do so at a time.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cryptography import x509

from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.files import sync_folder
from broker.trust.certificates import find_issuer, load_certificates, principal_of, validity
from broker.trust.keys import load_signing_key

if TYPE_CHECKING:
    from pathlib import Path

_REQUEST = ".csr"


def pending(path: Path) -> Path:
    """Where what shall take the place of this file lies until then."""
    return path.with_suffix(f".next{path.suffix}")


def request_of(certificate: Path) -> Path:
    """Where the request for this certificate lies."""
    return certificate.with_suffix(_REQUEST)


def pending_certificate(certificate: Path, key: Path, now_ms: int) -> x509.Certificate | None:
    """The certificate that can take the place of the one in use, or None: nothing was laid there.

    Args:
        certificate: the file of the one in use.
        key: the file of its key.
        now_ms: the time.

    Raises:
        CertificateInvalid: what was laid there is unreadable, not valid now, or not for the same principal and usages.
        KeyInvalid: it belongs to another key.
    """
    laid = pending(certificate)
    if not laid.exists():
        return None
    found = load_certificates(laid)[0]
    # After a kill in the middle of an earlier attempt, the key is in its place already.
    new_key = pending(key) if pending(key).exists() else key
    if load_signing_key(new_key).public_key() != found.public_key():
        message = f"{new_key.name} is not the key of {laid.name}"
        raise KeyInvalid(message)
    used = load_certificates(certificate)[0]
    if (principal_of(found), _usages(found)) != (principal_of(used), _usages(used)):
        message = f"{laid.name} is not for the same principal and usages as {certificate.name}"
        raise CertificateInvalid(message)
    period = validity(found)
    if not period.first_ms <= now_ms <= period.last_ms:
        message = f"{laid.name} is not valid now"
        raise CertificateInvalid(message)
    return found


def take_up_tls(certificate: Path, key: Path, authorities: Path | None, now_ms: int) -> bool:
    """Put a renewed TLS certificate that was laid beside the one in use in its place. Return whether there was one.

    Args:
        certificate: the file of the one in use.
        key: the file of its key.
        authorities: those of the peers, or None. If one of them issued that in use, one must have issued the renewed.
        now_ms: the time.

    Raises:
        CertificateInvalid, KeyInvalid: it cannot be used. That in use stays.
    """
    found = pending_certificate(certificate, key, now_ms)
    if found is None:
        return False
    known = () if authorities is None else load_certificates(authorities)
    if find_issuer(load_certificates(certificate)[0], known) is not None and find_issuer(found, known) is None:
        message = f"{pending(certificate).name} is of another authority than {certificate.name}"
        raise CertificateInvalid(message)
    put_in_place(certificate, key)
    return True


def put_in_place(certificate: Path, key: Path) -> None:
    """Put what ``pending_certificate`` found in its place, key first, and forget the request. Durable.

    Raises:
        CertificateInvalid: it cannot be done here. It can be tried again.
    """
    try:
        # Another program may be a step ahead: it does the same.
        with contextlib.suppress(FileNotFoundError):
            pending(key).replace(key)
        with contextlib.suppress(FileNotFoundError):
            pending(certificate).replace(certificate)
        request_of(pending(certificate)).unlink(missing_ok=True)
        sync_folder(certificate.parent)
    except OSError as error:
        message = f"{pending(certificate).name} cannot be put in place: {error.strerror}"
        raise CertificateInvalid(message) from error


def finish(certificate: Path, key: Path) -> None:
    """If a process ended in the middle of ``put_in_place``, do the rest of it.

    Raises:
        CertificateInvalid, KeyInvalid: a file cannot be read or replaced.
    """
    laid = pending(certificate)
    if not laid.exists() or pending(key).exists():
        return
    if load_signing_key(key).public_key() == load_certificates(laid)[0].public_key():
        put_in_place(certificate, key)


def _usages(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier]:
    try:
        return frozenset(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return frozenset()
