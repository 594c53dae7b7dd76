"""A lock on which nobody waits for ever."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class TurnLock:
    """A lock that its holder may take again. A thread that releases it gets it back only after one that waits.

    With Python's own lock, a thread with one transaction after another can keep all others out for minutes.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._lock = threading.Lock()
        self._holder = 0
        self._depth = 0

    def __enter__(self) -> Self:
        if self._holder != threading.get_ident():
            # Whoever waits for the lock stands in the door. The thread that releases the lock comes behind it.
            with self._door:
                self._lock.acquire()
            self._holder = threading.get_ident()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = 0
            self._lock.release()
