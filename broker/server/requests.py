"""Read requests: within bounds, and with a typed error for bytes that are no message.

Requests come as bytes and are parsed here. gRPC itself would answer bytes that are no message with UNKNOWN, and log
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import grpc
from google.protobuf.message import DecodeError

from broker.core.errors import InputRefused
from broker.wire.bounds import ENVELOPE, SMALL_BYTES, too_many_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.ports import MessageExaminer
    from broker.services.turns import Turn
    from broker.wire.bounds import Nested

_REQUEST_BYTES: Final = 1 << 20
"""The largest request of a method that takes no records."""
_REQUEST_FIELDS: Final = 20_000
_WITH_RECORDS: Final[dict[str, Nested]] = {"Publish": {1: ENVELOPE}, "PublishStream": {1: ENVELOPE}}
"""The methods that take records, and where in their requests an envelope is."""


class Reader:
    """Reads the requests of one method, each in its turn (broker/services/turns.py).

    It raises InputRefused: the bytes are not the message that the method takes, or the message is too large for it or
    has too many parts.
    """

    def __init__(self, method: str, parse: Any, examiner: MessageExaminer) -> None:
        """``parse``: makes the message of its bytes, or raises DecodeError."""
        self._examiner = examiner
        _, self.service, name = method.split("/")
        self._nested = _WITH_RECORDS.get(name)
        self._parse = parse

    @property
    def publishes(self) -> bool:
        """Whether the method takes records."""
        return self._nested is not None

    async def one(self, context: grpc.aio.ServicerContext[Any, Any], turn: Turn) -> Any:
        """Read the only request."""
        await turn.to_read()
        data = await context.read()
        if data is grpc.aio.EOF:
            message = "the call has no request"
            raise InputRefused(message)
        return await self._use(cast(bytes, data), turn)

    async def each(self, context: grpc.aio.ServicerContext[Any, Any], turn: Turn) -> AsyncIterator[Any]:
        """Read the requests, one by one.

        It reads from the context. gRPC's own iterator keeps the last request while it waits for the next one.
        """
        await turn.to_read()
        while (data := await context.read()) is not grpc.aio.EOF:
            message = await self._use(cast(bytes, data), turn)
            # While the next request is awaited, nothing may hold this one: an idle stream would keep megabytes.
            del data
            yield message
            del message
            if not self.publishes:
                # The receiver has done what it asks for. Records are judged later, and in their order.
                turn.judged()
            await turn.to_read()

    async def _use(self, data: bytes, turn: Turn) -> Any:
        if self._nested is None and len(data) > _REQUEST_BYTES:
            # It was read, so it is paid for.
            turn.judged(0, 1, len(data))
            message = f"a request of this method has at most {_REQUEST_BYTES} bytes"
            raise InputRefused(message)
        await turn.to_use(len(data))
        if self._nested is not None and len(data) > SMALL_BYTES:
            # Not here: it holds up everybody for milliseconds.
            fits = await turn.in_thread(self._examiner.fields_fit, data, self._nested, _REQUEST_FIELDS)
            if not fits:
                raise too_many_fields(_REQUEST_FIELDS)
        try:
            return self._parse(data)
        except DecodeError as error:
            message = "the request is not the message that this method takes"
            raise InputRefused(message) from error
