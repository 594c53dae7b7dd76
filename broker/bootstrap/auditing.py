"""What auditors and the parties of a record ask a broker for: replays, proofs and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.server.auditor import AuditorServicer
from broker.services.bundling import BundleMaker
from broker.services.recordproving import ProofSettings, RecordProver
from broker.services.replay import ReplayService

if TYPE_CHECKING:
    from broker.bootstrap.opened import OpenedLog
    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.ports import AuditTrail, Clock, CosignedCheckpoints, RecordCodec, Signer
    from broker.services.proofs import ProofService
    from broker.services.quotas import Quotas
    from broker.services.rollback import RollbackGuard
    from broker.services.timestamping import Timestamping


def auditor_servicer(
    config: BrokerConfig,
    trust: BrokerTrust,
    opened: OpenedLog,
    *,
    proofs: ProofService,
    rollback: RollbackGuard,
    cosigned: CosignedCheckpoints,
    timestamped: Timestamping,
    audit: AuditTrail,
    quotas: Quotas,
    codec: RecordCodec,
    signer: Signer,
    clock: Clock,
) -> AuditorServicer:
    """The servicer of AuditorService."""
    directory = trust.directory
    bundles = BundleMaker(
        log=opened.log,
        store=opened.store,
        codec=codec,
        orders=opened.orders,
        directory=directory,
        material=trust.material,
        clock=clock,
        signer=signer,
        cosigned=cosigned,
        timestamped=timestamped,
    )
    prover = RecordProver(
        log=opened.log,
        store=opened.store,
        codec=codec,
        orders=opened.orders,
        directory=directory,
        bundles=bundles,
        cosigned=cosigned,
        timestamped=timestamped,
        audit=audit,
        quotas=quotas,
        clock=clock,
        settings=ProofSettings(config.checkpoints.interval_seconds, config.witnesses.interval_seconds),
    )
    replay = ReplayService(directory=directory, bundles=bundles, audit=audit, clock=clock)
    return AuditorServicer(replay, proofs, prover, rollback, cosigned, timestamping=lambda: timestamped.asked)
