"""The checks of published records, by the broker's configuration and trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.bootstrap.log import KAFKA
from broker.services.recordchecks import PublishLimits, RecordChecks
from broker.trust.verification import InlineVerifier, ProcessVerifier

if TYPE_CHECKING:
    import contextlib

    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.ports import Clock, MessageLog, RecordCodec, SignatureVerifier
    from broker.trust.verification import Verifier

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


def signature_verifier(config: BrokerConfig, stack: contextlib.AsyncExitStack) -> Verifier:
    """What checks signatures: another process (ADR 8), or this one. The stack closes it."""
    if not config.server.signature_process:
        return InlineVerifier()
    verifier = ProcessVerifier()
    stack.callback(verifier.close)
    return verifier
