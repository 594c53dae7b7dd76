"""The audit events of dead letters: core types to protobuf, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from broker.core.events import (
    DeadLetterDiscarded,
    DeadLetterMade,
    DeadLetterOrdered,
    DeadLetterRedriven,
    RecordsParked,
    SetAsideEnded,
    TakenOver,
)
from broker.core.streams import StreamPartition
from broker.wire.receipts import fill_position, position_from

if TYPE_CHECKING:
    from broker.core.events import DeadLetterEvent
    from caseexchange.broker.v1 import audit_pb2


def fill_dead_letter_event(message: audit_pb2.AuditEvent, event: DeadLetterEvent) -> None:
    """Write what happened into a message that has everything else."""
    match event:
        case DeadLetterMade() as dead:
            fill_position(message.dead_letter.position, dead.position)
            message.dead_letter.subscription = dead.subscription
            message.dead_letter.attempts = dead.attempts
            message.dead_letter.agency = dead.agency
            message.dead_letter.case_id = dead.case_id
            message.dead_letter.reason = dead.reason
            message.dead_letter.publisher = dead.publisher
            message.dead_letter.code = dead.code
            message.dead_letter.reign = dead.reign
        case RecordsParked() as parked:
            fill_position(message.parked.position, parked.position)
            message.parked.subscription = parked.subscription
            message.parked.agency = parked.agency
            message.parked.case_id = parked.case_id
            message.parked.more_offsets.extend(parked.more_offsets)
            message.parked.reign = parked.reign
        case DeadLetterOrdered() as ordered:
            fill_position(message.ordered.position, ordered.position)
            message.ordered.subscription = ordered.subscription
            message.ordered.agency = ordered.agency
            message.ordered.case_id = ordered.case_id
            message.ordered.code = ordered.code
        case DeadLetterRedriven() as redriven:
            fill_position(message.redriven.position, redriven.position)
            message.redriven.subscription = redriven.subscription
            message.redriven.agency = redriven.agency
            message.redriven.case_id = redriven.case_id
        case DeadLetterDiscarded() as discarded:
            fill_position(message.discarded.position, discarded.position)
            message.discarded.subscription = discarded.subscription
            message.discarded.agency = discarded.agency
            message.discarded.case_id = discarded.case_id
            message.discarded.code = discarded.code
        case SetAsideEnded() as ended:
            fill_position(message.set_aside_ended.position, ended.position)
            message.set_aside_ended.subscription = ended.subscription
            message.set_aside_ended.agency = ended.agency
            message.set_aside_ended.more_offsets.extend(ended.more_offsets)
            message.set_aside_ended.reign = ended.reign
        case TakenOver() as taken:
            message.taken_over.stream, message.taken_over.partition = taken.partition
            message.taken_over.subscription = taken.subscription
            message.taken_over.agency = taken.agency
            message.taken_over.reign = taken.reign
        case _ as never:
            assert_never(never)


def dead_letter_event_from(message: audit_pb2.AuditEvent) -> DeadLetterEvent:
    """Read what happened. The message has an event of dead letters."""
    event: DeadLetterEvent
    match message.WhichOneof("event"):
        case "dead_letter":
            dead = message.dead_letter
            event = DeadLetterMade(
                position_from(dead.position),
                dead.subscription,
                dead.attempts,
                dead.agency,
                dead.case_id,
                dead.reason,
                dead.publisher,
                dead.code,
                reign=dead.reign,
            )
        case "parked":
            parked = message.parked
            more = tuple(parked.more_offsets)
            event = RecordsParked(
                position_from(parked.position), parked.subscription, parked.agency, parked.case_id, more, parked.reign
            )
        case "ordered":
            order = message.ordered
            event = DeadLetterOrdered(
                position_from(order.position), order.subscription, order.agency, order.case_id, order.code
            )
        case "redriven":
            again = message.redriven
            event = DeadLetterRedriven(position_from(again.position), again.subscription, again.agency, again.case_id)
        case "discarded":
            gone = message.discarded
            event = DeadLetterDiscarded(
                position_from(gone.position), gone.subscription, gone.agency, gone.case_id, gone.code
            )
        case "taken_over":
            taken = message.taken_over
            event = TakenOver(
                StreamPartition(taken.stream, taken.partition), taken.subscription, taken.agency, taken.reign
            )
        case _:
            ended = message.set_aside_ended
            more = tuple(ended.more_offsets)
            event = SetAsideEnded(position_from(ended.position), ended.subscription, ended.agency, more, ended.reign)
    return event
