"""Ends a program in bounded time after SIGTERM, SIGINT or a fault, whatever its threads are doing.

A handler of the event loop runs only when the loop runs: not while it opens a file on a disk that has failed, or waits
for a thread. So a thread of its own waits for the signals. It asks the program to end. If the program has not ended in
time, or a second signal comes, it ends the process. That is safe at every moment: what must not be lost is durable, as
after SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from broker.core.errors import CaseExchangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_FAULT: Final = b"\0"
_INTERRUPTED: Final = 130
_T = TypeVar("_T")


class Ending:
    """How a program was asked to end. ``number`` is the signal, or 0."""

    def __init__(self, tell: socket.socket, stopped: int) -> None:
        self.number = 0
        self._tell = tell
        self._stopped = stopped
        self._fault: BaseException | None = None

    @property
    def code(self) -> int:
        """The exit code after the signal."""
        return _INTERRUPTED if self.number == signal.SIGINT else self._stopped

    def failed(self, fault: BaseException) -> None:
        """Begin the time in which the program has to end, because of a fault."""
        self._fault = fault
        self._tell.send(_FAULT)

    def wait(self, told: socket.socket, stop: Callable[[], None], seconds: float) -> None:
        """Wait for a signal or a fault, then for the end of the program. Runs in its own thread."""
        asked = told.recv(1)
        if not asked:
            return
        self.number = asked[0]
        with contextlib.suppress(RuntimeError):  # the loop is closed: the program is at its end
            stop()
        told.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            if not told.recv(1):
                return
        self._end()

    def _end(self) -> NoReturn:
        if self.number:
            os._exit(self.code)
        error = self._fault
        line = f"case-exchange: {error.line if isinstance(error, CaseExchangeError) else type(error).__name__}\n"
        # If nobody reads standard error, a write would wait for ever.
        if select.select([], [2], [], 0)[1]:
            os.write(2, line.encode(errors="replace"))
        os._exit(1)


@contextlib.contextmanager
def ending(seconds: float, stop: Callable[[], None], *, stopped: int = 0) -> Iterator[Ending]:
    """Handle SIGTERM and SIGINT inside the block. For the main thread.

    Args:
        seconds: how long the block may go on after a signal. Then the process ends.
        stop: asks the block to end. Called in another thread.
        stopped: the exit code after SIGTERM. After SIGINT it is 130.

    Raises:
        KeyboardInterrupt: the block has ended after SIGINT.
    """
    told, tell = socket.socketpair()
    tell.settimeout(0)
    asked = Ending(tell, stopped)
    former = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    # The system writes the number of the signal here at once, in whatever state the main thread is.
    former_fd = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=asked.wait, args=(told, stop, seconds), name="ending", daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(former_fd)
        for number, handler in former.items():
            signal.signal(number, handler)
        tell.close()
        thread.join()
        told.close()
    if asked.number == signal.SIGINT:
        raise KeyboardInterrupt


def run_until_asked(main: Callable[[], Coroutine[Any, Any, _T]], seconds: float, *, stopped: int = 143) -> _T:
    """``asyncio.run`` until the program is done, or asked to end. Then it is cancelled, and has so many seconds.

    Raises:
        SystemExit: a signal ended it. The code is ``stopped`` after SIGTERM, and 130 after SIGINT.
    """
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[_T]]] = []

    def stop() -> None:
        for loop, task in running:
            loop.call_soon_threadsafe(task.cancel)

    async def run(asked: Ending) -> asyncio.Task[_T]:
        task = asyncio.create_task(main())
        running.append((asyncio.get_running_loop(), task))
        if asked.number:
            task.cancel()
        await asyncio.wait([task])
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            # Threads of the program may still work, and asyncio waits for them.
            asked.failed(fault)
        return task

    with ending(seconds, stop, stopped=stopped) as asked:
        task = asyncio.run(run(asked))
        if task.cancelled() and asked.number:
            sys.exit(asked.code)
        return task.result()
