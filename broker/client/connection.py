"""The connection to a broker: one channel with mutual TLS. Its failures become typed errors."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

from broker.core.errors import ConnectionFailed
from broker.wire.status import error_from_call
from broker.wire.tls import client_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from broker.core.errors import CaseExchangeError
    from broker.wire.tls import TlsMaterial

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Largest message accepted from a broker. Several of the largest records fit into it."""
ENDED: Final = (asyncio.InvalidStateError, grpc.aio.InternalError, grpc.aio.UsageError)
"""What gRPC raises if a call ends between two steps, because the broker died."""
_BROKEN: Final = "the connection broke in the middle of a call"
_LAST_SECONDS: Final = 10.0
"""How long calls under way may go on with former TLS files."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How to connect to the broker.

    Attributes:
        target: host and port, such as ``broker.example:7443``.
        server_name: the name in the broker's certificate, if it is not the host's name.
        keepalive_seconds: after this much silence, the client tests the connection.
        keepalive_timeout_seconds: if the test has no answer within this time, the connection ends.
        connect_seconds: an attempt to connect may take so long. Over a slow link, TCP and TLS need several round trips.
        reconnect_seconds: longest wait between two attempts to connect.
    """

    target: str
    server_name: str | None = None
    keepalive_seconds: float = 30.0
    keepalive_timeout_seconds: float = 10.0
    connect_seconds: float = 10.0
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
        # Despite its name, the least time that gRPC gives an attempt. The waits between them begin with the next one.
        ("grpc.min_reconnect_backoff_ms", int(settings.connect_seconds * 1000)),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # A proxy from the environment would see who talks to the exchange, and when.
        ("grpc.enable_http_proxy", 0),
    ]
    if settings.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return grpc.aio.secure_channel(settings.target, client_credentials(tls), options=options)


class RenewableChannel(grpc.aio.Channel):
    """A channel that goes on with renewed TLS files: a call that begins later is made with the newest. For one loop."""

    def __init__(self, settings: ConnectionSettings, tls: TlsMaterial) -> None:
        self._settings = settings
        self._newest = open_channel(settings, tls)
        self._closing: set[asyncio.Task[None]] = set()

    def renew(self, tls: TlsMaterial) -> None:
        """Use these files from now on. Calls under way have a few seconds to end; then they break, and are made again.

        They must not go on for long: a certificate is also renewed because it is to be revoked.
        """
        former, self._newest = self._newest, open_channel(self._settings, tls)
        task = asyncio.create_task(former.close(_LAST_SECONDS))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self, grace: float | None = None) -> None:
        """Close the connection."""
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._newest.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - gRPC's own
        """See gRPC."""
        return self._newest.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See gRPC."""
        await self._newest.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See gRPC."""
        await self._newest.channel_ready()

    def unary_unary(self, *method: Any, **how: Any) -> Any:
        """See gRPC."""
        return self._calls("unary_unary", method, how)

    def unary_stream(self, *method: Any, **how: Any) -> Any:
        """See gRPC."""
        return self._calls("unary_stream", method, how)

    def stream_unary(self, *method: Any, **how: Any) -> Any:
        """See gRPC."""
        return self._calls("stream_unary", method, how)

    def stream_stream(self, *method: Any, **how: Any) -> Any:
        """See gRPC."""
        return self._calls("stream_stream", method, how)

    def _calls(self, form: str, method: tuple[Any, ...], how: dict[str, Any]) -> Callable[..., Any]:
        def call(*request: Any, **options: Any) -> Any:
            return getattr(self._newest, form)(*method, **how)(*request, **options)

        return call


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
    except ENDED as error:
        raise ConnectionFailed(_BROKEN) from error
    except asyncio.CancelledError as error:
        if caller_is_cancelled():
            raise
        raise ConnectionFailed(_BROKEN) from error


def caller_is_cancelled() -> bool:
    """Whether a CancelledError is for this task. If not, gRPC raised it because the call or its channel was closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
