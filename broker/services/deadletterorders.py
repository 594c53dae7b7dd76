"""An agency has a dead letter made of a record that waits in one of its subscriptions.

The order is an event. Every process learns of it (services/auditfold), and the one that has the partition carries
it out (services/parking): when the record is the first undone one of its case and nobody holds it. Nobody knows here
how far the subscription is, which another process may have. So the audit stream decides whether the record waits. An
order that comes too late has no effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import RecordNotWaiting, RecordUnknown
from broker.core.events import AuditEvent, DeadLetterOrdered
from broker.core.leasing.terms import check_code
from broker.core.trace import Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.identity import Principal
    from broker.core.streams import Position
    from broker.ports import AuditTrail, Clock
    from broker.services.tracing import Tracer

_WAITS: Final = frozenset({Step.DELIVERED, Step.REDRIVEN, Step.ORDERED})


class DeadLetterOrders:
    """Takes orders. ``catch_up`` folds the audit stream into this process's index. For one event loop."""

    def __init__(
        self, *, tracer: Tracer, audit: AuditTrail, clock: Clock, catch_up: Callable[[], Awaitable[None]]
    ) -> None:
        self._tracer = tracer
        self._audit = audit
        self._clock = clock
        self._catch_up = catch_up

    async def make(self, principal: Principal, subscription: str, position: Position, code: str) -> None:
        """Order a dead letter of a record that a subscription of the agency was handed and has not finished.

        Raises:
            InputRefused: the code is not well formed.
            RecordUnknown: there is no such record for the agency, or the subscription was never handed it.
            RecordNotWaiting: the subscription has finished it, or has set it aside.
            QuotaExceeded: the agency has another long call under way.
            LogUnavailable, LogFull, DirectoryUnavailable
        """
        check_code(code, "the reason to make a dead letter")
        record, told = await self._tracer.at_own(principal, position)
        steps = [event.step for event in told if event.subscription == subscription and event.step is not Step.ENDED]
        if Step.DELIVERED not in steps:
            message = "the subscription was never handed a record at this position"
            raise RecordUnknown(message, position=str(position))
        if steps[-1] not in _WAITS:
            message = f"the record does not wait: it is {steps[-1].name.lower().replace('_', ' ')}"
            raise RecordNotWaiting(message, position=str(position))
        order = DeadLetterOrdered(position, subscription, principal.agency, record.case_id, code)
        await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, order)])
        await self._catch_up()
