"""Looks up the addresses of a host, in a thread of its own.

asyncio looks names up in its default threads, which receipts use too. Where no name server answers, a lookup lasts for
many seconds, and nothing can end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading


class HostLookup:
    """The addresses of one host. There is never more than one lookup at a time. For one event loop.

    Args:
        host: its name, or an address.
        port: of the service.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._running: asyncio.Future[list[str]] | None = None

    async def addresses(self) -> list[str]:
        """The addresses, best first, at least one.

        If this is cancelled, the lookup goes on, and the next call waits for it.

        Raises:
            OSError: there is no such host, or nobody who knows it.
            ValueError: the host can be no name.
        """
        if self._running is None or self._running.done():
            loop = asyncio.get_running_loop()
            self._running = loop.create_future()
            # Its error is no defect if nobody waits any more.
            self._running.add_done_callback(lambda done: done.cancelled() or done.exception())
            # The end of the process does not wait for such a thread.
            threading.Thread(target=self._look_up, args=(loop, self._running), name="lookup", daemon=True).start()
        return await asyncio.shield(self._running)

    def _look_up(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[list[str]]) -> None:
        found: list[str] = []
        failed: Exception | None = None
        try:
            found = [str(one[4][0]) for one in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)]
        except (OSError, ValueError) as error:
            failed = error
        # If the loop is closed, nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, future, found, failed)


def _settle(future: asyncio.Future[list[str]], found: list[str], failed: Exception | None) -> None:
    if future.cancelled():
        return
    if failed is not None:
        future.set_exception(failed)
    else:
        future.set_result(found)
