"""The limits of the transport, with their units."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of one broker process for its peers.

    Attributes:
        message_bytes: the largest message from a peer. It is larger than the limit for a record, so that a record that
            is too large gets its own error.
        metadata_bytes: the headers of a call.
        connections: connections at the same time, also those that have not finished their TLS handshake. One more is
            closed at once.
        streams_per_connection: concurrent calls on one connection.
        concurrent_calls: concurrent calls on all connections.
        connection_idle_seconds: a connection that has no call for so long is closed. Its peer connects again for
            the next one.
        connection_age_seconds: after this a peer is asked to connect again, which spreads load after a restart.
        connection_age_grace_seconds: the time for calls under way on such a connection.
        keepalive_seconds: after this silence a peer is probed.
        keepalive_timeout_seconds: the time for its answer.
        min_ping_seconds: a peer that probes more often is cut off.
        handshake_seconds: the time for the TLS handshake and the first frame after it. Then the connection is closed.
    """

    message_bytes: int = 16 * 1024 * 1024
    metadata_bytes: int = 16 * 1024
    connections: int = 2000
    streams_per_connection: int = 200
    concurrent_calls: int = 8000
    connection_idle_seconds: float = 300.0
    connection_age_seconds: float = 3600.0
    connection_age_grace_seconds: float = 60.0
    keepalive_seconds: float = 60.0
    keepalive_timeout_seconds: float = 20.0
    min_ping_seconds: float = 10.0
    handshake_seconds: float = 10.0

    def channel_options(self, addresses: int = 1) -> list[tuple[str, int]]:
        """The limits as gRPC's options. gRPC counts connections for each address apart, so each gets its share."""
        return [
            ("grpc.max_receive_message_length", self.message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),
            ("grpc.max_allowed_incoming_connections", max(1, self.connections // addresses)),
            ("grpc.max_concurrent_streams", self.streams_per_connection),
            ("grpc.max_connection_idle_ms", _ms(self.connection_idle_seconds)),
            ("grpc.max_connection_age_ms", _ms(self.connection_age_seconds)),
            ("grpc.max_connection_age_grace_ms", _ms(self.connection_age_grace_seconds)),
            ("grpc.keepalive_time_ms", _ms(self.keepalive_seconds)),
            ("grpc.keepalive_timeout_ms", _ms(self.keepalive_timeout_seconds)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _ms(self.min_ping_seconds)),
            ("grpc.server_handshake_timeout_ms", _ms(self.handshake_seconds)),
            # Only messages as they are. A compressed one could become far larger than the limit.
            ("grpc.compression_enabled_algorithms_bitset", 1),
            # Two brokers on one port would each get half of the peers.
            ("grpc.so_reuseport", 0),
        ]


def addresses_of(address: str) -> int:
    """How many addresses of this machine a host and port are: ``localhost`` is often two. 1 if it is not known."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError:
        return 1
    return len({each[4] for each in found})


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
