"""What goes over a TLS connection, in clear: a link that ends TLS at both sides, with the keys of both, and records.

It stands where a broker's own TLS ends. A client believes that it speaks to the broker, because the link has the
broker's key; the broker believes that it speaks to the client, because the link has the client's key.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

_Result = TypeVar("_Result")
_CHUNK_BYTES = 1 << 16
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD = 9
_DATA, _PADDED = 0, 8


class Keys(NamedTuple):
    """A certificate and its key in PEM, and the authorities of the other side."""

    certificate: Path
    key: Path
    authorities: Path

    def context(self, protocol: int, alpn: tuple[str, ...]) -> ssl.SSLContext:
        made = ssl.SSLContext(protocol)
        made.load_cert_chain(self.certificate, self.key)
        made.load_verify_locations(self.authorities)
        made.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            made.set_alpn_protocols(list(alpn))
        return made


class ClearLink:
    """A context that listens at ``target`` and carries all to another address, in a thread of its own.

    So it goes on while a test computes. Every direction of every connection is a file in ``folder``. ``unframe`` makes
    the data of each stream of HTTP/2 from them.
    """

    def __init__(
        self,
        to: str,
        folder: Path,
        server: Keys,
        client: Keys,
        *,
        alpn: tuple[str, ...] = ("h2",),
        answers: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """``answers`` may change each frame of four bytes of size and so many bytes (Kafka's) that comes back."""
        self._to = to.rpartition(":")
        self._folder = folder
        self._server_context = server.context(ssl.PROTOCOL_TLS_SERVER, alpn)
        self._client_context = client.context(ssl.PROTOCOL_TLS_CLIENT, alpn)
        self._answers = answers
        self._connections = 0
        self._carrying: set[asyncio.Task[None]] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._carry, "127.0.0.1", 0, ssl=self._server_context))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.target = f"localhost:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _end(self) -> None:
        self._server.close()
        carrying = list(self._carrying)
        for each in carrying:
            each.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        self._connections += 1
        name, ends = f"{self._connections:04d}", [writer]
        try:
            there, back = await asyncio.open_connection(self._to[0], int(self._to[2]), ssl=self._client_context)
            ends.append(back)
            answers = self._whole_frames if self._answers else self._pump
            pumps = [self._pump(reader, back, f"{name}-asked"), answers(there, writer, f"{name}-answered")]
            await _until_one_ends(pumps)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one of the two has ended
        finally:
            self._carrying.discard(task)
            for end in ends:
                end.transport.abort()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        with (self._folder / name).open("wb") as record:
            while data := await reader.read(_CHUNK_BYTES):
                await self._pass(data, writer, record)

    async def _whole_frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        assert self._answers is not None
        with (self._folder / name).open("wb") as record:
            while True:
                head = await reader.readexactly(4)
                data = await reader.readexactly(int.from_bytes(head))
                await self._pass(head + self._answers(data), writer, record)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, record: BinaryIO) -> None:
        record.write(data)
        record.flush()
        writer.write(data)
        await writer.drain()


def unframe(folder: Path) -> int:
    """Write beside each record of HTTP/2 the data of its streams. Returns how many bytes of data these were."""
    total = 0
    for path in sorted(folder.iterdir()):
        streams: dict[int, bytearray] = {}
        content = path.read_bytes()
        at = len(_PREFACE) if content.startswith(_PREFACE) else 0
        while at + _FRAME_HEAD <= len(content):
            size, kind, flags = int.from_bytes(content[at : at + 3]), content[at + 3], content[at + 4]
            stream = int.from_bytes(content[at + 5 : at + 9]) & 0x7FFFFFFF
            payload = content[at + _FRAME_HEAD : at + _FRAME_HEAD + size]
            if kind == _DATA:
                padding = payload[0] if flags & _PADDED else 0
                begin = 1 if flags & _PADDED else 0
                streams.setdefault(stream, bytearray()).extend(payload[begin : len(payload) - padding])
            at += _FRAME_HEAD + size
        for stream, data in streams.items():
            path.with_name(f"{path.name}-data-{stream}").write_bytes(data)
            total += len(data)
    return total


def connected(pid: int, port: int) -> bool:
    """Whether a process has a connection to this port of this machine."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets.add(str(entry.readlink()))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[2].rpartition(":")[2], 16) == port and f"socket:[{fields[9]}]" in sockets:
                return True
    return False


async def _until_one_ends(pumps: Sequence[Coroutine[Any, Any, None]]) -> None:
    tasks = [asyncio.ensure_future(each) for each in pumps]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
