"""Open a subscription one at a time, and different subscriptions at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.ports import SubscriptionKey


class Openings:
    """A lock for each subscription that streams want to open now. For one event loop."""

    def __init__(self) -> None:
        self._locks: dict[SubscriptionKey, _Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @contextlib.asynccontextmanager
    async def alone(self, key: SubscriptionKey) -> AsyncIterator[None]:
        """Nobody else opens this subscription."""
        found = self._locks.setdefault(key, _Lock())
        found.streams += 1
        try:
            async with found.lock:
                yield
        finally:
            found.streams -= 1
            if not found.streams:
                del self._locks[key]


class _Lock:
    def __init__(self) -> None:
        self.lock: Final = asyncio.Lock()
        self.streams = 0
        """How many hold it or wait for it."""
