"""Audit events: core types to protobuf, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from broker.core.errors import EnvelopeMalformed
from broker.core.events import (
    AuditEvent,
    DeadLetterDiscarded,
    DeadLetterMade,
    DeadLetterOrdered,
    DeadLetterRedriven,
    DeliveryConfirmed,
    DeliveryMade,
    DeliveryRefused,
    ProofMade,
    RecordsParked,
    RefusalMade,
    ReplayMade,
    RollbackFound,
    SectionsErased,
    SetAsideEnded,
    SubscriptionBegun,
    SubscriptionDeleted,
    TakenOver,
)
from broker.core.streams import Position
from broker.wire.deadletterevents import dead_letter_event_from, fill_dead_letter_event
from broker.wire.receipts import fill_position
from broker.wire.subscriptionevents import fill_subscription_event, subscription_event_from
from broker.wire.times import set_ms, to_ms

if TYPE_CHECKING:
    from broker.core.events import Event
    from caseexchange.broker.v1 import audit_pb2, position_pb2


def fill_event(message: audit_pb2.AuditEvent, event: AuditEvent) -> None:
    """Write one event into an empty message."""
    set_ms(message.at, event.at_ms)
    message.principal = event.principal
    match event.event:
        case DeliveryMade() as made:
            fill_position(message.delivery.position, made.position)
            message.delivery.subscription = made.subscription
            message.delivery.attempt = made.attempt
            message.delivery.withheld_sections.extend(made.withheld_sections)
            message.delivery.more_offsets.extend(made.more_offsets)
        case DeliveryConfirmed() as confirmed:
            fill_position(message.confirmation.position, confirmed.position)
            message.confirmation.subscription = confirmed.subscription
            message.confirmation.more_offsets.extend(confirmed.more_offsets)
        case DeliveryRefused() as refused:
            fill_position(message.delivery_refused.position, refused.position)
            message.delivery_refused.subscription = refused.subscription
            message.delivery_refused.code = refused.code
            message.delivery_refused.more_offsets.extend(refused.more_offsets)
            message.delivery_refused.publisher = refused.publisher
            message.delivery_refused.agency = refused.agency
        case (
            DeadLetterMade()
            | RecordsParked()
            | DeadLetterOrdered()
            | DeadLetterRedriven()
            | DeadLetterDiscarded()
            | SetAsideEnded()
            | TakenOver()
        ) as letter:
            fill_dead_letter_event(message, letter)
        case SubscriptionBegun() | SubscriptionDeleted() as begun:
            fill_subscription_event(message, begun)
        case ReplayMade() | ProofMade() | SectionsErased() | RefusalMade() | RollbackFound() as other:
            _fill_other(message, other)
        case _ as never:
            assert_never(never)


def _fill_other(
    message: audit_pb2.AuditEvent, event: ReplayMade | ProofMade | SectionsErased | RefusalMade | RollbackFound
) -> None:
    match event:
        case ReplayMade():
            _fill_replay(message.replay, event)
        case ProofMade():
            fill_position(message.proof.position, event.position)
            message.proof.purpose = event.purpose
            message.proof.withheld_sections.extend(event.withheld_sections)
        case SectionsErased():
            fill_position(message.erased.position, event.position)
            message.erased.record_id, message.erased.code = event.record_id, event.code
            message.erased.sections.extend(event.sections)
        case RefusalMade():
            _fill_refusal(message.refusal, event)
        case RollbackFound(note):
            message.rollback.note = note


def event_from(message: audit_pb2.AuditEvent) -> AuditEvent:
    """Read one event.

    Raises:
        EnvelopeMalformed: this version does not know its kind.
    """
    return AuditEvent(to_ms(message.at), message.principal, _event(message))


def _event(message: audit_pb2.AuditEvent) -> Event:
    match message.WhichOneof("event"):
        case "delivery":
            made = message.delivery
            return DeliveryMade(
                _position(made.position),
                made.subscription,
                made.attempt,
                tuple(made.withheld_sections),
                tuple(made.more_offsets),
            )
        case "confirmation":
            confirmed = message.confirmation
            return DeliveryConfirmed(
                _position(confirmed.position), confirmed.subscription, tuple(confirmed.more_offsets)
            )
        case "delivery_refused":
            refused = message.delivery_refused
            return DeliveryRefused(
                _position(refused.position),
                refused.subscription,
                refused.code,
                tuple(refused.more_offsets),
                refused.publisher,
                refused.agency,
            )
        case "dead_letter" | "parked" | "ordered" | "redriven" | "discarded" | "set_aside_ended" | "taken_over":
            return dead_letter_event_from(message)
        case "subscription_begun" | "subscription_deleted":
            return subscription_event_from(message)
    return _event_of_no_record(message)


def _event_of_no_record(message: audit_pb2.AuditEvent) -> Event:
    match message.WhichOneof("event"):
        case "replay":
            return _replay(message.replay)
        case "proof":
            proof = message.proof
            return ProofMade(_position(proof.position), proof.purpose, tuple(proof.withheld_sections))
        case "erased":
            erased = message.erased
            return SectionsErased(_position(erased.position), erased.record_id, tuple(erased.sections), erased.code)
        case "refusal":
            refusal = message.refusal
            numbers = tuple((each.agency, each.sequence) for each in refusal.numbers)
            return RefusalMade(refusal.reason, refusal.record_id, refusal.count or 1, numbers)
        case "rollback":
            return RollbackFound(message.rollback.note)
    text = "an audit event is of a kind that this version does not know"
    raise EnvelopeMalformed(text)


def _fill_replay(message: audit_pb2.ReplayMade, replay: ReplayMade) -> None:
    message.purpose = replay.purpose
    message.streams.extend(replay.streams)
    if replay.accepted_from_ms is not None:
        set_ms(message.accepted_from, replay.accepted_from_ms)
    if replay.accepted_until_ms is not None:
        set_ms(message.accepted_until, replay.accepted_until_ms)


def _fill_refusal(message: audit_pb2.RefusalMade, refusal: RefusalMade) -> None:
    message.reason = refusal.reason
    message.record_id = refusal.record_id
    if refusal.count > 1:
        message.count = refusal.count
    for agency, number in refusal.numbers:
        message.numbers.add(agency=agency, sequence=number)


def _replay(message: audit_pb2.ReplayMade) -> ReplayMade:
    return ReplayMade(
        message.purpose,
        tuple(message.streams),
        to_ms(message.accepted_from) if message.HasField("accepted_from") else None,
        to_ms(message.accepted_until) if message.HasField("accepted_until") else None,
    )


def _position(message: position_pb2.Position) -> Position:
    return Position(message.stream, message.partition, message.offset)
