"""Serves the tiles of a broker's logs to members of the exchange: C2SP tlog-tiles, "APIs" (docs/tiles.md).

Entry bundles are not compressed, although tlog-tiles recommends it: half of their bytes are hashes, and to compress
them would cost the broker more than to send them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from broker.core.errors import InputRefused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from broker.core.identity import Principal
    from broker.services.tiles import TileService
    from broker.web.members import MemberGate

SERVICE: Final = "Tiles"
_BUNDLE_COST: Final = 10
"""As so many requests an entry bundle counts. It takes about a millisecond of the event loop."""
_BUNDLES: Final = "/tile/entries/"
_METHODS: Final = ("GET", "HEAD")
# Answers depend on who asks, so only the member's own cache may keep them.
_LASTING: Final = "private, max-age=31536000, immutable"
_NEWEST: Final = "private, max-age=1"


def tiles_app(service: TileService, gate: MemberGate) -> ASGIApp:
    """The application that answers. Everything goes through the gate: there is no router that would answer before."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request, path = Request(scope, receive), scope["path"].removeprefix("/")

        async def work(principal: Principal) -> Response:
            if request.method not in _METHODS:
                message = "tiles are only read: the method must be GET or HEAD"
                raise InputRefused(message)
            answer = await service.get(principal.agency, path)
            return Response(
                answer.body,
                headers={"cache-control": _LASTING if answer.lasting else _NEWEST},
                media_type="text/plain; charset=utf-8" if answer.text else "application/octet-stream",
            )

        response = await gate.answer(request, work, cost=_BUNDLE_COST if _BUNDLES in path else 1)
        await response(scope, receive, send)

    return app
