"""Find a record in a bundle, and check who signed it: the files and keys for broker/core/exporting.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.bootstrap.judges import FRAMES, Trust
from broker.core.audit.beginning import read_beginning
from broker.core.bundle import BundleFrames, PartitionRecords
from broker.core.envelope import ECDSA_P256_SHA256
from broker.core.errors import BundleInvalid, CaseExchangeError, EnvelopeMalformed, ExportInvalid, RecordUnknown
from broker.core.exporting import Authored, authored
from broker.trust.exports import SignedRecord
from broker.trust.keyring import ListedCertificate
from broker.wire.bundle import read_frames
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from broker.core.bundle import BundleEntry
    from broker.core.inforce import DirectoryVersion

_CODEC = ProtobufCodec()


def signed_record(path: Path, roots: tuple[Path, ...], record_id: str) -> SignedRecord:
    """Find a record in a bundle and check who signed it, by the directories that the pinned keys signed.

    If the bundle has the record more than once, the first that holds is returned.

    Args:
        path: the bundle file.
        roots: files with the public keys (PEM) that sign directories.
        record_id: the record's UUID.

    Raises:
        BundleInvalid: the file is not a bundle, or a frame of it cannot be read.
        RecordUnknown: the bundle does not have the record.
        ExportInvalid: it has two different records of this id.
        CaseExchangeError: the record's own fault; or the trust material's, as in ``verify_bundle``.
    """
    try:
        with path.open("rb") as file:
            frames = BundleFrames(read_frames(file))
            trust, _ = Trust.of(read_beginning(frames, FRAMES), roots)
            versions = trust.versions()
            found = list(_entries(frames, record_id))
    except OSError as failure:
        message = f"the bundle cannot be read: {failure.strerror}"
        raise BundleInvalid(message) from failure
    if not found:
        message = "the bundle does not have this record"
        raise RecordUnknown(message)
    return _signed(_first(found, versions))


def _entries(frames: BundleFrames, record_id: str) -> Iterator[BundleEntry]:
    while frames.peek() is not None:
        frame = FRAMES.read(frames.take())
        if isinstance(frame, PartitionRecords):
            yield from (entry for entry in frame.entries if _record_id(entry) == record_id)


def _record_id(entry: BundleEntry) -> str:
    try:
        return _CODEC.read_routing(entry.envelope.body).record_id
    except EnvelopeMalformed:
        return ""


def _first(found: list[BundleEntry], versions: list[DirectoryVersion]) -> Authored:
    holding: list[Authored] = []
    refusal: CaseExchangeError | None = None
    for entry in found:
        try:
            holding.append(authored(entry, _CODEC, versions))
        except CaseExchangeError as refused:
            refusal = refusal or refused
    if refusal is not None and not holding:
        raise refusal
    if len({item.claim.envelope.record_sha256 for item in holding}) > 1:
        message = "the bundle has two different records of this id, both signed: check it with case-exchange verify"
        raise ExportInvalid(message)
    return holding[0]


def _signed(record: Authored) -> SignedRecord:
    signers = [each.certificate for each in record.claim.signers]
    certificate = next((each for each in signers if each.algorithm == ECDSA_P256_SHA256), None)
    if certificate is None:
        message = "no ECDSA key signed the record, and the formats of others have no other signature here"
        raise ExportInvalid(message)
    if not isinstance(certificate, ListedCertificate) or certificate.authority is None:
        message = "the record's certificate has no authority"
        raise ExportInvalid(message)
    return SignedRecord(
        record.claim.envelope,
        certificate.certificate,
        certificate.authority,
        record.accepted_at_ms,
        certificate.revoked_at_ms,
    )
