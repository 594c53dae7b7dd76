"""Verify received records, without trust in the broker.

A recipient checks these points, in this order. Each has its own errors:

1. The publisher signed the record (steps: broker/core/authorship.py): BodyTypeUnsupported, EnvelopeMalformed,
   KindUnknown, SignatureRefused, SectionMismatch
2. The record is addressed to this agency: NotAddressed
3. The publisher had the right to send it to its recipients when the broker accepted it: RightDenied, PeerUnknown
   and it is sealed for those who may have it: SealingRequired, KeyWrapsInvalid, EncryptionKeyNotInForce
4. This agency may have each of its sections: SectionNotAllowed
5. Its sealed sections open with a key of this agency: SealKeyMissing, SealInvalid, KeyCommitmentBroken

A record that was published again after the log had lost it comes with its former receipt. If that counts, the time of
acceptance in these checks is its time; if not: FormerReceiptInvalid (broker/core/former.py).

If there is no directory version for these checks: DirectoryVersionMissing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from broker.client.opening import plain_contents
from broker.core.authorship import check_proved, check_signature, claim, read_body
from broker.core.errors import NotAddressed, SealKeyMissing, SectionNotAllowed
from broker.core.former import check_former
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS, by_any
from broker.core.policy import check_publish, corrects_of_others, visible_sections
from broker.core.sealing import check_sealing_by_any, sealed_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.client.opening import Opening
    from broker.core.body import Body
    from broker.core.envelope import Envelope
    from broker.core.inforce import DirectoryVersion
    from broker.core.policy import Directory
    from broker.ports import RecordCodec


@dataclass(frozen=True, slots=True)
class VerifiedRecord:
    """A record with a valid signature: its body, the contents of its sections, and the names of withheld sections.

    A sealed section that is here, but was not sealed for this agency, counts as withheld: the directory let the agency
    have it only after the record was accepted.
    ``erased_sections``: those of the withheld ones that the publisher had erased from the log, as the exchange says.
    ``corrects_of_others``: the kinds of other agencies' records for which a Correction or Closure of this publisher
    counts, by the directory of the acceptance.
    """

    body: Body
    record_sha256: bytes
    sections: Mapping[str, bytes] = field(repr=False)
    withheld_sections: tuple[str, ...]
    corrects_of_others: frozenset[str]
    erased_sections: tuple[str, ...] = ()


class InForce(NamedTuple):
    """The directory versions with which a received record is checked. Close to a change there may be several.

    Attributes:
        accepted: versions that may have been in force when the broker accepted the record. One that allows it is
            enough.
        delivered: versions that may have been in force when the record was delivered. If only these allow a section,
            the broker was right to send it: it checks the rights again before each delivery.
        former: of a record with a former receipt, versions that may have been in force at the time of that receipt. One
            of these is enough too.
        sealed: versions that may have been in force between the issue and the acceptance. One of these, or of those
            above, by which it is sealed as it must be is enough: rights and keys may change while a record waits.
    """

    accepted: Sequence[DirectoryVersion]
    delivered: Sequence[DirectoryVersion]
    former: Sequence[DirectoryVersion] = ()
    sealed: Sequence[DirectoryVersion] = ()


class _Judged(NamedTuple):
    """The version of the acceptance, the one by which the record is sealed, and what is withheld."""

    version: DirectoryVersion
    sealed_by: Directory
    withheld: tuple[str, ...]


class RecordVerifier:
    """Verifies the records that an agency receives. Safe to call from any thread."""

    def __init__(self, agency: str, codec: RecordCodec, opening: Opening | None = None) -> None:
        """Take what records are verified with.

        Args:
            agency: the recipient.
            codec: reads bodies.
            opening: what sealed sections are opened with. None: nothing sealed can be read (SealKeyMissing).
        """
        self._agency = agency
        self._codec = codec
        self._opening = opening

    def verify(self, envelope: Envelope, accepted_at_ms: int, in_force: InForce) -> VerifiedRecord:
        """Check a received record. The top of this module lists the checks and their errors in order.

        Args:
            envelope: the received copy.
            accepted_at_ms: when the broker accepted the record, as the broker says. With a wrong time a broker can only
                make a record look older than a revocation or a change of the directory. The checkpoints and receipts in
                a replay then show that this is false.
            in_force: the directory versions to check it with.
        """
        body = read_body(envelope, self._codec)
        versions, at_ms = in_force.accepted, accepted_at_ms
        if envelope.former_receipt:
            at_ms = check_former(envelope, body, self._codec, in_force.accepted, accepted_at_ms).accepted_at_ms
            versions = [*in_force.former, *in_force.accepted]
        judged = by_any(versions, lambda version: self._check(envelope, body, at_ms, version, in_force))
        # (5) It opens.
        contents = self._contents(envelope, body, judged.sealed_by)
        unsealed = tuple(section.name for section in envelope.sections if section.name not in contents)
        named = corrects_of_others(judged.version.directory, body.publisher)
        withheld = judged.withheld + unsealed
        return VerifiedRecord(body, envelope.record_sha256, contents, withheld, named, envelope.erased)

    def _check(
        self, envelope: Envelope, body: Body, accepted_at_ms: int, version: DirectoryVersion, in_force: InForce
    ) -> _Judged:
        # (1) The publisher signed it.
        claimed = claim(envelope, body, version.certificates)
        check_signature(claimed)
        slack_ms = CHANGE_OF_DIRECTORY_MS
        withheld = check_proved(claimed, version.directory, accepted_at_ms, complete=False, slack_ms=slack_ms)
        # (2) It is for us.
        if all(recipient.agency != self._agency for recipient in body.recipients):
            message = "the record is not addressed to this agency"
            raise NotAddressed(message, record_id=body.record_id)
        # (3) It was allowed when the broker accepted it.
        check_publish(version.directory, body)
        directories = [version.directory, *(known.directory for known in in_force.sealed)]
        # The broker checked it a moment before it was appended.
        sealed_by = check_sealing_by_any(directories, body, accepted_at_ms - CHANGE_OF_DIRECTORY_MS)
        # (4) We may have each section, at acceptance or at delivery.
        seen_by = [visible_sections(known.directory, self._agency, body) for known in (version, *in_force.delivered)]
        allowed = frozenset[str]().union(*(names for names in seen_by if names is not None))
        for section in envelope.sections:
            if section.name not in allowed:
                message = "the record has a section that this agency may not have"
                raise SectionNotAllowed(message, record_id=body.record_id, section=section.name)
        return _Judged(version, sealed_by, withheld)

    def _contents(self, envelope: Envelope, body: Body, directory: Directory) -> dict[str, bytes]:
        contents = plain_contents(body, envelope)
        if self._opening is not None:
            return contents | self._opening.open(directory, self._agency, body, envelope)
        if sealed_for(directory, self._agency, body):
            message = "the record is sealed, and this program has no encryption key"
            raise SealKeyMissing(message, record_id=body.record_id)
        return contents
