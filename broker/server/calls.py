"""The guard that every call passes first: who calls, whether they still may, and how an error is answered.

1. the peer's certificate names a principal of a listed agency, and is not revoked: PeerIdentityMissing, PeerUnknown,
   PeerRevoked, RevocationUnavailable. The agency has not too many calls, and they are not on too many
   connections: QuotaExceeded
2. each request is read in its turn (broker/services/turns.py). The servicer does its work. Running calls are listed, so
   that they can end at once if their peer is revoked
3. an error is told to auditors and to the operator, counts against the agency, and is answered by its row of the status
   table. Anything outside the error tree is answered as INTERNAL, and only the log has more details
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc

from broker.core.errors import CaseExchangeError, Draining, Internal, PeerIdentityMissing, QuotaExceeded, forget_frames
from broker.server.requests import Reader
from broker.wire.status import DETAILS_KEY, as_told, status_details, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from broker.core.identity import Principal
    from broker.ports import MessageExaminer, PeerAuthentication
    from broker.services.quotas import Quotas
    from broker.services.refusals import Refusals
    from broker.services.turns import Turn

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""gRPC's side of one call."""

_principal: ContextVar[Principal] = ContextVar("principal")
_turn: ContextVar[Turn] = ContextVar("turn")
_CERTIFICATE: Final = "x509_pem_cert"


def caller() -> Principal:
    """The authenticated peer of the current call."""
    return _principal.get()


def turn() -> Turn:
    """The turns of the current call."""
    return _turn.get()


class Told(Exception):
    """Raised by a servicer: answer with ``error``, which a service has told to auditors and to the operator."""

    def __init__(self, error: CaseExchangeError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True, eq=False)
class _Call:
    method: str
    certificate_pem: bytes
    task: asyncio.Task[Any]
    refusal: CaseExchangeError | None = None
    turn: Turn | None = None


class CallGuard(grpc.aio.ServerInterceptor):
    """The interceptor in front of every servicer. For one event loop."""

    def __init__(
        self, peers: PeerAuthentication, quotas: Quotas, refusals: Refusals, examiner: MessageExaminer
    ) -> None:
        self._examiner = examiner
        self._peers = peers
        self._quotas = quotas
        self._refusals = refusals
        self._calls: set[_Call] = set()
        self._draining = False

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the method's handler in the guard."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self._guarded(handler, handler_call_details.method)

    def recheck_peers(self) -> None:
        """End the calls of peers that may no longer call. Call this when revocation lists or the directory change."""
        for call in list(self._calls):
            try:
                self._peers.authenticate(call.certificate_pem)
            except CaseExchangeError as error:
                call.refusal = error
                call.task.cancel()

    def drain(self) -> None:
        """Refuse new calls. Calls under way may finish."""
        self._draining = True

    def _guarded(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        # All are served as methods that read a stream. So gRPC reads no request before its turn, and before it is known
        # who calls. A client sees no difference.
        reader = Reader(method, handler.request_deserializer, self._examiner)

        async def read(context: Context) -> Any:
            return reader.each(context, turn()) if handler.request_streaming else await reader.one(context, turn())

        if not handler.response_streaming:
            unary: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary

            async def answer(_: Any, context: Context) -> Any:
                async def work() -> Any:
                    return await unary(await read(context), context)

                return await self._run(method, reader, context, work)

            return grpc.stream_unary_rpc_method_handler(answer, response_serializer=handler.response_serializer)
        streaming: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def answers(_: Any, context: Context) -> None:
            async def work() -> None:
                # With its first answer the only request is judged: a long answer must not hold up the agency's others.
                judged = None if handler.request_streaming else turn().judged
                await _write_all(streaming(await read(context), context), context, judged)

            await self._run(method, reader, context, work)

        return grpc.stream_stream_rpc_method_handler(answers, response_serializer=handler.response_serializer)

    async def _run(
        self,
        method: str,
        reader: Reader,
        context: Context,
        work: Callable[[], Awaitable[Any]],
    ) -> Any:
        call: _Call | None = None
        try:
            call = self._admit(method, context)
            agency = caller().agency
            call.turn = self._quotas.turns.of(agency, reader.service, publishes=reader.publishes)
            _turn.set(call.turn)
            async with self._counted(agency, context):
                return await work()
        except Told as told:
            forget_frames(told)
            _charge(call, told.error)
            await _abort(context, told.error)
        except CaseExchangeError as error:
            _charge(call, error)
            await self._refuse(context, method, error)
        except asyncio.CancelledError:
            if call is None or call.refusal is None:
                _charge_cancelled(call)
                raise
            call.task.uncancel()
            await self._refuse(context, method, call.refusal)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the peer must learn of a defect only that it is one
            await self._refuse(context, method, _internal(error))
        finally:
            if call is not None:
                self._calls.discard(call)
                if call.turn is not None:
                    call.turn.close()

    @contextlib.asynccontextmanager
    async def _counted(self, agency: str, context: Context) -> AsyncIterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._quotas.call(agency, context.peer()))
            except QuotaExceeded:
                await self._quotas.hold_back(agency, turn())
                raise
            yield

    async def _refuse(self, context: Context, method: str, error: CaseExchangeError) -> None:
        # (3) Told, then answered.
        principal = _principal.get(None)
        name = principal.spiffe_id if principal is not None else self._peers.named(_certificate(context))
        cause = _cause(error)
        forget_frames(error)
        await self._refusals.tell(name, [error], method=method, cause=cause)
        await _abort(context, error)

    def _admit(self, method: str, context: Context) -> _Call:
        if self._draining:
            message = "the broker is shutting down"
            raise Draining(message)
        certificate, task = _certificate(context), asyncio.current_task()
        if not certificate or task is None:
            message = "the peer showed no certificate"
            raise PeerIdentityMissing(message)
        # (1) Who it is, and whether it may still call.
        principal = self._peers.authenticate(certificate)
        _principal.set(principal)
        # (2) Listed while it runs.
        call = _Call(method, certificate, task)
        self._calls.add(call)
        return call


