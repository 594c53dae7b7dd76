"""The frames of a replay bundle: what an auditor takes home, in this order.

Header; then trust material (directory versions, authorities, revocation lists); then for each partition its start, its
records in batches, and its end; then the closing frame. protos/caseexchange/broker/v1/auditor.proto gives the bytes.
All times are milliseconds since the Unix epoch, UTC.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from broker.core.envelope import BUNDLE_TYPE, pae

if TYPE_CHECKING:
    from broker.core.envelope import Envelope, Signature
    from broker.core.receipt import SignedReceipts
    from broker.core.streams import Position, StreamPartition


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """What the bundle is: who asked, why, when, and for which period (None: unbounded) of which streams."""

    trust_domain: str
    auditor: str
    purpose: str
    created_at_ms: int
    accepted_from_ms: int | None
    accepted_until_ms: int | None
    streams: tuple[str, ...]


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


class BundleEntry(NamedTuple):
    """One accepted record at its place in the log, with the sections that the auditor may have."""

    position: Position
    accepted_at_ms: int
    log_id: str
    epoch: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """Consecutive entries in the order of the tree's leaves, and the broker's receipts for them in the same order."""

    entries: tuple[BundleEntry, ...]
    receipts: SignedReceipts


@dataclass(frozen=True, slots=True)
class PartitionEnd:
    """Ends a partition: one more than the last leaf's index, and the tree right of the period."""

    end_index: int
    right_hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BundleEnd:
    """Closes the bundle: frames before this one, records in it, and the exchange's signature over all of it."""

    frames: int
    records: int
    signature: Signature


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


Frame: TypeAlias = (
    BundleHeader
    | DirectoryDocument
    | AuthorityCertificate
    | RevocationListFile
    | PartitionStart
    | PartitionRecords
    | PartitionEnd
    | BundleEnd
)
