"""Publish a stream of batches. The next batches are checked while others are appended. Answers keep the order.

Batches that are already checked when their turn comes are appended together, so that many small batches cost no more
than a large one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from broker.core.envelope import Envelope
    from broker.core.identity import Principal
    from broker.services.publish import CheckedBatch, PublishOutcome, PublishService

_BATCHES_AHEAD: Final = 32
_BYTES_AHEAD: Final = 4 << 20
"""Batches of one stream that are read before their turn. The transport's flow control holds back any others."""


class _Ahead:
    """The batches of a stream that wait for their turn, in order. For one task that adds and one that takes."""

    def __init__(self) -> None:
        self._checks: deque[tuple[asyncio.Task[CheckedBatch], int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self.ended = False

    async def add(self, check: asyncio.Task[CheckedBatch], size: int) -> None:
        """Add a batch, then wait until there is room for another."""
        self._checks.append((check, size))
        self._bytes += size
        self._changed.set()
        while len(self._checks) >= _BATCHES_AHEAD or self._bytes >= _BYTES_AHEAD:
            await self._wait()

    def end(self) -> None:
        """No batch follows."""
        self.ended = True
        self._changed.set()

    async def take(self) -> list[CheckedBatch]:
        """The next batch, once it is checked, with all after it that are checked too. Empty after the last.

        Raises:
            What the check of the next batch raised.
        """
        while not self._checks:
            if self.ended:
                return []
            await self._wait()
        taken = [await self._checks[0][0]]
        self._drop_first()
        while self._checks and self._checks[0][0].done() and self._checks[0][0].exception() is None:
            taken.append(self._checks[0][0].result())
            self._drop_first()
        self._changed.set()
        return taken

    def _drop_first(self) -> None:
        self._bytes -= self._checks.popleft()[1]

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def unfinished(self) -> list[asyncio.Task[CheckedBatch]]:
        """The checks of batches that were not taken."""
        return [check for check, _ in self._checks]


async def publish_in_turn(
    service: PublishService, principal: Principal, batches: AsyncIterator[Sequence[Envelope]]
) -> AsyncGenerator[PublishOutcome]:
    """Publish batches in their order. An answer never waits for the next batch.

    Raises:
        What ``PublishService.publish`` or ``batches`` raises, after the answers to the batches before it.
    """
    ahead = _Ahead()

    async def read() -> None:
        try:
            async for batch in batches:
                size = sum(envelope.content_bytes for envelope in batch)
                await ahead.add(asyncio.create_task(service.check(principal, batch)), size)
        finally:
            ahead.end()

    reading = asyncio.create_task(read())
    try:
        while taken := await ahead.take():
            for outcome in await service.accept(principal, taken):
                yield outcome
        await reading
    finally:
        unfinished = [reading, *ahead.unfinished()]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
