"""A timestamp authority over HTTP on this machine (RFC 3161 section 3.4). Its answers are a test's."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class ServedTsa:
    """``answer`` makes the response to a request, or returns None: then nothing is ever answered."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.answer = answer
        self.asked = asyncio.Event()
        self.types: list[str] = []
        self.url = ""
        self.answered_as = "application/timestamp-reply"
        self._one_by_one = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                request = await reader.readexactly(int(fields["content-length"]))
                self.types.append(fields["content-type"])
                self.asked.set()
                async with self._one_by_one:
                    body = await asyncio.to_thread(self.answer, request)
                if body is None:
                    await asyncio.Event().wait()
                    return
                answer = f"HTTP/1.1 200 OK\r\nContent-Type: {self.answered_as}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(answer.encode() + body)
                await writer.drain()


@contextlib.asynccontextmanager
async def served(answer: Callable[[bytes], bytes | None]) -> AsyncIterator[ServedTsa]:
    """Serve until the end. Calls that are never answered are cut then."""
    tsa, calls = ServedTsa(answer), set[asyncio.Task[None]]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(tsa.serve(reader, writer))
        calls.add(task)
        try:
            await asyncio.wait([task])
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    tsa.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/tsa"
    try:
        yield tsa
    finally:
        server.close()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
