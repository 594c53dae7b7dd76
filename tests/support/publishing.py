"""A publish service over a sample PKI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.quota import QuotaLimits
from broker.services.erasing import Erasing
from broker.services.erasureorders import ErasureOrders
from broker.services.publish import PublishService
from broker.services.quotas import Quotas
from broker.services.recordchecks import PublishLimits, RecordChecks
from broker.services.refusals import Refusals
from broker.services.restoring import Restoring
from broker.services.slots import Slots
from broker.services.versions import DirectoryVersions, KnownVersions
from broker.trust.directory import open_directory
from broker.trust.verification import InlineVerifier
from tests.support.fakes import FixedDirectory, ListedAudit, SwitchedEvidence
from tests.support.letters import dead_letters
from tests.support.records import CODEC

if TYPE_CHECKING:
    from broker.core.bundle import DirectoryDocument
    from broker.core.inforce import DirectoryVersion
    from broker.ports import AuditTrail, MessageLog
    from tests.support.pki import ManualClock, SamplePki


def publish_service(
    pki: SamplePki, log: MessageLog, clock: ManualClock, audit: AuditTrail | None = None, **parts: Any
) -> PublishService:
    """A service of the sample's exchange. ``parts`` replace its usual ones, by the names of its arguments.

    ``audit`` is told of what it refuses.
    """
    checks: dict[str, Any] = {
        "directory": FixedDirectory(pki.directory),
        "keyring": pki.keyring(),
        "signatures": InlineVerifier(),
        "codec": CODEC,
        "limits": PublishLimits(),
    }
    usual: dict[str, Any] = {
        "codec": CODEC,
        "signer": pki.signer("exchange"),
        "evidence": SwitchedEvidence(),
        "slots": Slots(),
        "erasing": Erasing(
            log=log,
            erasure=None,
            orders=ErasureOrders(),
            audit=ListedAudit(),
            codec=CODEC,
            directory=FixedDirectory(pki.directory),
            quotas=Quotas(lambda _: QuotaLimits(), clock),
            clock=clock,
        ),
        "restoring": Restoring(None, CODEC, dead_letters(pki, log, clock), ErasureOrders()),
        "versions": KnownVersions(DirectoryVersions(log, CODEC), lambda found: _version(pki, found)),
    }
    checks |= {name: part for name, part in parts.items() if name in checks}
    usual |= {name: part for name, part in parts.items() if name in usual}
    refusals = Refusals(audit or ListedAudit(), clock)
    record_checks = RecordChecks(**checks, partitions=log.partitions, clock=clock)
    return PublishService(**usual, checks=record_checks, log=log, refusals=refusals)


def _version(pki: SamplePki, found: DirectoryDocument) -> DirectoryVersion:
    directory = open_directory(found.document, pki.governance)
    return pki.version(directory, in_force_from_ms=found.in_force_from_ms)
