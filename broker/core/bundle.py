"""The frames of a replay bundle: what an auditor takes home, in this order.

Header; then trust material (directory versions, authorities, revocation lists); then for each partition its start, its
stretches, and its end; then the closing frame. A stretch is a list of leaves, then what stands in the log from the end
of the stretch before to its last leaf: records in batches and strays, in the order of their offsets. So neither making
nor judging a bundle ever holds more than one stretch of a partition. protos/caseexchange/broker/v1/auditor.proto gives
the bytes. All times are milliseconds since the Unix epoch, UTC.

A bundle is made by a broker, or by an auditor who reads the message log directly (``BundleSource``). What convinces is
the same in both, because neither maker could make it up: records signed by their publishers, directories by governance,
trees by the checkpoint key. What none of these signatures covers is the word of who made the bundle: the header, when a
directory version came into force, that the revocation lists are the newest, and the strays. A broker gives that word
with the exchange's signature over every byte, and with receipts; an auditor gives it to nobody but himself, and whoever
takes such a bundle from another takes it from him. A broker cannot get out of signing by calling its bundle read from
the log, because the auditor's client refuses that, and ``verify`` says who made a bundle.
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
"""Of a stray's value, what a bundle holds at most."""
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, the last time that a bundle can state."""


class BundleSource(Enum):
    """Who made a bundle, and so which signatures stand in it."""

    BROKER = "broker"
    """A broker, which gives a receipt for every record and signs the whole."""
    MESSAGE_LOG = "message_log"
    """The auditor, who read the message log directly: there is nobody to give receipts or to sign the whole."""


class SerializedFrame(NamedTuple):
    """One frame of a bundle: its bytes in a bundle file, how many records are in it, and whether it is the last."""

    data: bytes
    records: int
    last: bool


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """What the bundle is: who asked, why, when, for which period (None: unbounded) of which streams, and its source."""

    trust_domain: str
    auditor: str
    purpose: str
    created_at_ms: int
    accepted_from_ms: int | None
    accepted_until_ms: int | None
    streams: tuple[str, ...]
    source: BundleSource

    @property
    def has_period(self) -> bool:
        """Whether records were left out for their time."""
        return self.accepted_from_ms is not None or self.accepted_until_ms is not None

    @property
    def whole(self) -> bool:
        """Whether every stream is in it, from its first record to its last."""
        return not self.has_period and set(self.streams) == set(STREAMS)


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


@dataclass(frozen=True, slots=True)
class PartitionStart:
    """Begins a partition: the signed note that everything is checked against, and the tree left of the period."""

    partition: StreamPartition
    note: bytes
    first_index: int
    left_hashes: tuple[bytes, ...]


class BundleLeaf(NamedTuple):
    """One leaf of a partition's tree, and the offset of the entry that it stands for.

    Where that entry is in the bundle, the hash, which covers its position, shows the offset to be right. Where it is
    missing, the offset is its maker's word, held between those of its neighbours; the leaf's index is beyond doubt.
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

    An entry for which the tree has another leaf gets no receipt; without any receipt there is no signature either.
    """

    entries: tuple[BundleEntry, ...]
    receipts: SignedReceipts | None


@dataclass(frozen=True, slots=True)
class StrayRecord:
    """Something in the log that is no record, and how its maker can tell.

    Attributes:
        position: where it stands.
        reason: how its maker can tell, in a word or two.
        value: its beginning; empty where the auditor may not have every section.
        value_size: how many bytes stand there.
        value_sha256: of all of them.
    """

    position: Position
    reason: str
    value: bytes
    value_size: int
    value_sha256: bytes

    @classmethod
    def of(cls, position: Position, reason: str, value: bytes, *, shown: bool) -> StrayRecord:
        """What a bundle says of these bytes; ``shown`` says whether their beginning may be in it."""
        kept = value[:MAX_STRAY_BYTES] if shown else b""
        return cls(position, reason, kept, len(value), hashlib.sha256(value).digest())


@dataclass(frozen=True, slots=True)
class PartitionEnd:
    """Ends a partition: one more than the last leaf's index, and the tree right of the period."""

    end_index: int
    right_hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BundleEnd:
    """Closes the bundle: frames before this one, records in it, and the exchange's signature over all of it, if any."""

    frames: int
    records: int
    signature: Signature | None


class BundleDigest:
    """What the exchange signs of a bundle, so that it answers for every byte of it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, frame: bytes) -> None:
        """Take in the next frame's bytes."""
        self._digest.update(hashlib.sha256(frame).digest())

    def message(self) -> bytes:
        """The bytes to be signed for the frames so far."""
        return pae(BUNDLE_TYPE, self._digest.digest())


class BundleFrames:
    """A bundle's frames one by one, counted, with a look at the next."""

    def __init__(self, frames: Iterator[bytes]) -> None:
        self._frames = frames
        self._next: bytes | None = next(frames, None)
        self.digest = BundleDigest()
        self.taken = 0

    def peek(self) -> bytes | None:
        """The next frame, or None at the end."""
        return self._next

    def take(self) -> bytes:
        """The next frame, which is then passed.

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
    | PartitionLeaves
    | PartitionRecords
    | StrayRecord
    | PartitionEnd
    | BundleEnd
)
