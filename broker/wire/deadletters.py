"""What an agency learns of its dead letters: core types to protobuf, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.ports import SubscriptionKey
from broker.wire.receipts import fill_position, position_from
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import deadletter_pb2

if TYPE_CHECKING:
    from broker.core.streams import Position


class WireDeadLetter(NamedTuple):
    """One dead letter. ``principal`` held it last. ``since_ms`` is in milliseconds since the Unix epoch, UTC.

    ``parked`` records of its case wait.
    """

    subscription: SubscriptionKey
    position: Position
    case_id: str
    attempts: int
    principal: str
    since_ms: int
    parked: int


def dead_letter_to(state: WireDeadLetter) -> deadletter_pb2.DeadLetterState:
    """Write one."""
    message = deadletter_pb2.DeadLetterState(
        agency=state.subscription.agency,
        subscription=state.subscription.name,
        case_id=state.case_id,
        attempts=state.attempts,
        principal=state.principal,
        parked=state.parked,
    )
    fill_position(message.position, state.position)
    set_ms(message.since, state.since_ms)
    return message


def dead_letter_from(message: deadletter_pb2.DeadLetterState) -> WireDeadLetter:
    """Read one.

    Raises:
        EnvelopeMalformed: its time cannot be read.
    """
    return WireDeadLetter(
        SubscriptionKey(message.agency, message.subscription),
        position_from(message.position),
        message.case_id,
        message.attempts,
        message.principal,
        to_ms(message.since),
        message.parked,
    )
