"""Where subscriptions begin and stand, and what their agencies order: to move one, to delete one, to change its kinds.

Every order is an event in the audit stream (broker/core/subscriptions.py), and every process folds these events into
its own index. Of two orders that begin the same generation, the first in the audit stream counts, in every process.

An order is given while nobody reads. Whoever opens a stream looks at the audit stream once more after its cursor has
joined. So of an order and a stream that begin together, at least one sees the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.entry import Interest
from broker.core.errors import (
    RightDenied,
    SubscriptionChanged,
    SubscriptionInUse,
    SubscriptionInvalid,
    SubscriptionUnknown,
)
from broker.core.events import AuditEvent, Cause, SubscriptionBegun, SubscriptionDeleted
from broker.core.policy import may_replay
from broker.core.streams import AUDIT
from broker.core.subscriptions import EARLIEST, FIRST, MAX_GENERATION, Closed, Generation, KindsStart, Moved, moves
from broker.ports import SubscriptionKey
from broker.services.auditindex import Scope
from broker.services.standings import Standings
from broker.services.startpoints import first_offsets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from broker.core.events import SubscriptionEvent
    from broker.core.identity import Principal
    from broker.core.streams import StreamPartition
    from broker.core.subscriptions import StartPoint
    from broker.ports import AuditTrail, Clock, DirectoryInForce, MessageLog, Standing, SubscriptionState
    from broker.services.auditfold import AuditFold
    from broker.services.auditindex import AuditIndex
    from broker.services.quotas import Quotas
    from broker.services.subscriptionindex import Known

_TRIES: Final = 3


class Subscriptions:
    """See the module. For one event loop. Every method may raise LogUnavailable."""

    def __init__(
        self,
        *,
        index: AuditIndex,
        fold: AuditFold,
        log: MessageLog,
        audit: AuditTrail,
        directory: DirectoryInForce,
        quotas: Quotas,
        clock: Clock,
    ) -> None:
        self._index = index
        self._table = index.subscriptions
        self._standings = Standings(index, log)
        self._catch_up: Callable[[], Awaitable[None]] = fold.catch_up
        self._log = log
        self._audit = audit
        self._directory = directory
        self._quotas = quotas
        self._clock = clock
        self.listen: Final[Callable[[SubscriptionKey, Callable[[SubscriptionEvent], None]], Callable[[], None]]] = (
            fold.listen_for_orders
        )

    # --- for streams that open ---

    async def generation(
        self, principal: Principal, key: SubscriptionKey, kinds: frozenset[str], start: StartPoint
    ) -> Generation:
        """The generation of a subscription with these kinds. One begins, durably, if the subscription or a kind is new.

        Raises:
            InputRefused: the start is in the future.
            SubscriptionInUse: it has other kinds, and somebody reads it.
            SubscriptionChanged: others change it at the same time.
            QuotaExceeded: it is new, and its agency has as many as it may.
            LogFull
        """
        for _ in range(_TRIES):
            await self._catch_up()
            known = self._table.get(key)
            if known is None or known.deleted:
                await self._create(principal, key, kinds, start, known)
            elif known.kinds != kinds:
                await self._change_kinds(principal, known, kinds, start)
            else:
                return known.generation
        message = "others change the subscription at the same time"
        raise SubscriptionChanged(message)

    async def check(self, key: SubscriptionKey, generation: Generation) -> None:
        """See that a generation is still in force, by what this process can read now.

        Raises:
            SubscriptionChanged: it is not.
        """
        await self._catch_up()
        known = self._table.get(key)
        if known is None or known.deleted or known.generation != generation:
            message = "the subscription was moved, deleted or changed while the stream opened"
            raise SubscriptionChanged(message)

    # --- what agencies ask and order ---

    async def listed(self, principal: Principal, agency: str) -> AsyncIterator[SubscriptionState]:
        """Those of an agency, or all of them if it is empty and the principal is an auditor, one by one.

        Raises:
            RightDenied: it is another agency's, and the principal is no auditor.
            QuotaExceeded, DirectoryUnavailable
        """
        auditor = may_replay(self._directory.current(), principal.agency, AUDIT)
        if agency not in {"", principal.agency} and not auditor:
            message = "only an auditor of the audit stream may ask about another agency's subscriptions"
            raise RightDenied(message)
        with self._quotas.long_call(principal.agency):
            await self._catch_up()
            for known in self._table.listed(agency if auditor else principal.agency):
                yield await self._standings.state(known)

    async def seek(self, principal: Principal, name: str, to: StartPoint) -> int:
        """Move a subscription of the principal's agency. Durable when it returns.

        Its dead letters and what is parked behind them stay as they are.

        Returns:
            How many records it had not finished and is not sent.

        Raises:
            SubscriptionUnknown, SubscriptionInUse, SubscriptionChanged, QuotaExceeded, LogFull
            InputRefused: the time is in the future.
        """
        with self._quotas.long_call(principal.agency):
            known, standing = await self._idle(principal, name)
            starts = await first_offsets(self._log, self._clock, known.kinds, to)
            generation, places = Generation(starts=tuple(starts)), self._standings.places(known, standing)
            skipped = {
                here.partition: await self._standings.unfinished(
                    known.key.agency, here, generation.begin(here.partition, known.kinds).floor
                )
                for here in places
            }
            moved = moves(known.kinds, starts, {here.partition: here.state.floor for here in places}, skipped)
            starts += known.generation.held(known.kinds)
            number = _next(known, standing)
            if not await self._begin(principal, known.key, number, Cause.SOUGHT, to, known.kinds, starts, moved):
                message = "another order about the subscription came first"
                raise SubscriptionChanged(message)
            return sum(each.skipped for each in moved)

    async def delete(self, principal: Principal, name: str) -> Closed:
        """End a subscription of the principal's agency for good, with its dead letters and what is parked.

        Durable when it returns. A subscription that is opened later by this name is new.

        Returns:
            How many records it had not finished, and how many were set aside.

        Raises:
            SubscriptionUnknown, SubscriptionInUse, QuotaExceeded, LogFull
        """
        with self._quotas.long_call(principal.agency):
            known, standing = await self._idle(principal, name)
            moved = []
            for here in self._standings.places(known, standing):
                end = await self._log.end_offset(here.partition)
                skipped = await self._standings.unfinished(known.key.agency, here, end)
                moved.append(Moved(here.partition, here.state.floor, end, skipped))
            for held in known.generation.held(known.kinds):
                end, kinds = await self._log.end_offset(held.partition), frozenset(held.kinds)
                waiting = [range(held.offset, end)]
                skipped = await self._log.count_wanted(held.partition, waiting, Interest(known.key.agency, kinds))
                moved.append(Moved(held.partition, held.offset, end, skipped))
            tally, number = self._index.tally(Scope(*known.key)), _next(known, standing)
            closed = Closed(sum(each.skipped for each in moved), tally.dead_letters + tally.parked)
            gone = SubscriptionDeleted(name, known.key.agency, number, tuple(moved), closed.set_aside)
            await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, gone)])
            await self._catch_up()
            after = self._table.get(known.key)
            if after is None or not after.deleted:
                message = "the subscription was changed while it should be deleted"
                raise SubscriptionChanged(message)
            return closed

    # --- generations ---

    async def _create(
        self,
        principal: Principal,
        key: SubscriptionKey,
        kinds: frozenset[str],
        start: StartPoint,
        before: Known | None,
    ) -> None:
        standing = await self._log.standing(key, kinds, FIRST)
        number = _next(before, standing)
        if before is None and standing.latest is not None:
            # It is not new: it is from before there were such events, or the audit stream has lost them.
            number = 0 if standing.latest == 0 else number
            await self._begin(principal, key, number, Cause.CREATED, EARLIEST, kinds, [], [])
            return
        with self._quotas.create_subscription(key.agency, self._table.count(key.agency)):
            starts = await first_offsets(self._log, self._clock, kinds, start)
            moved = moves(kinds, starts, {}, await self._passed(key.agency, starts))
            await self._begin(principal, key, number, Cause.CREATED, start, kinds, starts, moved)

    async def _change_kinds(self, principal: Principal, known: Known, kinds: frozenset[str], start: StartPoint) -> None:
        """Kinds that stay, and kinds that come again, go on where they were. Those that are new begin at the start."""
        standing = await self._unread(known)
        held = known.generation.held(known.kinds)
        new = kinds - known.kinds - {kind for each in held for kind in each.kinds}
        starts = await first_offsets(self._log, self._clock, new, start)
        skipped = await self._passed(known.key.agency, starts)
        before: dict[StreamPartition, int] = {each.partition: 0 for each in held}
        for partition, state, _ in self._standings.places(known, standing):
            before[partition] = state.floor
            for kind, offset in known.generation.starts_in(partition, known.kinds):
                starts.append(KindsStart(partition, (kind,), max(offset, state.floor)))
        starts += held
        # The place of a kind that is removed is kept, also at 0. So it is known that the subscription had it.
        told = [begun for begun in starts if begun.offset or not kinds.issuperset(begun.kinds)]
        moved = moves(kinds, told, before, skipped)
        await self._begin(principal, known.key, _next(known, standing), Cause.KINDS_CHANGED, start, kinds, told, moved)

    async def _passed(self, agency: str, starts: Iterable[KindsStart]) -> dict[StreamPartition, int]:
        """How many records of these kinds are before their first offsets."""
        return {
            each.partition: await self._log.count_wanted(
                each.partition, [range(each.offset)], Interest(agency, frozenset(each.kinds))
            )
            for each in starts
        }

    async def _begin(  # noqa: PLR0917 - the parts of one event
        self,
        principal: Principal,
        key: SubscriptionKey,
        number: int,
        cause: Cause,
        asked: StartPoint,
        kinds: frozenset[str],
        starts: Iterable[KindsStart],
        moved: Iterable[Moved],
    ) -> bool:
        """Write the event. Return whether it counts: another one may have begun the same generation before."""
        if number > MAX_GENERATION:
            message = "the subscription was moved or changed too often: use one of another name"
            raise SubscriptionInvalid(message)
        begun = SubscriptionBegun(
            key.name, key.agency, number, cause, asked, tuple(sorted(kinds)), tuple(starts), tuple(moved)
        )
        await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, begun)])
        await self._catch_up()
        now = self._table.get(key)
        return now is not None and (now.generation.number, now.generation.starts) == (number, begun.starts)

    # --- where one stands ---

    async def _idle(self, principal: Principal, name: str) -> tuple[Known, Standing]:
        await self._catch_up()
        known = self._table.get(SubscriptionKey(principal.agency, name))
        if known is None or known.deleted:
            message = "the agency has no subscription of this name"
            raise SubscriptionUnknown(message)
        return known, await self._unread(known)

    async def _unread(self, known: Known) -> Standing:
        standing = await self._log.standing(known.key, known.kinds, known.generation)
        if standing.readers:
            message = f"the subscription {known.key.name} is open, so it cannot be moved, deleted or get other kinds"
            raise SubscriptionInUse(message)
        return standing


def _next(known: Known | None, standing: Standing) -> int:
    """The number of the next generation: no place that is left may count in it."""
    return 1 + max(-1 if known is None else known.generation.number, -1 if standing.latest is None else standing.latest)
