"""What recognises a log that went back, from a broker's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.bootstrap.opened import reporter
from broker.core.incarnations import Incarnations
from broker.services.rollback import BETWEEN_NOTES, RollbackGuard
from broker.trust.kept import Kept
from broker.trust.logkeys import DirectoryLogKeys

if TYPE_CHECKING:
    from broker.bootstrap.opened import OpenedLog
    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.ports import AuditTrail, Clock
    from broker.services.checkpointing import CheckpointFollower
    from broker.services.proofs import ProofService

_KEPT_BYTES: Final = 16 << 20
"""Room for the largest checkpoint of every partition."""


def rollback_guard(
    config: BrokerConfig,
    trust: BrokerTrust,
    opened: OpenedLog,
    *,
    follower: CheckpointFollower,
    proofs: ProofService,
    audit: AuditTrail,
    clock: Clock,
) -> RollbackGuard:
    """Make the guard of an opened log."""
    return RollbackGuard(
        log=opened.log,
        store=opened.store,
        proofs=proofs,
        follower=follower,
        keys=DirectoryLogKeys(lambda: trust.directory.latest),
        trust_domain=trust.directory.current().trust_domain,
        audit=audit,
        clock=clock,
        kept=_kept(config),
        declared=lambda: Incarnations(trust.directory.latest.incarnations),
        lag_seconds=opened.lag_seconds,
        report=reporter("the check for a log that went back"),
    )


def kept_notes(config: BrokerConfig) -> list[bytes]:
    """The signed checkpoints that the log was found not to continue, as they are kept for the next start."""
    return _kept(config).read().split(BETWEEN_NOTES)


def _kept(config: BrokerConfig) -> Kept:
    return Kept(config.log.folder / "rolled-back", _KEPT_BYTES)
