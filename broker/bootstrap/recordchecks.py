"""The checks of published records, by the broker's configuration and trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.bootstrap.log import KAFKA
from broker.services.recordchecks import PublishLimits, RecordChecks

if TYPE_CHECKING:
    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.ports import Clock, MessageLog, RecordCodec, SignatureVerifier

_DAY_MS: Final = 86_400_000


def record_checks(
    config: BrokerConfig,
    trust: BrokerTrust,
    log: MessageLog,
    *,
    codec: RecordCodec,
    signatures: SignatureVerifier,
    clock: Clock,
) -> RecordChecks:
    """Make the checks of this broker."""
    days = config.kafka.retention_days if config.log.backend == KAFKA else 0
    return RecordChecks(
        directory=trust.directory,
        keyring=trust.keyring,
        signatures=signatures,
        codec=codec,
        partitions=log.partitions,
        clock=clock,
        limits=PublishLimits(
            config.records.record_bytes, int(config.records.clock_skew_seconds * 1000), days * _DAY_MS or None
        ),
    )
