"""Bundles made by an exchange that may lie. It holds all of its own keys, and none of an agency's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from broker.bootstrap.brought import bring
from broker.bootstrap.received import bring_received
from broker.core.audit.beginning import BundleBeginning, FrameReader
from broker.core.audit.judge import BatchJudge
from broker.core.audit.verification import BundleVerification, judge_frame
from broker.core.audit.witnesses import WitnessAudit
from broker.core.bundle import (
    AuthorityCertificate,
    BundleDigest,
    BundleEnd,
    BundleEntry,
    BundleFrames,
    BundleHeader,
    BundleLeaf,
    BundleSource,
    DirectoryDocument,
    Frame,
    PartitionEnd,
    PartitionLeaves,
    PartitionRecords,
    PartitionStart,
    RevocationListFile,
)
from broker.core.envelope import Signature
from broker.core.inforce import DirectoryVersion
from broker.core.receipt import ReceiptStatement, SignedReceipts, receipts_message
from broker.core.streams import Position
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note
from broker.core.tree.leaf import Leaf
from broker.core.tree.merkle import range_coordinates
from broker.core.tree.origin import checkpoint_origin
from broker.messagelog.sqlite import SqliteLog
from broker.services.audittrail import AuditTrailService
from broker.trust.directory import open_directory
from broker.trust.logkeys import log_verifiers
from broker.trust.system import SystemEntropy
from broker.wire.bundle import MAGIC, write_frame
from broker.wire.frames import frame_from, holds_records
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC
from tests.support.trees import GrownTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from broker.core.audit.report import AuditReport
    from broker.core.audit.witnesses import WitnessPolicyInUse
    from broker.core.entry import LogEntry
    from broker.core.envelope import Envelope
    from broker.core.events import AuditEvent
    from broker.core.policy import Directory
    from broker.core.streams import StreamPartition
    from broker.ports import Clock
    from broker.trust.keyring import DirectoryKeyring
    from tests.support.pki import SamplePki


FRAMES = FrameReader(frame_from, holds_records)
LOG_ID = "f" * 32
LONG_AFTER_MS = 4_000_000_000_000


def manifest(entry: BundleEntry) -> bytes:
    """The bytes that the tree hashes for an entry."""
    record_id = CODEC.parse_body(entry.envelope.body).record_id
    sha256 = entry.envelope.record_sha256
    return Leaf(entry.position, entry.log_id, entry.epoch, record_id, sha256, entry.accepted_at_ms).marshal()


class LyingExchange:
    """Signs anything over records that agencies signed, and has it audited."""

    def __init__(
        self,
        pki: SamplePki,
        directory: Directory | None = None,
        keyring: DirectoryKeyring | None = None,
        *,
        source: BundleSource = BundleSource.BROKER,
        directories_from_ms: int = 0,
    ) -> None:
        self.pki = pki
        self.source = source
        self._directory = directory or pki.directory
        self._keyring = keyring or pki.keyring(self._directory)
        self._from_ms = directories_from_ms
        self._frames: list[Frame] = []
        self.streams: list[str] = []
        self.made_at_ms = LONG_AFTER_MS
        self.accepted_from_ms: int | None = None
        self.accepted_until_ms: int | None = None
        self.proved_record = ""

    def add(
        self,
        partition: StreamPartition,
        envelopes: Sequence[Envelope],
        accepted_at_ms: int,
        *,
        stretch: int = 4096,
        gap: int = 1,
        offsets: Sequence[int] | None = None,
        period: tuple[int, int] | None = None,
    ) -> list[BundleEntry]:
        """Add a partition with these records, ``gap`` offsets apart or at ``offsets``, or only a period of it."""
        entries = [
            BundleEntry(
                Position(*partition, offsets[place] if offsets else place * gap), accepted_at_ms, LOG_ID, 0, envelope
            )
            for place, envelope in enumerate(envelopes)
        ]
        tree = GrownTree(map(manifest, entries))
        first, end = period or (0, len(entries))
        left = [tree.nodes[at] for at in range_coordinates(0, first)]
        right = [tree.nodes[at] for at in range_coordinates(end, len(entries))]
        frames: list[Frame] = [PartitionStart(partition, self.note(partition, tree), first, tuple(left))]
        for at in range(first, end, stretch):
            part = range(at, min(at + stretch, end))
            leaves = tuple(BundleLeaf(entries[place].position.offset, tree.nodes[0, place]) for place in part)
            frames.append(PartitionLeaves(at, leaves))
            held = [entries[place] for place in part]
            frames.append(PartitionRecords(tuple(held), self.receipts(held)))
        frames.append(PartitionEnd(end, tuple(right)))
        self._frames += frames
        if partition.stream not in self.streams:
            self.streams.append(partition.stream)
        return entries

    @property
    def frames(self) -> list[Frame]:
        """The frames between the trust material and the last one. A test may change them."""
        return self._frames

    def replace(self, old: Frame, *new: Frame) -> None:
        at = self._frames.index(old)
        self._frames[at : at + 1] = new

    def records(self) -> PartitionRecords:
        """The first batch."""
        return next(frame for frame in self._frames if isinstance(frame, PartitionRecords))

    def hold(self, *entries: BundleEntry) -> None:
        """Put these entries into the first batch, and keep its receipts."""
        batch = self.records()
        self.replace(batch, dataclasses.replace(batch, entries=entries))

    def header(self) -> BundleHeader:
        """The first frame."""
        return BundleHeader(
            "case-exchange.example",
            "spiffe://a",
            "test",
            self.made_at_ms,
            self.accepted_from_ms,
            self.accepted_until_ms,
            tuple(self.streams),
            self.source,
            self.proved_record,
        )

    def beginning(self) -> BundleBeginning:
        """Everything before the partitions."""
        document = DirectoryDocument(self._directory.document, self._from_ms)
        return BundleBeginning(self.header(), (document,), self._directory.signing_authorities, ())

    def serialized(self, beginning: Sequence[Frame] = ()) -> list[bytes]:
        """The frames of the partitions, and the last one, with the exchange's signature if it made the bundle.

        ``beginning`` has the frames before them, if the last one is to cover those too.
        """
        frames = [CODEC.encode_frame(frame) for frame in (*beginning, *self._frames)]
        digest = BundleDigest()
        for data in frames:
            digest.add(data)
        records = sum(len(frame.entries) for frame in self._frames if isinstance(frame, PartitionRecords))
        signer = self.pki.signer("exchange")
        signature = Signature(signer.certificate_sha256, signer.sign(digest.message()))
        signed = signature if self.source is BundleSource.BROKER else None
        return [*frames, CODEC.encode_frame(BundleEnd(len(frames), records, signed, digest.sha256()))]

    def write(self, path: Path) -> Path:
        """Write the whole bundle into a file."""
        beginning: list[Frame] = [
            self.header(),
            DirectoryDocument(self._directory.document, self._from_ms),
            *map(AuthorityCertificate, self._directory.signing_authorities),
            *map(RevocationListFile, self.pki.revocation_lists().documents()),
        ]
        with path.open("wb") as file:
            file.write(MAGIC)
            for data in self.serialized(beginning):
                write_frame(file, data)
        return path

    def audit(
        self,
        frames: Iterable[bytes] | None = None,
        beginning: BundleBeginning | None = None,
        *,
        receipts: Sequence[Path] = (),
        since: Sequence[Path] = (),
        covered_within_ms: int | None = None,
        witnesses: WitnessPolicyInUse | None = None,
        delivered: Sequence[Path] = (),
    ) -> AuditReport:
        """The auditor's report on the bundle, or on these frames of it."""
        verifiers = log_verifiers([self._directory])
        versions = [DirectoryVersion(self._from_ms, self._directory, self._keyring)]
        own = BatchJudge(versions, CODEC, self.source)
        with (
            bring(
                receipts,
                since,
                versions,
                verifiers,
                self.made_at_ms,
                read_version=lambda document: self.pki.version(open_directory(document, self.pki.governance)),
                covered_within_ms=covered_within_ms,
            ) as brought,
            bring_received(delivered, versions, self.made_at_ms) as received,
        ):
            verification = BundleVerification(
                beginning or self.beginning(),
                versions,
                (),
                verifiers,
                own,
                brought=brought,
                witnesses=WitnessAudit(witnesses, verifiers, brought.checkpoints),
                received=received,
            )
            return verification.follow(
                BundleFrames(iter(self.serialized() if frames is None else frames)),
                FRAMES,
                lambda partition, data: lambda: judge_frame(own, FRAMES, partition, data),
                4,
                lambda _: None,
            )

    def note(self, partition: StreamPartition, tree: GrownTree, log_id: str = LOG_ID) -> bytes:
        """The checkpoint of this tree."""
        signer = self.pki.note_signer
        origin = checkpoint_origin("case-exchange.example", partition, log_id)
        text = Checkpoint(origin, len(tree.leaves), tree.roots[-1]).marshal()
        return marshal_note(text, [NoteSignature(signer.name, signer.key_id, signer.sign(text))])

    def receipts(self, entries: Sequence[BundleEntry]) -> SignedReceipts | None:
        """The exchange's receipts for these entries, if it made the bundle."""
        if self.source is BundleSource.MESSAGE_LOG:
            return None
        statements = []
        for entry in entries:
            body = CODEC.parse_body(entry.envelope.body)
            statement = ReceiptStatement(
                body.record_id,
                entry.envelope.record_sha256,
                entry.position,
                entry.log_id,
                entry.epoch,
                entry.accepted_at_ms,
                body.publisher,
            )
            statements.append(CODEC.encode_statement(statement))
        signer = self.pki.signer("exchange")
        signature = Signature(signer.certificate_sha256, signer.sign(receipts_message(statements)))
        return SignedReceipts(tuple(statements), signature)


async def audit_record(pki: SamplePki, clock: Clock, events: Sequence[AuditEvent]) -> Envelope:
    """A record of the audit stream with these events, as the exchange's own writer makes it."""
    log = await SqliteLog.open(None, clock)
    trail = AuditTrailService(
        directory=FixedDirectory(pki.directory),
        system="broker",
        signer=pki.signer("exchange"),
        codec=CODEC,
        log=log,
        entropy=SystemEntropy(),
        clock=clock,
    )
    await trail.record(events)
    entry: LogEntry
    (entry,) = await log.read(_audit(log), 0, 10, 1 << 20)
    await log.close()
    return CODEC.decode_envelope(entry.value)


def without_right(directory: Directory, agency: str, kind: str) -> Directory:
    """The directory without an agency's right to publish a kind."""
    member = directory.agencies[agency]
    publish = {name: right for name, right in member.publish.items() if name != kind}
    return dataclasses.replace(
        directory, agencies={**directory.agencies, agency: dataclasses.replace(member, publish=publish)}
    )


def _audit(log: SqliteLog) -> StreamPartition:
    return log._partitions[-1]
