"""The connection to a broker: one channel with mutual TLS. Its failures become typed errors."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from broker.wire.status import error_from_call
from broker.wire.tls import client_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.errors import CaseExchangeError
    from broker.wire.tls import TlsMaterial

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Largest message accepted from a broker. Several of the largest records fit into it."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How to connect to the broker.

    Attributes:
        target: host and port, such as ``broker.example:7443``.
        server_name: the name in the broker's certificate, if it is not the host's name.
        keepalive_seconds: after this much silence, the client tests the connection.
        keepalive_timeout_seconds: if the test has no answer within this time, the connection ends.
        reconnect_seconds: longest wait between two attempts to connect.
    """

    target: str
    server_name: str | None = None
    keepalive_seconds: float = 30.0
    keepalive_timeout_seconds: float = 10.0
    reconnect_seconds: float = 5.0


def open_channel(settings: ConnectionSettings, tls: TlsMaterial) -> grpc.aio.Channel:
    """A channel that connects at its first use, and again when needed. Close it, or use ``async with``."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # The broker decides what is too large, and answers with a typed error.
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", int(settings.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_seconds * 1000)),
        ("grpc.max_reconnect_backoff_ms", int(settings.reconnect_seconds * 1000)),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # A proxy from the environment would see who talks to the exchange, and when.
        ("grpc.enable_http_proxy", 0),
    ]
    if settings.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return grpc.aio.secure_channel(settings.target, client_credentials(tls), options=options)


def error_of(error: grpc.aio.AioRpcError) -> CaseExchangeError:
    """The typed error for a failed call."""
    pairs: list[tuple[str, str | bytes]] = [(key, value) for key, value in error.trailing_metadata()]
    return error_from_call(error.code(), error.details(), pairs)


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Raise the failure of a call as a CaseExchangeError."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise error_of(error) from error
