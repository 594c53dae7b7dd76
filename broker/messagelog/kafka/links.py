"""Connections to Kafka's nodes that many callers share. Kafka answers a connection's requests in their order.

The library's own client gives each consumer its connections and threads, and it takes some 200 µs for a heartbeat. Here
requests are written as the library encodes them. All that are written within one pass of the event loop leave together.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from kafka.errors import (
    CorrelationIdError,
    InvalidReceiveError,
    KafkaConnectionError,
    KafkaError,
    RequestTimedOutError,
)

from broker.messagelog.kafka.connection import LARGEST_ANSWER

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.messagelog.kafka.connection import KafkaConnection

    Answered = Callable[[bytes | KafkaError], None]
    """Called once: with the answer from its correlation id on, or with the reason why there is none."""

_CLIENT: Final = "case-exchange"
_NUMBER: Final = slice(8, 12)
_SIZE_BYTES: Final = 4
NUMBER_BYTES: Final = 4
_NUMBERS: Final = 1 << 31


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int


def framed(request: Any, version: int) -> bytes:
    """A request of the library as it goes onto the wire. Its correlation id is filled in when it is sent."""
    request.with_header(client_id=_CLIENT)
    return bytes(request.encode(version=version, header=True, framed=True))


def parsed(request: Any, answer: bytes) -> Any:
    """The answer to a request that ``framed`` has encoded."""
    return request.header.get_response_class().decode(answer, header=True)


class Link(asyncio.Protocol):
    """One connection. Made by ``Links``."""

    def __init__(self) -> None:
        self.lost: KafkaError | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._unsent: list[bytes] = []
        self._waiting: deque[tuple[bytes, float, Answered]] = deque()
        self._received = bytearray()
        self.heard = 0.0
        """When something came last."""

    def put(self, frame: bytes, answered: Answered) -> None:
        """Send a frame. Never waits."""
        if self.lost is not None:
            answered(self.lost)
            return
        self._number = (self._number + 1) % _NUMBERS
        number = self._number.to_bytes(NUMBER_BYTES, "big")
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent += (frame[: _NUMBER.start], number, frame[_NUMBER.stop :])
        self._waiting.append((number, time.monotonic(), answered))

    def silent_since(self) -> float | None:
        """When the oldest request was sent that has no answer yet."""
        return self._waiting[0][1] if self._waiting else None

    def end(self, reason: KafkaError) -> None:
        """Close the connection. What waits gets the reason. Idempotent."""
        if self.lost is not None:
            return
        self.lost = reason
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            self._waiting.popleft()[2](reason)

    # --- called by asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own signature
        """See ``asyncio.Protocol``."""
        self.end(KafkaConnectionError("the connection was lost"))

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._received += data
        self.heard = time.monotonic()
        at = 0
        while self.lost is None and len(self._received) >= at + _SIZE_BYTES:
            size = int.from_bytes(self._received[at : at + _SIZE_BYTES], "big")
            if not NUMBER_BYTES <= size <= LARGEST_ANSWER:
                self.end(InvalidReceiveError("a frame of this size is no answer"))
                break
            if len(self._received) < at + _SIZE_BYTES + size:
                break
            # Copied once: it may be large.
            self._answered(bytes(memoryview(self._received)[at + _SIZE_BYTES : at + _SIZE_BYTES + size]))
            at += _SIZE_BYTES + size
        del self._received[:at]

    def _answered(self, answer: bytes) -> None:
        if not self._waiting or self._waiting[0][0] != answer[:NUMBER_BYTES]:
            self.end(CorrelationIdError("an answer to no request of this connection"))
            return
        self._waiting.popleft()[2](answer)

    def _send(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if self._transport is not None and self.lost is None:
            self._transport.write(data)


class Links:
    """Connections by node and lane. A request that Kafka answers late holds up only those of its own lane.

    Args:
        connection: how to reach the cluster.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._seconds = connection.timeout_seconds / 2
        self._links: dict[tuple[Address, int], Link] = {}
        self._opening: dict[tuple[Address, int], asyncio.Task[Link]] = {}
        self._putting: set[asyncio.Task[None]] = set()
        self._closed = False
        self._servers = deque(_address(server) for server in connection.servers)

    def put(self, address: Address, lane: int, frame: bytes, answered: Answered) -> None:
        """Send a frame, perhaps over a new connection. Never waits."""
        link = self._ready(address, lane)
        if link is not None:
            link.put(frame, answered)
            return
        task = asyncio.create_task(self._put(address, lane, frame, answered), name="kafka request")
        self._putting.add(task)
        task.add_done_callback(self._putting.discard)

    async def ask(self, address: Address, lane: int, request: Any, version: int) -> Any:
        """Send a request and await its answer.

        Raises:
            kafka.errors.KafkaError: it is unknown whether Kafka has done it.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answered(what: bytes | KafkaError) -> None:
            if answer.done():
                return
            if isinstance(what, KafkaError):
                answer.set_exception(what)
            else:
                answer.set_result(what)

        self.put(address, lane, framed(request, version), answered)
        return parsed(request, await answer)

    async def ask_in_time(self, address: Address, lane: int, request: Any, version: int) -> Any:
        """The same as ``ask``. If nothing comes in time, the connection is ended. A large answer may take longer.

        Raises:
            kafka.errors.KafkaError: it is unknown whether Kafka has done it.
        """
        asking = asyncio.create_task(self.ask(address, lane, request, version), name="kafka request")
        heard = time.monotonic()
        try:
            while (left := heard + self._seconds - time.monotonic()) > 0:
                if (await asyncio.wait([asking], timeout=left))[0]:
                    return asking.result()
                if (link := self._links.get((address, lane))) is not None:
                    heard = max(heard, link.heard)
        finally:
            asking.cancel()
            if asking.done() and not asking.cancelled():
                # Whoever was cancelled here does not ask for the reason any more.
                asking.exception()
        link = self._links.pop((address, lane), None)
        if link is not None:
            link.end(RequestTimedOutError())
        raise RequestTimedOutError

    async def ask_any(self, lane: int, request: Any, version: int) -> Any:
        """Ask the servers in the settings, one after the other, until one answers in time. The next call begins there.

        Raises:
            kafka.errors.KafkaError: none did.
        """
        for _ in range(len(self._servers) - 1):
            with contextlib.suppress(KafkaError):
                return await self.ask_in_time(self._servers[0], lane, request, version)
            self._servers.rotate(-1)
        return await self.ask_in_time(self._servers[0], lane, request, version)

    def end_silent(self) -> None:
        """End the connections whose node does not answer in time."""
        latest = time.monotonic() - self._seconds
        for key, link in list(self._links.items()):
            since = link.silent_since()
            if since is not None and since < latest:
                link.end(RequestTimedOutError())
            if link.lost is not None:
                del self._links[key]

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        self._closed = True
        tasks = [*self._opening.values(), *self._putting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in self._links.values():
            link.end(KafkaConnectionError("closed"))

    def _ready(self, address: Address, lane: int) -> Link | None:
        link = self._links.get((address, lane))
        return link if link is not None and link.lost is None else None

    async def _put(self, address: Address, lane: int, frame: bytes, answered: Answered) -> None:
        try:
            link = await self._link(address, lane)
        except Exception as error:  # noqa: BLE001 - who asked waits for a reason
            answered(error if isinstance(error, KafkaError) else KafkaConnectionError(type(error).__name__))
        else:
            link.put(frame, answered)

    async def _link(self, address: Address, lane: int) -> Link:
        """The connection. Callers share the attempt to open it."""
        link = self._ready(address, lane)
        if link is not None:
            return link
        if self._closed:
            message = "closed"
            raise KafkaConnectionError(message)
        key = (address, lane)
        task = self._opening.get(key)
        if task is None:
            task = self._opening[key] = asyncio.create_task(self._open(address), name="kafka link")
            task.add_done_callback(lambda done: self._opened(key, done))
        return await asyncio.shield(task)

    def _opened(self, key: tuple[Address, int], task: asyncio.Task[Link]) -> None:
        del self._opening[key]
        if not task.cancelled() and task.exception() is None:
            self._links[key] = task.result()

    async def _open(self, address: Address) -> Link:
        tls = self._connection.tls
        loop = asyncio.get_running_loop()
        context = None if tls is None else tls.context
        try:
            async with asyncio.timeout(self._seconds):
                _, link = await loop.create_connection(Link, *address, ssl=context)
        except (OSError, TimeoutError) as error:
            raise KafkaConnectionError(type(error).__name__) from error
        return link


def _address(server: str) -> Address:
    host, _, port = server.rpartition(":")
    return Address(host.strip("[]"), int(port))
