"""Sealed records of a sample exchange, and what their recipients make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.client.composing import Draft, RecordComposer, SectionDraft
from broker.client.opening import Opening
from broker.client.sealing import Sealing
from broker.client.verifying import RecordVerifier
from broker.core.body import Recipient
from broker.core.identity import Principal
from broker.trust.hpke import HpkeWrapper
from broker.trust.keyfolder import FolderKeys
from broker.trust.sealing import AesGcmCipher
from broker.trust.system import SystemClock, SystemEntropy
from certs.development import KEY_FOLDER
from certs.rights import TRUST_DOMAIN
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.client.subscriber import Delivered
    from broker.client.verifying import VerifiedRecord
    from broker.core.envelope import Envelope
    from tests.support.pki import SamplePki

CASE = "01990000-0000-4000-8000-000000000001"


class SealedRecords:
    """Makes sealed case records of one agency's gateway for the recipients ``to``."""

    def __init__(self, pki: SamplePki, publisher: str, to: tuple[str, ...]) -> None:
        sealing = Sealing(lambda: pki.directory, AesGcmCipher(), HpkeWrapper())
        parts = (Principal(TRUST_DOMAIN, publisher, "gateway"), pki.signer(publisher), CODEC, SystemEntropy())
        self._composer = RecordComposer(*parts, SystemClock(), sealing=sealing)
        self._to = to
        self._made = 0

    def make(self, contents: Mapping[str, bytes]) -> Envelope:
        self._made += 1
        recipients = tuple(Recipient(agency, self._made) for agency in self._to)
        sections = tuple(SectionDraft(name, "synthetic", content) for name, content in contents.items())
        draft = Draft("CaseRecord", "cases", CASE, recipients, "child-rescue", sections)
        return self._composer.compose(draft).envelope


def opened(pki: SamplePki, agency: str, delivered: Delivered) -> VerifiedRecord:
    """What an agency makes of a delivery with its own keys."""
    keys = FolderKeys(pki.folder.member(agency) / KEY_FOLDER)
    verifier = RecordVerifier(agency, CODEC, Opening(AesGcmCipher(), keys))
    return verifier.verify(delivered.envelope, delivered.accepted_at_ms, pki.in_force())
