"""A thread for each blocking client. Its calls are coroutines."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ClientThread:
    """Runs one client's calls one after the other, because threads cannot share a client of the library.

    The callers bound the queue: each awaits its call. So a client fetches nothing before its last result was used.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._ended = False

    async def call(self, work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """Run a call in the thread. If the caller is cancelled, a call that has begun runs to its end all the same."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: work(*arguments, **named))

    async def call_to_its_end(self, work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """The same, also for a call that has not begun when its caller is cancelled. Then its error is nobody's."""
        task = asyncio.create_task(self.call(work, *arguments, **named))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def end(self, last: Callable[[], object]) -> None:
        """Run a last call, then end the thread. Idempotent: nothing runs a second time."""
        if not self._ended:
            self._ended = True
            await self.call(last)
            self.close()

    def close(self) -> None:
        """End the thread after the calls that it already has. Idempotent."""
        self._pool.shutdown(wait=False)
