"""Make replay bundles: signed documents, checkpoints, records as they were signed, and what else stands in the log.

A bundle follows the tree, not the log: every leaf of the period is listed, and what the log holds in its place is put
beside it. So a log that lost, changed or gained something is no reason to stop. What is missing is left out, what is no
record is given as a stray, and whoever verifies the bundle names the position.

A broker makes bundles with its signer: it gives a receipt for every record that the tree stands for, and for no other,
and signs the whole. An auditor who reads the message log directly makes one without. Either way nothing here decides
who may have what: ``BundleOrder`` does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.bundle import (
    LAST_MS,
    AuthorityCertificate,
    BundleDigest,
    BundleEnd,
    BundleEntry,
    BundleHeader,
    BundleLeaf,
    BundleSource,
    DirectoryDocument,
    PartitionEnd,
    PartitionLeaves,
    PartitionRecords,
    PartitionStart,
    RevocationListFile,
    SerializedFrame,
    StrayRecord,
)
from broker.core.entry import LogEntry, Stray
from broker.core.envelope import Signature
from broker.core.errors import EnvelopeMalformed, LogCorrupt, SectionMismatch
from broker.core.leaf import Leaf
from broker.core.merkle import leaf_hash, range_coordinates
from broker.core.policy import ANY
from broker.core.receipt import ReceiptStatement, SignedReceipts, receipts_message
from broker.core.sections import check_sections
from broker.core.streams import StreamPartition
from broker.services.versions import DirectoryVersions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from broker.core.bundle import Frame
    from broker.core.streams import Position
    from broker.ports import (
        CheckpointStore,
        Clock,
        DirectoryInForce,
        MessageLog,
        RecordCodec,
        Signer,
        TrustMaterial,
    )

_LEAVES: Final = 4096
"""Leaves in one stretch."""
_BATCH_RECORDS: Final = 250
_BATCH_BYTES: Final = 1 << 20


class BundleOrder(NamedTuple):
    """What goes into a bundle: who reads why, which sections of which streams, and the period (None: unbounded)."""

    auditor: str
    purpose: str
    sections: Mapping[str, frozenset[str]]
    accepted_from_ms: int | None
    accepted_until_ms: int | None


class _Stretch(NamedTuple):
    """A part of a partition: offsets ``[begin, end)``, the leaf hashes of those that have a leaf, what may be seen."""

    partition: StreamPartition
    begin: int
    end: int
    leaves: Mapping[int, bytes]
    visible: frozenset[str]


class BundleMaker:
    """Makes bundles, as many at once as wanted. For one event loop."""

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        codec: RecordCodec,
        directory: DirectoryInForce,
        material: TrustMaterial,
        clock: Clock,
        signer: Signer | None,
    ) -> None:
        """Prepare; without a ``signer`` bundles are of the source MESSAGE_LOG."""
        self._log = log
        self._store = store
        self._codec = codec
        self._directory = directory
        self._material = material
        self._clock = clock
        self._signer = signer
        self._versions = DirectoryVersions(log, codec)

    async def make(self, order: BundleOrder) -> AsyncIterator[SerializedFrame]:
        """The frames of a bundle, in order, the last of them signed over all the others if there is a signer.

        Each partition ends where its newest checkpoint ended when the partition was begun. What the log lost or cannot
        give is left out; it is no error here.

        Raises:
            DirectoryUnavailable, LogUnavailable
            LogCorrupt: a partition has no checkpoint, so nothing in it could be checked.
        """
        frames = records = 0
        digest = BundleDigest()
        async for frame in self._frames(order):
            held = len(frame.entries) if isinstance(frame, PartitionRecords) else 0
            frames += 1
            records += held
            data = self._codec.encode_frame(frame)
            digest.add(data)
            yield SerializedFrame(data, held, last=False)
        signature = None
        if self._signer is not None:
            signature = Signature(self._signer.certificate_sha256, self._signer.sign(digest.message()))
        yield SerializedFrame(self._codec.encode_frame(BundleEnd(frames, records, signature)), 0, last=True)

    async def _frames(self, order: BundleOrder) -> AsyncIterator[Frame]:
        directory, now_ms = self._directory.current(), self._clock.now_ms()
        yield BundleHeader(
            directory.trust_domain,
            order.auditor,
            order.purpose,
            now_ms,
            order.accepted_from_ms,
            order.accepted_until_ms,
            tuple(order.sections),
            BundleSource.MESSAGE_LOG if self._signer is None else BundleSource.BROKER,
        )
        versions = await self._versions.of_period(order.accepted_from_ms, order.accepted_until_ms)
        # Where the log has lost every version, the one in force now is still something to check signatures by.
        for document in versions or [DirectoryDocument(directory.document, now_ms)]:
            yield document
        for authority in self._material.authorities():
            yield AuthorityCertificate(authority)
        for revocation_list in self._material.revocation_lists():
            yield RevocationListFile(revocation_list)
        for stream, visible in order.sections.items():
            for number in range(self._log.partitions(stream)):
                async for frame in self._partition(StreamPartition(stream, number), order, visible):
                    yield frame

    async def _partition(
        self, partition: StreamPartition, order: BundleOrder, visible: frozenset[str]
    ) -> AsyncIterator[Frame]:
        head = await self._store.head(partition)
        if head is None:
            # Without a checkpoint there is nothing that could be checked: the follower has not begun yet.
            message = "a partition has no checkpoint yet"
            raise LogCorrupt(message, partition=str(partition))
        first, end = await self._period(partition, head.size, order)
        left = await self._store.nodes(partition, range_coordinates(0, first))
        yield PartitionStart(partition, head.note, first, tuple(left))
        begin = await self._store.leaf_offset(partition, first - 1) + 1 if first else 0
        # What no leaf stands for belongs to the stretch of the next leaf; beyond the tree there are strays only.
        beyond = await self._store.leaf_offset(partition, end) if end < head.size else None
        strays = [
            stray
            for stray in await self._log.strays(partition)
            if begin <= stray.position.offset and (beyond is None or stray.position.offset < beyond)
        ]
        strays.reverse()
        for index in range(first, end, _LEAVES):
            rows = await self._store.leaves(partition, index, min(index + _LEAVES, end))
            yield PartitionLeaves(index, tuple(BundleLeaf(row.offset, row.hash) for row in rows))
            stretch = _Stretch(partition, begin, rows[-1].offset + 1, {row.offset: row.hash for row in rows}, visible)
            async for frame in self._stretch(stretch, strays):
                yield frame
            begin = stretch.end
        if beyond is not None:
            async for frame in self._stretch(_Stretch(partition, begin, beyond, {}, visible), strays):
                yield frame
        for stray in reversed(strays):
            yield _stray(stray.position, stray.reason, stray.value, visible)
        right = await self._store.nodes(partition, range_coordinates(end, head.size))
        yield PartitionEnd(end, tuple(right))

    async def _period(self, partition: StreamPartition, size: int, order: BundleOrder) -> tuple[int, int]:
        begin, until = order.accepted_from_ms, order.accepted_until_ms
        first = 0 if begin is None else await self._store.first_leaf_since(partition, begin)
        end = size if until is None else await self._store.first_leaf_since(partition, until)
        # The tree may have grown since its head was read.
        end = min(end, size)
        return min(first, end), end

    async def _stretch(self, stretch: _Stretch, strays: list[Stray]) -> AsyncIterator[Frame]:
        """What stands there, in order. ``strays`` are those still to come, the next one last; those here are taken."""
        offset = stretch.begin
        while offset < stretch.end:
            most = min(_BATCH_RECORDS, stretch.end - offset)
            read = await self._log.read(stretch.partition, offset, most, _BATCH_BYTES)
            entries = [entry for entry in read if entry.position.offset < stretch.end]
            offset = entries[-1].position.offset + 1 if entries else stretch.end
            among: list[Stray] = []
            while strays and strays[-1].position.offset < offset:
                among.append(strays.pop())
            # Parsing and signing a batch would hold up the event loop.
            for frame in await asyncio.to_thread(self._tell, stretch, entries, among):
                yield frame

    def _tell(self, stretch: _Stretch, entries: Sequence[LogEntry], strays: Sequence[Stray]) -> list[Frame]:
        frames: list[Frame] = []
        batch = _Batch()
        standing: list[LogEntry | Stray] = [*entries, *strays]
        standing.sort(key=lambda found: found.position.offset)
        for found in standing:
            if isinstance(found, LogEntry):
                told = self._told(stretch, found, batch)
            else:
                told = _stray(found.position, found.reason, found.value, stretch.visible)
            if told is not None:
                # What is no record stands between those before and those after it.
                frames += batch.close(self._signer)
                frames.append(told)
        frames += batch.close(self._signer)
        return frames

    def _told(self, stretch: _Stretch, entry: LogEntry, batch: _Batch) -> StrayRecord | None:
        """Put an entry into the batch, or tell why it is no record. An entry that the log lost is neither."""
        expected = stretch.leaves.get(entry.position.offset)
        if expected is None:
            return _stray(entry.position, "no leaf", entry.value, stretch.visible)
        if not entry.value:
            return None
        try:
            envelope = self._codec.decode_envelope(entry.value)
            body = self._codec.parse_body(envelope.body)
            # Who is given a copy without them could not tell whether the log still has the sections that were signed.
            check_sections(body, envelope.sections, complete=True)
        except EnvelopeMalformed:
            return _stray(entry.position, "unreadable", entry.value, stretch.visible)
        except SectionMismatch:
            return _stray(entry.position, "other sections", entry.value, stretch.visible)
        if not 0 <= entry.accepted_at_ms <= LAST_MS:
            return _stray(entry.position, "no time", entry.value, stretch.visible)
        copy = envelope if ANY in stretch.visible else envelope.with_sections(stretch.visible)
        batch.entries.append(BundleEntry(entry.position, entry.accepted_at_ms, entry.log_id, entry.epoch, copy))
        sha256 = envelope.record_sha256
        leaf = Leaf(entry.position, entry.log_id, entry.epoch, body.record_id, sha256, entry.accepted_at_ms)
        # The exchange's word is given for what the tree stands for, never for what the log now holds instead.
        if self._signer is not None and leaf_hash(leaf.marshal()) == expected:
            statement = ReceiptStatement(
                body.record_id,
                sha256,
                entry.position,
                entry.log_id,
                entry.epoch,
                entry.accepted_at_ms,
                body.publisher,
            )
            batch.statements.append(self._codec.encode_statement(statement))
        return None


class _Batch:
    """Records that follow one another, and the receipts for them."""

    def __init__(self) -> None:
        self.entries: list[BundleEntry] = []
        self.statements: list[bytes] = []

    def close(self, signer: Signer | None) -> list[PartitionRecords]:
        """The frame of what is in the batch, if there is anything; then the batch is empty again."""
        entries, statements = tuple(self.entries), tuple(self.statements)
        self.entries.clear()
        self.statements.clear()
        receipts = None
        if signer is not None and statements:
            signature = Signature(signer.certificate_sha256, signer.sign(receipts_message(statements)))
            receipts = SignedReceipts(statements, signature)
        return [PartitionRecords(entries, receipts)] if entries else []


def _stray(position: Position, reason: str, value: bytes, visible: frozenset[str]) -> StrayRecord:
    # What cannot be read cannot be redacted either, and it may once have been a record: with all its sections.
    return StrayRecord.of(position, reason, value, shown=ANY in visible)
