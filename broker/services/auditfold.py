"""Follow the audit stream, and fold what it says of dead letters and subscriptions into this process's index.

A subscription can listen for what agencies decide about it and its dead letters, whichever process they told.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from broker.core.entry import EXCHANGE, Interest
from broker.core.errors import CaseExchangeError, LogCorrupt
from broker.core.events import (
    DeadLetterDiscarded,
    DeadLetterMade,
    DeadLetterOrdered,
    DeadLetterRedriven,
    SubscriptionBegun,
    SubscriptionDeleted,
)
from broker.core.streams import AUDIT, DEAD_LETTER_EVENTS, SUBSCRIPTION_EVENTS, StreamPartition, partition_of
from broker.ports import SubscriptionKey
from broker.services.auditindex import Folded
from broker.services.auditreading import events_of, past_damaged
from broker.services.audittrail import AUDIT_CASE_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.entry import LogEntry
    from broker.core.events import AuditEvent, DeadLetterEvent, SubscriptionEvent
    from broker.ports import MessageLog, RecordCodec
    from broker.services.auditindex import AuditIndex

_log = structlog.get_logger("broker.deadletters")
_WANTED: Final = Interest(EXCHANGE, frozenset({DEAD_LETTER_EVENTS, SUBSCRIPTION_EVENTS}))
_PAGE_RECORDS: Final = 1
"""Audit records that are folded in one step: at most 1,000 events. And a damaged one holds up no other."""
_PAGE_BYTES: Final = 1 << 20
_PAUSE_SECONDS: Final = 0.1
_AGAIN_SECONDS: Final = 5.0
LINES: Final = 10
"""Dead letters that the operator's log names one by one, of those that are folded in one step."""
REMEDY: Final = "Its agency can see it: case-exchange deadletter list."


class AuditFold:
    """Keeps the index up to date. For one event loop."""

    def __init__(self, index: AuditIndex, log: MessageLog, codec: RecordCodec) -> None:
        self._index = index
        self._log = log
        self._codec = codec
        self._partition = StreamPartition(AUDIT, partition_of(AUDIT_CASE_ID, log.partitions(AUDIT)))
        self._next: int | None = None
        self._folding = asyncio.Lock()
        self._orders: dict[SubscriptionKey, set[Callable[[SubscriptionEvent], None]]] = {}
        self._listeners: dict[SubscriptionKey, set[Callable[[DeadLetterEvent], None]]] = {}

    async def catch_up(self) -> None:
        """Fold the audit stream up to its present end.

        Raises:
            LogUnavailable
        """
        async with self._folding:
            await self._fold(named=self._next is not None)

    async def run(self) -> None:
        """Follow the audit stream. Never returns."""
        while True:
            try:
                await self._log.wait_beyond({self._partition: self._next or 0})
                await self.catch_up()
                # What comes close together is folded together.
                await asyncio.sleep(_PAUSE_SECONDS)
            except CaseExchangeError as error:
                _log.error("dead letters cannot be followed now", reason=error.reason, cause=error.message)
                await asyncio.sleep(_AGAIN_SECONDS)

    def listen(self, subscription: SubscriptionKey, told: Callable[[DeadLetterEvent], None]) -> Callable[[], None]:
        """Tell from now on of each dead letter that was ordered, redriven or discarded. Returns what ends it."""
        listeners = self._listeners.setdefault(subscription, set())
        listeners.add(told)
        return lambda: listeners.discard(told)

    def listen_for_orders(
        self, subscription: SubscriptionKey, told: Callable[[SubscriptionEvent], None]
    ) -> Callable[[], None]:
        """Tell from now on of each order that changed the subscription. Returns what ends it, for this one only."""
        listeners = self._orders.setdefault(subscription, set())
        listeners.add(told)

        def end() -> None:
            listeners.discard(told)
            if not listeners and self._orders.get(subscription) is listeners:
                del self._orders[subscription]

        return end

    def _tell(self, changes: Sequence[AuditEvent]) -> None:
        for change in changes:
            match change.event:
                case DeadLetterOrdered() | DeadLetterRedriven() | DeadLetterDiscarded() as event:
                    key = SubscriptionKey(event.agency, event.subscription)
                    for told in list(self._listeners.get(key, ())):
                        told(event)
                case SubscriptionBegun() | SubscriptionDeleted() as order:
                    for ordered in list(self._orders.get(SubscriptionKey(order.agency, order.subscription), ())):
                        ordered(order)

    async def _fold(self, *, named: bool) -> None:
        if self._next is None:
            self._next = await self._begin()
        end = await self._log.end_offset(self._partition)
        await self._log.catch_up(self._partition, end)
        while self._next < end:
            try:
                page = await self._log.read_wanted(self._partition, self._next, _WANTED, _PAGE_RECORDS, _PAGE_BYTES)
            except LogCorrupt:
                damaged, self._next = await past_damaged(self._log, self._partition, _WANTED, self._next, end)
                if damaged is not None:
                    self._damaged(damaged)
                continue
            events = [event for entry in page.entries for event in self._events(entry)]
            if page.entries:
                last = page.entries[-1]
                for _ in self._index.forget(events):
                    await asyncio.sleep(0)
                changes = self._index.fold(events, Folded(last.position.offset, last.record_id))
                if named:
                    _name(changes)
                self._tell(changes)
            self._next = page.next_offset

    async def _begin(self) -> int:
        """From where to fold. If the log is not the one that was folded, from its beginning."""
        folded = self._index.folded
        if folded is None:
            self._index.start_again()
            return 0
        entries = await self._log.read(self._partition, folded.offset, 1, 1, values=False)
        if not entries or (entries[0].position.offset, entries[0].record_id) != folded:
            _log.warning("the log went back, so the index of the audit stream is made again")
            self._index.start_again()
            return 0
        return folded.offset + 1

    def _events(self, entry: LogEntry) -> Sequence[AuditEvent]:
        events = events_of(entry, self._codec)
        if events is None:
            self._damaged(entry)
        return events or []

    def _damaged(self, entry: LogEntry) -> None:
        _log.error(
            "a record of the audit stream is damaged, so dead letters or orders of agencies may be missing here",
            position=str(entry.position),
            remedy="Replay the audit stream and verify the bundle: docs/findings.md.",
        )


def _name(events: Sequence[AuditEvent]) -> None:
    made = [event.event for event in events if isinstance(event.event, DeadLetterMade)]
    for dead in made[:LINES]:
        _log.warning(
            "a record is a dead letter",
            agency=dead.agency,
            subscription=dead.subscription,
            position=str(dead.position),
            attempts=dead.attempts,
            remedy=REMEDY,
        )
    if len(made) > LINES:
        _log.warning("more records are dead letters", count=len(made) - LINES, remedy=REMEDY)
