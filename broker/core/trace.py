"""What became of a record at the subscriptions of its recipients, by the events of the audit stream."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import PeerIdentityMissing
from broker.core.events import (
    DeadLetterDiscarded,
    DeadLetterMade,
    DeadLetterOrdered,
    DeadLetterRedriven,
    DeliveryConfirmed,
    DeliveryMade,
    DeliveryRefused,
    RecordsParked,
    SetAsideEnded,
    SubscriptionBegun,
)
from broker.core.identity import Principal
from broker.core.subscriptions import Generation

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from broker.core.events import AuditEvent
    from broker.core.streams import Position


class Step(Enum):
    """What may happen to a record at a subscription. The numbers are those of the wire."""

    DELIVERED = 1
    PROCESSED = 2
    REFUSED = 3
    DEAD_LETTER = 4
    PARKED = 5
    REDRIVEN = 6
    DISCARDED = 7
    ENDED = 8
    ORDERED = 9
    SKIPPED = 10


FINISHED: Final = frozenset({Step.PROCESSED, Step.REFUSED, Step.DEAD_LETTER, Step.PARKED, Step.DISCARDED})
"""After these a subscription passes the record, wherever it begins later."""


_OF_SEVERAL: Final = (DeliveryMade, DeliveryConfirmed, DeliveryRefused, RecordsParked, SetAsideEnded)


class TracedEvent(NamedTuple):
    """One thing that happened to a record at a subscription.

    ``at_ms`` is in epoch milliseconds. ``attempt`` is the number of a delivery, or of a dead letter's failed ones.
    """

    position: Position
    agency: str
    subscription: str
    at_ms: int
    step: Step
    attempt: int = 0
    withheld_sections: tuple[str, ...] = ()
    code: str = ""
    reason: str = ""


class TracedRecipient(NamedTuple):
    """An agency to which a record is addressed. ``allowed``: the directory in force lets it have the record."""

    agency: str
    allowed: bool


class TracedRecord(NamedTuple):
    """A record that was accepted, at ``accepted_at_ms`` (epoch milliseconds). Damaged: the publisher is empty."""

    record_id: str
    kind: str
    case_id: str
    publisher: str
    position: Position
    accepted_at_ms: int
    recipients: tuple[TracedRecipient, ...]


class TraceEnd(NamedTuple):
    """Whether a trace has everything, and up to when it has deliveries and acknowledgements (epoch milliseconds).

    ``go_on_at``: where a further trace of the same goes on, because this one stopped at its limit. 0: it did not.
    ``damaged``: a part of what it read is damaged.
    """

    complete: bool
    read_to_ms: int
    go_on_at: int = 0
    damaged: bool = False


def joined(before: Sequence[TracedEvent], further: Sequence[TracedEvent]) -> list[TracedEvent]:
    """The events of a trace that stopped, and of the one that went on there, in order.

    What is rare is read first, so the first trace may have had some of it beyond its end.
    """
    again = set(further)
    return without_finished([*(event for event in before if event not in again), *further], set())


def without_finished(events: Iterable[TracedEvent], finished: set[tuple[str, str, Position]]) -> list[TracedEvent]:
    """The events, in order. What had finished a record before it began behind it has not skipped it.

    ``finished``: agency, subscription and position of what was finished before. It is brought up to date.
    """
    kept = []
    for event in events:
        at = (event.agency, event.subscription, event.position)
        if event.step is Step.SKIPPED and at in finished:
            continue
        if event.step in FINISHED:
            finished.add(at)
        elif event.step in {Step.DELIVERED, Step.REDRIVEN}:
            finished.discard(at)
        kept.append(event)
    return kept


def begun_behind(told: AuditEvent, records: Iterable[TracedRecord]) -> Iterator[tuple[TracedEvent, bool]]:
    """For records of kinds that a subscription has from this event on: whether it begins behind them now.

    If so, it has finished them, or they are skipped.
    """
    event = told.event
    if not isinstance(event, SubscriptionBegun):
        return
    generation = Generation(starts=event.starts)
    for record in records:
        at = record.position
        if record.kind in event.kinds and event.agency in {recipient.agency for recipient in record.recipients}:
            behind = any(each.offset > at.offset for each in generation.starts_in(at.stream_partition, [record.kind]))
            asked = str(event.asked)
            yield TracedEvent(at, event.agency, event.subscription, told.at_ms, Step.SKIPPED, reason=asked), behind


def traced(told: AuditEvent, wanted: Container[Position]) -> Iterator[TracedEvent]:
    """What an event tells of the wanted records."""
    first = _first(told)
    if first is None:
        return
    positions = told.event.positions() if isinstance(told.event, _OF_SEVERAL) else (first.position,)
    for position in positions:
        if position in wanted:
            yield first._replace(position=position)


def _first(told: AuditEvent) -> TracedEvent | None:  # noqa: PLR0911 - one for each event
    """What an event tells of its first record."""
    match told.event:
        case DeliveryMade(at, name, attempt, withheld):
            return TracedEvent(at, _agency(told), name, told.at_ms, Step.DELIVERED, attempt, withheld)
        case DeliveryConfirmed(at, name):
            return TracedEvent(at, _agency(told), name, told.at_ms, Step.PROCESSED)
        case DeliveryRefused(at, name, code):
            return TracedEvent(at, _agency(told), name, told.at_ms, Step.REFUSED, code=code)
        case DeadLetterMade(at, name, attempts, agency, reason=reason, code=code):
            return TracedEvent(at, agency, name, told.at_ms, Step.DEAD_LETTER, attempts, code=code, reason=reason)
        case RecordsParked(at, name, agency):
            return TracedEvent(at, agency, name, told.at_ms, Step.PARKED)
        case DeadLetterOrdered(at, name, agency, code=code):
            return TracedEvent(at, agency, name, told.at_ms, Step.ORDERED, code=code)
        case DeadLetterRedriven(at, name, agency):
            return TracedEvent(at, agency, name, told.at_ms, Step.REDRIVEN)
        case DeadLetterDiscarded(at, name, agency, code=code):
            return TracedEvent(at, agency, name, told.at_ms, Step.DISCARDED, code=code)
        case SetAsideEnded(at, name, agency):
            return TracedEvent(at, agency, name, told.at_ms, Step.ENDED)
    return None


def _agency(told: AuditEvent) -> str:
    try:
        return Principal.parse(told.principal).agency
    except PeerIdentityMissing:
        return ""
