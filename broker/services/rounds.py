"""Ask others in rounds, as with witnesses and timestamp authorities, and tell of each what is wrong when that changes.

Nothing waits for a round. Others can be late, wrong or dead: that is told, and the next round comes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.core.errors import CaseExchangeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


class Rounds:
    """For one event loop.

    Args:
        seconds: the pause between two rounds.
        report: called with a name and what is wrong with it, when that changes. None: nothing any more. The name is
            empty for what concerns all of them.
    """

    def __init__(self, seconds: float, report: Callable[[str, CaseExchangeError | None], None]) -> None:
        self._seconds = seconds
        self._report = report
        self._told: dict[str, str] = {}

    @property
    def troubles(self) -> Mapping[str, str]:
        """What is wrong with each one now, by its name. Empty: nothing."""
        return self._told

    async def run(self, ask_once: Callable[[], Awaitable[None]]) -> None:
        """Make a round, and another one after each pause, until cancelled."""
        while True:
            trouble: CaseExchangeError | None = None
            try:
                await ask_once()
            except CaseExchangeError as error:
                trouble = error
            self.tell("", trouble)
            await asyncio.sleep(self._seconds)

    def tell(self, name: str, trouble: CaseExchangeError | None) -> None:
        """Report what is wrong with one of them, or with all, if it is not what was reported last."""
        now = "" if trouble is None else trouble.message
        if now != self._told.get(name, ""):
            self._told[name] = now
            self._report(name, trouble)
