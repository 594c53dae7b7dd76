"""Wait between attempts: longer each time, and for a random time, so that a thousand edges do not return at once."""

from __future__ import annotations

import asyncio
import random
from typing import Final

_FIRST_SECONDS: Final = 0.2


class Backoff:
    """Full jitter: each wait is a random time between zero and a limit, which doubles. For one loop of attempts."""

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds
        self.reset()

    def reset(self) -> None:
        """Begin with short waits again, because the last attempt succeeded."""
        self._bound = min(_FIRST_SECONDS, self._longest)

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(random.uniform(0, self._bound))  # noqa: S311 - it is no secret
        self._bound = min(2 * self._bound, self._longest)
