"""Ask a broker what became of records: which were not processed, and the trace of a record or a case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.client.connection import typed_errors
from broker.core.errors import ConnectionFailed
from broker.core.trace import joined
from broker.wire.times import to_ms
from broker.wire.trace import trace_end_from, traced_event_from, traced_record_from, unprocessed_from
from caseexchange.broker.v1 import trace_pb2, trace_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from broker.core.trace import TracedEvent, TracedRecord
    from broker.ports import UnprocessedRecord

_SECONDS: Final = 30.0
"""Longest wait for an answer."""
_TRACE_SECONDS: Final = 120.0
"""Longest trace: the broker limits each of its steps to a few seconds."""


class UnprocessedTally(NamedTuple):
    """How many records were refused, when the first was (epoch milliseconds; None: none), how many are dead letters."""

    refused: int
    refused_since_ms: int | None
    dead_letters: int


class Trace(NamedTuple):
    """What became of records. ``complete`` False: the broker stopped at its limit, or a part of its log is damaged.

    ``events`` are in order. Deliveries and acknowledgements reach up to ``read_to_ms`` (epoch milliseconds), and what
    was refused or set aside may reach further.
    """

    records: tuple[TracedRecord, ...]
    events: tuple[TracedEvent, ...]
    complete: bool
    read_to_ms: int
    go_on_at: int
    """Where a further trace goes on. 0: nothing of the audit stream is left."""
    damaged: bool
    """Whether a part of the audit stream that was read is damaged."""


class TraceClient:
    """Asks over a channel, as the agency of its certificate. For one event loop.

    Raises (every method):
        CaseExchangeError: the broker did not answer, or refused the request.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = trace_pb2_grpc.TraceServiceStub(channel)

    async def count_unprocessed(self) -> UnprocessedTally:
        """How many of the records that the caller published. An auditor gets everyone's."""
        with typed_errors():
            answer = await self._stub.CountUnprocessed(trace_pb2.CountUnprocessedRequest(), timeout=_SECONDS)
        since_ms = to_ms(answer.refused_since) if answer.HasField("refused_since") else None
        return UnprocessedTally(answer.refused, since_ms, answer.dead_letters)

    async def unprocessed(self) -> AsyncIterator[UnprocessedRecord]:
        """The refusals that concern the caller, then the dead letters of what it published. An auditor gets all."""
        with typed_errors():
            async for answer in self._stub.ListUnprocessed(trace_pb2.ListUnprocessedRequest()):
                for message in answer.records:
                    yield unprocessed_from(message)

    async def of_record(self, record_id: str, *, to_the_end: bool = False) -> Trace:
        """The trace of one record. RecordUnknown: there is no such record that concerns the caller.

        ``to_the_end``: whenever the broker stops at its limit, ask it to go on there.
        """
        return await self._whole(trace_pb2.TraceRequest(record_id=record_id), to_the_end=to_the_end)

    async def of_case(self, case_id: str, *, to_the_end: bool = False) -> Trace:
        """The trace of those records of a case that concern the caller. RecordUnknown: there is none."""
        return await self._whole(trace_pb2.TraceRequest(case_id=case_id), to_the_end=to_the_end)

    async def _whole(self, request: trace_pb2.TraceRequest, *, to_the_end: bool) -> Trace:
        found = await self._trace(request)
        while to_the_end and found.go_on_at:
            request.go_on_at = found.go_on_at
            further = await self._trace(request)
            damaged = found.damaged or further.damaged
            found = further._replace(
                events=tuple(joined(found.events, further.events)),
                complete=further.complete and not damaged,
                damaged=damaged,
            )
        return found

    async def _trace(self, request: trace_pb2.TraceRequest) -> Trace:
        records: list[TracedRecord] = []
        events: list[TracedEvent] = []
        with typed_errors():
            async for answer in self._stub.Trace(request, timeout=_TRACE_SECONDS):
                records += map(traced_record_from, answer.records)
                events += map(traced_event_from, answer.events)
                if answer.HasField("end"):
                    end = trace_end_from(answer.end)
                    return Trace(tuple(records), tuple(events), *end)
        message = "the broker ended a trace before its end"
        raise ConnectionFailed(message)
