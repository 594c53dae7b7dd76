"""A job for one of a database's threads, and how its result comes back into the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import sqlite3
    from collections.abc import Callable, Sequence

    from broker.core.errors import CaseExchangeError
    from broker.messagelog.sqlite.reserve import DiskReserve


@dataclass(slots=True)
class Failures:
    """Keeps writes in order: those that were asked for before a failure was known fail with it.

    A write has the generation ``known`` when it is asked for. ``known`` belongs to the event loop, the rest to the
    thread.
    """

    known: int = 0
    failed_through: int = -1
    error: CaseExchangeError | None = None

    def fail(self, generation: int, error: CaseExchangeError) -> None:
        """A write of this generation failed."""
        self.failed_through, self.error = generation, error


@dataclass(slots=True)
class Job:
    """What one caller wants done. ``run`` gets the parts of all jobs that run together. It returns their results."""

    run: Callable[[sqlite3.Connection, list[Any]], Sequence[Any]]
    part: Any
    committed: Callable[[Any], None] | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    failures: Failures | None
    """Only of a write."""
    generation: int
    room: int | None
    """See ``Database.write_together``."""
    result: Any = None
    error: CaseExchangeError | None = None

    def refuse(self, reserve: DiskReserve | None) -> None:
        """Set the error if it must not run: it shares a failure, or there is no room for it."""
        failures = self.failures
        if failures is None:
            return
        if self.generation > failures.failed_through and self.room is not None and reserve is not None:
            refusal = reserve.take(self.room)
            if refusal is not None:
                failures.fail(self.generation, refusal)
        if self.generation <= failures.failed_through:
            self.error = failures.error

    def know(self) -> None:
        """The caller knows now that it failed, so later writes do not share the failure."""
        if self.failures is not None:
            self.failures.known = max(self.failures.known, self.generation + 1)

    def settle(self) -> None:
        """Set the result, in the event loop. ``committed`` runs even if nobody waits any more."""
        if self.error is None and self.committed is not None:
            self.committed(self.result)
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


def settle(jobs: list[Job]) -> None:
    """Set the results of a group, in the event loop."""
    for job in jobs:
        job.settle()
    failed = [job for job in jobs if job.error is not None and job.failures is not None]
    if failed:
        # The tasks that wait are woken first. A caller that asks before that cannot know of the failure.
        jobs[0].loop.call_soon(_know, failed)


def _know(failed: list[Job]) -> None:
    for job in failed:
        job.know()
