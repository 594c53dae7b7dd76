"""What Ctrl-C does to a command before it runs and after it has run. Imports none of the program (see ``start``)."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C."""


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """Load a part of the program inside the block. Ctrl-C then ends the process at once.

    A KeyboardInterrupt would be raised in the middle of a module that is half loaded, and become another error there.
    If Ctrl-C is ignored, or does something else already, it stays so.
    """
    former = signal.getsignal(signal.SIGINT)
    if former is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    end_at_once()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def end_at_once() -> None:
    """From now on Ctrl-C ends the process at once, if it was to raise a KeyboardInterrupt. For the main thread."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(*_: Any) -> None:
    # Nothing was begun that must be finished.
    os._exit(INTERRUPTED)
