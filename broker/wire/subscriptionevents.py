"""The audit events of subscriptions, and where they begin: core types to protobuf, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import EnvelopeMalformed
from broker.core.events import Cause, SubscriptionBegun, SubscriptionDeleted
from broker.core.streams import Position
from broker.core.subscriptions import KindsStart, Moved, StartPoint
from broker.wire.receipts import fill_position, position_from
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import audit_pb2, startpoint_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.core.events import SubscriptionEvent

_CAUSES: Final = {
    Cause.CREATED: audit_pb2.SUBSCRIPTION_CAUSE_CREATED,
    Cause.SOUGHT: audit_pb2.SUBSCRIPTION_CAUSE_SOUGHT,
    Cause.KINDS_CHANGED: audit_pb2.SUBSCRIPTION_CAUSE_KINDS_CHANGED,
}
_CAUSE_OF: Final = {number: cause for cause, number in _CAUSES.items()}


def start_to(start: StartPoint) -> startpoint_pb2.StartPoint:
    """Write a start."""
    message = startpoint_pb2.StartPoint()
    if start.time_ms is not None:
        set_ms(message.time, start.time_ms)
    elif start.latest:
        message.latest = True
    return message


def start_from(message: startpoint_pb2.StartPoint) -> StartPoint:
    """Read a start.

    Raises:
        EnvelopeMalformed: its time cannot be read.
    """
    if message.HasField("time"):
        return StartPoint(time_ms=to_ms(message.time))
    return StartPoint(latest=message.latest)


def fill_subscription_event(message: audit_pb2.AuditEvent, event: SubscriptionEvent) -> None:
    """Write what happened into a message that has everything else."""
    if isinstance(event, SubscriptionDeleted):
        gone = message.subscription_deleted
        gone.subscription, gone.agency, gone.generation = event.subscription, event.agency, event.generation
        gone.moved.extend(map(_moved_to, event.moved))
        gone.set_aside = event.set_aside
        return
    begun = message.subscription_begun
    begun.subscription, begun.agency, begun.generation = event.subscription, event.agency, event.generation
    begun.cause = _CAUSES[event.cause]
    begun.asked.CopyFrom(start_to(event.asked))
    begun.kinds.extend(event.kinds)
    for start in event.starts:
        added = begun.starts.add(kinds=start.kinds)
        fill_position(added.first, Position(*start.partition, start.offset))
    begun.moved.extend(map(_moved_to, event.moved))


def subscription_event_from(message: audit_pb2.AuditEvent) -> SubscriptionEvent:
    """Read what happened. The message has an event of subscriptions.

    Raises:
        EnvelopeMalformed: this version does not know its cause, or its time cannot be read.
    """
    if message.HasField("subscription_deleted"):
        gone = message.subscription_deleted
        return SubscriptionDeleted(
            gone.subscription, gone.agency, gone.generation, _moved_from(gone.moved), gone.set_aside
        )
    begun = message.subscription_begun
    if begun.cause not in _CAUSE_OF:
        text = "a subscription begins for a cause that this version does not know"
        raise EnvelopeMalformed(text)
    starts = tuple(
        KindsStart(position_from(start.first).stream_partition, tuple(start.kinds), start.first.offset)
        for start in begun.starts
    )
    return SubscriptionBegun(
        begun.subscription,
        begun.agency,
        begun.generation,
        _CAUSE_OF[begun.cause],
        start_from(begun.asked),
        tuple(begun.kinds),
        starts,
        _moved_from(begun.moved),
    )


def _moved_to(moved: Moved) -> audit_pb2.SubscriptionMoved:
    message = audit_pb2.SubscriptionMoved(to_offset=moved.to, skipped=moved.skipped)
    fill_position(message.before, Position(*moved.partition, moved.before))
    return message


def _moved_from(messages: Iterable[audit_pb2.SubscriptionMoved]) -> tuple[Moved, ...]:
    return tuple(
        Moved(position_from(each.before).stream_partition, each.before.offset, each.to_offset, each.skipped)
        for each in messages
    )
