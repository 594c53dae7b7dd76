"""Hand an auditor everything that is needed to check the exchange without trusting it.

1. a purpose is stated: PurposeMissing
2. the directory in force lets the agency replay each stream: RightDenied, PeerUnknown
3. who reads what, and why, is in the audit stream, durably, before the first frame leaves
4. every frame after that is a matter of fact: signed documents, checkpoints, records as they were signed, receipts

Sections that the right does not cover are withheld; signatures, digests and proofs hold without them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.bundle import (
    AuthorityCertificate,
    BundleDigest,
    BundleEnd,
    BundleEntry,
    BundleHeader,
    DirectoryDocument,
    PartitionEnd,
    PartitionRecords,
    PartitionStart,
    RevocationListFile,
)
from broker.core.envelope import Signature
from broker.core.errors import EnvelopeMalformed, LogCorrupt, PurposeMissing, RightDenied
from broker.core.events import AuditEvent, ReplayMade
from broker.core.merkle import range_coordinates
from broker.core.policy import ANY, replay_sections
from broker.core.receipt import ReceiptStatement, SignedReceipts, receipts_message
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, DIRECTORY_VERSION, STREAMS, StreamPartition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.bundle import Frame
    from broker.core.entry import LogEntry
    from broker.core.envelope import Envelope
    from broker.core.identity import Principal
    from broker.ports import (
        AuditTrail,
        CheckpointStore,
        Clock,
        DirectoryInForce,
        MessageLog,
        RecordCodec,
        Signer,
        TrustMaterial,
    )

MAX_PURPOSE: Final = 200
"""Characters in a stated purpose."""
_BATCH_RECORDS: Final = 250
_BATCH_BYTES: Final = 1 << 20
_SCAN_RECORDS: Final = 5000


class ReplayRequest(NamedTuple):
    """What is asked for. No streams: all that may be replayed. Times: epoch milliseconds; None: unbounded."""

    purpose: str
    streams: tuple[str, ...] = ()
    accepted_from_ms: int | None = None
    accepted_until_ms: int | None = None


class ReplayService:
    """Replays the log on behalf of authenticated principals. For one event loop; replays may be concurrent."""

    def __init__(
        self,
        *,
        directory: DirectoryInForce,
        codec: RecordCodec,
        log: MessageLog,
        store: CheckpointStore,
        signer: Signer,
        material: TrustMaterial,
        audit: AuditTrail,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._codec = codec
        self._log = log
        self._store = store
        self._signer = signer
        self._material = material
        self._audit = audit
        self._clock = clock

    async def replay(self, principal: Principal, request: ReplayRequest) -> AsyncIterator[bytes]:
        """The serialised frames of a bundle, in order, the last of them signed over all the others.

        Each partition ends where its newest checkpoint ended when the partition was begun.

        Raises:
            PurposeMissing, RightDenied, PeerUnknown, DirectoryUnavailable, LogUnavailable, LogFull, LogCorrupt
        """
        sections = self._rights(principal, request)
        # (3) Reading is evidence too (design decision 9).
        made = ReplayMade(request.purpose, tuple(sections), request.accepted_from_ms, request.accepted_until_ms)
        await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, made)])
        frames = records = 0
        digest = BundleDigest()
        async for frame in self._frames(principal, request, sections):
            frames += 1
            records += len(frame.entries) if isinstance(frame, PartitionRecords) else 0
            data = self._codec.encode_frame(frame)
            digest.add(data)
            yield data
        signature = Signature(self._signer.certificate_sha256, self._signer.sign(digest.message()))
        yield self._codec.encode_frame(BundleEnd(frames, records, signature))

    def _rights(self, principal: Principal, request: ReplayRequest) -> dict[str, frozenset[str]]:
        """The sections that may be had of each stream wanted."""
        # (1) Why.
        purpose = request.purpose.strip()
        if not purpose or len(purpose) > MAX_PURPOSE or not purpose.isprintable():
            message = f"a replay states its purpose in 1 to {MAX_PURPOSE} printable characters"
            raise PurposeMissing(message)
        # (2) May they.
        directory = self._directory.current()
        if request.streams:
            return {stream: replay_sections(directory, principal.agency, stream) for stream in request.streams}
        granted = directory.agency(principal.agency).replay
        if not granted:
            message = f"{principal.agency} may not replay any stream"
            raise RightDenied(message, agency=principal.agency)
        return {stream: granted[stream].sections for stream in STREAMS if stream in granted}

    async def _frames(
        self, principal: Principal, request: ReplayRequest, sections: dict[str, frozenset[str]]
    ) -> AsyncIterator[Frame]:
        yield BundleHeader(
            self._directory.current().trust_domain,
            principal.spiffe_id,
            request.purpose,
            self._clock.now_ms(),
            request.accepted_from_ms,
            request.accepted_until_ms,
            tuple(sections),
        )
        for document in await self._directories(request):
            yield document
        for authority in self._material.authorities():
            yield AuthorityCertificate(authority)
        for revocation_list in self._material.revocation_lists():
            yield RevocationListFile(revocation_list)
        for stream, visible in sections.items():
            for number in range(self._log.partitions(stream)):
                async for frame in self._partition(StreamPartition(stream, number), request, visible):
                    yield frame

    async def _directories(self, request: ReplayRequest) -> list[DirectoryDocument]:
        """The versions that were in force in the period: the last before it, and those that came within it."""
        found: list[DirectoryDocument] = []
        for number in range(self._log.partitions(AUDIT)):
            partition, offset = StreamPartition(AUDIT, number), 0
            while entries := await self._log.read(partition, offset, _SCAN_RECORDS, 1 << 62, values=False):
                offset = entries[-1].position.offset + 1
                for entry in entries:
                    if entry.kind == DIRECTORY_VERSION:
                        (whole,) = await self._log.read(partition, entry.position.offset, 1, 1)
                        found.append(DirectoryDocument(self._document(whole), entry.accepted_at_ms))
        begin, until = request.accepted_from_ms, request.accepted_until_ms
        found = [item for item in found if until is None or item.in_force_from_ms < until]
        before = [item for item in found if begin is not None and item.in_force_from_ms <= begin]
        return found[max(0, len(before) - 1) :]

    def _document(self, entry: LogEntry) -> bytes:
        (section,) = self._envelope(entry).sections
        return unsalted(section)

    async def _partition(
        self, partition: StreamPartition, request: ReplayRequest, visible: frozenset[str]
    ) -> AsyncIterator[Frame]:
        head = await self._store.head(partition)
        if head is None:
            # Without a checkpoint there is nothing that could be checked: the follower has not begun yet.
            message = "a partition has no checkpoint yet"
            raise LogCorrupt(message, partition=str(partition))
        first, end = await self._period(partition, head.size, request)
        left = await self._store.nodes(partition, range_coordinates(0, first))
        yield PartitionStart(partition, head.note, first, tuple(left))
        index = first
        offset = await self._store.leaf_offset(partition, first) if first < end else 0
        while index < end:
            entries = await self._log.read(partition, offset, min(_BATCH_RECORDS, end - index), _BATCH_BYTES)
            if not entries:
                message = "the log lacks entries that its checkpoint covers"
                raise LogCorrupt(message, partition=str(partition), index=str(index))
            # Parsing and signing a batch would hold up the event loop.
            yield await asyncio.to_thread(self._records, entries, visible)
            index += len(entries)
            offset = entries[-1].position.offset + 1
        right = await self._store.nodes(partition, range_coordinates(end, head.size))
        yield PartitionEnd(end, tuple(right))

    async def _period(self, partition: StreamPartition, size: int, request: ReplayRequest) -> tuple[int, int]:
        begin, until = request.accepted_from_ms, request.accepted_until_ms
        first = 0 if begin is None else await self._store.first_leaf_since(partition, begin)
        end = size if until is None else await self._store.first_leaf_since(partition, until)
        # The tree may have grown since its head was read.
        end = min(end, size)
        return min(first, end), end

    def _records(self, entries: Sequence[LogEntry], visible: frozenset[str]) -> PartitionRecords:
        taken: list[BundleEntry] = []
        statements: list[bytes] = []
        for entry in entries:
            envelope = self._envelope(entry)
            body = self._codec.parse_body(envelope.body)
            statement = ReceiptStatement(
                body.record_id, entry.record_sha256, entry.position, entry.accepted_at_ms, body.publisher
            )
            statements.append(self._codec.encode_statement(statement))
            copy = envelope if ANY in visible else envelope.with_sections(visible)
            taken.append(BundleEntry(entry.position, entry.accepted_at_ms, entry.log_id, entry.epoch, copy))
        signature = Signature(self._signer.certificate_sha256, self._signer.sign(receipts_message(statements)))
        return PartitionRecords(tuple(taken), SignedReceipts(tuple(statements), signature))

    def _envelope(self, entry: LogEntry) -> Envelope:
        try:
            return self._codec.decode_envelope(entry.value)
        except EnvelopeMalformed as error:
            message = "an entry of the log cannot be read"
            raise LogCorrupt(message, position=str(entry.position)) from error
