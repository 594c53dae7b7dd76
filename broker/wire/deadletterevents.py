"""The audit events of dead letters: core types to protobuf, and back.

An event and its message have the same fields. Only positions and partitions are written otherwise.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

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

_TYPES: Final[dict[str, type[DeadLetterEvent]]] = {
    "dead_letter": DeadLetterMade,
    "parked": RecordsParked,
    "ordered": DeadLetterOrdered,
    "redriven": DeadLetterRedriven,
    "discarded": DeadLetterDiscarded,
    "set_aside_ended": SetAsideEnded,
    "taken_over": TakenOver,
}
_NAMES: Final = {kind: name for name, kind in _TYPES.items()}


def fill_dead_letter_event(message: audit_pb2.AuditEvent, event: DeadLetterEvent) -> None:
    """Write what happened into a message that has everything else."""
    told: Any = getattr(message, _NAMES[type(event)])
    # So that it is there, also if every field has its default.
    told.SetInParent()
    for each in fields(event):
        value = getattr(event, each.name)
        match each.name:
            case "position":
                fill_position(told.position, value)
            case "partition":
                told.stream, told.partition = value
            case "more_offsets":
                told.more_offsets.extend(value)
            case name:
                setattr(told, name, value)


def dead_letter_event_from(message: audit_pb2.AuditEvent) -> DeadLetterEvent:
    """Read what happened. The message has an event of dead letters."""
    name = str(message.WhichOneof("event"))
    told: Any = getattr(message, name)
    found: dict[str, Any] = {}
    for each in fields(_TYPES[name]):
        match each.name:
            case "position":
                found["position"] = position_from(told.position)
            case "partition":
                found["partition"] = StreamPartition(told.stream, told.partition)
            case "more_offsets":
                found["more_offsets"] = tuple(told.more_offsets)
            case plain:
                found[plain] = getattr(told, plain)
    return _TYPES[name](**found)
