"""What a subscription knows of dead letters, in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.streams import AUDIT
from broker.services.auditfold import AuditFold
from broker.services.auditindex import AuditIndex
from broker.services.audittrail import AuditTrailService
from broker.services.deadletters import DeadLetters
from broker.services.erasureorders import ErasureOrders
from broker.trust.system import SystemEntropy
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC

if TYPE_CHECKING:
    from broker.core.policy import Directory
    from broker.ports import Clock, MessageLog
    from tests.support.pki import SamplePki


def dead_letters(pki: SamplePki, log: MessageLog, clock: Clock) -> DeadLetters:
    """Those of which this log's audit stream tells."""
    index = AuditIndex(None, log.log_id(AUDIT))
    return DeadLetters(
        index=index,
        log=log,
        audit=audit_trail(pki, log, clock),
        codec=CODEC,
        orders=ErasureOrders(),
        directory=FixedDirectory(pki.directory),
        entropy=SystemEntropy(),
        clock=clock,
        fold=AuditFold(index, log, CODEC),
    )


def audit_trail(pki: SamplePki, log: MessageLog, clock: Clock, directory: Directory | None = None) -> AuditTrailService:
    """The exchange's own writer of this log's audit stream. ``directory``: another one, which governance signs too."""
    if directory is not None:
        directory = replace(directory, document=pki.sign(directory))
    return AuditTrailService(
        directory=FixedDirectory(directory or pki.directory),
        system="broker",
        signer=pki.signer("exchange"),
        codec=CODEC,
        log=log,
        entropy=SystemEntropy(),
        clock=clock,
    )
