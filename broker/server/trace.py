"""TraceService: unpack, call the services of unprocessed records and of traces, pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.trace import TracedEvent, TracedRecord, TraceEnd
from broker.server.calls import Context, caller
from broker.wire.times import set_ms
from broker.wire.trace import trace_end_to, traced_event_to, traced_record_to, unprocessed_to
from caseexchange.broker.v1 import trace_pb2, trace_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.services.tracing import TracePart, Tracer
    from broker.services.unprocessed import Unprocessed


class TraceServicer(trace_pb2_grpc.TraceServiceServicer):
    """See trace.proto."""

    def __init__(self, unprocessed: Unprocessed, tracer: Tracer) -> None:
        self._unprocessed = unprocessed
        self._tracer = tracer

    async def CountUnprocessed(  # noqa: N802 - the generated stub's name
        self,
        request: trace_pb2.CountUnprocessedRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> trace_pb2.CountUnprocessedResponse:
        """Send numbers."""
        tally = self._unprocessed.count(caller())
        response = trace_pb2.CountUnprocessedResponse(refused=tally.refused, dead_letters=tally.dead_letters)
        if tally.refused_since_ms is not None:
            set_ms(response.refused_since, tally.refused_since_ms)
        return response

    async def ListUnprocessed(  # noqa: N802 - the generated stub's name
        self,
        request: trace_pb2.ListUnprocessedRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[trace_pb2.ListUnprocessedResponse]:
        """Send all."""
        async for page in self._unprocessed.listed(caller()):
            yield trace_pb2.ListUnprocessedResponse(records=[unprocessed_to(record) for record in page])

    async def Trace(  # noqa: N802 - the generated stub's name
        self,
        request: trace_pb2.TraceRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[trace_pb2.TraceResponse]:
        """Send what became of a record, or of those of a case."""
        if request.WhichOneof("subject") == "case_id":
            parts = self._tracer.of_case(caller(), request.case_id, request.go_on_at)
        else:
            parts = self._tracer.of_record(caller(), request.record_id, request.go_on_at)
        async for part in parts:
            yield _response(part)


def _response(part: TracePart) -> trace_pb2.TraceResponse:
    if isinstance(part, TraceEnd):
        return trace_pb2.TraceResponse(end=trace_end_to(part))
    return trace_pb2.TraceResponse(
        records=[traced_record_to(each) for each in part if isinstance(each, TracedRecord)],
        events=[traced_event_to(each) for each in part if isinstance(each, TracedEvent)],
    )
