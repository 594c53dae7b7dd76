"""The HTTP side of a witness: C2SP tlog-witness, "HTTP Interface". The optional ``sign-subtree`` is not served."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from broker.core.errors import (
    CaseExchangeError,
    CheckpointInvalid,
    CosignedSizeDiffers,
    InputRefused,
    Internal,
    OriginUnknown,
    ProofInvalid,
)
from broker.core.tree.addcheckpoint import MAX_REQUEST_BYTES
from broker.web.statuses import http_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from broker.services.witness import WitnessService

_log = structlog.get_logger("broker.witness")

ADD_CHECKPOINT: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
STATUS_OF: Final[Mapping[type[CaseExchangeError], int]] = {
    CheckpointInvalid: 403,
    CosignedSizeDiffers: 409,
    OriginUnknown: 404,
    ProofInvalid: 422,
    InputRefused: 400,
    CaseExchangeError: 503,
}
"""See ``http_status``."""
_TOO_LARGE: Final = 413
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def witness_app(service: WitnessService) -> Starlette:
    """The application that answers for a witness."""

    async def add_checkpoint(request: Request) -> Response:
        return Response(await service.add_checkpoint(await _body(request)), media_type="text/plain; charset=utf-8")

    async def checkpoint(request: Request) -> Response:
        digest = request.path_params["origin"]
        if not _DIGEST.fullmatch(digest):
            raise HTTPException(404)
        return Response(await service.latest(bytes.fromhex(digest)), media_type="text/plain; charset=utf-8")

    routes = [Route(ADD_CHECKPOINT, add_checkpoint, methods=["POST"]), Route("/{origin}/checkpoint", checkpoint)]
    return Starlette(routes=routes, exception_handlers={CaseExchangeError: _refuse, Exception: _defect})


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            raise HTTPException(_TOO_LARGE)
    return bytes(body)


async def _refuse(_: Request, error: Exception) -> Response:
    if not isinstance(error, CaseExchangeError):
        return await _defect(_, error)
    if isinstance(error, CosignedSizeDiffers):
        return Response(f"{error.details['size']}\n", STATUS_OF[CosignedSizeDiffers], media_type=SIZE_TYPE)
    status = http_status(error, STATUS_OF)
    if status >= STATUS_OF[CaseExchangeError]:
        # Not for a proof that fails: the log signs no proofs, so anybody can send a bad one with its public checkpoint.
        _log.error("not cosigned", reason=error.reason, cause=error.message, remedy=error.remedy)
    return PlainTextResponse(f"{error.line}\n", status)


async def _defect(_: Request, error: Exception) -> Response:
    if not isinstance(error, ClientDisconnect):
        _log.error("a defect", reason=Internal.reason, cause=type(error).__name__)
    return PlainTextResponse("INTERNAL\n", 500)
