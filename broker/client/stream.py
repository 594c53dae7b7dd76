"""A call with a stream in each direction. One task reads, writers take turns, and all of them learn why it ended."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import grpc

from broker.client.connection import ENDED, caller_is_cancelled, error_of
from broker.core.errors import CaseExchangeError, ConnectionFailed, InputRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class CallStream(abc.ABC, Generic[_Request, _Response]):
    """The common part of both streams. A subclass has ``__aenter__``, which calls ``_begin``. For one event loop."""

    def __init__(self) -> None:
        self._writing = asyncio.Lock()
        self._broken: CaseExchangeError | None = None

    def _begin(self, call: grpc.aio.StreamStreamCall[_Request, _Response]) -> None:
        self._call = call
        self._reader = asyncio.create_task(self._read())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(in_order=kind is None)

    async def _end(self, *, in_order: bool = True) -> None:
        """End the call, and wait until nothing more is read."""
        closed = False
        try:
            if in_order and self._broken is None:
                # The connection may be gone, or may never have begun. The callers that wait for an answer learn of it.
                with contextlib.suppress(grpc.aio.InternalError, CaseExchangeError):
                    await self._close()
                    await self._call.done_writing()
                    closed = True
        finally:
            if not closed:
                self._call.cancel()
            # With gather, because our cancellation would reach a reader that is awaited directly.
            await asyncio.gather(self._reader)

    async def _close(self) -> None:
        """Say that the stream ends in good order, if the broker cannot see it. Here it says nothing."""

    @abc.abstractmethod
    def _take(self, response: _Response) -> None:
        """Handle a message of the broker. If it raises a CaseExchangeError, the stream ends."""

    @abc.abstractmethod
    def _ended(self, error: CaseExchangeError) -> None:
        """Give this error to every caller that waits for an answer. Called once, when nothing more is read."""

    async def _write(self, request: _Request, turn: Callable[[], None] = lambda: None) -> None:
        """Send a request. ``turn`` is called just before.

        Raises:
            CaseExchangeError: why the stream has ended.
        """
        async with self._writing:
            if self._broken is None:
                turn()
                try:
                    await self._call.write(request)
                except (grpc.aio.AioRpcError, *ENDED, asyncio.CancelledError):
                    if caller_is_cancelled():
                        raise
                    # The reader knows the reason.
                    await asyncio.gather(self._reader, return_exceptions=True)
                else:
                    return
            raise self._broken or ConnectionFailed("the stream has ended")

    async def _read(self) -> None:
        reason: CaseExchangeError = ConnectionFailed("the broker ended the stream")
        try:
            # Not by iteration, because gRPC then allows no other read() on the same call.
            while (response := await self._call.read()) is not grpc.aio.EOF:
                self._take(cast(_Response, response))
        except grpc.aio.AioRpcError as error:
            reason = error_of(error)
        except asyncio.CancelledError:
            reason = ConnectionFailed("the stream was closed")
        except Exception as error:  # noqa: BLE001 - those who wait for an answer must learn that none will come
            self._call.cancel()
            reason = ConnectionFailed(f"the broker's message cannot be read: {type(error).__name__}")
            if isinstance(error, CaseExchangeError) and not isinstance(error, InputRefused):
                reason = error
        self._broken = reason
        self._ended(reason)
