"""Notice that a reader of topics stands still, whatever the reason: nobody says it where Kafka merely answers nothing.

A quota of an administrator does that: Kafka then answers every fetch with nothing, and no request fails.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from broker.core.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

    from broker.core.streams import StreamPartition

_T = TypeVar("_T")


async def moving(work: Coroutine[Any, Any, _T], place: Callable[[], int], seconds: float) -> _T:
    """The result of work that reads. It may take any time, as long as it moves.

    Args:
        work: what reads.
        place: how far it is: a number that grows.
        seconds: how long it may stay at one place.

    Raises:
        LogUnavailable: it stayed for longer.
        As ``work``.
    """
    task = asyncio.ensure_future(work)
    try:
        before = -1
        while (now := place()) != before:
            before = now
            done, _ = await asyncio.wait([task], timeout=seconds)
            if done:
                return task.result()
    finally:
        task.cancel()
    message = "what Kafka holds could not be read in time"
    raise LogUnavailable(message)


class Standstill:
    """Whether a reader gets in time to where the partitions ended.

    Args:
        read: how far it has read each partition. Its owner updates it.
        seconds: how long it may take.
    """

    def __init__(self, read: Mapping[StreamPartition, int], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._owed: dict[StreamPartition, int] = {}
        self._since = 0.0

    def look(self, ends: Mapping[StreamPartition, int]) -> None:
        """Where the partitions end now. It counts if there is nothing left to read of what they held before."""
        if not self._behind():
            self._owed, self._since = dict(ends), time.monotonic()

    @property
    def trouble(self) -> LogUnavailable | None:
        """Why nothing new can be known, or None if the reader is in time."""
        if time.monotonic() - self._since <= self._seconds or not (behind := self._behind()):
            return None
        message = f"Kafka holds more than can be read of it, since {self._seconds:g} seconds or longer"
        return LogUnavailable(message, partition=str(behind[0]))

    def _behind(self) -> list[StreamPartition]:
        return [partition for partition, end in self._owed.items() if self._read[partition] < end]
