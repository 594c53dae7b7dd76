"""A small HTTP/1.1 client on asyncio streams, with h11 as the parser.

A request has a deadline that holds: it is the caller's ``asyncio.timeout``, and no thread waits beyond it. One
connection stays open between requests (tlog-witness: "Clients SHOULD use HTTP keep-alive").
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

import h11

from broker.web.lookup import HostLookup

if TYPE_CHECKING:
    import ssl

    from broker.core.webaddress import WebAddress

_READ: Final = 16 << 10
_CLOSING_SECONDS: Final = 1.0
_PLAIN: Final = "text/plain; charset=utf-8"


class HttpAnswer(NamedTuple):
    """Status, content type without parameters, and body."""

    status: int
    content_type: str
    body: bytes


class HttpFailed(Exception):
    """Nobody answered, or the answer is no HTTP, or too large."""


class HttpClient:
    """Requests to one address. For one task at a time."""

    def __init__(self, address: WebAddress, context: ssl.SSLContext) -> None:
        """Nothing is connected yet.

        Args:
            address: where.
            context: of ``client_context``. Not used if the address is on this machine and without TLS.
        """
        self._address = address
        self._context = context
        self._lookup = HostLookup(address.host, address.port)
        self._open: tuple[h11.Connection, asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, max_bytes: int, *, content_type: str = _PLAIN) -> HttpAnswer:
        """Send a POST request, and read its answer of at most ``max_bytes``. May be cancelled.

        Raises:
            HttpFailed
        """
        return await self._request("POST", path, body, max_bytes, content_type)

    async def get(self, path: str, max_bytes: int) -> HttpAnswer:
        """Send a GET request, and read its answer of at most ``max_bytes``. May be cancelled.

        Raises:
            HttpFailed
        """
        return await self._request("GET", path, b"", max_bytes)

    async def _request(
        self, method: str, path: str, body: bytes, max_bytes: int, content_type: str = _PLAIN
    ) -> HttpAnswer:
        while True:
            fresh = self._open is None
            try:
                return await self._send(method, path, body, max_bytes, content_type)
            # ValueError: the host can be no name.
            except (OSError, EOFError, ValueError, h11.ProtocolError) as error:
                self._drop()
                # The server may have closed an idle connection. What is sent here does no harm twice.
                if fresh:
                    raise HttpFailed(type(error).__name__) from error
            except BaseException:
                self._drop()
                raise

    def use(self, context: ssl.SSLContext) -> None:
        """Use this context from now on. A connection that another one has opened is closed."""
        if context is not self._context:
            self._context = context
            self._drop()

    async def close(self) -> None:
        """Close the connection. Idempotent; the next request opens another."""
        if self._open is not None:
            _, _, writer = self._open
            self._drop()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await writer.wait_closed()

    def _drop(self) -> None:
        if self._open is not None:
            _, _, writer = self._open
            self._open = None
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = self._address
        context, name = (self._context, address.host) if address.tls else (None, None)
        *others, last = await self._lookup.addresses()
        for host in others:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(host, address.port, ssl=context, server_hostname=name)
        return await asyncio.open_connection(last, address.port, ssl=context, server_hostname=name)

    async def _send(self, method: str, path: str, body: bytes, max_bytes: int, content_type: str) -> HttpAnswer:
        if self._open is None:
            reader, writer = await self._connect()
            self._open = (h11.Connection(h11.CLIENT), reader, writer)
        connection, reader, writer = self._open
        # RFC 3986 section 3.2.2: an IPv6 address stands in brackets.
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        headers = [
            ("host", f"{host}:{self._address.port}"),
            ("content-type", content_type),
            ("content-length", str(len(body))),
        ]
        request = h11.Request(method=method, target=f"{self._address.prefix}{path}" or "/", headers=headers)
        for event in (request, h11.Data(body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        answer = await _read(connection, reader, max_bytes)
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
            connection.start_next_cycle()
        else:
            self._drop()
        return answer


async def _read(connection: h11.Connection, reader: asyncio.StreamReader, max_bytes: int) -> HttpAnswer:
    response: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_READ)
            if not data and response is None:
                raise EOFError
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                message = "the answer is too large"
                raise HttpFailed(message)
        elif isinstance(event, h11.EndOfMessage) and response is not None:
            kind = dict(response.headers).get(b"content-type", b"").decode("latin-1")
            return HttpAnswer(response.status_code, kind.partition(";")[0].strip().lower(), bytes(body))
        elif isinstance(event, h11.ConnectionClosed):
            raise EOFError
