"""Find records in a bundle, and check who signed them: the files and keys for broker/core/exporting.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from broker.core.bundle import BundleEntry
    from broker.core.inforce import DirectoryVersion

_CODEC = ProtobufCodec()


class AuthoredRecords(NamedTuple):
    """Records of a bundle by their ids: each as its publisher signed it, or why there is none.

    ``trust_domain``: the exchange, as the directory says that the pinned keys signed.
    """

    trust_domain: str
    records: Mapping[str, Authored | CaseExchangeError]

    def get(self, record_id: str) -> Authored:
        """One of them.

        Raises:
            RecordUnknown: the bundle does not have it.
            ExportInvalid: the bundle has two different records of this id.
            CaseExchangeError: the record's own fault.
        """
        found = self.records[record_id]
        if isinstance(found, CaseExchangeError):
            raise found
        return found


def signed_record(path: Path, roots: tuple[Path, ...], record_id: str) -> SignedRecord:
    """Find a record in a bundle and check who signed it, for the formats of others.

    Args:
        path: the bundle file.
        roots: files with the public keys (PEM) that sign directories.
        record_id: the record's UUID.

    Raises:
        ExportInvalid: no ECDSA key signed the record.
        CaseExchangeError: as ``authored_records`` and ``AuthoredRecords.get``.
    """
    return _signed(authored_records(path, roots, (record_id,)).get(record_id))


def authored_records(path: Path, roots: tuple[Path, ...], record_ids: Collection[str]) -> AuthoredRecords:
    """Find records in a bundle and check who signed them, by the directories that the pinned keys signed.

    The bundle is read once. If it has a record more than once, the first that holds is returned.

    Raises:
        BundleInvalid: the file is not a bundle, or a frame of it cannot be read.
        CaseExchangeError: the trust material's fault, as in ``verify_bundle``.
    """
    found: dict[str, list[BundleEntry]] = {record_id: [] for record_id in record_ids}
    try:
        with path.open("rb") as file:
            frames = BundleFrames(read_frames(file))
            trust, _ = Trust.of(read_beginning(frames, FRAMES), roots)
            versions = trust.versions()
            for entry in _entries(frames):
                found.get(_record_id(entry), []).append(entry)
    except OSError as failure:
        message = f"the bundle cannot be read: {failure.strerror}"
        raise BundleInvalid(message) from failure
    records = {record_id: _first(entries, versions) for record_id, entries in found.items()}
    return AuthoredRecords(versions[-1].directory.trust_domain, records)


def _entries(frames: BundleFrames) -> Iterator[BundleEntry]:
    while frames.peek() is not None:
        frame = FRAMES.read(frames.take())
        if isinstance(frame, PartitionRecords):
            yield from frame.entries


def _record_id(entry: BundleEntry) -> str:
    try:
        return _CODEC.read_routing(entry.envelope.body).record_id
    except EnvelopeMalformed:
        return ""


def _first(found: list[BundleEntry], versions: list[DirectoryVersion]) -> Authored | CaseExchangeError:
    holding: list[Authored] = []
    refusal: CaseExchangeError = RecordUnknown("the bundle does not have this record")
    for entry in reversed(found):
        try:
            holding.insert(0, authored(entry, _CODEC, versions))
        except CaseExchangeError as refused:
            refusal = refused
    if len({item.claim.envelope.record_sha256 for item in holding}) > 1:
        return ExportInvalid(
            "the bundle has two different records of this id, both signed: check it with case-exchange verify"
        )
    return holding[0] if holding else refusal


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
