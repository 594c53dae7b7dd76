"""What is laid into a key folder takes the place of what is there, while programs run.

A renewal begins with a new key and a request beside the certificate in use: ``tls.next.key`` and ``tls.next.csr``
beside ``tls.pem``. The authority's answer is laid beside them as ``tls.next.pem``. Whoever uses the certificate then
puts key and certificate in their places. Two programs may do so at a time.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.core.errors import CertificateInvalid, KeyInvalid, SetupInvalid
from broker.files import exclusive, sync_folder
from broker.trust.certificates import der, find_issuer, load_certificates, principal_of, server_names_of, validity
from broker.trust.keys import load_signing_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.ports import Clock

_log = structlog.get_logger("broker.trust")
_T = TypeVar("_T")
_REQUEST: Final = ".csr"
_WAIT_SECONDS: Final = 1.0
_DAY_MS: Final = 24 * 3_600_000


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
        CertificateInvalid: what was laid there is unreadable, not valid now, not for the same principal and usages, or
            lacks a name of the server.
        KeyInvalid: it belongs to another key.
    """
    laid = pending(certificate)
    if not laid.exists():
        return None
    found = load_certificates(laid)[0]
    _check_key(found, certificate, key)
    used = load_certificates(certificate)[0]
    if (principal_of(found), _usages(found)) != (principal_of(used), _usages(used)):
        message = f"{laid.name} is not for the same principal and usages as {certificate.name}"
        raise CertificateInvalid(message)
    # A server that loses a name is one that its clients no longer reach.
    missing = sorted({*server_names_of(used)} - {*server_names_of(found)})
    if ExtendedKeyUsageOID.SERVER_AUTH in _usages(used) and missing:
        message = f"{laid.name} lacks names of the server that {certificate.name} has: {', '.join(missing)}"
        raise CertificateInvalid(message)
    period = validity(found)
    if not period.first_ms <= now_ms <= period.last_ms:
        message = f"{laid.name} is not valid now"
        raise CertificateInvalid(message)
    return found


def check_issuer(found: x509.Certificate, certificate: Path, authorities: Path | None) -> None:
    """Check that the authority of what was laid there is one by which peers know the owner of the one in use.

    Args:
        found: what was laid there.
        certificate: the file of the one in use.
        authorities: the file of those of the peers, or None: the authority must be the same as before, by its name and
            key identifier.

    Raises:
        CertificateInvalid: it is of another authority, or the file cannot be read.
    """
    used = load_certificates(certificate)[0]
    known = () if authorities is None else load_certificates(authorities)
    if find_issuer(found, known) is not None:
        return
    if find_issuer(used, known) is not None or _issuer(found) != _issuer(used):
        message = f"{pending(certificate).name} is of another authority than {certificate.name}"
        raise CertificateInvalid(message)


def take_up_tls(certificate: Path, key: Path, authorities: Path | None, now_ms: int) -> bool:
    """Put a renewed TLS certificate that was laid beside the one in use in its place. Return whether there was one.

    Args:
        certificate: the file of the one in use.
        key: the file of its key.
        authorities: see ``check_issuer``.
        now_ms: the time.

    Raises:
        CertificateInvalid, KeyInvalid: it cannot be used. That in use stays.
    """
    found = pending_certificate(certificate, key, now_ms)
    if found is None:
        return False
    check_issuer(found, certificate, authorities)
    put_in_place(certificate, key, found)
    return True


def put_in_place(certificate: Path, key: Path, found: x509.Certificate, *, locked: bool = False) -> None:
    """Put what ``pending_certificate`` found in its place, key first, and forget the request. Durable.

    A key is never renamed without its certificate: another key that lies there belongs to a request that waits.
    ``locked``: the caller is the only one that changes the folder (``broker.files.exclusive``).

    Raises:
        CertificateInvalid: it cannot be done here, or now. It can be tried again.
        KeyInvalid: no key there belongs to it.
    """
    laid, new_key = pending(certificate), pending(key)
    try:
        with contextlib.nullcontext() if locked else exclusive(certificate.parent, wait_seconds=_WAIT_SECONDS):
            if not laid.exists():
                return  # Another program did it.
            if der(load_certificates(laid)[0]) != der(found):
                message = f"{laid.name} was replaced meanwhile"
                raise CertificateInvalid(message)
            if _check_key(found, certificate, key) == new_key:
                new_key.replace(key)
            laid.replace(certificate)
            if not new_key.exists():
                request_of(laid).unlink(missing_ok=True)
            sync_folder(certificate.parent)
    except OSError as error:
        message = f"{laid.name} cannot be put in place: {error.strerror}"
        raise CertificateInvalid(message) from error


def finish(certificate: Path, key: Path, *, locked: bool = False) -> None:
    """If a process ended in the middle of ``put_in_place``, do the rest of it. ``locked``: as there.

    Raises:
        CertificateInvalid, KeyInvalid: a file cannot be read or replaced.
    """
    laid = pending(certificate)
    if not laid.exists():
        return
    found = load_certificates(laid)[0]
    if load_signing_key(key).public_key() == found.public_key():
        put_in_place(certificate, key, found, locked=locked)


class Laid:
    """What is laid beside one certificate in use, while a program runs. It tells the log once what cannot be used."""

    def __init__(self, certificate: Path, key: Path, clock: Clock) -> None:
        self._certificate, self._key, self._clock = certificate, key, clock
        self._told: tuple[str, int] | None = None

    def found(self) -> x509.Certificate | None:
        """See ``pending_certificate``. What cannot be used is told, and is as nothing: so what is in use goes on."""
        return self._try(lambda: pending_certificate(self._certificate, self._key, self._clock.now_ms()))

    def take_up_tls(self, authorities: Path | None) -> None:
        """See the function of this name. What cannot be used is told, and what is in use goes on."""
        self._try(lambda: take_up_tls(self._certificate, self._key, authorities, self._clock.now_ms()))

    def finish(self) -> None:
        """See the function of this name. If it cannot be done, this is told."""
        self._try(lambda: finish(self._certificate, self._key))

    def _try(self, what: Callable[[], _T]) -> _T | None:
        try:
            return what()
        except SetupInvalid as error:
            now_ms = self._clock.now_ms()
            told, last_ms = self._told or ("", 0)
            # Once, and then once a day: a program looks every 2 s.
            if told != error.message or not 0 <= now_ms - last_ms < _DAY_MS:
                self._told = error.message, now_ms
                _log.error("a renewed certificate is not used", reason=error.reason, cause=error.message)
            return None


def _check_key(found: x509.Certificate, certificate: Path, key: Path) -> Path:
    """The file of the key of what was laid there. After a kill in the middle of an attempt, it is in its place already.

    Raises:
        KeyInvalid: no key there belongs to it.
    """
    new_key = pending(key)
    if new_key.exists() and load_signing_key(new_key).public_key() == found.public_key():
        return new_key
    if load_signing_key(key).public_key() == found.public_key():
        return key
    message = f"{(new_key if new_key.exists() else key).name} is not the key of {pending(certificate).name}"
    raise KeyInvalid(message)


def _issuer(certificate: x509.Certificate) -> tuple[x509.Name, bytes | None]:
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        identifier = None
    return certificate.issuer, identifier


def _usages(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier]:
    try:
        return frozenset(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return frozenset()
