"""What the broker's log says of one subscription: the alarm for records that wait too long, refused records, suspects.

A record that waits for a fault of its subscriber's own never becomes a dead letter, and the later records of its case
wait behind it. So a person has to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from broker.core.errors import LogCorrupt
from broker.core.leasing.suspects import Became

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker.core.entry import LogEntry
    from broker.core.leasing.lease import LeaseBook
    from broker.core.streams import Position
    from broker.ports import Clock, SubscriptionKey
    from broker.services.round import Acked

_log = structlog.get_logger("broker.subscriptions")
_BETWEEN_SECONDS: Final = 3600.0
_SUSPECT: Final = (
    "Its subscriber was lost with it three times, so it goes out alone now. Ask the agency whether its gateway stops"
    " when this record comes."
)
_OVERDUE: Final = (
    "Ask the agency to look at its gateway's log: its disk, its spool, its files of trust. It may also set the record"
    " aside: case-exchange deadletter make."
)
REPAIR: Final = (
    "Replay and verify the log, and keep the bundle as evidence. Then the record's publisher publishes the same record"
    " again, or on Kafka a new one."
)
LINES_A_MINUTE: Final = 10
"""Of one sort. A subscriber can refuse a flood of records, or lose the leases of as many. Auditors get all
refusals and all dead letters."""


class _Few:
    """Lines of one sort, at most ``LINES_A_MINUTE``. The next line counts those that were not written."""

    def __init__(self, write: Callable[..., None], event: str) -> None:
        self._write = write
        self._event = event
        self._until = float("-inf")
        self._lines = 0
        self._unsaid = 0

    def say(self, now: float, **fields: str) -> None:
        if now >= self._until:
            self._until, self._lines = now + 60.0, 0
        if self._lines == LINES_A_MINUTE:
            self._unsaid += 1
            return
        more = {"count": self._unsaid} if self._unsaid else {}
        self._lines, self._unsaid = self._lines + 1, 0
        self._write(self._event, **fields, **more)


def may_miss(key: SubscriptionKey, position: Position) -> None:
    """Log that a damaged record may have been for a subscription, because nobody can say whose it was."""
    _log.error(
        "a damaged record may have been for this subscription",
        agency=key.agency,
        subscription=key.name,
        position=str(position),
        reason=LogCorrupt.reason,
        remedy=REPAIR,
    )


class SubscriptionLog:
    """Watches one subscription. It knows what happened since this process opened the subscription."""

    def __init__(self, key: SubscriptionKey, book: LeaseBook, clock: Clock, alarm_seconds: float) -> None:
        self._log = _log.bind(agency=key.agency, subscription=key.name)
        self._book = book
        self._clock = clock
        self._alarm_seconds = alarm_seconds
        self._silent_until = float("-inf")
        self._refused = _Few(self._log.info, "a record was refused")
        self._suspected = _Few(self._log.warning, "a record is a suspect")
        self._dead = _Few(self._log.warning, "a suspect is a dead letter")
        self._cleared = _Few(self._log.info, "a record is a suspect no more")
        self._damaged = _Few(self._log.error, "a damaged record was set aside as a dead letter")

    def overdue(self, entry: LogEntry) -> None:
        """A record was given back as transient. Log an error if it was accepted too long ago, at most once an hour.

        The time of the acceptance outlives this process, so a restart does not put the alarm off.
        """
        waits, now = (self._clock.now_ms() - entry.accepted_at_ms) / 1000, self._clock.monotonic()
        if waits < self._alarm_seconds or now < self._silent_until:
            return
        self._silent_until = now + _BETWEEN_SECONDS
        self._log.error(
            "a record waits long for a fault of its subscriber's own",
            position=str(entry.position),
            hours=round(waits / 3600, 1),
            remedy=_OVERDUE,
        )

    def damaged(self, damage: LogCorrupt) -> None:
        """Log that a record is set aside because the log has lost or changed it."""
        fields = {"position": damage.details["position"], "reason": damage.reason, "cause": damage.message}
        self._damaged.say(self._clock.monotonic(), **fields, remedy=REPAIR)

    def refused(self, acked: Iterable[Acked]) -> None:
        """Log the refused ones."""
        now = self._clock.monotonic()
        for item in acked:
            if item.refused:
                self._refused.say(now, position=str(item.position), code=item.refused)

    def suspicions(self) -> None:
        """Log which records have become suspects since the last call, and what became of those that are so no more."""
        now = self._clock.monotonic()
        for position, became in self._book.take_suspicions():
            match became:
                case Became.SUSPECT:
                    self._suspected.say(now, position=str(position), remedy=_SUSPECT)
                case Became.DEAD:
                    self._dead.say(now, position=str(position))
                case Became.CLEAR:
                    self._cleared.say(now, position=str(position))
