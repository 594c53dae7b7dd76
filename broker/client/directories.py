"""Asking a broker for directories. It only passes them on: verify each against the pinned key before relying on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.client.connection import typed_errors
from broker.wire.times import set_ms
from caseexchange.broker.v1 import directory_pb2, directory_pb2_grpc

if TYPE_CHECKING:
    import grpc

_SECONDS: Final = 30.0
"""For the answer: a broker may have to look through its audit stream first."""


async def directories_in_force(channel: grpc.aio.Channel, at_ms: int | None = None) -> list[bytes]:
    """The directory in force as governance signed it; of a time near to a change, each that may have been.

    Args:
        channel: to the broker.
        at_ms: when, in milliseconds since the Unix epoch, UTC; None: now.

    Raises:
        CaseExchangeError: the broker did not answer, or knows of none.
    """
    request = directory_pb2.GetDirectoryRequest()
    if at_ms is not None:
        set_ms(request.in_force_at, at_ms)
    with typed_errors():
        response = await directory_pb2_grpc.DirectoryServiceStub(channel).GetDirectory(request, timeout=_SECONDS)
    return list(response.documents)
