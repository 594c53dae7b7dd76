"""An HTTPS server: uvicorn with the bounds that it does not have, in the caller's event loop.

uvicorn bounds the size of a request's headers and how long an idle connection stays. It does not bound how long a
request takes to arrive nor how long an answer waits for its reader, and it counts connections only when a request
comes. All three are done here. TLS handshakes are bounded in broker/web/door.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from broker.core.errors import ConfigInvalid, Internal
from broker.web.door import Door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

    from broker.web.tls import ServerContext

_HEADER_BYTES: Final = 16 << 10
_QUEUE: Final = 128
_PORT: Final = re.compile(r"[0-9]{1,5}")
_LARGEST_PORT: Final = 65_535
PEER_CERTIFICATE: Final = "peer_certificate"
"""The name in a request's state (``request.state``) of the client's certificate in DER. None: it has shown none."""


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """What clients may use.

    Attributes:
        connections: at once. Those beyond are closed. As many more may be in their TLS handshakes.
        request_seconds: how long a TLS handshake may take, how long a request, headers and body, may take to arrive,
            and how long answers may wait for a client that does not read them.
        idle_seconds: how long a connection stays without a request.
        drain_seconds: how long answers may go on when the server stops.
        connections_each: at once of one owner, if the server knows owners.
        age_seconds: after so long a client must connect again: certificates end. An answer that has begun is finished.
    """

    connections: int = 100
    request_seconds: float = 10.0
    idle_seconds: float = 60.0
    drain_seconds: float = 5.0
    connections_each: int = 100
    age_seconds: float = 3600.0


class HttpServer:
    """Serves one application. For one event loop."""

    def __init__(
        self,
        app: ASGIApp,
        address: str,
        context: ServerContext | None,
        bounds: HttpBounds,
        owner: Callable[[bytes | None], str] | None = None,
    ) -> None:
        """Listen. Nothing is answered before ``start``.

        Args:
            app: the ASGI application.
            address: host and port; port 0 lets the system choose.
            context: for TLS. None: no TLS, for tests and behind a proxy on the same machine.
            bounds: what clients may use.
            owner: whose connection it is, by the client's certificate (DER). None: nobody asks.

        Raises:
            ConfigInvalid: the address cannot be used.
        """
        self._socket = _listen(address)
        places = _Places(bounds, owner)
        config = uvicorn.Config(
            app,
            http=partial(_BoundedConnection, places),  # type: ignore[arg-type] # it is only called
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_QUEUE,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_keep_alive=int(bounds.idle_seconds),
            timeout_graceful_shutdown=int(bounds.drain_seconds),
            # It only says that there is TLS. The door asks for that of each connection.
            ssl_context_factory=None if context is None else lambda *_: context.current(),
        )
        self._server = _Server(config, bounds, context)
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self) -> None:
        """Begin to answer.

        Raises:
            Internal: an error ended the server before it answered.
        """
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="http server")
        ready = asyncio.create_task(self._server.ready.wait())
        try:
            await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not self._server.ready.is_set():
            await self.ended()

    async def ended(self) -> NoReturn:
        """Wait until the server answers no more, although nobody has stopped it. After ``start``.

        Raises:
            Internal: what ended it.
        """
        error: BaseException | None = None
        if self._task is not None:
            await asyncio.wait({self._task})
            error = self._task.exception()
        message = f"the HTTP server ended: {type(error).__name__ if error else 'no error'}"
        raise Internal(message) from error

    async def stop(self) -> None:
        """Let answers that have begun finish, for a bounded time. Idempotent."""
        self._server.should_exit = True
        if self._task is None:
            self._socket.close()
        else:
            # What ended it is told by ``ended``.
            await asyncio.wait({self._task})
            self._socket.close()


class _Server(uvicorn.Server):
    """Leaves signals to the program, and says when it answers."""

    def __init__(self, config: uvicorn.Config, bounds: HttpBounds, context: ServerContext | None) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._bounds = bounds
        self._context = context

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # In the place of uvicorn's own, which takes connections without a bound.
        config, bounds = self.config, self._bounds
        made: Any = config.http_protocol_class
        protocol = partial(made, config=config, server_state=self.server_state, app_state=self.lifespan.state)
        tls = None if self._context is None else self._context.current
        doors = [Door(one, tls, protocol, bounds.connections, bounds.request_seconds) for one in sockets or []]
        self.servers = doors  # type: ignore[assignment] # uvicorn only closes them
        for door in doors:
            door.open()
        self.started = True
        self.ready.set()


class _Places:
    """The connections of all owners."""

    def __init__(self, bounds: HttpBounds, owner: Callable[[bytes | None], str] | None) -> None:
        self.bounds = bounds
        self._owner = owner
        self._held: Counter[str] = Counter()

    def take(self, certificate: bytes | None) -> str | None:
        """A place for a connection of this certificate's owner. None: the owner has all of its places."""
        if self._owner is None:
            return ""
        owner = self._owner(certificate)
        if self._held[owner] >= self.bounds.connections_each:
            return None
        self._held[owner] += 1
        return owner

    def give_back(self, owner: str) -> None:
        """The connection has ended."""
        self._held[owner] -= 1
        # ``+`` keeps those that still have some.
        self._held = +self._held


class _BoundedConnection(H11Protocol):
    """One connection.

    A request must have arrived whole in a bounded time, after the connection, its first byte, or the answer before it.
    What was written must be read in a bounded time once the buffers are full, or the connection is to be closed.
    """

    def __init__(self, places: _Places, **given: Any) -> None:
        super().__init__(**given)
        self._places = places
        self._place: str | None = None
        self._bounds = places.bounds
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._old: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        if len(self.connections) <= self._bounds.connections:
            self._place = self._places.take(certificate)
        if self._place is None:
            transport.abort()
            return
        self.app_state = {**self.app_state, PEER_CERTIFICATE: certificate}
        self._old = self.loop.call_later(self._bounds.age_seconds, self.shutdown)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        whole = cycle is not None and not cycle.response_complete and not cycle.more_body
        if whole and not self.transport.is_closing():
            self._forget()
        else:
            self._expect_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Part of the next request may have come with the one that is answered now. uvicorn has just begun to read it.
        half = self.cycle.more_body or bool(self.conn.trailing_data[0] and self.cycle.response_complete)
        # A transport that closes waits until everything is read.
        if half or self.transport.is_closing():
            self._expect_request()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._expect_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._bounds.request_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._read()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._read()
        if self._place is not None:
            self._places.give_back(self._place)
        if self._old is not None:
            self._old.cancel()
        super().connection_lost(exc)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _expect_request(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._bounds.request_seconds, self.transport.abort)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not _PORT.fullmatch(port) or int(port) > _LARGEST_PORT:
        message = f"cannot listen on {address}: it is no host and port"
        raise ConfigInvalid(message)
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=_QUEUE)
    except OSError as error:
        message = f"cannot listen on {address}: {error.strerror}"
        raise ConfigInvalid(message) from error
