"""Make replay bundles: signed documents, checkpoints, records as they were signed, and strays.

A bundle follows the tree, not the log. It lists every leaf of the period, and beside each leaf what the log holds
there. So a log that lost, changed or gained something can still be replayed. A missing entry is left out. What is not a
record becomes a stray, besides the record if a copy stands in for it. ``verify`` then names the position.

A broker makes bundles with its signer. It gives a receipt for every record that matches its leaf, and for no other, and
it signs the whole bundle. An auditor who reads the message log directly has no signer. In both cases this module does
not decide who may have what: ``BundleOrder`` says it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.bundle import (
    LAST_MS,
    BundleLeaf,
    PartitionEnd,
    PartitionLeaves,
    StrayRecord,
)
from broker.core.entry import LogEntry, Stray
from broker.core.errors import EnvelopeMalformed, LogCorrupt, SectionMismatch
from broker.core.policy import ANY
from broker.core.sections import check_sections
from broker.core.streams import StreamPartition
from broker.core.tree.leaf import Leaf
from broker.core.tree.merkle import leaf_hash, range_coordinates
from broker.services.bundleparts import BundleParts
from broker.services.versions import DirectoryVersions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from broker.core.bundle import Frame, SerializedFrame
    from broker.core.streams import Position
    from broker.ports import (
        CheckpointStore,
        Clock,
        CosignedCheckpoints,
        DirectoryInForce,
        MessageLog,
        RecordCodec,
        Signer,
        TimestampedCheckpoints,
        TrustMaterial,
    )
    from broker.services.bundlebatch import Batch
    from broker.services.erasureorders import ErasureOrders

_LEAVES: Final = 4096
"""The limit for the leaves in one stretch."""
_BATCH_RECORDS: Final = 250
_BATCH_BYTES: Final = 1 << 20


class BundleOrder(NamedTuple):
    """What goes into a bundle: who reads and why, the sections of each stream, and the period (None: unbounded)."""

    auditor: str
    purpose: str
    sections: Mapping[str, frozenset[str]]
    accepted_from_ms: int | None
    accepted_until_ms: int | None


class _Stretch(NamedTuple):
    """A part of a partition: offsets ``[begin, end)``, the leaf hashes by offset, and the visible sections."""

    partition: StreamPartition
    begin: int
    end: int
    leaves: Mapping[int, bytes]
    visible: frozenset[str]


class BundleMaker:
    """Makes bundles, also several at once. For one event loop."""

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        codec: RecordCodec,
        orders: ErasureOrders,
        directory: DirectoryInForce,
        material: TrustMaterial,
        clock: Clock,
        signer: Signer | None,
        cosigned: CosignedCheckpoints | None = None,
        timestamped: TimestampedCheckpoints | None = None,
    ) -> None:
        """Prepare. Without a ``signer`` the bundles have the source MESSAGE_LOG."""
        self._log = log
        self._store = store
        self._codec = codec
        self._orders = orders
        self._cosigned = cosigned
        self._timestamped = timestamped
        self.parts: Final = BundleParts(
            store=store, codec=codec, directory=directory, material=material, clock=clock, signer=signer
        )
        self.versions: Final = DirectoryVersions(log, codec)

    def make(self, order: BundleOrder) -> AsyncIterator[SerializedFrame]:
        """The frames of a bundle, in order. If there is a signer, the last frame signs all the others.

        Each partition ends where its newest checkpoint ends when the partition is begun. What the log has lost or
        cannot give is left out. That is no error here.

        Raises:
            DirectoryUnavailable, LogUnavailable
            LogCorrupt: a partition has no checkpoint, so nothing in it could be checked.
        """
        return self.parts.sealed(self._frames(order))

    async def _frames(self, order: BundleOrder) -> AsyncIterator[Frame]:
        # From the first one on: a record of the period that came again is judged by that of its former receipt.
        documents = await self.versions.of_period(None, order.accepted_until_ms)
        period = order.accepted_from_ms, order.accepted_until_ms
        for frame in self.parts.beginning(
            order.auditor, order.purpose, tuple(order.sections), documents, period=period
        ):
            yield frame
        for stream, visible in order.sections.items():
            for number in range(self._log.partitions(stream)):
                async for frame in self._partition(StreamPartition(stream, number), order, visible):
                    yield frame

    async def _partition(
        self, partition: StreamPartition, order: BundleOrder, visible: frozenset[str]
    ) -> AsyncIterator[Frame]:
        head = await self._store.head(partition)
        if head is None:
            # The follower has not begun yet. Without a checkpoint nothing could be checked.
            message = "a partition has no checkpoint yet"
            raise LogCorrupt(message, partition=str(partition))
        first, end = await self._period(partition, head.size, order)
        cosigned = None if self._cosigned is None else await self._cosigned.cosigned(partition, head.size, formers=True)
        yield await self.parts.start(partition, head.note, first, cosigned)
        if self._timestamped is not None:
            for stamped in await self._timestamped.timestamped(partition, first, end, head.size):
                yield stamped
        begin = await self._store.leaf_offset(partition, first - 1) + 1 if first else 0
        # An entry without a leaf belongs to the stretch of the next leaf. Beyond the tree there are only strays.
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
            yield StrayRecord(stray.position, stray.reason, b"", stray.size, stray.sha256)
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
        """What the log has there, in order. ``strays`` are those left, the next one last. Used ones are removed."""
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
            for frame in await asyncio.to_thread(self._stretch_frames, stretch, entries, among):
                yield frame

    def _stretch_frames(self, stretch: _Stretch, entries: Sequence[LogEntry], strays: Sequence[Stray]) -> list[Frame]:
        frames: list[Frame] = []
        batch = self.parts.batch()
        standing: list[LogEntry | Stray] = [*entries, *strays]
        standing.sort(key=lambda found: found.position.offset)
        for found in standing:
            if isinstance(found, LogEntry):
                stray = self._add(stretch, found, batch)
                seen = found.damage if stray is None else None
            else:
                stray, seen = None, found
            if seen is not None:
                stray = StrayRecord(seen.position, seen.reason, b"", seen.size, seen.sha256)
            if stray is not None:
                # A stray's frame comes between the records before it and the records after it.
                frames += [*batch.close(), stray]
        frames += batch.close()
        return frames

    def _add(self, stretch: _Stretch, entry: LogEntry, batch: Batch) -> StrayRecord | None:
        """Add an entry to the batch, or return it as a stray if it is not a record. Skip an entry that the log lost."""
        expected = stretch.leaves.get(entry.position.offset)
        if expected is None:
            return _stray(entry.position, "no leaf", entry.value, stretch.visible)
        if not entry.value:
            return None
        try:
            envelope = self._codec.decode_envelope(entry.value)
            routing = self._codec.read_routing(envelope.body)
            sha256 = envelope.record_sha256
            leaf = Leaf(entry.position, entry.log_id, entry.epoch, routing.record_id, sha256, entry.accepted_at_ms)
            matches = leaf_hash(leaf.marshal()) == expected
            if not matches:
                # What the tree stands for was accepted, so its form was checked. Anything else may be no record.
                self._codec.parse_body(envelope.body)
            # Without this check, an auditor who may not see all sections could not know whether the log still has them.
            check_sections(routing, envelope.sections, complete=True, erased=envelope.erased)
        except EnvelopeMalformed:
            return _stray(entry.position, "unreadable", entry.value, stretch.visible)
        except SectionMismatch:
            return _stray(entry.position, "other sections", entry.value, stretch.visible)
        ordered = self._orders.of(entry.record_id)
        lacking = None if ordered.issuperset(envelope.erased) else "other sections"
        wrong = lacking if 0 <= entry.accepted_at_ms <= LAST_MS else "no time"
        if wrong is not None:
            return _stray(entry.position, wrong, entry.value, stretch.visible)
        batch.add(entry, envelope.erase(ordered), routing, stretch.visible, as_accepted=matches)
        return None


def _stray(position: Position, reason: str, value: bytes, visible: frozenset[str]) -> StrayRecord:
    # What cannot be read cannot be redacted. It may be a damaged record, with all its sections.
    return StrayRecord.of(position, reason, value, shown=ANY in visible)
