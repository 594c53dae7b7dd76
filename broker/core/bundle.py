"""The frames of a replay bundle, in their order.

1. the header
2. the trust material: directory versions, authorities, revocation lists
3. for each partition its start, its stretches, and its end
4. the closing frame

A stretch is a list of leaves, then what the log holds from the end of the previous stretch to its last leaf: batches of
records, and strays, in the order of their offsets. So nobody who makes or judges a bundle needs to hold more than one
stretch of a partition. protos/caseexchange/broker/v1/auditor.proto defines the bytes. All times are milliseconds since
the Unix epoch, UTC.

A broker makes a bundle, or an auditor who reads the message log directly (``BundleSource``). Both contain the same
proofs, which neither can forge: publishers signed the records, governance signed the directories, and the checkpoint
key signed the trees. These signatures do not cover everything. Only the maker states the header, when a directory
version came into force, that the revocation lists are the newest, and the strays. A broker vouches for these with the
exchange's signature over every byte, and with receipts. An auditor's bundle has no such signature, so anyone else who
uses it must trust the auditor. A broker cannot avoid the signature by calling its bundle read from the log: the
auditor's client refuses that, and ``verify`` says who made a bundle.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from broker.core.envelope import BUNDLE_TYPE, pae
from broker.core.errors import BundleInvalid
from broker.core.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.envelope import Envelope, Signature
    from broker.core.receipt import SignedReceipts
    from broker.core.streams import Position, StreamPartition


MAX_STRAY_BYTES: Final = 1 << 16
"""The limit for the bytes of a stray's value in a bundle."""
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, the last time that a bundle can state."""


class BundleSource(Enum):
    """Who made a bundle, and so which signatures it has."""

    BROKER = "broker"
    """A broker, which gives a receipt for every record and signs the whole bundle."""
    MESSAGE_LOG = "message_log"
    """The auditor, who read the message log directly. There are no receipts and no signature over the whole."""


class SerializedFrame(NamedTuple):
    """One frame of a bundle: its bytes in a bundle file, how many records are in it, and whether it is the last."""

    data: bytes
    records: int
    last: bool


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """What the bundle is: who asked, why, when, for which period (None: unbounded) of which streams, and its source.

    ``proved_record`` is the id of the only record in it, if it is a proof of one record.
    """

    trust_domain: str
    auditor: str
    purpose: str
    created_at_ms: int
    accepted_from_ms: int | None
    accepted_until_ms: int | None
    streams: tuple[str, ...]
    source: BundleSource
    proved_record: str = ""

    @property
    def has_period(self) -> bool:
        """Whether the header limits the period."""
        return self.accepted_from_ms is not None or self.accepted_until_ms is not None

    @property
    def whole(self) -> bool:
        """Whether every stream is in it, from its first record to its last."""
        return not self.has_period and not self.proved_record and set(self.streams) == set(STREAMS)


@dataclass(frozen=True, slots=True)
class DirectoryDocument:
    """A directory version as governance signed it, and when it came into force at the broker."""

    document: bytes
    in_force_from_ms: int


@dataclass(frozen=True, slots=True)
class AuthorityCertificate:
    """A signing authority's certificate, DER."""

    der: bytes


@dataclass(frozen=True, slots=True)
class RevocationListFile:
    """A signing authority's revocation list, DER or PEM."""

    document: bytes


class CosignedCheckpoint(NamedTuple):
    """The note of a checkpoint with cosignatures, and the proof that the checkpoint beside it extends it."""

    note: bytes
    path: tuple[bytes, ...]


class ProvedBeginning(NamedTuple):
    """The proof that the checkpoint beside it extends the tree of ``size`` that is declared to survive."""

    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PartitionStart:
    """Begins a partition: the signed note to check everything against, and the hashes left of the period.

    ``cosigned`` is the newest checkpoint that enough witnesses have cosigned. None: there is none. ``beginnings`` are
    for what survives of former incarnations (``Incarnations.beginnings``).
    """

    partition: StreamPartition
    note: bytes
    first_index: int
    left_hashes: tuple[bytes, ...]
    cosigned: CosignedCheckpoint | None = None
    beginnings: tuple[ProvedBeginning, ...] = ()


