"""Read requests: within bounds, and with a typed error for bytes that are no message.

Requests come as bytes and are parsed here. gRPC itself would answer bytes that are no message with UNKNOWN, and log
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import grpc
from google.protobuf.message import DecodeError

from broker.core.errors import InputRefused
from broker.wire.bounds import ENVELOPE, check_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from broker.wire.bounds import Nested

_REQUEST_BYTES: Final = 1 << 20
"""The largest request of a method that takes no records."""
_REQUEST_FIELDS: Final = 20_000
_WITH_RECORDS: Final[dict[str, Nested]] = {"Publish": {1: ENVELOPE}, "PublishStream": {1: ENVELOPE}}
"""The methods that take records, and where in their requests an envelope is."""


def read_one(method: str, parse: Any) -> Callable[[bytes], Any]:
    """The reader of a method's only request.

    It raises InputRefused: the bytes are not the message that the method takes, or the message is too large for it or
    has too many parts.
    """
    nested = _WITH_RECORDS.get(method.rpartition("/")[2])

    def read(data: bytes) -> Any:
        if nested is not None:
            check_fields(data, nested, _REQUEST_FIELDS)
        elif len(data) > _REQUEST_BYTES:
            message = f"a request of this method has at most {_REQUEST_BYTES} bytes"
            raise InputRefused(message)
        try:
            return parse(data)
        except DecodeError as error:
            message = "the request is not the message that this method takes"
            raise InputRefused(message) from error

    return read


def read_each(method: str, parse: Any) -> Callable[[grpc.aio.ServicerContext[Any, Any]], AsyncIterator[Any]]:
    """The reader of a call's requests, one by one. It raises what the reader of one raises.

    It reads from the context. gRPC's own iterator keeps the last request while it waits for the next one.
    """
    read = read_one(method, parse)

    async def read_all(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        while (data := await context.read()) is not grpc.aio.EOF:
            message = read(cast(bytes, data))
            # While the next request is awaited, nothing may hold this one: an idle stream would keep megabytes.
            del data
            yield message
            del message

    return read_all
