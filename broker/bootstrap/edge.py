"""The auditor's and operator's side of a connection: TLS files to clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.client.connection import ConnectionSettings, open_channel
from broker.trust.certificates import load_certificates, principal_of
from broker.trust.expiries import Expiry, directory_expiry, key_expiries, list_expiries, own_expiries
from broker.trust.revocation_files import RevocationFiles
from broker.trust.system import SystemClock
from broker.trust.tls import ready_tls
from broker.wire.tls import TlsFiles

if TYPE_CHECKING:
    import grpc

    from broker.config.edge import EdgeConfig
    from broker.core.policy import Directory


def connect(config: EdgeConfig) -> grpc.aio.Channel:
    """A channel to the broker of a profile, as the agency of the profile.

    Raises:
        CertificateInvalid, KeyInvalid: a TLS file cannot be used.
    """
    agency = config.agency
    files = TlsFiles(agency.certificate, agency.key, agency.authorities)
    ready_tls(files, SystemClock())
    settings = ConnectionSettings(config.broker.address, config.broker.server_name or None)
    return open_channel(settings, files.read())


def edge_expiries(config: EdgeConfig, directory: Directory) -> list[Expiry]:
    """When the certificates and encryption keys of a profile's agency end, its authorities, and the directory in force.

    Raises:
        CertificateInvalid: the TLS certificate, which says whose they are, cannot be used.
    """
    agency = config.agency
    own = own_expiries(agency.certificate, agency.signing_certificate, agency.authorities, directory)
    agencies = [principal_of(load_certificates(agency.certificate)[0]).agency]
    return [*own, *key_expiries(directory, agencies, SystemClock().now_ms()), directory_expiry(directory)]


def edge_list_expiries(config: EdgeConfig, directory: Directory) -> list[Expiry]:
    """When the revocation list of a profile ends.

    Raises:
        RevocationListInvalid, CertificateInvalid: it cannot be used.
    """
    authorities = directory.signing_authorities
    return list_expiries(
        RevocationFiles([config.trust.signing_revocations], lambda: authorities, grace_ms=0).documents()
    )
