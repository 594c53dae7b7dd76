"""What happened to records at subscriptions, as the audit stream has it, from the acceptance on.

Each kind of audit record is read in a run of its own, and stops at a limit of time and of bytes. What was refused, what
was set aside, and what agencies ordered about their subscriptions is little, and read first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from broker.core.entry import EXCHANGE, Interest
from broker.core.errors import LogCorrupt, PositionUnknown
from broker.core.events import SubscriptionBegun, SubscriptionDeleted
from broker.core.streams import (
    AUDIT,
    AUDIT_EVENTS,
    DEAD_LETTER_EVENTS,
    SUBSCRIPTION_EVENTS,
    Position,
    StreamPartition,
    partition_of,
)
from broker.core.subscriptions import has_effect
from broker.core.trace import Step, TracedEvent, begun_behind, traced, without_finished
from broker.services.auditreading import events_of, past_damaged
from broker.services.audittrail import AUDIT_CASE_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from broker.core.entry import LogEntry
    from broker.core.events import AuditEvent
    from broker.core.trace import TracedRecord
    from broker.ports import CheckpointStore, Clock, MessageLog, RecordCodec

_E = TypeVar("_E")
_PAGE_RECORDS: Final = 64
_PAGE_BYTES: Final = 1 << 20
_SKEW_MS: Final = 60_000
"""Nodes of Kafka may stamp acceptances by clocks that differ."""


class TraceLimits(NamedTuple):
    """The limits of a trace: seconds for each of its steps, and bytes of the audit stream for each kind."""

    seconds: float = 10.0
    bytes: int = 64 * 1024 * 1024


class _Told(NamedTuple, Generic[_E]):
    """Where the audit stream tells something, and what."""

    offset: int
    event: _E


class Reading:
    """How far one run through the audit stream came."""

    def __init__(self) -> None:
        self.complete = False
        self.damaged = False
        self.read_to_ms = 0
        self.go_on_at = 0


class AuditReading:
    """See the module. For one event loop."""

    def __init__(
        self, *, log: MessageLog, store: CheckpointStore, codec: RecordCodec, clock: Clock, limits: TraceLimits
    ) -> None:
        self._log = log
        self._store = store
        self._codec = codec
        self._clock = clock
        self._limits = limits
        self._audit = StreamPartition(AUDIT, partition_of(AUDIT_CASE_ID, log.partitions(AUDIT)))

    async def of(
        self, records: Sequence[TracedRecord], letters: Reading, deliveries: Reading, go_on_at: int = 0
    ) -> AsyncIterator[list[TracedEvent]]:
        """What happened to the records, in the order of the audit stream."""
        wanted = frozenset(record.position for record in records)
        first = await self._offset_at(min(record.accepted_at_ms for record in records) - _SKEW_MS)

        def happened(told: AuditEvent) -> Iterator[TracedEvent]:
            return traced(told, wanted)

        begin, most = max(first, go_on_at), self._limits.bytes
        run = self._told(DEAD_LETTER_EVENTS, begin, happened, letters, most)
        rare = [told async for page in run for told in page]
        rare += [told for told in await self._skipped(records, first, letters) if told.offset >= begin]
        rare.sort(key=_offset)
        finished = set[tuple[str, str, Position]]()
        async for page in self._told(AUDIT_EVENTS, begin, happened, deliveries, most):
            before = [told for told in rare if page and told.offset < page[-1].offset]
            rare = rare[len(before) :]
            yield without_finished((told.event for told in sorted([*before, *page], key=_offset)), finished)
        # Where the deliveries are not all known, nobody knows what a subscription had finished.
        known = deliveries.go_on_at
        rest = [told for told in rare if not known or told.offset < known or told.event.step is not Step.SKIPPED]
        yield without_finished((told.event for told in rest), finished)

    async def _skipped(self, records: Sequence[TracedRecord], first: int, reading: Reading) -> list[_Told[TracedEvent]]:
        """Where subscriptions begin behind the records, by the last order of each. All orders are read each time."""
        numbers = dict[tuple[str, str], int]()
        orders, last = Reading(), dict[tuple[str, str, Position], _Told[TracedEvent]]()

        def begun(told: AuditEvent) -> Iterator[tuple[TracedEvent, bool]]:
            event = told.event
            if isinstance(event, SubscriptionBegun | SubscriptionDeleted):
                key = (event.agency, event.subscription)
                if has_effect(event.generation, numbers.get(key)):
                    numbers[key] = event.generation
                    yield from begun_behind(told, records)

        async for page in self._told(SUBSCRIPTION_EVENTS, first, begun, orders, None):
            for offset, (event, behind) in page:
                last.pop(_of(event), None)
                if behind:
                    last[_of(event)] = _Told(offset, event)
        reading.complete = reading.complete and orders.complete
        reading.damaged = reading.damaged or orders.damaged
        return list(last.values())

    async def _told(
        self, kind: str, first: int, tell: Callable[[AuditEvent], Iterator[_E]], reading: Reading, most: int | None
    ) -> AsyncIterator[list[_Told[_E]]]:
        interest, spent, damaged = Interest(EXCHANGE, frozenset({kind})), 0, False
        until = self._clock.monotonic() + self._limits.seconds
        end = await self._log.end_offset(self._audit)
        await self._log.catch_up(self._audit, end)
        while first < end and (most is None or spent < most) and (began := self._clock.monotonic()) < until:
            try:
                page = await self._log.read_wanted(self._audit, first, interest, _PAGE_RECORDS, _PAGE_BYTES)
            except LogCorrupt:
                damaged, (_, first) = True, await past_damaged(self._log, self._audit, interest, first, end)
                continue
            # To read a page of events would hold up the event loop.
            found, broken = await asyncio.to_thread(self._read, page.entries, tell)
            damaged, first = damaged or broken, page.next_offset
            if page.entries:
                spent += sum(len(entry.value) for entry in page.entries)
                reading.read_to_ms = page.entries[-1].accepted_at_ms
            yield found
            # Traces in a row take at most half of the time from the others.
            await asyncio.sleep(self._clock.monotonic() - began)
        reading.complete, reading.damaged = first >= end and not damaged, damaged
        reading.go_on_at = 0 if first >= end else first
        if first >= end:
            reading.read_to_ms = self._clock.now_ms()

    def _read(
        self, entries: Sequence[LogEntry], tell: Callable[[AuditEvent], Iterator[_E]]
    ) -> tuple[list[_Told[_E]], bool]:
        """What they tell, and whether one of them is damaged."""
        read = [(entry.position.offset, events_of(entry, self._codec)) for entry in entries]
        found = [_Told(offset, event) for offset, events in read for told in events or () for event in tell(told)]
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


def _offset(told: _Told[TracedEvent]) -> int:
    return told.offset


def _of(event: TracedEvent) -> tuple[str, str, Position]:
    return event.agency, event.subscription, event.position
