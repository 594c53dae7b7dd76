"""A connection between two programs that a test cuts and mends: a TCP proxy that reads nothing of what it carries."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

_CHUNK_BYTES = 1 << 16


class Link:
    """Listens at ``target``, as an async context. At first it is cut. For one event loop.

    ``delay_seconds``: how long everything takes from one end to the other.
    """

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self._delay_seconds = delay_seconds
        self._to: int | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "localhost", 0)
        self.target = f"localhost:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Break all connections, and let none through."""
        self._to = None
        carrying = list(self._carrying)
        for each in carrying:
            each.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    def mend(self, target: str) -> None:
        """Let connections through to this address: ``localhost:PORT``."""
        self._to = int(target.rpartition(":")[2])

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        ends = [writer]
        try:
            if self._to is not None:
                other_reader, other_writer = await asyncio.open_connection("localhost", self._to)
                ends.append(other_writer)
                await _until_one_ends([self._pump(reader, other_writer), self._pump(other_reader, writer)])
        except (OSError, asyncio.CancelledError):
            # It is cut, or nobody listens at the other end.
            pass
        finally:
            self._carrying.discard(task)
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await asyncio.sleep(self._delay_seconds)
                writer.write(data)
                await writer.drain()


async def _until_one_ends(pumps: Iterable[Coroutine[Any, Any, None]]) -> None:
    tasks = [asyncio.ensure_future(each) for each in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
