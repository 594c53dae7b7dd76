"""Prove one record to a party of it: its bytes, its place in the signed tree, and who vouches for the tree (ADR 51).

1. the id is one, and the record is known and concerns the caller: InputRefused, RecordUnknown. The caller cannot tell
   which of the two, as with a trace
2. an auditor who is no party states a purpose: PurposeMissing
3. the log has the record as it was accepted: LogCorrupt
4. a checkpoint covers it, and if the directory names witnesses, one that a quorum has cosigned: ProofNotReady
5. the audit stream says durably who got which proof, before the first frame leaves: a copy of the record leaves with it
6. the frames are those of a bundle with one leaf
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from broker.core.body import is_uuid
from broker.core.bundle import BundleLeaf, PartitionEnd, PartitionLeaves
from broker.core.errors import (
    FormerReceiptInvalid,
    InputRefused,
    LogCorrupt,
    ProofNotReady,
    RecordUnknown,
)
from broker.core.events import AuditEvent, ProofMade
from broker.core.former import stated
from broker.core.policy import ANY, may_replay, replay_sections, visible_sections
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.leaf import leaf_of
from broker.core.tree.merkle import leaf_hash, range_coordinates
from broker.core.tree.witnesspolicy import parse_directory_policy
from broker.services.accepted import accepted
from broker.services.replay import check_purpose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.body import Routing
    from broker.core.bundle import CosignedCheckpoint, DirectoryDocument, Frame, SerializedFrame
    from broker.core.entry import LogEntry
    from broker.core.envelope import Envelope
    from broker.core.identity import Principal
    from broker.core.streams import StreamPartition
    from broker.ports import (
        AuditTrail,
        CheckpointStore,
        Clock,
        CosignedCheckpoints,
        DirectoryInForce,
        MessageLog,
        RecordCodec,
        TimestampedCheckpoints,
    )
    from broker.services.bundling import BundleMaker
    from broker.services.erasureorders import ErasureOrders
    from broker.services.quotas import Quotas

_UNKNOWN: Final = "there is no such record that concerns this agency"
_RECENT_MS: Final = 24 * 3_600_000
"""Directory versions of this time before the proof are in it too, because their keys may have signed the checkpoint."""


class ProofSettings(NamedTuple):
    """When to ask again for a proof that is not ready: for want of a checkpoint, or of cosignatures."""

    checkpoint_seconds: float = 1.0
    cosigning_seconds: float = 10.0


class ProofRequest(NamedTuple):
    """See ProveRecordRequest in auditor.proto."""

    record_id: str
    purpose: str = ""
    without_cosignatures: bool = False


class _Record(NamedTuple):
    """A record as it was accepted, and the sections that the caller may have of it."""

    entry: LogEntry
    envelope: Envelope
    routing: Routing
    visible: frozenset[str]


class _Tree(NamedTuple):
    """The checkpoint to prove a record under, and the record's leaf. ``cosigned``: see ``PartitionStart``."""

    leaf: int
    size: int
    note: bytes
    cosigned: CosignedCheckpoint | None


