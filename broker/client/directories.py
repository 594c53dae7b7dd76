"""Get directories from a broker. Do not trust the broker: verify each directory with the pinned key before use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.client.connection import typed_errors
from broker.wire.times import set_ms
from caseexchange.broker.v1 import directory_pb2, directory_pb2_grpc

if TYPE_CHECKING:
    import grpc

_SECONDS: Final = 30.0
"""Longest wait for the answer. A broker may have to search its audit stream first."""


async def directories_in_force(channel: grpc.aio.Channel, at_ms: int | None = None) -> list[bytes]:
    """Get the directory in force at a time, as governance signed it.

    Close to a change there may be several directories that were possibly in force. Then all of them are returned.

    Args:
        channel: to the broker.
        at_ms: the time, in milliseconds since the Unix epoch, UTC. None: now.

    Raises:
        CaseExchangeError: the broker did not answer, or has no such directory.
    """
    request = directory_pb2.GetDirectoryRequest()
    if at_ms is not None:
        set_ms(request.in_force_at, at_ms)
    with typed_errors():
        response = await directory_pb2_grpc.DirectoryServiceStub(channel).GetDirectory(request, timeout=_SECONDS)
    return list(response.documents)
