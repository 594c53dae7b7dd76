"""The alarm for records that wait too long for a fault of their subscriber's own.

Such a record never becomes a dead letter, and the later records of its case wait behind it. So a person has to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from broker.core.lease import LeaseBook
    from broker.ports import Clock, SubscriptionKey

_log = structlog.get_logger("broker.subscriptions")
_BETWEEN_SECONDS: Final = 3600.0


class Overdue:
    """Watches one subscription. It knows what happened since this process opened the subscription."""

    def __init__(self, key: SubscriptionKey, book: LeaseBook, clock: Clock, alarm_seconds: float) -> None:
        self._key = key
        self._book = book
        self._clock = clock
        self._alarm_seconds = alarm_seconds
        self._silent_until = float("-inf")

    def look(self) -> None:
        """Log an error if a record has been given back as transient for too long, at most once an hour."""
        longest, now = self._book.longest_postponed(), self._clock.monotonic()
        if longest is None or now < max(longest[1] + self._alarm_seconds, self._silent_until):
            return
        self._silent_until = now + _BETWEEN_SECONDS
        _log.error(
            "a record waits long for a fault of its subscriber's own",
            agency=self._key.agency,
            subscription=self._key.name,
            position=str(longest[0]),
            hours=round((now - longest[1]) / 3600, 1),
            remedy="Ask the agency to look at its gateway's log: its disk, its spool, its files of trust.",
        )
