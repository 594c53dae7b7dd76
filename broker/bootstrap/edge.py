"""The auditor's and operator's side of a connection: TLS files to clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.client.connection import ConnectionSettings, open_channel
from broker.trust.system import SystemClock
from broker.trust.tls import check_tls_files
from broker.wire.tls import TlsFiles

if TYPE_CHECKING:
    import grpc

    from broker.config.edge import EdgeConfig


def connect(config: EdgeConfig) -> grpc.aio.Channel:
    """A channel to the broker of a profile, as the agency of the profile.

    Raises:
        CertificateInvalid, KeyInvalid: a TLS file cannot be used.
    """
    agency = config.agency
    check_tls_files(agency.certificate, agency.key, SystemClock().now_ms())
    settings = ConnectionSettings(config.broker.address, config.broker.server_name or None)
    return open_channel(settings, TlsFiles(agency.certificate, agency.key, agency.authorities).read())
