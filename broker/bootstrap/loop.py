"""The event loop of a broker process, and its garbage collector."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_COLLECTOR_THRESHOLDS: Final = (5_000, 4, 5_000)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop if the extra ``fast`` is installed. None: Python's own loop."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def collect_seldom() -> None:
    """Let the garbage collector run less often, and never look at what the start has made.

    The newest entries of the log stay in memory for a while. With Python's defaults every few hundred of them start a
    collection, which finds nothing: records form no cycles. It took a sixth of the processor time of a publish.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)
