"""Compare a supplement that an agency publishes with the record that it names, if the log has it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from broker.core.authorship import read_body
from broker.core.errors import CaseExchangeError, LogCorrupt, SupplementInvalid
from broker.core.supplements import check_supplement
from broker.services.accepted import record_of
from broker.services.recordchecks import Checked, numbers_of

if TYPE_CHECKING:
    from broker.core.body import Body
    from broker.core.entry import LogEntry
    from broker.core.streams import Position
    from broker.ports import MessageLog, RecordCodec


class SupplementChecks:
    """For one event loop. Supplements are rare, so each is compared by itself."""

    def __init__(self, log: MessageLog, codec: RecordCodec) -> None:
        self._log = log
        self._codec = codec

    async def check(self, item: Checked | CaseExchangeError) -> Checked | CaseExchangeError:
        """What is left of a checked record: itself, or SupplementInvalid.

        A record that the log does not have, or has damaged, cannot be compared. Recipients and auditors may have it.

        Raises:
            LogUnavailable
        """
        if isinstance(item, CaseExchangeError) or item.body.supplements is None:
            return item
        named = UUID(item.body.supplements.record_id).bytes
        appended = (await self._log.lookup([named])).get(named)
        original = None if appended is None else await self._original(appended.position)
        if original is not None:
            try:
                check_supplement(item.body, *original)
            except SupplementInvalid as refused:
                refused.numbers = numbers_of(item.body)
                return refused
        return item

    async def _original(self, position: Position) -> tuple[Body, bytes] | None:
        partition = position.stream_partition
        try:
            await self._log.catch_up(partition, position.offset + 1)
            entries: list[LogEntry] = await self._log.read(partition, position.offset, 1, 1)
            envelope = record_of(next(entry for entry in entries if entry.position == position), self._codec)[0]
        except (LogCorrupt, StopIteration):
            return None
        return read_body(envelope, self._codec), envelope.record_sha256
