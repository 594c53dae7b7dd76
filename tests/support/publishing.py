"""A publish service over a sample PKI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.services.publish import PublishLimits, PublishService
from broker.services.refusals import Refusals
from broker.services.restoring import Restoring
from broker.trust.verification import InlineVerifier
from tests.support.fakes import FixedDirectory, ListedAudit, SwitchedEvidence
from tests.support.records import CODEC

if TYPE_CHECKING:
    from broker.ports import AuditTrail, MessageLog
    from tests.support.pki import ManualClock, SamplePki


def publish_service(
    pki: SamplePki, log: MessageLog, clock: ManualClock, audit: AuditTrail | None = None, **parts: Any
) -> PublishService:
    """A service of the sample's exchange. ``parts`` replace its usual ones, by the names of its arguments.

    ``audit`` is told of what it refuses.
    """
    usual: dict[str, Any] = {
        "directory": FixedDirectory(pki.directory),
        "keyring": pki.keyring(),
        "signatures": InlineVerifier(),
        "codec": CODEC,
        "signer": pki.signer("exchange"),
        "evidence": SwitchedEvidence(),
        "limits": PublishLimits(),
        "restoring": Restoring(None, CODEC),
    }
    refusals = Refusals(audit or ListedAudit(), clock)
    return PublishService(**{**usual, **parts}, log=log, clock=clock, refusals=refusals)
