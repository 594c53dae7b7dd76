"""Make supplements to records that this agency published, and ask other agencies for supplements to theirs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.base import DecodedRecord
from adapters.edge.again import asked_seconds
from adapters.edge.profile import Route
from adapters.edge.signing import sign_and_spool
from adapters.folders import ENVELOPE
from adapters.records.validate import MAX_REQUESTED
from broker.client.auditor import Auditor
from broker.client.opening import Opening
from broker.client.readdressing import Readdresser
from broker.core.body import Recipient
from broker.core.bundle import PartitionRecords
from broker.core.errors import (
    CaseExchangeError,
    EnvelopeMalformed,
    NotAddressed,
    ProofNotReady,
    QuotaExceeded,
    RecordUnknown,
    SpoolUnavailable,
    Superseded,
)
from broker.core.streams import CASES
from broker.files import read_file
from broker.trust.keyfolder import FolderKeys
from broker.trust.keyring import LiveKeyring
from broker.trust.sealing import AesGcmCipher
from broker.wire.frames import frame_from
from caseexchange.records.v1 import readdress_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from adapters.edge.edge import Edge
    from broker.core.body import Body
    from broker.core.envelope import Envelope

MAX_ENVELOPE_BYTES: Final = 16 << 20
_MOST_ATTEMPTS: Final = 60
_LEAST_WAIT_SECONDS: Final = 0.1


class Readdressed(NamedTuple):
    """What became of one record for the agencies that it was to go to. ``supplement_id`` is empty if it was refused."""

    record_id: str
    kind: str
    agencies: tuple[str, ...]
    supplement_id: str
    refusal: CaseExchangeError | None


class _DryRunError(Exception):
    """Undoes what a dry run has done."""


async def own_record(edge: Edge, record_id: str) -> Envelope:
    """A record of this agency as the broker's log has it, with all sections. The broker writes down that it was read.

    If another long call of the agency is under way, or no checkpoint covers the record yet, it asks again.

    Raises:
        CaseExchangeError: as ``Auditor.prove_record``.
    """
    for _ in range(_MOST_ATTEMPTS - 1):
        try:
            return await _proved(edge, record_id)
        except (QuotaExceeded, ProofNotReady) as busy:
            await asyncio.sleep(max(asked_seconds(busy), _LEAST_WAIT_SECONDS))
    return await _proved(edge, record_id)


async def _proved(edge: Edge, record_id: str) -> Envelope:
    found = None
    # To the end: until then the call is under way, and an agency has one such call at a time.
    async for frame in Auditor(edge.channel).prove_record(record_id, without_cosignatures=True):
        records = frame_from(frame.data)
        if isinstance(records, PartitionRecords):
            found = next((entry.envelope for entry in records.entries), found)
    if found is None:
        message = "the broker's proof has no record"
        raise RecordUnknown(message)
    return found


class Readdressing:
    """For one edge whose archive keys are in ``keys``."""

    def __init__(self, edge: Edge, keys: Path) -> None:
        self._edge = edge
        self._readdresser = Readdresser(
            edge.agency,
            edge.composer,
            edge.codec,
            LiveKeyring(edge.directory, edge.revocations),
            Opening(AesGcmCipher(), FolderKeys(keys)),
            lambda: edge.directory.latest,
            edge.clock,
        )

    async def from_log(
        self, record_id: str, agencies: Sequence[str], *, dry_run: bool, asked: bool = False
    ) -> Readdressed:
        """As ``readdress``, for a record that the broker's log has.

        Raises:
            SpoolUnavailable
        """
        try:
            envelope = await own_record(self._edge, record_id)
        except CaseExchangeError as refusal:
            return Readdressed(record_id, "", tuple(agencies), "", refusal)
        return await asyncio.to_thread(self.readdress, envelope, agencies, dry_run=dry_run, asked=asked)

    def readdress(
        self, envelope: Envelope, agencies: Sequence[str], *, dry_run: bool, asked: bool = False
    ) -> Readdressed:
        """Sign a supplement and put it into the spool; or say why not.

        Args:
            envelope: the record, with all of its sections.
            agencies: who is to get it.
            dry_run: make it, and undo that: no number is used up.
            asked: another agency names the record, so it must be one that was addressed to all of these.

        Raises:
            SpoolUnavailable
        """
        edge, record_id, kind = self._edge, "", ""
        supplement = ""
        try:
            body = self._readdresser.original(envelope)
            record_id, kind = body.original_id, body.kind
            self._check(body, agencies, asked=asked)
            with suppress(_DryRunError), edge.spool.transaction():
                numbered = [Recipient(agency, edge.spool.next_sequence(agency)) for agency in agencies]
                made = self._readdresser.supplement(envelope, numbered)
                supplement = made.body.record_id
                if dry_run:
                    raise _DryRunError
                edge.spool.add_outgoing(supplement, body.case_id, edge.codec.encode_envelope(made.envelope))
        except SpoolUnavailable:
            raise
        except CaseExchangeError as refusal:
            return Readdressed(record_id, kind, tuple(agencies), "", refusal)
        return Readdressed(record_id, kind, tuple(agencies), supplement, None)

    def _check(self, body: Body, agencies: Sequence[str], *, asked: bool) -> None:
        addressed = {recipient.agency for recipient in body.recipients}
        if asked and not addressed.issuperset(agencies):
            message = (
                "the record was not addressed to the agency that asks; name it yourself with --to, if it may have it"
            )
            raise NotAddressed(message, record_id=body.record_id)
        word = self._edge.spool.newer.word(body)
        if word is not None:
            message = f"{word.record_id} has replaced, withdrawn or closed it since"
            raise Superseded(message, record_id=body.original_id)


def unreadable(edge: Edge, quarantine: Path, key_id: str) -> Iterator[tuple[str, str, str]]:
    """The records in a quarantine that are sealed to a key of this agency, and were not read since.

    Yields:
        The publisher, the record id, and the whole key id, 64 digits.
    """
    for path in sorted(quarantine.glob(f"*{ENVELOPE}")):
        try:
            body = edge.codec.parse_body(edge.codec.decode_envelope(read_file(path, MAX_ENVELOPE_BYTES)).body)
        except (EnvelopeMalformed, OSError):
            continue
        if edge.spool.newer.was_opened(body.original_id):
            continue
        for wrap in body.key_wraps:
            whole = wrap.key_id.hex()
            if wrap.agency == edge.agency and whole.startswith(key_id):
                yield body.publisher, body.original_id, whole


def spool_requests(edge: Edge, wanted: Mapping[str, Sequence[str]], key_id: str, purpose: str) -> list[Body]:
    """Sign a ReaddressRequest to each publisher and put it into the spool: all or none.

    Args:
        edge: the edge.
        wanted: the record ids by publisher.
        key_id: the lost key, 64 digits, or empty.
        purpose: a purpose of the directory.

    Raises:
        RecordInvalid, InputRefused, SpoolUnavailable
    """
    with edge.spool.transaction():
        return [
            sign_and_spool(
                DecodedRecord(
                    readdress_pb2.ReaddressRequest(lost_key_id=key_id, record_ids=ids[start : start + MAX_REQUESTED]),
                    f"readdress-{publisher}-{key_id[:16]}",
                    "record",
                ),
                {"ReaddressRequest": Route(recipients=(publisher,), purpose=purpose, stream=CASES)},
                edge,
            )
            for publisher, ids in sorted(wanted.items())
            for start in range(0, len(ids), MAX_REQUESTED)
        ]