@dataclass(frozen=True, slots=True)
class TimestampedCheckpoint:
    """A checkpoint's text, the proof that the partition's checkpoint extends it, and the authority's response (DER)."""

    text: bytes
    path: tuple[bytes, ...]
    timestamp: bytes


class BundleLeaf(NamedTuple):
    """One leaf of a partition's tree, and the offset of its entry.

    If the entry is in the bundle, the hash covers its position and so proves the offset. If the entry is missing, only
    the bundle's maker states the offset; it must be between those of its neighbours. The leaf's index is always
    certain.
    """

    offset: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class PartitionLeaves:
    """The next leaves of a partition's tree. All such lists together hold every leaf of the period."""

    first_index: int
    leaves: tuple[BundleLeaf, ...]


class BundleEntry(NamedTuple):
    """One accepted record at its place in the log, with the sections that the auditor may have."""

    position: Position
    accepted_at_ms: int
    log_id: str
    epoch: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """Consecutive entries in the order of their offsets, and the broker's receipts for them in the same order.

    An entry that differs from its leaf gets no receipt. Without any receipt there is no signature either.
    """

    entries: tuple[BundleEntry, ...]
    receipts: SignedReceipts | None


@dataclass(frozen=True, slots=True)
class StrayRecord:
    """Something in the log that is not a record.

    Attributes:
        position: where it is.
        reason: why it is not a record, in a word or two.
        value: its beginning. Empty if the auditor may not have every section, or if the log keeps only the digest.
        value_size: the number of its bytes.
        value_sha256: the digest of all its bytes.
    """

    position: Position
    reason: str
    value: bytes
    value_size: int
    value_sha256: bytes

    @classmethod
    def of(cls, position: Position, reason: str, value: bytes, *, shown: bool) -> StrayRecord:
        """The stray of these bytes. ``shown`` says whether it may contain their beginning."""
        kept = value[:MAX_STRAY_BYTES] if shown else b""
        return cls(position, reason, kept, len(value), hashlib.sha256(value).digest())


@dataclass(frozen=True, slots=True)
class PartitionEnd:
    """Ends a partition: the last leaf's index plus one, and the hashes right of the period."""

    end_index: int
    right_hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BundleEnd:
    """Closes the bundle: the number of frames before this one and of records, and the exchange's signature, if any.

    ``sha256`` is the digest of the frames before this one. It is empty in bundles of earlier releases. It tells damage,
    and proves nothing: whoever changes a bundle can change it too.
    """

    frames: int
    records: int
    signature: Signature | None
    sha256: bytes = b""


class BundleDigest:
    """What the exchange signs for a bundle. It covers every byte."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, frame: bytes) -> None:
        """Add the next frame's bytes."""
        self._digest.update(hashlib.sha256(frame).digest())

    def sha256(self) -> bytes:
        """The digest of the frames so far, 32 bytes."""
        return self._digest.digest()

    def message(self) -> bytes:
        """The bytes to be signed for the frames so far."""
        return pae(BUNDLE_TYPE, self.sha256())


class BundleFrames:
    """Returns a bundle's frames one by one, counts them, and can show the next one."""

    def __init__(self, frames: Iterator[bytes]) -> None:
        self._frames = frames
        self._next: bytes | None = next(frames, None)
        self.digest = BundleDigest()
        self.taken = 0

    def peek(self) -> bytes | None:
        """The next frame, or None at the end."""
        return self._next

    def take(self) -> bytes:
        """Return the next frame and move past it.

        Raises:
            BundleInvalid: there is none.
        """
        taken, self._next = self._next, next(self._frames, None)
        if taken is None:
            message = "the bundle breaks off"
            raise BundleInvalid(message)
        self.taken += 1
        self.digest.add(taken)
        return taken


Frame: TypeAlias = (
    BundleHeader
    | DirectoryDocument
    | AuthorityCertificate
    | RevocationListFile
    | PartitionStart
    | TimestampedCheckpoint
    | PartitionLeaves
    | PartitionRecords
    | StrayRecord
    | PartitionEnd
    | BundleEnd
)
