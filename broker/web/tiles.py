"""Serves the tiles of a broker's logs to members of the exchange: C2SP tlog-tiles, "APIs" (docs/tiles.md).

Entry bundles are not compressed, although tlog-tiles recommends it: half of their bytes are hashes, and to compress
them would cost the broker more than to send them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from broker.core.identity import Principal
    from broker.services.tiles import TileService
    from broker.web.members import MemberGate

SERVICE: Final = "Tiles"
# Answers depend on who asks, so only the member's own cache may keep them.
_LASTING: Final = "private, max-age=31536000, immutable"
_NEWEST: Final = "private, max-age=1"


def tiles_app(service: TileService, gate: MemberGate) -> Starlette:
    """The application that answers."""

    async def get(request: Request) -> Response:
        async def work(principal: Principal) -> Response:
            answer = await service.get(principal.agency, request.path_params["path"])
            return Response(
                answer.body,
                headers={"cache-control": _LASTING if answer.lasting else _NEWEST},
                media_type="text/plain; charset=utf-8" if answer.text else "application/octet-stream",
            )

        return await gate.answer(request, work)

    return Starlette(routes=[Route("/{path:path}", get)])
