"""What serves tiles to members, from a broker's configuration."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from broker.extras import needed
from broker.services.tiles import TileService

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from broker.bootstrap.opened import OpenedLog
    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.ports import Clock, CosignedCheckpoints
    from broker.services.quotas import Quotas
    from broker.services.refusals import Refusals
    from broker.web.server import HttpServer

_log = structlog.get_logger("broker")
_DRAIN_SECONDS: Final = 2.0


def tile_connections(config: BrokerConfig) -> int:
    """How many connections [tiles] may have in all: those that are served, and those in their handshakes."""
    return 2 * config.tiles.connections if config.tiles.address else 0


class TileServer:
    """The HTTPS server of [tiles], with the broker's own certificate. Clients show those of gRPC. For one event loop.

    Args:
        config: the broker's configuration.
        trust: says who clients are.
        opened: the log and its trees.
        cosigned: what witnesses have cosigned.
        quotas: how much an agency may use, here and over gRPC together.
        refusals: tells what was refused.
        clock: for the rate of requests.
    """

    def __init__(
        self,
        config: BrokerConfig,
        trust: BrokerTrust,
        opened: OpenedLog,
        cosigned: CosignedCheckpoints,
        *,
        quotas: Quotas,
        refusals: Refusals,
        clock: Clock,
    ) -> None:
        self._config = config
        self._trust = trust
        self._service = TileService(opened.log, opened.store, cosigned, trust.directory)
        self._quotas = quotas
        self._refusals = refusals
        self._clock = clock
        self._server: HttpServer | None = None
        self._watching: Coroutine[None, None, None] | None = None

    @property
    def port(self) -> int | None:
        """The port that it listens on. None: tiles are not served."""
        return None if self._server is None else self._server.port

    async def start(self) -> None:
        """Listen and answer, if the configuration says so.

        Raises:
            ExtraMissing, ConfigInvalid, CertificateInvalid
            Internal: an error ended the server.
        """
        given, tls = self._config.tiles, self._config.tls
        if not given.address:
            return
        with needed():
            from broker.bootstrap.httptls import watch_tls  # noqa: PLC0415 - only who serves tiles needs the extra
            from broker.web.members import MemberGate  # noqa: PLC0415
            from broker.web.server import HttpBounds, HttpServer  # noqa: PLC0415
            from broker.web.tiles import SERVICE, tiles_app  # noqa: PLC0415
            from broker.web.tls import ServerContext  # noqa: PLC0415
        gate = MemberGate(
            peers=self._trust.peers,
            quotas=self._quotas,
            refusals=self._refusals,
            clock=self._clock,
            service=SERVICE,
            requests_per_second=given.requests_per_second,
        )
        bounds = HttpBounds(
            given.connections,
            given.request_seconds,
            given.idle_seconds,
            _DRAIN_SECONDS,
            given.connections_per_agency,
            self._config.server.connection_age_seconds,
        )
        context = ServerContext(tls.certificate, tls.key, tls.authorities)
        server = HttpServer(tiles_app(self._service, gate), given.address, context, bounds, gate.agency_of)
        # Before it starts: a cancel can come while it does, and ``stop`` must find it.
        self._server = server
        await server.start()
        _log.info("serving tiles", address=f"port {server.port}")
        self._watching = watch_tls(context, self._config.trust.reload_seconds, tls.authorities)

    async def run(self) -> None:
        """Use renewed certificates until cancelled. Then answers that have begun may finish, for a short time.

        Raises:
            Internal: an error ended the server.
        """
        if self._server is None or self._watching is None:
            return
        watching = asyncio.create_task(self._watching)
        try:
            await self._server.ended()
        finally:
            watching.cancel()
            await self.stop()

    async def stop(self) -> None:
        """Answers that have begun may finish, for a short time. Idempotent, also if ``start`` was cancelled."""
        if self._server is not None:
            await self._server.stop()
