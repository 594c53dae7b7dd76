"""A few slots for work in threads, which the agencies share by turns. So the work of one holds up no other's for long.

There are only a few, because threads of one interpreter slow each other down (docs/adr/0008). An agency has fewer than
all of them: what it sends at once never takes the last one. Of those that wait, each agency gets one in its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")
SLOTS: Final = 3
OF_ONE: Final = 2
"""While one batch of an agency waits for its signatures to be checked, another is parsed."""


class Slots:
    """See the module. For one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(SLOTS, thread_name_prefix="slots")
        self._taken: Counter[str] = Counter()
        # By agency, in the order of their turns.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, agency: str, work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """Do something in a thread, in the agency's turn. What is cancelled keeps its slot until the thread is done.

        Raises:
            What ``work`` raises.
        """
        loop = asyncio.get_running_loop()
        await self._slot(agency)
        done = self._threads.submit(work, *arguments, **named)
        done.add_done_callback(lambda _: _soon(loop, partial(self._leave, agency)))
        return await asyncio.wrap_future(done)

    async def _slot(self, agency: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(agency, deque()).append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(agency)
            raise

    def _leave(self, agency: str) -> None:
        self._taken[agency] -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        for agency in list(self._waiting):
            turns = self._waiting[agency]
            while turns and turns[0].done():
                # Its caller was cancelled.
                turns.popleft()
            if turns and self._taken[agency] < OF_ONE and self._taken.total() < SLOTS:
                turns.popleft().set_result(None)
                self._taken[agency] += 1
                # Behind the others.
                self._waiting[agency] = self._waiting.pop(agency)
            if not turns:
                del self._waiting[agency]


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    # The loop of a broker that has ended needs no slot.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
