"""What became of records: core types to protobuf, and back."""

from __future__ import annotations

from broker.core.errors import EnvelopeMalformed
from broker.core.trace import Step, TracedEvent, TracedRecipient, TracedRecord, TraceEnd
from broker.ports import SubscriptionKey, UnprocessedRecord
from broker.wire.receipts import fill_position, position_from
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import trace_pb2


def unprocessed_to(record: UnprocessedRecord) -> trace_pb2.UnprocessedRecord:
    """Write a record that was not processed."""
    message = trace_pb2.UnprocessedRecord(
        publisher=record.publisher,
        agency=record.subscription.agency,
        subscription=record.subscription.name,
        record_id=record.record_id,
        code=record.code,
        dead_letter=record.dead_letter,
        attempts=record.attempts,
        reason=record.reason,
    )
    fill_position(message.position, record.position)
    set_ms(message.at, record.at_ms)
    return message


def unprocessed_from(message: trace_pb2.UnprocessedRecord) -> UnprocessedRecord:
    """Read a record that was not processed.

    Raises:
        EnvelopeMalformed: its time cannot be read.
    """
    return UnprocessedRecord(
        message.publisher,
        SubscriptionKey(message.agency, message.subscription),
        position_from(message.position),
        message.record_id,
        to_ms(message.at),
        message.code,
        message.dead_letter,
        message.attempts,
        message.reason,
    )


def traced_record_to(record: TracedRecord) -> trace_pb2.TracedRecord:
    """Write a record."""
    message = trace_pb2.TracedRecord(
        record_id=record.record_id,
        kind=record.kind,
        case_id=record.case_id,
        publisher=record.publisher,
        recipients=[trace_pb2.TracedRecipient(agency=agency, allowed=allowed) for agency, allowed in record.recipients],
    )
    fill_position(message.position, record.position)
    set_ms(message.accepted_at, record.accepted_at_ms)
    return message


def traced_record_from(message: trace_pb2.TracedRecord) -> TracedRecord:
    """Read a record.

    Raises:
        EnvelopeMalformed: its time cannot be read.
    """
    return TracedRecord(
        message.record_id,
        message.kind,
        message.case_id,
        message.publisher,
        position_from(message.position),
        to_ms(message.accepted_at),
        tuple(TracedRecipient(each.agency, each.allowed) for each in message.recipients),
    )


def traced_event_to(event: TracedEvent) -> trace_pb2.TracedEvent:
    """Write what happened."""
    message = trace_pb2.TracedEvent(
        agency=event.agency,
        subscription=event.subscription,
        step=trace_pb2.TracedStep.ValueType(event.step.value),
        attempt=event.attempt,
        withheld_sections=event.withheld_sections,
        code=event.code,
        reason=event.reason,
    )
    fill_position(message.position, event.position)
    set_ms(message.at, event.at_ms)
    return message


def traced_event_from(message: trace_pb2.TracedEvent) -> TracedEvent:
    """Read what happened.

    Raises:
        EnvelopeMalformed: this version does not know the step, or the time cannot be read.
    """
    try:
        step = Step(message.step)
    except ValueError as error:
        text = "a trace has a step that this version does not know"
        raise EnvelopeMalformed(text) from error
    return TracedEvent(
        position_from(message.position),
        message.agency,
        message.subscription,
        to_ms(message.at),
        step,
        message.attempt,
        tuple(message.withheld_sections),
        message.code,
        message.reason,
    )


def trace_end_to(end: TraceEnd) -> trace_pb2.TraceEnd:
    """Write the end of a trace."""
    message = trace_pb2.TraceEnd(complete=end.complete, go_on_at=end.go_on_at, damaged=end.damaged)
    set_ms(message.read_to, end.read_to_ms)
    return message


def trace_end_from(message: trace_pb2.TraceEnd) -> TraceEnd:
    """Read the end of a trace.

    Raises:
        EnvelopeMalformed: its time cannot be read.
    """
    return TraceEnd(message.complete, to_ms(message.read_to), message.go_on_at, message.damaged)
