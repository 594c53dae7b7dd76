"""The broker's clock: a leap stops publishing, and a start long after the log's newest time needs an operator's word.

A record that is accepted at a wrong time in the future holds up the times of all that come after it, because accepted
times never fall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import ClockLeapt, ClockUnchecked
from broker.core.streams import every_partition

if TYPE_CHECKING:
    from broker.ports import CheckpointStore, Clock, Evidence, MessageLog, WatchedClock

MOST_AHEAD_MS: Final = 24 * 3_600_000


class ClockWatch:
    """The port Evidence, over another: also the clock must be right."""

    def __init__(self, clock: WatchedClock, evidence: Evidence) -> None:
        self._clock = clock
        self._evidence = evidence

    def check(self) -> None:
        """See ``Evidence``.

        Raises:
            ClockLeapt: the machine's time of day has leapt.
        """
        leap_ms = self._clock.leap_ms()
        if leap_ms:
            message = f"the machine's clock has leapt by {round(leap_ms / 1000)} s"
            raise ClockLeapt(message, seconds=str(round(leap_ms / 1000)))
        self._evidence.check()


async def check_start(clock: Clock, log: MessageLog, store: CheckpointStore) -> None:
    """Compare the clock with the newest checkpoint. A new log has none.

    Raises:
        ClockUnchecked: the clock is more than 24 hours ahead of it.
    """
    heads = [await store.head(partition) for partition in every_partition(log.partitions)]
    newest_ms = max((head.signed_at_ms for head in heads if head is not None), default=None)
    if newest_ms is not None and clock.now_ms() - newest_ms > MOST_AHEAD_MS:
        hours = (clock.now_ms() - newest_ms) // 3_600_000
        message = f"the machine's clock is {hours} hours ahead of the newest checkpoint of the log"
        raise ClockUnchecked(message, hours=str(hours))
