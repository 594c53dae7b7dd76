"""What became of a record: for its publisher, for its recipients, each of its own, and for auditors.

Deliveries and acknowledgements stand in the audit stream. They are read on demand, from the acceptance on, and nothing
is kept for it. A trace stops at a limit of time and of bytes, and says so. What was refused or set aside is read first:
it is little, because it is records of its own kind.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from broker.core.body import is_uuid
from broker.core.errors import InputRefused, LogCorrupt, RecordUnknown
from broker.core.policy import may_replay, visible_sections
from broker.core.streams import (
    AUDIT,
    STREAMS,
    Position,
    StreamPartition,
    partition_of,
)
from broker.core.trace import (
    TracedEvent,
    TracedRecipient,
    TracedRecord,
    TraceEnd,
)
from broker.services.accepted import accepted
from broker.services.tracereading import AuditReading, Reading, TraceLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.entry import LogEntry
    from broker.core.identity import Principal
    from broker.ports import CheckpointStore, Clock, DirectoryInForce, MessageLog, RecordCodec
    from broker.services.erasureorders import ErasureOrders
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


class Tracer:
    """See the module. For one event loop. An agency has at most one trace at a time."""

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        codec: RecordCodec,
        orders: ErasureOrders,
        directory: DirectoryInForce,
        quotas: Quotas,
        clock: Clock,
        limits: TraceLimits = TraceLimits(),  # noqa: B008 - it never changes
    ) -> None:
        self._log = log
        self._codec = codec
        self._orders = orders
        self._directory = directory
        self._quotas = quotas
        self._clock = clock
        self._limits = limits
        self._events = AuditReading(log=log, store=store, codec=codec, clock=clock, limits=limits)

    async def of_record(self, principal: Principal, record_id: str, go_on_at: int = 0) -> AsyncIterator[TracePart]:
        """Trace one record. ``go_on_at`` is that of the end of the trace before, which stopped; 0: from the acceptance.

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
            async for part in self._trace(principal, entries, go_on_at, whole=True):
                yield part

    async def of_case(self, principal: Principal, case_id: str, go_on_at: int = 0) -> AsyncIterator[TracePart]:
        """Trace the records of a case that concern the principal: the first ``MOST_RECORDS``.

        Raises:
            As ``of_record``.
        """
        _check_id(case_id)
        with self._quotas.long_call(principal.agency):
            positions, whole = await self._of_case(case_id)
            entries = [await self._entry(position) for position in positions]
            async for part in self._trace(principal, entries, go_on_at, whole=whole):
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
            async for found in self._events.of([record], Reading(), Reading()):
                events += [each for each in found if each.agency == principal.agency]
        return record, events

    async def _trace(
        self, principal: Principal, entries: Sequence[LogEntry | None], go_on_at: int, *, whole: bool
    ) -> AsyncIterator[TracePart]:
        seen = [self._seen(principal, entry) for entry in entries if entry is not None]
        records = [record for record in seen if record is not None]
        if not records and whole:
            raise RecordUnknown(_UNKNOWN)
        yield records
        everyones = frozenset(record.position for record in records if self._sees_all(principal, record))
        deliveries, letters = Reading(), Reading()
        if records:
            async for found in self._events.of(records, letters, deliveries, go_on_at):
                own = [each for each in found if each.agency == principal.agency or each.position in everyones]
                if own:
                    yield own
        complete = whole and letters.complete and deliveries.complete
        go_on_at = min((run.go_on_at for run in (letters, deliveries) if run.go_on_at), default=0)
        yield TraceEnd(complete, deliveries.read_to_ms, go_on_at, damaged=letters.damaged or deliveries.damaged)

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
            _, routing = accepted(entry, self._codec, self._orders)
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


def _check_id(subject: str) -> None:
    if not is_uuid(subject):
        message = "a trace names a record or a case by its id, a UUID in canonical form"
        raise InputRefused(message)
