"""What every server that `make bench-peers` measures has to do, and what their asyncio clients share."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Protocol

from processes import Stopwatch

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable, Sequence

    from processes import Rate
    from world import World

    Check = Callable[[bytes], None]

SERVER, CLIENT = "exchange", "shanxi-police"
"""The members of the development PKI whose TLS certificates a peer's server and client use."""
START_SECONDS = 60.0


class Peer(Protocol):
    """A server with its client."""

    name: str
    settings: str

    def begin(self, number: int) -> None:
        """Make an empty topic, stream or queues for this round."""

    def publish(self, values: Sequence[bytes], batch: int) -> Rate:
        """Publish these, and wait until the server says that it has stored all."""

    def read(self, count: int, check: Check) -> Rate:
        """Read so many from the beginning. ``check`` gets each."""


class Server(NamedTuple):
    """A process that listens on a port of 127.0.0.1, and the world whose certificates it has."""

    world: World
    port: int
    pid: int
    version: str


class Absent(Exception):
    """A peer cannot be measured here. The text says what to install."""


class AsyncPeer(ABC):
    """A ``Peer`` whose client is one for asyncio, and whose server is one process."""

    def __init__(self, server: Server, streams: int, under_way: int) -> None:
        self._server, self._streams, self._under_way = server, streams, under_way

    def begin(self, number: int) -> None:
        asyncio.run(self._begin(number))

    def publish(self, values: Sequence[bytes], batch: int) -> Rate:
        return asyncio.run(self._publish(values, batch))

    def read(self, count: int, check: Check) -> Rate:
        return asyncio.run(self._read(count, check))

    def _watch(self) -> Stopwatch:
        return Stopwatch({"server": (self._server.pid,)})

    @abstractmethod
    async def _begin(self, number: int) -> None: ...

    @abstractmethod
    async def _publish(self, values: Sequence[bytes], batch: int) -> Rate: ...

    @abstractmethod
    async def _read(self, count: int, check: Check) -> Rate: ...


def client_context(world: World) -> ssl.SSLContext:
    """Mutual TLS 1.3, as the development PKI's members use it."""
    files = world.tls(CLIENT)
    context = ssl.create_default_context(cafile=str(files.authorities))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    return context


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when something accepts connections on this port of 127.0.0.1."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    message = f"{process.args} did not listen within {START_SECONDS:g} s"
    raise TimeoutError(message)


async def in_windows(
    values: Sequence[bytes],
    batch: int,
    streams: int,
    under_way: int,
    send: Callable[[int, Sequence[bytes]], Awaitable[None]],
) -> None:
    """Publish as the exchange is measured: every stream has so many batches under way at a time.

    ``send`` gets the number of a stream and a batch, and returns when the server has stored it.
    """

    async def one(stream: int) -> None:
        part, room = values[stream::streams], asyncio.Semaphore(under_way)

        async def within(batched: Sequence[bytes]) -> None:
            async with room:
                await send(stream, batched)

        await asyncio.gather(*(within(part[at : at + batch]) for at in range(0, len(part), batch)))

    await asyncio.gather(*map(one, range(streams)))
