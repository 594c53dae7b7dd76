"""Connect to a Kafka listener with any certificate, without the retries and the interpretation of a Kafka client."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.kafka.settings import Endpoint

_SECONDS = 10
_API_VERSIONS = struct.pack(">hhih", 18, 0, 7, -1)
"""The only request that any peer may send: key 18, version 0, correlation id 7, no client id."""


def client_context(authority: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def is_answered(endpoint: Endpoint, context: ssl.SSLContext | None) -> bool:
    """Whether a node answers a request, over TLS with this context, or without TLS if there is none.

    Raises:
        ssl.SSLError: the node refused the certificate in the handshake.
    """
    with socket.create_connection((endpoint.host, endpoint.port), _SECONDS) as raw:
        with context.wrap_socket(raw, server_hostname=endpoint.host) if context else raw as connection:
            connection.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
            try:
                answer = connection.recv(8)
            except ConnectionError:
                return False
        return answer[4:] == struct.pack(">i", 7)
