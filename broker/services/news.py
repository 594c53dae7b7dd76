"""The loop of a subscription waits for news of its cursor, without missing any and without turning in vain."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.ports import LogCursor


class News:
    """Listens to one cursor, for one event loop. ``wake`` is set when there may be something new, here or elsewhere."""

    def __init__(self, cursor: LogCursor, wake: asyncio.Event) -> None:
        self._cursor = cursor
        self._wake = wake
        self._waiting: asyncio.Task[None] | None = None
        self._in_vain = False

    def were_used(self) -> None:
        """The last news gave something to do."""
        self._in_vain = False

    async def wait(self, seconds: float | None, *, committing: bool) -> None:
        """Wait until ``wake`` is set, at most so long (None: without limit). ``committing``: a commit is under way.

        Raises:
            LogError, LogUnavailable: the cursor has failed.
        """
        self._listen(committing=committing)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _listen(self, *, committing: bool) -> None:
        if self._waiting is not None and self._waiting.done():
            # A failure of the log is raised here.
            self._waiting.result()
            self._waiting = None
        # News that gave nothing to do is a change of assignment, which is followed after the commit.
        if self._waiting is None and not (self._in_vain and committing):
            self._in_vain = True
            self._waiting = asyncio.create_task(self._cursor.wait())
            self._waiting.add_done_callback(lambda _: self._wake.set())

    def close(self) -> None:
        """Listen no more."""
        if self._waiting is not None:
            self._waiting.cancel()