class RecordProver:
    """For one event loop. An agency has one proof, trace or list at a time."""

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        codec: RecordCodec,
        orders: ErasureOrders,
        directory: DirectoryInForce,
        bundles: BundleMaker,
        cosigned: CosignedCheckpoints,
        timestamped: TimestampedCheckpoints,
        audit: AuditTrail,
        quotas: Quotas,
        clock: Clock,
        settings: ProofSettings = ProofSettings(),  # noqa: B008 - it never changes
    ) -> None:
        self._log = log
        self._store = store
        self._codec = codec
        self._orders = orders
        self._directory = directory
        self._parts = bundles.parts
        self._versions = bundles.versions
        self._cosigned = cosigned
        self._timestamped = timestamped
        self._audit = audit
        self._quotas = quotas
        self._clock = clock
        self._settings = settings

    async def prove(self, principal: Principal, request: ProofRequest) -> AsyncIterator[SerializedFrame]:
        """The frames of a proof, in order.

        Raises:
            InputRefused, RecordUnknown, PurposeMissing, LogCorrupt, ProofNotReady: see the module.
            QuotaExceeded: its agency has another long call under way.
            DirectoryUnavailable, LogUnavailable, LogFull
        """
        # (1) Which record.
        if not is_uuid(request.record_id):
            message = "a proof names a record by its id, a UUID in canonical form"
            raise InputRefused(message)
        with self._quotas.long_call(principal.agency):
            # (1) to (3)
            record = await self._record(principal, request)
            tree = await self._tree(record.entry, request)
            purpose = request.purpose.strip()
            gone = record.envelope.erased
            names = [part.name for part in record.routing.sections]
            withheld = [name for name in names if not {ANY, name} & record.visible or name in gone]
            # (5) Reading leaves evidence too (design decision 9).
            made = ProofMade(record.entry.position, purpose, tuple(withheld))
            await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, made)])
            async for frame in self._parts.sealed(self._frames(principal, purpose, record, tree)):
                yield frame

    async def _record(self, principal: Principal, request: ProofRequest) -> _Record:
        appended = await self._log.lookup([UUID(request.record_id).bytes])
        entry = None
        for found in appended.values():
            entry = await self._entry(found.position.stream_partition, found.position.offset)
        if entry is None or not entry.record_id:
            raise RecordUnknown(_UNKNOWN)
        directory, agency, stream = self._directory.current(), principal.agency, entry.position.stream
        auditor = may_replay(directory, agency, stream)
        concerned = auditor or agency in entry.recipients
        try:
            envelope, routing = accepted(entry, self._codec, self._orders)
        except LogCorrupt:
            # Nobody can say any more who published it.
            if concerned:
                raise
            raise RecordUnknown(_UNKNOWN) from None
        if agency == routing.publisher:
            return _Record(entry, envelope, routing, frozenset({ANY}))
        own = visible_sections(directory, agency, routing)
        if own is None and not auditor:
            raise RecordUnknown(_UNKNOWN)
        # (2) A party needs no reason to have its own record.
        if own is None or request.purpose.strip():
            check_purpose(request.purpose)
        read = replay_sections(directory, agency, stream) if auditor else frozenset()
        return _Record(entry, envelope, routing, (own or frozenset()) | read)

    async def _tree(self, entry: LogEntry, request: ProofRequest) -> _Tree:
        """The checkpoint to prove it under: check (4), and that its leaf is that of the record."""
        partition, again = entry.position.stream_partition, self._settings
        head = await self._store.head(partition)
        index = await self._store.leaf_index(partition, entry.position.offset)
        if head is None or index is None or index >= head.size:
            message = f"no checkpoint covers the record yet; one comes within {again.checkpoint_seconds:g} s"
            raise ProofNotReady(message, retry_after_ms=_ms(again.checkpoint_seconds))
        (row,) = await self._store.leaves(partition, index, index + 1)
        if row.hash != leaf_hash(leaf_of(entry).marshal()):
            message = "the log's entry is not that of its leaf in the signed tree"
            raise LogCorrupt(message, position=str(entry.position))
        cosigned, size = await self._cosigned.cosigned(partition, head.size, formers=True), 0
        if cosigned is not None:
            tree = Checkpoint.parse(parse_note(cosigned.note).text)
            size = tree.size
            if index < size and tree.origin == Checkpoint.parse(parse_note(head.note).text).origin:
                return _Tree(index, size, cosigned.note, None)
            if index < size:
                # A former incarnation's. The newest tree is the one that counts, and it extends this one.
                return _Tree(index, head.size, head.note, cosigned)
        directory = self._directory.current()
        policy = parse_directory_policy(directory.witness_policy, directory.log_keys)
        if policy is not None and policy.quorum is not None and not request.without_cosignatures:
            message = (
                f"witnesses have cosigned {size} records of the partition, and this one is number {index + 1}; they "
                f"are asked every {again.cosigning_seconds:g} s"
            )
            raise ProofNotReady(message, retry_after_ms=_ms(again.cosigning_seconds))
        return _Tree(index, head.size, head.note, cosigned)

    async def _frames(self, principal: Principal, purpose: str, record: _Record, tree: _Tree) -> AsyncIterator[Frame]:
        entry, partition = record.entry, record.entry.position.stream_partition
        documents = await self._documents(record)
        for frame in self._parts.beginning(
            principal.spiffe_id, purpose, (partition.stream,), documents, proved_record=record.routing.record_id
        ):
            yield frame
        yield await self._parts.start(partition, tree.note, tree.leaf, tree.cosigned)
        for stamped in await self._timestamped.timestamped(partition, tree.leaf, tree.leaf + 1, tree.size):
            yield stamped
        leaf = BundleLeaf(entry.position.offset, leaf_hash(leaf_of(entry).marshal()))
        yield PartitionLeaves(tree.leaf, (leaf,))
        batch = self._parts.batch()
        batch.add(entry, record.envelope, record.routing, record.visible, as_accepted=True)
        for frame in batch.close():
            yield frame
        right = await self._store.nodes(partition, range_coordinates(tree.leaf + 1, tree.size))
        yield PartitionEnd(tree.leaf + 1, tuple(right))

    async def _documents(self, record: _Record) -> list[DirectoryDocument]:
        """The directory versions around the acceptance, around that of a former receipt, and of the last day."""
        times = [record.entry.accepted_at_ms]
        if record.envelope.former_receipt:
            # It was checked at the acceptance. If it does not hold any more, ``verify`` says so.
            with contextlib.suppress(FormerReceiptInvalid):
                times.append(stated(record.envelope, self._codec).accepted_at_ms)
        found = await self._versions.of_period(self._clock.now_ms() - _RECENT_MS, None)
        for at_ms in times:
            found += await self._versions.in_force_at(at_ms)
        by_time = {document.in_force_from_ms: document for document in found}
        return [by_time[at_ms] for at_ms in sorted(by_time)]

    async def _entry(self, partition: StreamPartition, offset: int) -> LogEntry | None:
        await self._log.catch_up(partition, offset + 1)
        entries = await self._log.read(partition, offset, 1, 1)
        return next((entry for entry in entries if entry.position.offset == offset), None)


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
