"""Publish a stream of batches. The next batches are checked while one is appended. Answers keep the order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from broker.core.envelope import Envelope
    from broker.core.identity import Principal
    from broker.services.publish import CheckedBatch, PublishOutcome, PublishService

_BATCHES_AHEAD: Final = 2
"""Batches of one stream that are checked before their turn. The transport's flow control holds back any others."""


async def publish_in_turn(
    service: PublishService, principal: Principal, batches: AsyncIterator[Sequence[Envelope]]
) -> AsyncGenerator[PublishOutcome]:
    """Publish batches in their order. An answer never waits for the next batch.

    Raises:
        What ``PublishService.publish`` or ``batches`` raises, after the answers to the batches before it.
    """
    checks: asyncio.Queue[asyncio.Task[CheckedBatch] | None] = asyncio.Queue()
    room = asyncio.Semaphore(_BATCHES_AHEAD)

    async def read() -> None:
        try:
            async for batch in batches:
                await room.acquire()
                checks.put_nowait(asyncio.create_task(service.check(principal, batch)))
        finally:
            checks.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (check := await checks.get()) is not None:
            room.release()
            yield await service.accept(principal, await check)
        await reading
    finally:
        left = [checks.get_nowait() for _ in range(checks.qsize())]
        unfinished = [reading, *(check for check in left if check is not None)]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
