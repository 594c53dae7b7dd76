"""A broker: all parts of one process, started and stopped in order.

Start: trust, log, checkpoints, services, server. Health says SERVING when the first checkpoints are signed and the log
accepts records. Stop: refuse new calls, end subscriptions in good order, let calls finish, then close the log.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from broker.bootstrap.auditing import auditor_servicer
from broker.bootstrap.filelimit import connections_that_fit
from broker.bootstrap.limits import quota_limits, server_limits
from broker.bootstrap.log import open_log
from broker.bootstrap.opened import reporter, tell_partitions
from broker.bootstrap.recordchecks import record_checks, signature_verifier
from broker.bootstrap.rollback import rollback_guard
from broker.bootstrap.scrub import make_scrub
from broker.bootstrap.subscribing import make_subscribing
from broker.bootstrap.tasks import Tasks
from broker.bootstrap.tiles import TileServer, tile_connections
from broker.bootstrap.timestamps import make_timestamping, open_timestamps
from broker.bootstrap.tracing import tracing_servicers
from broker.bootstrap.trust import BrokerTrust
from broker.bootstrap.witnesses import make_cosigning, open_cosigned
from broker.core.errors import CaseExchangeError
from broker.core.streams import AUDIT
from broker.server.directory import DirectoryServicer
from broker.server.publisher import PublisherServicer
from broker.server.server import BrokerServer, Servicers
from broker.server.subscriber import SubscriberServicer
from broker.server.subscriptions import SubscriptionServicer
from broker.services.auditindex import AuditIndex
from broker.services.audittrail import AuditTrailService
from broker.services.checkpointing import CheckpointFollower, CheckpointSettings
from broker.services.clockwatch import ClockWatch, check_start
from broker.services.proofs import ProofService
from broker.services.publish import PublishService
from broker.services.quotas import Quotas, limits_in_force
from broker.services.refusals import Refusals
from broker.services.restoring import Restoring
from broker.services.revocationlists import newest_lists
from broker.services.versions import DirectoryVersions, KnownVersions
from broker.trust.certificates import principal_of
from broker.trust.system import SteadyClock, SystemEntropy
from broker.wire.codec import ProtobufCodec
from broker.wire.tls import server_credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from broker.bootstrap.opened import OpenedLog
    from broker.config.broker import BrokerConfig
    from broker.ports import CosignedStore, TimestampStore, WatchedClock
    from broker.trust.verification import Verifier

_log = structlog.get_logger("broker")
HEALTH_SECONDS: Final = 1.0
"""How often health checks whether the log accepts records."""


class Broker:
    """The parts of one broker process. Made by ``open_broker``."""

    def __init__(
        self,
        config: BrokerConfig,
        *,
        clock: WatchedClock,
        trust: BrokerTrust,
        opened: OpenedLog,
        signatures: Verifier,
        letters: AuditIndex,
        cosigned: CosignedStore,
        timestamps: TimestampStore,
        connections: int,
    ) -> None:
        self._config = config
        self._begun = opened.begun
        self.log = log = opened.log
        self._trust, self._codec = trust, ProtobufCodec()
        codec, signer, directory = self._codec, trust.signer, trust.directory
        self._audit = AuditTrailService(
            directory=directory,
            system=principal_of(signer.current.certificate).system,
            signer=signer,
            codec=codec,
            log=log,
            entropy=SystemEntropy(),
            clock=clock,
        )
        self.follower = CheckpointFollower(
            log=log,
            store=opened.store,
            board=opened.board,
            signer=opened.signer,
            trust_domain=directory.current().trust_domain,
            clock=clock,
            settings=CheckpointSettings(config.checkpoints.interval_seconds, config.checkpoints.evidence_bound_seconds),
            report=reporter("checkpoints"),
        )
        proofs = ProofService(log, opened.store, directory, codec)
        self._rollback = rollback_guard(
            config, trust, opened, follower=self.follower, proofs=proofs, audit=self._audit, clock=clock
        )
        self._cosigning = make_cosigning(
            config, trust, opened, cosigned, proofs=proofs, rollback=self._rollback, clock=clock
        )
        self._evidence = ClockWatch(clock, self._cosigning)
        self._timestamping = make_timestamping(
            config, trust, opened, timestamps, proofs=proofs, evidence=self._evidence, clock=clock
        )
        self._refusals, self._versions = Refusals(self._audit, clock), DirectoryVersions(log, codec)
        quotas = Quotas(limits_in_force(quota_limits(config), directory), clock)
        self._letters, subscriptions, self._subscribe, self._erasing = make_subscribing(
            config, letters, opened, audit=self._audit, directory=directory, quotas=quotas, clock=clock
        )
        self._publish = PublishService(
            checks=record_checks(config, trust, log, codec=codec, signatures=signatures, clock=clock),
            versions=KnownVersions(self._versions, trust.version),
            codec=codec,
            log=log,
            signer=signer,
            evidence=self._evidence,
            refusals=self._refusals,
            restoring=Restoring(opened.repair, codec, self._letters, opened.orders),
            erasing=self._erasing,
            slots=quotas.turns.slots,
        )
        auditor = auditor_servicer(
            config,
            trust,
            opened,
            proofs=proofs,
            rollback=self._rollback,
            cosigned=self._cosigning,
            timestamped=self._timestamping,
            audit=self._audit,
            quotas=quotas,
            codec=codec,
            signer=signer,
            clock=clock,
        )
        self._server = BrokerServer(
            Servicers(
                PublisherServicer(self._publish, quotas, self._erasing),
                SubscriberServicer(self._subscribe),
                auditor,
                DirectoryServicer(directory, self._versions),
                *tracing_servicers(
                    opened, letters, self._letters, self._audit, codec=codec, trust=trust, quotas=quotas, clock=clock
                ),
                SubscriptionServicer(subscriptions),
            ),
            trust.peers,
            quotas,
            self._refusals,
            signatures,
            address=config.server.address,
            credentials=server_credentials(trust.tls.initial, trust.tls.newest),
            limits=server_limits(config, connections),
        )
        self._scrub = make_scrub(config, opened, codec, clock, self._subscribe.may_miss)
        self.tiles = TileServer(
            config, trust, opened, self._cosigning, quotas=quotas, refusals=self._refusals, clock=clock
        )
        self._tasks = Tasks()

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._server.port

    async def begin(self) -> None:
        """Store the directory in force, and sign the first checkpoints.

        Raises:
            LogUnavailable, LogFull, LogError, DirectoryUnavailable
        """
        lists = await newest_lists(self.log, self._codec)
        self._trust.learn(await self._versions.of_period(None, None), lists)
        await self._audit.trust_in_force(self._trust.lists())
        await self._begun()
        await self._erasing.load()
        await self._letters.start()
        # If another process signs and is slow, this one begins to serve, and does not accept records yet.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.checkpoints.evidence_bound_seconds):
                await self.follower.first_pass()
        await self._rollback.load()

    async def start(self) -> None:
        """Serve. From its call on, ``stop`` must be called."""
        await self._server.start()
        self._tasks.run(self.follower.run(), "checkpoint follower")
        self._tasks.run(self._watch_trust(), "trust")
        self._tasks.run(self._refusals.run(), "refusals")
        self._tasks.run(self._scrub.run(), "scrub")
        self._tasks.run(self._letters.run(), "dead letters")
        self._tasks.run(self._erasing.run(), "erasures")
        self._tasks.run(self._cosigning.run(), "witnesses")
        await self.tiles.start()
        self._tasks.run(self.tiles.run(), "tiles")
        self._tasks.run(self._timestamping.run(), "timestamps")
        await self._update_health()
        self._tasks.run(self._watch_health(), "health")
        _log.info("serving", address=f"port {self.port}", log_id=self.log.log_id(AUDIT))

    async def stop(self) -> None:
        """Stop in good order: no accepted record is lost, and no acknowledged record is delivered again."""
        _log.info("draining")
        await self._server.refuse_new_calls()
        await self._subscribe.drain()
        await self._server.stop(self._config.server.drain_seconds)
        await self._tasks.stop()
        await self.tiles.stop()
        await self._refusals.write()
        _log.info("stopped")

    async def _watch_trust(self) -> None:
        while True:
            await asyncio.sleep(self._config.trust.reload_seconds)
            changed = self._trust.reload()
            if changed.directory:
                _log.info("directory in force", version=self._trust.directory.current().version)
            if changed.directory or changed.lists:
                await _logged(self._audit.trust_in_force(self._trust.lists()))
            if changed.peers:
                self._server.recheck_peers()

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            await self._update_health()

    async def _update_health(self) -> None:
        try:
            await self._rollback.review()
            self._evidence.check()
            await self.log.ping()
        except CaseExchangeError as error:
            _log.error("cannot accept records", reason=error.reason, cause=error.message, remedy=error.remedy)
            await self._server.set_serving(serving=False)
        else:
            await self._server.set_serving(serving=True)


@contextlib.asynccontextmanager
async def open_broker(
    config: BrokerConfig, *, clock: WatchedClock | None = None, clock_checked: bool = False
) -> AsyncIterator[Broker]:
    """Open the log and start a broker. On exit, stop it in good order.

    Args:
        config: the configuration.
        clock: the time. None: that of this machine.
        clock_checked: the operator says that the machine's clock is right, however long ago the log's newest time is.

    Raises:
        SetupInvalid: a file or setting cannot be used.
        LogError, LogUnavailable, LogFull, DirectoryUnavailable
    """
    connections = connections_that_fit(config.server.connections, tile_connections(config))
    clock = clock or SteadyClock()
    trust = BrokerTrust.load(config, clock)
    async with contextlib.AsyncExitStack() as stack:
        opened = await open_log(config, trust, clock, stack)
        tell_partitions(opened.log, trust.directory.latest.partitions)
        if not clock_checked:
            await check_start(clock, opened.log, opened.store)
        signatures = signature_verifier(config, stack)
        index = AuditIndex(config.log.folder / "audit-index.db", opened.log.log_id(AUDIT))
        letters = stack.enter_context(contextlib.closing(index))
        broker = Broker(
            config,
            clock=clock,
            trust=trust,
            opened=opened,
            signatures=signatures,
            letters=letters,
            cosigned=open_cosigned(config, stack),
            timestamps=open_timestamps(config, stack),
            connections=connections,
        )
        await broker.begin()
        # Before it starts: a signal can come while it does.
        stack.push_async_callback(broker.stop)
        await broker.start()
        yield broker


async def _logged(work: Awaitable[None]) -> None:
    try:
        await work
    except CaseExchangeError as error:
        _log.error("could not write to the audit stream", reason=error.reason, remedy=error.remedy)
