"""What became of a record: for its publisher, for its recipients, each of its own, and for auditors.

Deliveries and acknowledgements stand in the audit stream. They are read on demand, from the acceptance on, and nothing
is kept for it. A trace stops at a limit of time and of bytes, and says so. What was refused or set aside is read first:
it is little, because it is records of its own kind.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from uuid import UUID

from broker.core.body import is_uuid
from broker.core.entry import EXCHANGE, Interest
from broker.core.errors import InputRefused, LogCorrupt, PositionUnknown, RecordUnknown
from broker.core.policy import may_replay, visible_sections
from broker.core.streams import (
    AUDIT,
    AUDIT_EVENTS,
    DEAD_LETTER_EVENTS,
    STREAMS,
    Position,
    StreamPartition,
    partition_of,
)
from broker.core.trace import TracedEvent, TracedRecipient, TracedRecord, TraceEnd, traced
from broker.services.accepted import accepted
from broker.services.auditreading import events_of, past_damaged
from broker.services.audittrail import AUDIT_CASE_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.entry import LogEntry
    from broker.core.identity import Principal
    from broker.ports import CheckpointStore, Clock, DirectoryInForce, MessageLog, RecordCodec
    from broker.services.quotas import Quotas

_PAGE_RECORDS: Final = 64
_PAGE_BYTES: Final = 1 << 20
_SCAN_RECORDS: Final = 5000
_SKEW_MS: Final = 60_000
"""Nodes of Kafka may stamp acceptances by clocks that differ."""
_UNKNOWN: Final = "there is no such record that concerns this agency"
MOST_RECORDS: Final = 1000
"""Records of a case in one trace."""

TracePart: TypeAlias = list[TracedRecord] | list[TracedEvent] | TraceEnd


class TraceLimits(NamedTuple):
    """The limits of a trace: seconds for each of its steps, and bytes of the audit stream for each kind."""

    seconds: float = 10.0
    bytes: int = 64 * 1024 * 1024


class _Told(NamedTuple):
    """Where the audit stream tells something, and what."""

    offset: int
    event: TracedEvent


class _Reading:
    """How far one run through the audit stream came."""

    def __init__(self) -> None:
        self.complete = False
        self.read_to_ms = 0


class Tracer:
    """See the module. For one event loop. An agency has at most one trace at a time."""

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        codec: RecordCodec,
        directory: DirectoryInForce,
        quotas: Quotas,
        clock: Clock,
        limits: TraceLimits = TraceLimits(),  # noqa: B008 - it never changes
    ) -> None:
        self._log = log
        self._store = store
        self._codec = codec
        self._directory = directory
        self._quotas = quotas
        self._clock = clock
        self._limits = limits
        self._audit = StreamPartition(AUDIT, partition_of(AUDIT_CASE_ID, log.partitions(AUDIT)))

    async def of_record(self, principal: Principal, record_id: str) -> AsyncIterator[TracePart]:
        """Trace one record.

        Raises:
            InputRefused: this is no record id.
            RecordUnknown: there is no such record, or it does not concern the principal. It cannot tell which.
            QuotaExceeded: its agency has another long call under way.
            LogUnavailable, DirectoryUnavailable
        """
        _check_id(record_id)
        with self._quotas.long_call(principal.agency):
            known = await self._log.lookup([UUID(record_id).bytes])
            entries = [await self._entry(appended.position) for appended in known.values()]
            async for part in self._trace(principal, [entry for entry in entries if entry is not None], whole=True):
                yield part

    async def of_case(self, principal: Principal, case_id: str) -> AsyncIterator[TracePart]:
        """Trace the records of a case that concern the principal: the first ``MOST_RECORDS``.

        Raises:
            As ``of_record``.
        """
        _check_id(case_id)
        with self._quotas.long_call(principal.agency):
            positions, whole = await self._of_case(case_id)
            entries = [await self._entry(position) for position in positions]
            async for part in self._trace(principal, [entry for entry in entries if entry is not None], whole=whole):
                yield part

    async def at_own(self, principal: Principal, position: Position) -> tuple[TracedRecord, list[TracedEvent]]:
        """A record for the principal's agency, and what happened to it at the agency's subscriptions, in order.

        Raises:
            RecordUnknown: there is no such record for the agency.
            QuotaExceeded, LogUnavailable, DirectoryUnavailable
        """
        entry = await self._entry(position)
        if entry is None or principal.agency not in entry.recipients:
            raise RecordUnknown(_UNKNOWN)
        record, events = self._record(entry, (principal.agency,)), list[TracedEvent]()
        with self._quotas.long_call(principal.agency):
            async for found in self._merged([record], _Reading(), _Reading()):
                events += [each for each in found if each.agency == principal.agency]
        return record, events

    async def _trace(
        self, principal: Principal, entries: Sequence[LogEntry], *, whole: bool
    ) -> AsyncIterator[TracePart]:
        records = [record for entry in entries if (record := self._seen(principal, entry)) is not None]
        if not records and whole:
            raise RecordUnknown(_UNKNOWN)
        yield records
        everyones = frozenset(record.position for record in records if self._sees_all(principal, record))
        deliveries, letters = _Reading(), _Reading()
        if records:
            async for found in self._merged(records, letters, deliveries):
                own = [each for each in found if each.agency == principal.agency or each.position in everyones]
                if own:
                    yield own
        complete = whole and letters.complete and deliveries.complete
        yield TraceEnd(complete, deliveries.read_to_ms)

    # --- who may learn what ---

    def _seen(self, principal: Principal, entry: LogEntry) -> TracedRecord | None:
        """What the principal may know of a record. None: nothing, not even that it is there."""
        if entry.position.stream == AUDIT:
            return None
        whole = self._record(entry, entry.recipients)
        if self._sees_all(principal, whole):
            return whole
        own = tuple(recipient for recipient in whole.recipients if recipient.agency == principal.agency)
        return whole._replace(recipients=own) if own else None

    def _sees_all(self, principal: Principal, record: TracedRecord) -> bool:
        directory = self._directory.current()
        auditor = all(may_replay(directory, principal.agency, each) for each in (AUDIT, record.position.stream))
        return auditor or principal.agency == record.publisher

    def _record(self, entry: LogEntry, recipients: Sequence[str]) -> TracedRecord:
        publisher, allowed = "", frozenset[str]()
        # Of a damaged record nobody can say who published it, and nobody gets it.
        with contextlib.suppress(LogCorrupt):
            _, routing = accepted(entry, self._codec)
            directory, publisher = self._directory.current(), routing.publisher
            allowed = frozenset(each for each in recipients if visible_sections(directory, each, routing) is not None)
        return TracedRecord(
            str(UUID(bytes=entry.record_id)),
            entry.kind,
            entry.ordering_key,
            publisher,
            entry.position,
            entry.accepted_at_ms,
            tuple(TracedRecipient(agency, agency in allowed) for agency in recipients),
        )

    # --- reading ---

    async def _entry(self, position: Position) -> LogEntry | None:
        try:
            await self._log.catch_up(position.stream_partition, position.offset + 1)
            entries = await self._log.read(position.stream_partition, position.offset, 1, 1)
        except LogCorrupt:
            return None
        return next((entry for entry in entries if entry.position == position and entry.record_id), None)

    async def _of_case(self, case_id: str) -> tuple[list[Position], bool]:
        """The positions of a case's records, and whether these are all."""
        until, found = self._clock.monotonic() + self._limits.seconds, list[Position]()
        for stream in STREAMS:
            if stream == AUDIT:
                continue
            partition, offset = StreamPartition(stream, partition_of(case_id, self._log.partitions(stream))), 0
            await self._log.catch_up(partition, await self._log.end_offset(partition))
            while entries := await self._log.read(partition, offset, _SCAN_RECORDS, 1 << 62, values=False):
                found += [entry.position for entry in entries if entry.ordering_key == case_id]
                if len(found) > MOST_RECORDS or self._clock.monotonic() > until:
                    return found[:MOST_RECORDS], False
                offset = entries[-1].position.offset + 1
        return found, True

    async def _merged(
        self, records: Sequence[TracedRecord], letters: _Reading, deliveries: _Reading
    ) -> AsyncIterator[list[TracedEvent]]:
        """What happened to the records, in the order of the audit stream."""
        wanted = frozenset(record.position for record in records)
        first = await self._offset_at(min(record.accepted_at_ms for record in records) - _SKEW_MS)
        rare = [told async for page in self._told(DEAD_LETTER_EVENTS, first, wanted, letters) for told in page]
        async for page in self._told(AUDIT_EVENTS, first, wanted, deliveries):
            before = [told for told in rare if page and told.offset < page[-1].offset]
            rare = rare[len(before) :]
            yield [told.event for told in sorted([*before, *page], key=_offset)]
        yield [told.event for told in rare]

    async def _told(
        self, kind: str, first: int, wanted: frozenset[Position], reading: _Reading
    ) -> AsyncIterator[list[_Told]]:
        interest, spent, damaged = Interest(EXCHANGE, frozenset({kind})), 0, False
        until = self._clock.monotonic() + self._limits.seconds
        end = await self._log.end_offset(self._audit)
        await self._log.catch_up(self._audit, end)
        while first < end and spent < self._limits.bytes and (began := self._clock.monotonic()) < until:
            try:
                page = await self._log.read_wanted(self._audit, first, interest, _PAGE_RECORDS, _PAGE_BYTES)
            except LogCorrupt:
                damaged, (_, first) = True, await past_damaged(self._log, self._audit, interest, first, end)
                continue
            # To read a page of events would hold up the event loop.
            found, broken = await asyncio.to_thread(self._read, page.entries, wanted)
            damaged, first = damaged or broken, page.next_offset
            if page.entries:
                spent += sum(len(entry.value) for entry in page.entries)
                reading.read_to_ms = page.entries[-1].accepted_at_ms
            yield found
            # Traces in a row take at most half of the time from the others.
            await asyncio.sleep(self._clock.monotonic() - began)
        reading.complete = first >= end and not damaged
        if first >= end:
            reading.read_to_ms = self._clock.now_ms()

    def _read(self, entries: Sequence[LogEntry], wanted: frozenset[Position]) -> tuple[list[_Told], bool]:
        """What they tell, and whether one of them is damaged."""
        read = [(entry.position.offset, events_of(entry, self._codec)) for entry in entries]
        found = [
            _Told(offset, event) for offset, events in read for told in events or () for event in traced(told, wanted)
        ]
        return found, any(events is None for _, events in read)

    async def _offset_at(self, at_ms: int) -> int:
        """From where on the audit stream has what was written at a time and later."""
        try:
            return await self._store.leaf_offset(
                self._audit, await self._store.first_leaf_since(self._audit, max(0, at_ms))
            )
        except PositionUnknown:
            # Nothing that late is under a checkpoint yet.
            return await self._store.next_offset(self._audit)


def _check_id(subject: str) -> None:
    if not is_uuid(subject):
        message = "a trace names a record or a case by its id, a UUID in canonical form"
        raise InputRefused(message)


def _offset(told: _Told) -> int:
    return told.offset
