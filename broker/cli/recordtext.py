"""What became of a record, in words and as facts: for a trace by a broker, and for the history in a bundle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from broker.core.trace import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from broker.core.trace import TracedEvent, TracedRecord

_WORDS: Final = {
    Step.PROCESSED: "processed",
    Step.REFUSED: "refused",
    Step.PARKED: "parked behind a dead letter of its case",
    Step.REDRIVEN: "redriven",
    Step.DISCARDED: "discarded",
    Step.ENDED: "finished after it was set aside",
    Step.SKIPPED: "skipped: the subscription begins after it now",
    Step.ORDERED: "to be made a dead letter",
}


def record_lines(
    record: TracedRecord, events: Iterable[TracedEvent], *, complete: bool, notes: Sequence[str] = ()
) -> Iterator[str]:
    """A record, and what happened to it at each subscription.

    Args:
        record: the record.
        events: what happened to it, in order.
        complete: whether these are all events.
        notes: further lines about the record itself.
    """
    publisher = record.publisher or "nobody can say who: it is damaged"
    yield f"{record.record_id} {record.kind} {record.position}, case {record.case_id}"
    yield f"  accepted {time_text(record.accepted_at_ms)} from {publisher}"
    yield from (f"  {note}" for note in notes)
    for agency, name, own in _by_subscription(record, events):
        yield f"  {agency}{'/' if name else ''}{name}: {_standing(record, agency, own, complete=complete)}"
        yield from (f"    {time_text(event.at_ms)}  {_words(event)}" for event in own)


def record_facts(record: TracedRecord, events: Iterable[TracedEvent], *, complete: bool) -> dict[str, Any]:
    """The same for programs."""
    return {
        "record_id": record.record_id,
        "kind": record.kind,
        "case_id": record.case_id,
        "publisher": record.publisher,
        "position": str(record.position),
        "accepted_at": time_text(record.accepted_at_ms),
        "recipients": [recipient._asdict() for recipient in record.recipients],
        "subscriptions": [
            {
                "agency": agency,
                "subscription": name,
                "standing": _standing(record, agency, own, complete=complete),
                "events": [_event_facts(event) for event in own],
            }
            for agency, name, own in _by_subscription(record, events)
        ],
    }


def _by_subscription(record: TracedRecord, events: Iterable[TracedEvent]) -> list[tuple[str, str, list[TracedEvent]]]:
    """What happened at each subscription. One without a name stands for a recipient that was handed nothing."""
    by_subscription: dict[tuple[str, str], list[TracedEvent]] = {}
    for event in events:
        by_subscription.setdefault((event.agency, event.subscription), []).append(event)
    known = {agency for agency, _ in by_subscription}
    for recipient in record.recipients:
        if recipient.agency not in known:
            by_subscription[recipient.agency, ""] = []
    return [(agency, name, own) for (agency, name), own in sorted(by_subscription.items())]


def _standing(record: TracedRecord, agency: str, events: Sequence[TracedEvent], *, complete: bool) -> str:
    """How things stand at a subscription, in words."""
    steps = [event for event in events if event.step is not Step.ENDED]
    if steps and steps[-1].step is not Step.DELIVERED:
        return _words(steps[-1]) if steps[-1].step is not Step.REDRIVEN else "waits to be delivered again"
    if agency in {recipient.agency for recipient in record.recipients if not recipient.allowed}:
        return "does not get it: the directory in force does not allow it, or the record is damaged"
    if not complete:
        return "not known: not all of the audit stream was read"
    if not steps:
        return "waiting: no subscription of this agency was handed it"
    return f"waiting: handed over {sum(each.step is Step.DELIVERED for each in steps)} times, and not answered for good"


def _words(event: TracedEvent) -> str:
    if event.step is Step.DELIVERED:
        withheld = f", without {', '.join(event.withheld_sections)}" if event.withheld_sections else ""
        return f"delivered, attempt {event.attempt}{withheld}"
    if event.step is Step.DEAD_LETTER:
        why = event.reason or (f"ordered: {event.code}" if event.code else f"{event.attempt} attempts")
        return f"dead letter ({why})"
    if event.step is Step.SKIPPED:
        return f"{_WORDS[event.step]}, by its start {event.reason}"
    return f"{_WORDS[event.step]} ({event.code})" if event.code else _WORDS[event.step]


def _event_facts(event: TracedEvent) -> dict[str, Any]:
    return {
        "at": time_text(event.at_ms),
        "step": event.step.name,
        "attempt": event.attempt,
        "withheld_sections": list(event.withheld_sections),
        "code": event.code,
        "reason": event.reason,
    }


def time_text(ms: int) -> str:
    """A time (epoch milliseconds) as ISO 8601 in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
