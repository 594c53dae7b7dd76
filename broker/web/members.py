"""The guard in front of what members of the exchange ask for over HTTPS, with the same rules as for gRPC calls.

1. The client's certificate names a principal of a listed agency, and is not revoked: PeerIdentityMissing, PeerUnknown,
   PeerRevoked, RevocationUnavailable. This is checked for every request, so a revoked certificate gets nothing, also on
   a connection that is open.
   All who are refused for this share one account for what was refused, and lose their connection.
2. The agency has not too many requests at once (QuotaExceeded), has paid for what was refused
   (broker/services/turns.py), and asks no faster than its rate: until then the request waits. What is over the quota
   waits too, before it is refused.
3. An error is told to auditors and to the operator, counts against the agency, and is answered as one line of text.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse

from broker.core.errors import (
    CaseExchangeError,
    IdentityRefused,
    InputRefused,
    Internal,
    LogError,
    PositionUnknown,
    QuotaExceeded,
    RightDenied,
    Unavailable,
)
from broker.services.buckets import Bucket
from broker.web.server import PEER_CERTIFICATE
from broker.web.statuses import http_status
from broker.wire.status import RETRY_AFTER_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from broker.core.identity import Principal
    from broker.ports import Clock, PeerAuthentication
    from broker.services.quotas import Quotas
    from broker.services.refusals import Refusals
    from broker.services.turns import Turn

STATUS_OF: Final[Mapping[type[CaseExchangeError], int]] = {
    PositionUnknown: 404,
    InputRefused: 400,
    IdentityRefused: 403,
    RightDenied: 403,
    QuotaExceeded: 429,
    Unavailable: 503,
    LogError: 500,
    CaseExchangeError: 500,
}
"""See ``http_status``."""
STRANGERS: Final = ""
"""Stands for the agency of a client that is not one of the exchange's any more, or not yet. All share its account."""


class MemberGate:
    """See the module. For one event loop.

    Args:
        peers: says who a client is.
        quotas: how much an agency may use.
        refusals: tells what was refused.
        clock: for the rate.
        service: the account for what is refused (broker/services/turns.py), and the method that refusals name.
        requests_per_second: the rate of one agency.
    """

    def __init__(
        self,
        *,
        peers: PeerAuthentication,
        quotas: Quotas,
        refusals: Refusals,
        clock: Clock,
        service: str,
        requests_per_second: float,
    ) -> None:
        self._peers = peers
        self._quotas = quotas
        self._refusals = refusals
        self._clock = clock
        self._service = service
        self._rate = requests_per_second
        self._buckets: dict[str, Bucket] = {}

    def agency_of(self, certificate: bytes | None) -> str:
        """Whose connection it is, or ``STRANGERS``. The certificate is DER."""
        try:
            return self._peers.authenticate(_pem(certificate)).agency
        except CaseExchangeError:
            return STRANGERS

    async def answer(
        self, request: Request, work: Callable[[Principal], Awaitable[Response]], *, cost: int = 1
    ) -> Response:
        """Answer a request if its client may ask. Raises nothing of the error tree.

        Args:
            request: the request.
            work: makes the answer.
            cost: how many requests it counts as.
        """
        certificate = _pem(getattr(request.state, PEER_CERTIFICATE))
        try:
            # (1) Who it is, and whether it may still ask.
            try:
                principal = self._peers.authenticate(certificate)
            except IdentityRefused as error:
                await self._hold_back(STRANGERS, self._turn(STRANGERS), error)
                raise
            return await self._admitted(request, principal, work, cost)
        except CaseExchangeError as error:
            return await self._refuse(certificate, error)
        except Exception as error:  # noqa: BLE001 - the client must learn of a defect only that it is one
            internal = Internal("the broker failed; its log says more")
            return await self._refuse(certificate, internal, type(error).__name__)

    async def _admitted(
        self, request: Request, principal: Principal, work: Callable[[Principal], Awaitable[Response]], cost: int
    ) -> Response:
        agency, client = principal.agency, request.client
        connection = "" if client is None else f"{client.host}:{client.port}"
        # (2) Within what its agency may use.
        turn = self._turn(agency)
        try:
            with self._quotas.call(agency, connection):
                await turn.to_read()
                await self._at_rate(agency, cost)
                return await work(principal)
        except QuotaExceeded as error:
            await self._hold_back(agency, turn, error)
            raise
        except CaseExchangeError as error:
            turn.refused(error)
            raise
        finally:
            turn.close()

    def _turn(self, agency: str) -> Turn:
        return self._quotas.turns.of(agency, self._service, publishes=False)

    async def _hold_back(self, agency: str, turn: Turn, error: CaseExchangeError) -> None:
        # Refused at once and for nothing, it would come again at once.
        turn.refused(error)
        await self._quotas.hold_back(agency, turn)

    async def _at_rate(self, agency: str, cost: int) -> None:
        now = self._clock.monotonic()
        bucket = self._buckets.setdefault(agency, Bucket(self._rate, now))
        wait = bucket.wait_seconds(now)
        # Whoever comes next waits longer, also while this one waits.
        bucket.take(cost, now)
        if wait > 0:
            await asyncio.sleep(wait)

    async def _refuse(self, certificate: bytes, error: CaseExchangeError, cause: str = "") -> Response:
        # (3) Told, then answered. That a tile is not there yet is no news.
        if not isinstance(error, PositionUnknown):
            name = self._peers.named(certificate)
            await self._refusals.tell(name, [error], method=self._service, cause=cause)
        headers = {"cache-control": "no-store"}
        if isinstance(error, IdentityRefused):
            # To come again costs it a TLS handshake, and then it is a stranger whose connections are bounded.
            headers["connection"] = "close"
        if RETRY_AFTER_MS in error.details:
            headers["retry-after"] = str(-(-int(error.details[RETRY_AFTER_MS]) // 1000))
        return PlainTextResponse(f"{error.line}\n", http_status(error, STATUS_OF), headers)


def _pem(certificate: bytes | None) -> bytes:
    """As PEM. Empty, if there is none: no principal has that."""
    return b"" if certificate is None else ssl.DER_cert_to_PEM_cert(certificate).encode()
