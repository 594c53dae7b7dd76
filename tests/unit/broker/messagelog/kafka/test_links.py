"""A connection to a node waits for an answer as long as it comes, and no longer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from kafka.errors import RequestTimedOutError
from kafka.protocol.metadata import FindCoordinatorRequest, FindCoordinatorResponse

from broker.messagelog.kafka.connection import KafkaConnection
from broker.messagelog.kafka.links import Address, Links

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS: Final = 1.5
"""So long nothing may come."""
PIECES: Final = 5


@contextlib.asynccontextmanager
async def node(pieces: int) -> AsyncIterator[Address]:
    """A node that sends this many of the pieces of its only answer, a third of the time apart."""

    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frame = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        request: Any = FindCoordinatorRequest[4].decode(frame, header=True)
        answer: Any = FindCoordinatorResponse(throttle_time_ms=7, coordinators=[])
        answer.API_VERSION = 4
        answer.with_header(correlation_id=request.header.correlation_id)
        data = answer.encode(header=True, framed=True)
        size = -(-len(data) // PIECES)
        for number in range(pieces):
            await asyncio.sleep(SECONDS / 3)
            writer.write(data[number * size : (number + 1) * size])
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
        await served.wait()


async def asked(address: Address) -> Any:
    links = Links(KafkaConnection([], None, "", 2 * SECONDS))
    try:
        request = FindCoordinatorRequest(key_type=0, coordinator_keys=["group"])
        return await links.ask_in_time(address, 0, request, 4)
    finally:
        await links.close()


async def test_an_answer_that_comes_piece_by_piece_may_take_longer_than_nothing_may_come() -> None:
    async with node(PIECES) as address:
        began = time.monotonic()
        answer = await asked(address)
    assert answer.throttle_time_ms == 7
    assert time.monotonic() - began > SECONDS


async def test_an_answer_that_stops_coming_is_given_up() -> None:
    async with node(PIECES - 1) as address:
        with pytest.raises(RequestTimedOutError):
            await asked(address)
