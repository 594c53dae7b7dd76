"""What the broker's log says of one subscription: the alarm for records that wait too long, and refused records.

A record that waits for a fault of its subscriber's own never becomes a dead letter, and the later records of its case
wait behind it. So a person has to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.core.lease import LeaseBook
    from broker.ports import Clock, SubscriptionKey
    from broker.services.round import Acked

_log = structlog.get_logger("broker.subscriptions")
_BETWEEN_SECONDS: Final = 3600.0
REFUSALS_A_MINUTE: Final = 10
"""A subscriber can refuse a flood of records. Auditors get all of them."""


class SubscriptionLog:
    """Watches one subscription. It knows what happened since this process opened the subscription."""

    def __init__(self, key: SubscriptionKey, book: LeaseBook, clock: Clock, alarm_seconds: float) -> None:
        self._log = _log.bind(agency=key.agency, subscription=key.name)
        self._book = book
        self._clock = clock
        self._alarm_seconds = alarm_seconds
        self._silent_until = float("-inf")
        self._minute_until = float("-inf")
        self._lines = 0
        self._unsaid = 0

    def overdue(self) -> None:
        """Log an error if a record has been given back as transient for too long, at most once an hour."""
        longest, now = self._book.longest_postponed(), self._clock.monotonic()
        if longest is None or now < max(longest[1] + self._alarm_seconds, self._silent_until):
            return
        self._silent_until = now + _BETWEEN_SECONDS
        self._log.error(
            "a record waits long for a fault of its subscriber's own",
            position=str(longest[0]),
            hours=round((now - longest[1]) / 3600, 1),
            remedy="Ask the agency to look at its gateway's log: its disk, its spool, its files of trust.",
        )

    def refused(self, acked: Iterable[Acked]) -> None:
        """Log the refused ones, at most ``REFUSALS_A_MINUTE``. The next line counts those that were not logged."""
        now = self._clock.monotonic()
        if now >= self._minute_until:
            self._minute_until, self._lines = now + 60.0, 0
        for item in acked:
            if not item.refused:
                continue
            if self._lines == REFUSALS_A_MINUTE:
                self._unsaid += 1
                continue
            more = {"count": self._unsaid} if self._unsaid else {}
            self._lines, self._unsaid = self._lines + 1, 0
            self._log.info("a record was refused", position=str(item.position), code=item.refused, **more)
