"""The way to a broker: one channel with mutual TLS, and the translation of what can go wrong on it."""

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
"""Largest message taken from a broker: several of the largest records together."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Where the broker is.

    Attributes:
        target: host and port, such as ``broker.example:7443``.
        server_name: the name that the broker's certificate must carry, where it is not the host's.
        keepalive_seconds: after so much silence the connection is probed.
        keepalive_timeout_seconds: a probe not answered within this ends the connection.
        reconnect_seconds: longest wait between two attempts to connect.
    """

    target: str
    server_name: str | None = None
    keepalive_seconds: float = 30.0
    keepalive_timeout_seconds: float = 10.0
    reconnect_seconds: float = 5.0


def open_channel(settings: ConnectionSettings, tls: TlsMaterial) -> grpc.aio.Channel:
    """A channel that connects when it is first used, and again whenever it has to. Close it, or ``async with`` it."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # The broker decides what is too large, and says so with a typed error.
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
    """The typed error that a failed call stands for."""
    pairs: list[tuple[str, str | bytes]] = [(key, value) for key, value in error.trailing_metadata()]
    return error_from_call(error.code(), error.details(), pairs)


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Raise what a call fails with as an error of the one tree."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise error_of(error) from error
