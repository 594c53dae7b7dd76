"""Check TLS files before a library uses them, because its errors say less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.files import FileState
from broker.trust.certificates import load_certificates, principal_of, validity
from broker.trust.keys import load_signing_key
from broker.trust.renewal import Laid
from broker.trust.tokenkeys import TokenKey

if TYPE_CHECKING:
    from pathlib import Path

    from broker.ports import Clock
    from broker.wire.tls import TlsFiles, TlsMaterial


def check_tls_files(certificate: Path, key: Path, now_ms: int) -> None:
    """Check that a TLS certificate is valid now, and that the key belongs to it and is private.

    Raises:
        CertificateInvalid: unreadable, not yet valid, or expired.
        KeyInvalid: unreadable, open to others, not on P-256, in a token, or of another certificate.
    """
    leaf = load_certificates(certificate)[0]
    private = load_signing_key(key)
    if isinstance(private, TokenKey):
        message = f"{key.name} names a key in a token: the libraries for TLS need the key itself, in PEM"
        raise KeyInvalid(message)
    if private.public_key() != leaf.public_key():
        message = f"{key.name} is not the key of {certificate.name}"
        raise KeyInvalid(message)
    period = validity(leaf)
    if not period.first_ms <= now_ms <= period.last_ms:
        state = "has expired" if now_ms > period.last_ms else "is not valid yet"
        message = f"{certificate.name} {state}"
        raise CertificateInvalid(message)


def ready_tls(files: TlsFiles, clock: Clock) -> None:
    """Before a program begins: take up a renewed TLS certificate, and check what is then in use.

    If the renewed one cannot be used, this is logged: what is in use may do for a while.

    Raises:
        CertificateInvalid, KeyInvalid: as ``check_tls_files``.
    """
    laid = Laid(files.certificate, files.key, clock)
    laid.finish()
    laid.take_up_tls(files.authorities)
    check_tls_files(files.certificate, files.key, clock.now_ms())


class WatchedTls:
    """TLS files that are renewed while a program runs, in their places or beside them (broker/trust/renewal.py)."""

    def __init__(self, files: TlsFiles, clock: Clock) -> None:
        """Read the files.

        Raises:
            CertificateInvalid, KeyInvalid
        """
        self._files = files
        self._clock = clock
        self._laid = Laid(files.certificate, files.key, clock)
        ready_tls(files, clock)
        self.principal: Final = principal_of(load_certificates(files.certificate)[0])
        self._seen = self._state()
        self.initial = files.read()
        self._renewed: TlsMaterial | None = None

    def newest(self) -> TlsMaterial | None:
        """The changed material since the last call, or None. Called from gRPC's threads."""
        renewed, self._renewed = self._renewed, None
        return renewed

    def reload(self) -> bool:
        """Use changed files when they match. Return whether they are used.

        What was laid beside them and cannot be used is told once, and does not keep those in place from being used.

        Raises:
            CertificateInvalid, KeyInvalid: they do not match, or belong to somebody else. The earlier ones stay in use.
        """
        self._laid.take_up_tls(self._files.authorities)
        state = self._state()
        if state == self._seen:
            return False
        # Certificate and key are replaced one after the other. Until they match, this raises and is tried again.
        check_tls_files(self._files.certificate, self._files.key, self._clock.now_ms())
        if principal_of(load_certificates(self._files.certificate)[0]) != self.principal:
            message = f"{self._files.certificate.name} is now of another agency or system"
            raise CertificateInvalid(message)
        self._renewed = self._files.read()
        self._seen = state
        return True

    def _state(self) -> tuple[FileState, ...]:
        paths = (self._files.certificate, self._files.key, self._files.authorities)
        try:
            return tuple(map(FileState.of, paths))
        except OSError as error:
            message = f"a TLS file cannot be read: {error.strerror}"
            raise CertificateInvalid(message) from error
