"""TLS files to gRPC credentials. gRPC itself demands TLS 1.2 or newer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from broker.core.errors import CertificateInvalid, KeyInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate with its chain, its private key, and the authorities of the peers that we accept."""

    certificate: Path
    key: Path
    authorities: Path

    def read(self) -> TlsMaterial:
        """Read all three now.

        Raises:
            CertificateInvalid, KeyInvalid: a file cannot be read.
        """
        return TlsMaterial(_read(self.certificate), _read(self.key, key=True), _read(self.authorities))


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The contents of TLS files. Never printed: it holds the private key."""

    certificate: bytes
    key: bytes
    authorities: bytes

    def __repr__(self) -> str:
        return "TlsMaterial(...)"


def client_credentials(material: TlsMaterial) -> grpc.ChannelCredentials:
    """Credentials with which a client shows who it is and checks its broker."""
    return grpc.ssl_channel_credentials(
        root_certificates=material.authorities, private_key=material.key, certificate_chain=material.certificate
    )


def server_credentials(initial: TlsMaterial, newest: Callable[[], TlsMaterial | None]) -> grpc.ServerCredentials:
    """Credentials of a server that uses renewed certificates without a restart.

    Args:
        initial: the material at the start.
        newest: called at every handshake, from a thread of gRPC. It returns the material to use from now on, or None
            for no change.
    """

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        material = newest()
        return None if material is None else _configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(initial),
        fetch,  # type: ignore[arg-type] # gRPC documents None for "no change"; the stubs leave it out
        require_client_authentication=True,
    )


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.authorities
    )


def _read(path: Path, *, key: bool = False) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path.name} cannot be read: {error.strerror}"
        raise (KeyInvalid if key else CertificateInvalid)(message) from error
