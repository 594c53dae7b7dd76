"""What an agency learns of its dead letters: core types to protobuf, and back."""

from __future__ import annotations

from broker.ports import DeadLetterState, SubscriptionKey
from broker.wire.receipts import fill_position, position_from
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import deadletter_pb2


def dead_letter_to(state: DeadLetterState) -> deadletter_pb2.DeadLetterState:
    """Write one."""
    message = deadletter_pb2.DeadLetterState(
        agency=state.subscription.agency,
        subscription=state.subscription.name,
        case_id=state.case_id,
        attempts=state.attempts,
        principal=state.principal,
        parked=state.parked,
        reason=state.reason,
        code=state.code,
    )
    fill_position(message.position, state.position)
    set_ms(message.since, state.since_ms)
    return message


def dead_letter_from(message: deadletter_pb2.DeadLetterState) -> DeadLetterState:
    """Read one.

    Raises:
        EnvelopeMalformed: its time cannot be read.
    """
    return DeadLetterState(
        SubscriptionKey(message.agency, message.subscription),
        position_from(message.position),
        message.case_id,
        message.attempts,
        message.principal,
        to_ms(message.since),
        message.parked,
        message.reason,
        code=message.code,
    )
