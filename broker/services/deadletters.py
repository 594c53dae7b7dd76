"""Which records the subscriptions have given up, for the agencies that own them and for auditors.

Every process follows the audit stream and folds its events of dead letters into an index of its own
(services/auditindex). So all processes on one log know the same. An agency learns of its own dead letters, and an
auditor (who may replay the audit stream) of all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from broker.core.errors import DeadLetterUnknown, LogCorrupt, RightDenied
from broker.core.events import AuditEvent, DeadLetterDiscarded, DeadLetterRedriven, TakenOver
from broker.core.leasing.terms import check_code
from broker.core.policy import may_replay
from broker.core.reigns import RANDOM_BYTES, next_reign
from broker.core.streams import AUDIT, StreamPartition
from broker.ports import SubscriptionKey
from broker.services.accepted import accepted
from broker.services.auditfold import REMEDY, AuditFold
from broker.services.auditindex import Scope
from broker.services.setaside import SetAside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from broker.core.entry import LogEntry
    from broker.core.events import DeadLetterEvent
    from broker.core.identity import Principal
    from broker.core.streams import Position
    from broker.ports import AuditTrail, Clock, DeadLetterState, DirectoryInForce, Entropy, MessageLog, RecordCodec
    from broker.services.auditindex import AuditIndex, Tally
    from broker.services.erasureorders import ErasureOrders

_log = structlog.get_logger("broker.deadletters")
_LISTED: Final = 500


class ShownDeadLetter(NamedTuple):
    """A dead letter, and what the log has of its record (None: the log has lost it)."""

    state: DeadLetterState
    entry: LogEntry | None


class DeadLetters:
    """See the module. For one event loop.

    ``catch_up`` before anything else. Methods that answer a principal raise RightDenied if it asks about another
    agency and is no auditor.
    """

    def __init__(
        self,
        *,
        index: AuditIndex,
        log: MessageLog,
        audit: AuditTrail,
        codec: RecordCodec,
        orders: ErasureOrders,
        directory: DirectoryInForce,
        entropy: Entropy,
        clock: Clock,
        fold: AuditFold,
    ) -> None:
        self._index = index
        self._log = log
        self._audit = audit
        self._codec = codec
        self._orders = orders
        self._directory = directory
        self._entropy = entropy
        self._clock = clock
        self.catch_up: Final = fold.catch_up
        self.run: Final = fold.run
        self.listen: Final = fold.listen

    async def start(self) -> None:
        """Catch up, and say in the operator's log how many dead letters there are.

        Raises:
            LogUnavailable
        """
        await self.catch_up()
        count, parked, oldest_ms = self._index.tally(Scope())
        if oldest_ms is not None:
            hours = round((self._clock.now_ms() - oldest_ms) / 3_600_000, 1)
            _log.warning("there are dead letters", count=count, parked=parked, hours=hours, remedy=REMEDY)

    def count(self, principal: Principal, scope: Scope) -> Tally:
        """How many there are.

        Raises:
            RightDenied, LogUnavailable, DirectoryUnavailable
        """
        return self._index.tally(self._allowed(principal, scope))

    async def listed(self, principal: Principal, scope: Scope) -> AsyncIterator[list[DeadLetterState]]:
        """All of them, page by page, in the order of agency, subscription and position.

        Raises:
            RightDenied, LogUnavailable, DirectoryUnavailable
        """
        scope, last = self._allowed(principal, scope), None
        while page := self._index.page(scope, last, _LISTED):
            yield page
            last = page[-1]

    async def shown(self, principal: Principal, subscription: SubscriptionKey, position: Position) -> ShownDeadLetter:
        """One of them.

        Raises:
            DeadLetterUnknown: the subscription has none at this position.
            RightDenied, LogUnavailable, DirectoryUnavailable
        """
        agency = self._allowed(principal, Scope(*subscription)).agency
        found = self._index.get(subscription._replace(agency=agency), position)
        if found is None:
            message = "the subscription has no dead letter at this position"
            raise DeadLetterUnknown(message, position=str(position))
        try:
            entries = await self._log.read(position.stream_partition, position.offset, 1, 1, values=False)
        except LogCorrupt:
            entries = []
        there = [entry for entry in entries if entry.position == position]
        return ShownDeadLetter(found, there[0] if there else None)

    async def take_over(
        self, subscription: SubscriptionKey, partitions: Collection[StreamPartition]
    ) -> dict[StreamPartition, int]:
        """See ``Letters``.

        Raises:
            LogUnavailable, LogFull
        """
        latest = await self.reigns(subscription, partitions)
        begun = {at: next_reign(reign, self._entropy.token(RANDOM_BYTES)) for at, reign in latest.items()}
        events = [TakenOver(at, subscription.name, subscription.agency, reign) for at, reign in begun.items()]
        now_ms = self._clock.now_ms()
        await self._audit.record([AuditEvent(now_ms, "", event) for event in events])
        return begun

    async def reigns(
        self, subscription: SubscriptionKey, partitions: Collection[StreamPartition]
    ) -> dict[StreamPartition, int]:
        """See ``Letters``.

        Raises:
            LogUnavailable
        """
        await self.catch_up()
        return {partition: self._index.reign(subscription, partition) for partition in partitions}

    async def set_aside(self, subscription: SubscriptionKey, partition: StreamPartition, floor: int) -> SetAside:
        """What a subscription has set aside in a partition, by what any process wrote until now.

        However much it is, other work goes on meanwhile. A decision that comes meanwhile may be in it, or not. It is
        told in any case (``listen``).

        Args:
            subscription: the subscription.
            partition: the partition, which no other process reads for it any more.
            floor: how far the subscription has committed.

        Raises:
            LogUnavailable
        """
        await self.catch_up()
        found = SetAside()
        for _ in self._index.set_aside(subscription, partition, floor, found):
            await asyncio.sleep(0)
        return found

    async def first(
        self, subscription: SubscriptionKey, partition: StreamPartition, case_id: str
    ) -> tuple[int, bool] | None:
        """See ``Letters``. By what any process wrote until now.

        Raises:
            LogUnavailable
        """
        await self.catch_up()
        return self._index.first(subscription, partition, case_id)

    async def record(self, position: Position) -> LogEntry | None:
        """See ``Letters``.

        Raises:
            LogUnavailable
        """
        try:
            for entry in await self._log.read(position.stream_partition, position.offset, 1, 1):
                if entry.position == position:
                    accepted(entry, self._codec, self._orders)
                    return entry
        except LogCorrupt:
            pass
        return None

    # --- what an agency decides ---

    async def redrive(self, principal: Principal, subscription: str, position: Position) -> None:
        """Deliver a dead letter of the principal's agency again, and then what is parked behind it.

        Raises:
            DeadLetterUnknown, LogUnavailable, LogFull
        """
        dead = await self._own(principal, subscription, position)
        await self._decide(principal, DeadLetterRedriven(position, subscription, principal.agency, dead.case_id))

    async def discard(self, principal: Principal, subscription: str, position: Position, code: str) -> None:
        """Give up a dead letter of the principal's agency for good. What is parked behind it is delivered.

        Raises:
            InputRefused: the code is not well formed.
            DeadLetterUnknown, LogUnavailable, LogFull
        """
        check_code(code, "the reason to discard a record")
        dead = await self._own(principal, subscription, position)
        event = DeadLetterDiscarded(position, subscription, principal.agency, dead.case_id, code)
        await self._decide(principal, event)

    # --- what a repair brings about ---

    async def damaged(self, positions: Collection[Position]) -> frozenset[Position]:
        """See ``DamagedLetters``."""
        return frozenset(dead.position for dead in self._index.of_reason(LogCorrupt.reason, positions))

    async def repaired(self, positions: Collection[Position], *, rereads: bool) -> None:
        """See ``DamagedLetters``. By what any process wrote until now.

        A kind that the subscription does not have now is left: its dead letter stays in the list.

        Raises:
            LogUnavailable, LogFull
        """
        await self.catch_up()
        events = []
        for dead in self._index.of_reason(LogCorrupt.reason, positions):
            (agency, name), entry = dead.subscription, await self.record(dead.position)
            if entry is not None and self._wants(dead.subscription, entry, passed=rereads):
                redriven = DeadLetterRedriven(dead.position, name, agency, dead.case_id)
                events.append(AuditEvent(self._clock.now_ms(), "", redriven))
        if events:
            await self._audit.record(events)
            await self.catch_up()

    def _wants(self, subscription: SubscriptionKey, entry: LogEntry, *, passed: bool) -> bool:
        """Whether a subscription has the kind of a record now. If ``passed``: and begins after the record."""
        known = self._index.subscriptions.get(subscription)
        if known is None:
            # It is known by its places alone, so no order has moved it.
            return not passed
        if known.deleted or entry.kind not in known.kinds:
            return False
        starts = known.generation.starts_in(entry.position.stream_partition, [entry.kind])
        return not passed or any(start.offset > entry.position.offset for start in starts)

    async def _own(self, principal: Principal, subscription: str, position: Position) -> DeadLetterState:
        await self.catch_up()
        found = self._index.get(SubscriptionKey(principal.agency, subscription), position)
        if found is None:
            message = "the subscription has no dead letter at this position"
            raise DeadLetterUnknown(message, position=str(position))
        return found

    async def _decide(self, principal: Principal, event: DeadLetterEvent) -> None:
        await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, event)])
        await self.catch_up()

    def _allowed(self, principal: Principal, scope: Scope) -> Scope:
        auditor = may_replay(self._directory.current(), principal.agency, AUDIT)
        if scope.agency not in {"", principal.agency} and not auditor:
            message = "only an auditor of the audit stream may ask about another agency's dead letters"
            raise RightDenied(message)
        return scope if auditor else scope._replace(agency=principal.agency)
