"""The parts of a broker that run beside its server, each in a task of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import Internal

if TYPE_CHECKING:
    from collections.abc import Coroutine

_log = structlog.get_logger("broker")


class Tasks:
    """See the module. For one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[None, None, None], name: str) -> None:
        """Begin a part. If an error ends it, the operator's log says so."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_tell_defect)
        self._tasks.add(task)

    async def stop(self) -> None:
        """End all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _tell_defect(task: asyncio.Task[None]) -> None:
    # Nothing else would tell it before the broker stops.
    if not task.cancelled() and (error := task.exception()) is not None:
        cause, name = type(error).__name__, task.get_name()
        _log.critical(f"{name}: a defect ended it", reason=Internal.reason, cause=cause, remedy=Internal.remedy)
