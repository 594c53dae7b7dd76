"""Tell auditors and the operator what was refused, without letting a flood of refusals fill the log.

The first ``FEW`` refusals of a principal for one reason are told one by one, each minute anew. The others are counted.
When the minute ends, and when the broker stops, their number is told in one event. So a principal costs the log at most
``FEW + 1`` events a minute for each reason, and there are only as many reasons as the error tree has.

Auditors are told of security events (``CaseExchangeError.security_event``), and of refused records whose numbers are
known: they explain a gap in a publisher's numbers. The operator is told of every refusal. A
broker that is killed loses what it has counted and not told yet: at most a minute of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from broker.core.errors import CaseExchangeError, HardwareKeyUnavailable, Internal
from broker.core.events import AuditEvent, RefusalMade

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.ports import AuditTrail, Clock

_log = structlog.get_logger("broker.refusals")
FEW: Final = 5
MINUTE_SECONDS: Final = 60.0
MOST_PAIRS: Final = 1000
"""Principals and reasons that are counted apart. The others of the minute are counted by reason only."""


class _Count:
    """The refusals of one principal for one reason."""

    __slots__ = ("last_ms", "security", "singly", "untold")

    def __init__(self, *, security: bool) -> None:
        self.security = security
        self.singly = 0
        """Told one by one in this minute."""
        self.untold = 0
        self.last_ms = 0

    def add(self, number: int, last_ms: int) -> None:
        self.untold += number
        self.last_ms = max(self.last_ms, last_ms)


class Refusals:
    """Counts and tells the refusals of one process. For one event loop."""

    def __init__(self, audit: AuditTrail, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._counts: dict[tuple[str, str], _Count] = {}
        self._writing: set[asyncio.Task[None]] = set()

    async def tell(self, principal: str, errors: Iterable[CaseExchangeError], *, method: str, cause: str = "") -> None:
        """Tell of refusals, or count them. What is told one by one is in the audit stream when this returns.

        If the audit stream cannot be written now, they are counted, to be told later. It raises nothing.

        Args:
            principal: whose request was refused, as a SPIFFE id. Empty: it has no name.
            errors: why, one for each refusal.
            method: what was asked for. For the operator.
            cause: the place of a defect. For the operator.
        """
        events = []
        for error in errors:
            told = error.security_event or bool(error.numbers)
            count = self._count(principal, error.reason, security=told)
            count.security = count.security or told
            if count.singly == FEW:
                count.add(1, self._clock.now_ms())
                continue
            count.singly += 1
            record_id = error.details.get("record_id", "")
            own_key = isinstance(error, HardwareKeyUnavailable)
            cause = error.message if own_key else cause
            write = _log.error if own_key or isinstance(error, Internal) else _log.info
            named = {"record_id": record_id} if record_id else {}
            write("refused", method=method, reason=error.reason, principal=principal, cause=cause, **named)
            if told:
                refusal = RefusalMade(error.reason, record_id, numbers=error.numbers)
                events.append(AuditEvent(self._clock.now_ms(), principal, refusal))
        if events:
            await self._write(events)

    async def write(self) -> None:
        """Tell of what is only counted, as ``tell`` does."""
        events = []
        for (principal, reason), count in self._counts.items():
            if not count.untold:
                continue
            untold, count.untold = count.untold, 0
            _log.info("more was refused", reason=reason, principal=principal, count=untold)
            if count.security:
                events.append(AuditEvent(count.last_ms, principal, RefusalMade(reason, "", untold)))
        if events:
            await self._write(events)
        # What others are telling is there too when this returns.
        await asyncio.gather(*self._writing)

    async def run(self) -> None:
        """Begin a new minute, over and over."""
        while True:
            await asyncio.sleep(MINUTE_SECONDS)
            await self.end_minute()

    async def end_minute(self) -> None:
        """Tell of what is only counted, then begin to tell one by one again."""
        await self.write()
        # What could not be told stays.
        self._counts = {pair: count for pair, count in self._counts.items() if count.untold}
        for count in self._counts.values():
            count.singly = 0

    def _count(self, principal: str, reason: str, *, security: bool) -> _Count:
        pair = (principal, reason)
        if pair not in self._counts and len(self._counts) >= MOST_PAIRS:
            pair = ("", reason)
        return self._counts.setdefault(pair, _Count(security=security))

    async def _write(self, events: Sequence[AuditEvent]) -> None:
        # A task, so that a caller that goes away does not leave them untold.
        task = asyncio.create_task(self._record(events))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        await asyncio.shield(task)

    async def _record(self, events: Sequence[AuditEvent]) -> None:
        try:
            await self._audit.record(events)
        except CaseExchangeError as error:
            _log.error("auditors could not be told of refusals", reason=error.reason, remedy=error.remedy)
            for event in events:
                match event.event:
                    case RefusalMade(reason=reason, count=number):
                        self._count(event.principal, reason, security=True).add(number, event.at_ms)
