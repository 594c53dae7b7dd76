"""What a report of a verification states beside the findings: fingerprints, and signatures that others can check.

Everything here was checked first, by the pinned keys: a signature that does not hold is left out, and the audit has the
finding. The bundle is read a second time for it, without judging the records again.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.bootstrap.brought import files_in, read_newer
from broker.bootstrap.directoryfacts import DirectoryFacts, LogKey, PinnedKey, directory_facts, log_keys_of, pinned_keys
from broker.bootstrap.judges import FRAMES, Trust
from broker.bootstrap.witnesspolicies import read_policy
from broker.core.audit.beginning import read_beginning
from broker.core.bundle import BundleFrames, PartitionRecords, PartitionStart
from broker.core.errors import BundleInvalid, CaseExchangeError
from broker.core.exporting import authored
from broker.core.incarnations import Incarnations
from broker.core.tree.checkpoint import Checkpoint, known_signatures, parse_note, verify_note
from broker.core.tree.cosignature import TIME_BYTES, cosignature_time, cosigned_message
from broker.core.tree.merkle import verify_consistency
from broker.core.tree.origin import incarnation_of
from broker.core.tree.witnesspolicy import parse_directory_policy
from broker.files import HashedReader
from broker.trust.logkeys import log_verifiers
from broker.trust.witnesskeys import witness_checks
from broker.wire.bundle import read_frames
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from broker.core.bundle import BundleEntry, CosignedCheckpoint
    from broker.core.inforce import DirectoryVersion
    from broker.core.streams import StreamPartition
    from broker.core.tree.checkpoint import SignatureCheck
    from broker.core.tree.cosignature import WitnessKey

_CODEC: Final = ProtobufCodec()
MAX_SIGNATURES: Final = 2000
"""A report has no more. The maker of a bundle chooses how many partitions it has."""
_TRIES: Final = 100
"""So many records are tried as the example of an export."""


class HashedFile(NamedTuple):
    """A file by its own name, and the SHA-256 of its bytes in hexadecimal."""

    name: str
    sha256: str


class CheckedSignature(NamedTuple):
    """An Ed25519 signature that holds: the name and id of its key, the key (32 bytes), the message, and its 64 bytes.

    ``time_s`` is that of a witness's cosignature, in seconds since the Unix epoch. None: the log itself signed.
    """

    partition: StreamPartition
    checkpoint: Checkpoint
    name: str
    key_id: str
    public_key: bytes
    message: bytes
    signature: bytes
    time_s: int | None = None


class PrefixProof(NamedTuple):
    """The hashes which prove that the checkpoint of a partition continues the one that witnesses have cosigned."""

    partition: StreamPartition
    older: Checkpoint
    newer: Checkpoint
    path: tuple[bytes, ...]


class ExampleRecord(NamedTuple):
    """A record whose export verifies: its id, and when it was accepted (milliseconds since the Unix epoch, UTC)."""

    record_id: str
    accepted_at_ms: int


class ReportFacts(NamedTuple):
    """See the module. ``signatures_left_out`` hold, too: those after the first ``MAX_SIGNATURES``."""

    bundle: HashedFile
    bundle_bytes: int
    brought: tuple[HashedFile, ...]
    pinned: tuple[PinnedKey, ...]
    directories: tuple[DirectoryFacts, ...]
    log_keys: tuple[LogKey, ...]
    signatures: tuple[CheckedSignature, ...]
    proofs: tuple[PrefixProof, ...]
    example: ExampleRecord | None
    signatures_left_out: int = 0


def report_facts(
    path: Path,
    roots: tuple[Path, ...],
    *,
    brought: Sequence[Path] = (),
    witness_policy: Path | None = None,
    directory: Path | None = None,
    revocation_lists: Sequence[Path] = (),
) -> ReportFacts:
    """Read what a report states beside the findings.

    Args:
        path: the bundle, which was verified.
        roots: files with the pinned public keys.
        brought: the files that the auditor has brought, and folders of checkpoints.
        witness_policy: the file of the witnesses that count, one of those. None: those of the newest directory count.
        directory: the file of a directory that may be newer, one of those.
        revocation_lists: files of revocation lists that may be newer, among those.

    Raises:
        BundleInvalid: the bundle cannot be read any more.
        CaseExchangeError: as in ``verify_bundle``, of the trust material and the files.
    """
    try:
        with path.open("rb") as file:
            hashed = HashedReader(file)
            frames = BundleFrames(read_frames(hashed))
            newer = read_newer(directory, revocation_lists)
            trust, _ = Trust.of(read_beginning(frames, FRAMES), roots, newer)
            found = _Found(trust.versions(), witness_policy)
            # The audit has a finding where the bundle cannot be read to its end.
            with contextlib.suppress(CaseExchangeError):
                found.follow(frames)
            sha256 = hashed.finish()
        return ReportFacts(
            bundle=HashedFile(path.name, sha256),
            bundle_bytes=hashed.size,
            brought=tuple(map(hashed_file, files_in(brought))),
            pinned=tuple(pinned_keys(roots)),
            directories=tuple(
                directory_facts(version, roots, brought=place >= len(trust.directories))
                for place, version in enumerate(found.versions)
            ),
            log_keys=found.log_keys,
            signatures=tuple(found.signatures),
            proofs=tuple(found.proofs),
            example=found.example,
            signatures_left_out=found.left_out,
        )
    except OSError as failure:
        message = f"the bundle, or a file that was brought, cannot be read: {failure.strerror}"
        raise BundleInvalid(message) from failure


class _Found:
    """Takes the frames of a bundle from the first partition on."""

    def __init__(self, versions: Sequence[DirectoryVersion], witness_policy: Path | None) -> None:
        self.versions = versions
        directories = [version.directory for version in versions]
        self.log_keys = log_keys_of(directories)
        newest = directories[-1]
        policy = (
            parse_directory_policy(newest.witness_policy, newest.log_keys)
            if witness_policy is None
            else read_policy(witness_policy)
        )
        self._declared = Incarnations(newest.incarnations)
        self._logs = log_verifiers(directories)
        self._witnesses: Mapping[WitnessKey, SignatureCheck] = {} if policy is None else witness_checks(policy)
        # Each once, however often the bundle has it.
        self.signatures: dict[CheckedSignature, None] = {}
        self.left_out = 0
        self.proofs: dict[PrefixProof, None] = {}
        self.example: ExampleRecord | None = None
        self._tries = _TRIES

    def follow(self, frames: BundleFrames) -> None:
        """Take all frames, or raise where one cannot be read."""
        while (data := frames.peek()) is not None:
            if not FRAMES.holds_records(data) or (self.example is None and self._tries):
                match FRAMES.read(data):
                    case PartitionStart() as start:
                        # Of a partition whose signatures do not hold, the audit has the finding.
                        with contextlib.suppress(CaseExchangeError):
                            self._take(start)
                    case PartitionRecords() as records:
                        self._try(records.entries)
            frames.take()

    def _take(self, start: PartitionStart) -> None:
        newest = self._log_signature(start.partition, start.note)
        self._keep(newest)
        cosigned = start.cosigned
        if cosigned is None:
            self._keep(*self._cosignatures(start.partition, start.note))
            return
        older = self._log_signature(start.partition, cosigned.note)
        # What they have cosigned of another history confirms nothing here. The finding shows both.
        self._connect(older.checkpoint, newest, cosigned)
        if older.checkpoint.size < newest.checkpoint.size:
            self._keep(older)
        self._keep(*self._cosignatures(start.partition, cosigned.note))

    def _keep(self, *signatures: CheckedSignature) -> None:
        for signature in signatures:
            if len(self.signatures) < MAX_SIGNATURES:
                self.signatures[signature] = None
            else:
                self.left_out += signature not in self.signatures

    def _connect(self, older: Checkpoint, newest: CheckedSignature, cosigned: CosignedCheckpoint) -> None:
        newer = newest.checkpoint
        self._declared.check_of_log(older, newer)
        verify_consistency(older.size, newer.size, older.root, newer.root, cosigned.path)
        if older.size < newer.size and len(self.proofs) < MAX_SIGNATURES:
            self.proofs[PrefixProof(newest.partition, older, newer, cosigned.path)] = None

    def _log_signature(self, partition: StreamPartition, data: bytes) -> CheckedSignature:
        note = parse_note(data)
        verify_note(note, self._logs)
        name, short, value = known_signatures(note, self._logs)[0]
        key = next(one.key for one in self.log_keys if (one.key.name, one.key.key_id) == (name, short))
        checkpoint = Checkpoint.parse(note.text)
        incarnation_of(checkpoint.origin, self.versions[-1].directory.trust_domain, partition)
        return CheckedSignature(partition, checkpoint, name, short.hex(), key.public_key, note.text, value)

    def _cosignatures(self, partition: StreamPartition, data: bytes) -> Iterator[CheckedSignature]:
        note = parse_note(data)
        keys = {(key.name, key.key_id): key for key in self._witnesses}
        checks = {(key.name, key.key_id): check for key, check in self._witnesses.items()}
        for name, short, value in known_signatures(note, checks):
            time_s = cosignature_time(value)
            yield CheckedSignature(
                partition,
                Checkpoint.parse(note.text),
                name,
                short.hex(),
                keys[name, short].public_key,
                cosigned_message(note.text, time_s),
                value[TIME_BYTES:],
                time_s,
            )

    def _try(self, entries: Sequence[BundleEntry]) -> None:
        exchanges = {version.directory.exchange for version in self.versions}
        for entry in entries:
            if self.example is not None or not self._tries:
                return
            self._tries -= 1
            with contextlib.suppress(CaseExchangeError):
                routing = _CODEC.read_routing(entry.envelope.body)
                if routing.publisher not in exchanges:
                    signed = authored(entry, _CODEC, self.versions)
                    self.example = ExampleRecord(routing.record_id, signed.accepted_at_ms)


def hashed_file(path: Path) -> HashedFile:
    """The file with its digest.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return HashedFile(path.name, hashlib.file_digest(file, "sha256").hexdigest())
