"""What recognises a log that went back, from a broker's configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from broker.bootstrap.opened import reporter
from broker.core.errors import ConfigInvalid
from broker.core.streams import STREAMS, StreamPartition
from broker.services.rollback import RollbackGuard
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
_LOSS: Final = re.compile(r"(?P<stream>[a-z]{1,20})/(?P<number>[0-9]{1,3}):(?P<size>[0-9]{1,18})")


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
    """Make the guard of an opened log.

    Raises:
        ConfigInvalid: checkpoints.accepted_losses cannot be read.
    """
    return RollbackGuard(
        log=opened.log,
        store=opened.store,
        proofs=proofs,
        follower=follower,
        keys=DirectoryLogKeys(lambda: trust.directory.latest),
        trust_domain=trust.directory.current().trust_domain,
        audit=audit,
        clock=clock,
        kept=Kept(config.log.folder / "rolled-back", _KEPT_BYTES),
        accepted=accepted_losses(config.checkpoints.accepted_losses),
        lag_seconds=opened.lag_seconds,
        report=reporter("the check for a log that went back"),
    )


def accepted_losses(given: tuple[str, ...]) -> dict[StreamPartition, int]:
    """The largest size of a checkpoint that cannot accuse the log, by partition.

    Raises:
        ConfigInvalid: one is not written as LOG_ROLLED_BACK names it.
    """
    losses: dict[StreamPartition, int] = {}
    for text in given:
        found = _LOSS.fullmatch(text)
        if found is None or found["stream"] not in STREAMS:
            message = "checkpoints.accepted_losses must name losses as LOG_ROLLED_BACK does, such as cases/0:1234"
            raise ConfigInvalid(message)
        partition = StreamPartition(found["stream"], int(found["number"]))
        losses[partition] = max(int(found["size"]), losses.get(partition, 0))
    return losses
