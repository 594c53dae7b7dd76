"""Which records were refused by a subscription or given up, for the agencies that published them and for auditors.

A recipient sees its own refusals too. An auditor, who may replay the audit stream, sees everyone's. Refusals and dead
letters come from this process's index (services/auditindex), so all processes on one log say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from broker.core.errors import LogCorrupt
from broker.core.policy import may_replay
from broker.core.streams import AUDIT
from broker.ports import UnprocessedRecord
from broker.services.auditindex import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.identity import Principal
    from broker.core.streams import Position
    from broker.ports import DeadLetterState, DirectoryInForce, MessageLog
    from broker.services.auditindex import AuditIndex

_LISTED: Final = 100


class UnprocessedTally(NamedTuple):
    """How many records were refused, when the first was (epoch milliseconds; None: none), how many are dead letters."""

    refused: int
    refused_since_ms: int | None
    dead_letters: int


class Unprocessed:
    """See the module. For one event loop.

    Raises (every method):
        LogUnavailable, DirectoryUnavailable
    """

    def __init__(self, *, index: AuditIndex, log: MessageLog, directory: DirectoryInForce) -> None:
        self._index = index
        self._log = log
        self._directory = directory

    def count(self, principal: Principal) -> UnprocessedTally:
        """How many of the records that the principal's agency published. An auditor gets everyone's."""
        publisher = self._viewer(principal)
        refused = self._index.count_refusals(publisher)
        letters = self._index.tally(Scope(publisher=publisher))
        return UnprocessedTally(refused.records, refused.since_ms, letters.dead_letters)

    async def listed(self, principal: Principal) -> AsyncIterator[list[UnprocessedRecord]]:
        """The refusals in the order of the audit stream, then the dead letters, page by page."""
        viewer, after, last = self._viewer(principal), 0, None
        while refusals := self._index.refusals(viewer, after, _LISTED):
            yield [
                UnprocessedRecord(of, key, at, await self._record_id(at), at_ms, code)
                for _, of, key, at, code, at_ms in refusals
            ]
            after = refusals[-1].id
        while letters := self._index.page(Scope(publisher=viewer), last, _LISTED):
            yield [await self._of_letter(state) for state in letters]
            last = letters[-1]

    async def _of_letter(self, state: DeadLetterState) -> UnprocessedRecord:
        return UnprocessedRecord(
            state.publisher,
            state.subscription,
            state.position,
            await self._record_id(state.position),
            state.since_ms,
            state.code,
            dead_letter=True,
            attempts=state.attempts,
            reason=state.reason,
        )

    async def _record_id(self, position: Position) -> str:
        """Empty if the log has lost the record."""
        try:
            # On Kafka, this process may have read the audit stream further than the record's own.
            await self._log.catch_up(position.stream_partition, position.offset + 1)
            entries = await self._log.read(position.stream_partition, position.offset, 1, 1, values=False)
        except LogCorrupt:
            return ""
        return next((str(UUID(bytes=each.record_id)) for each in entries if each.position == position), "")

    def _viewer(self, principal: Principal) -> str:
        """The agency whose records are meant. Empty: every agency's."""
        return "" if may_replay(self._directory.current(), principal.agency, AUDIT) else principal.agency
