"""Synthetic records, signed with the development agencies' keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.client.composing import Draft, RecordComposer, SectionDraft
from broker.core.body import Recipient
from broker.core.identity import Principal
from broker.trust.system import SystemEntropy
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.client.sealing import Sealing
    from broker.core.envelope import Envelope
    from broker.ports import Clock
    from tests.support.pki import SamplePki

CASE = "01990000-0000-4000-8000-00000000000a"
OTHER_CASE = "01990000-0000-4000-8000-00000000000b"
CODEC = ProtobufCodec()


class RecordMaker:
    """Makes one agency's records, each with the next sequence number of its recipient.

    Without ``sealing`` their sections are plain, which the directories of most tests allow.
    """

    def __init__(
        self,
        pki: SamplePki,
        clock: Clock,
        agency: str = "shanxi-police",
        *,
        system: str = "gateway",
        sealing: Sealing | None = None,
    ) -> None:
        self.agency = agency
        principal = Principal("case-exchange.example", agency, system)
        self.composer = RecordComposer(principal, pki.signer(agency), CODEC, SystemEntropy(), clock, sealing=sealing)
        self._sequences: dict[str, int] = {}

    def make(
        self,
        kind: str = "SampleRequest",
        stream: str = "dna",
        *,
        to: Sequence[str] = ("national-dna-database",),
        case: str = CASE,
        purpose: str = "dna-matching",
        sections: Sequence[SectionDraft] = (SectionDraft("case", "synthetic", b"synthetic"),),
        in_reply_to: str = "",
        supersedes: str = "",
    ) -> Envelope:
        recipients = []
        for agency in to:
            self._sequences[agency] = self._sequences.get(agency, 0) + 1
            recipients.append(Recipient(agency, self._sequences[agency]))
        draft = Draft(kind, stream, case, tuple(recipients), purpose, tuple(sections), in_reply_to, supersedes)
        return self.composer.compose(draft).envelope
