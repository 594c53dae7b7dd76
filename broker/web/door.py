"""Takes the connections of an HTTPS server, with a bound on those whose TLS handshake is not done.

asyncio's own server takes every connection at once, and waits a minute for its handshake. So strangers could use up the
files that a process may open, and a broker's log needs some.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

_AGAIN_SECONDS: Final = 0.5


class Door:
    """Takes connections from ``open`` on. For one event loop, asyncio's or uvloop's.

    Args:
        listening: the socket. The caller closes it.
        context: gives that for the next TLS connection. None: no TLS.
        protocol: makes what serves one connection.
        waiting: how many handshakes may be under way. Beyond, connections wait in the system's queue.
        seconds: how long a handshake may take.
    """

    def __init__(
        self,
        listening: socket.socket,
        context: Callable[[], ssl.SSLContext] | None,
        protocol: Callable[[], asyncio.Protocol],
        waiting: int,
        seconds: float,
    ) -> None:
        self._listening = listening
        self._context = context
        self._protocol = protocol
        self._room = asyncio.Semaphore(waiting)
        self._seconds = seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begin."""
        self._listening.setblocking(False)  # noqa: FBT003 - the system's word
        self._run(asyncio.create_task(self._take(), name="http door"))

    def close(self) -> None:
        """Take no more, and end the handshakes. Idempotent."""
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Return when everything has ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError:
                # The client has gone already, or this process has too many files open.
                self._room.release()
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self._run(asyncio.create_task(self._greet(connection)))

    async def _greet(self, connection: socket.socket) -> None:
        context, seconds = (None, None) if self._context is None else (self._context(), self._seconds)
        try:
            # A handshake that fails is the client's business.
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._protocol, connection, ssl=context, ssl_handshake_timeout=seconds
                )
        finally:
            self._room.release()
