"""A publish service over a sample PKI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.services.publish import PublishLimits, PublishService
from broker.trust.verification import InlineVerifier
from tests.support.fakes import FixedDirectory, ListedAudit, SwitchedEvidence
from tests.support.records import CODEC

if TYPE_CHECKING:
    from broker.ports import MessageLog
    from tests.support.pki import ManualClock, SamplePki


def publish_service(pki: SamplePki, log: MessageLog, clock: ManualClock, **parts: Any) -> PublishService:
    """A service of the sample's exchange. ``parts`` replace its usual ones, by the names of its arguments."""
    usual: dict[str, Any] = {
        "directory": FixedDirectory(pki.directory),
        "keyring": pki.keyring(),
        "signatures": InlineVerifier(),
        "codec": CODEC,
        "signer": pki.signer("exchange"),
        "evidence": SwitchedEvidence(),
        "audit": ListedAudit(),
        "limits": PublishLimits(),
    }
    return PublishService(**{**usual, **parts}, log=log, clock=clock)