def _certificate(context: Context) -> bytes:
    """The peer's, as PEM. Empty: it showed none."""
    return next(iter(context.auth_context().get(_CERTIFICATE, ())), b"")


async def _write_all(responses: Any, context: Context, begun: Callable[[], None] | None) -> None:
    if inspect.isawaitable(responses):
        await responses
        return
    try:
        async for response in responses:
            if begun is not None:
                begun()
            await context.write(response)
            del response
    finally:
        # So the servicer cleans up now, and not when the garbage collector runs.
        await responses.aclose()


# A refused call, its error, its frames and its task form a cycle, which waits for the garbage collector. That runs
# seldom (broker/bootstrap/loop.py), and a request can have megabytes. So peers whose requests were refused filled the
# memory. Therefore whoever holds a request lets it go at once (also broker/server/requests.py).


async def _abort(context: Context, error: CaseExchangeError) -> None:
    # One row of the table.
    error = as_told(error)
    try:
        await context.abort(
            status_of(type(error)), error.message, trailing_metadata=((DETAILS_KEY, status_details(error)),)
        )
    except grpc.aio.AbortError as aborted:
        # gRPC keeps it with the call, and raises it again when the handler returns. With our frames they would form a
        # cycle, sixty objects for each refused call.
        forget_frames(aborted)


def _charge(call: _Call | None, error: CaseExchangeError) -> None:
    """The refusal of a call counts against its agency, if it is known and the call was admitted."""
    if call is not None and call.turn is not None:
        call.turn.refused(error)


def _charge_cancelled(call: _Call | None) -> None:
    if call is not None and call.turn is not None:
        call.turn.cancelled()


def _internal(error: Exception) -> Internal:
    internal = Internal("the broker failed; its log says more")
    internal.__cause__ = error
    return internal


def _cause(error: CaseExchangeError) -> str:
    """The place of a defect: class and line. An exception's own text is left out, because it may quote data."""
    cause = error.__cause__
    if cause is None or not isinstance(error, Internal):
        return ""
    trace = cause.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    return f"{type(cause).__name__} at {where}"
