"""TLS for HTTPS, on Python's own ssl: version 1.3 alone, as everywhere in the exchange."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from broker.core.errors import CertificateInvalid
from broker.files import FileState

if TYPE_CHECKING:
    from pathlib import Path


class ServerContext:
    """The TLS side of a server, of files that may be replaced while the process runs.

    Args:
        certificate: PEM, with its chain.
        key: its private key, PEM.
        client_authorities: a client must have a certificate of one of these (PEM). None: clients have none.

    Raises:
        CertificateInvalid: a file cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, client_authorities: Path | None = None) -> None:
        self.certificate, self.key, self._authorities = certificate, key, client_authorities
        self._seen = self._state()
        self._current = _server_context(certificate, key, client_authorities)

    def current(self) -> ssl.SSLContext:
        """For the next connection."""
        return self._current

    def refresh(self) -> None:
        """Use the files as they are now for the connections that come. Those that are open stay.

        They get a context of their own, because OpenSSL takes no authority out of one that is in use.

        Raises:
            CertificateInvalid: a file cannot be used, or they do not belong together. The former ones stay in use.
        """
        state = self._state()
        if state != self._seen:
            self._current = _server_context(self.certificate, self.key, self._authorities)
            self._seen = state

    def _state(self) -> list[FileState]:
        paths = (self.certificate, self.key, self._authorities)
        try:
            return [FileState.of(path) for path in paths if path is not None]
        except OSError as error:
            message = f"a TLS file cannot be read: {error.strerror}"
            raise CertificateInvalid(message) from error


def _server_context(certificate: Path, key: Path, client_authorities: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, certificate, key)
    if client_authorities is not None:
        _load_authorities(context, client_authorities)
        context.verify_mode = ssl.CERT_REQUIRED
        # No resumed session, which would not show whether the client's certificate has ended since.
        context.num_tickets = 0
    return context


def client_context(authorities: Path) -> ssl.SSLContext:
    """The TLS side of a client: the server's certificate must name its host, and one of these must have issued it.

    Raises:
        CertificateInvalid: the file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    _load_authorities(context, authorities)
    return context


class ClientContext:
    """``client_context`` of a file that may be replaced while the process runs.

    Args:
        authorities: the file, PEM. It is read when the context is needed.
    """

    def __init__(self, authorities: Path) -> None:
        self._authorities = authorities
        self._read: tuple[FileState, ssl.SSLContext] | None = None

    def newest(self) -> ssl.SSLContext:
        """The context of the file as it is now: the same one until the file changes.

        Raises:
            CertificateInvalid: the file cannot be used.
        """
        try:
            state = FileState.of(self._authorities)
        except OSError as error:
            message = f"{self._authorities.name} cannot be read: {error.strerror}"
            raise CertificateInvalid(message) from error
        if self._read is None or self._read[0] != state:
            self._read = state, client_context(self._authorities)
        return self._read[1]


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Show this certificate to peers.

    Raises:
        CertificateInvalid: a file cannot be used, or the two do not belong together.
    """
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        message = f"{certificate.name} and {key.name} cannot be used for TLS"
        raise CertificateInvalid(message) from error


def _load_authorities(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        message = f"{authorities.name} cannot be used as a list of TLS authorities"
        raise CertificateInvalid(message) from error
