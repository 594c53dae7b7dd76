"""Waiting between two attempts: longer each time, and by chance, so that a thousand edges do not come back at once."""

from __future__ import annotations

import asyncio
import random
from typing import Final

_FIRST_SECONDS: Final = 0.2


class Backoff:
    """Full jitter: a wait is drawn between nothing and a bound that doubles. For one loop of attempts."""

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds
        self.reset()

    def reset(self) -> None:
        """The last attempt got somewhere: begin with short waits again."""
        self._bound = min(_FIRST_SECONDS, self._longest)

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(random.uniform(0, self._bound))  # noqa: S311 - nobody gains by guessing it
        self._bound = min(2 * self._bound, self._longest)
