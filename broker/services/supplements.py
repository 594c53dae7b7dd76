"""Compare a supplement that an agency publishes with the record that it names, which the log must have."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from broker.core.authorship import read_body
from broker.core.errors import CaseExchangeError, LogCorrupt, SupplementInvalid
from broker.core.supplements import check_supplement, repeated
from broker.services.accepted import record_of
from broker.services.recordchecks import Checked, numbers_of

if TYPE_CHECKING:
    from broker.core.entry import LogEntry
    from broker.core.streams import Position
    from broker.core.supplements import Repeated
    from broker.ports import MessageLog, RecordCodec
    from broker.services.erasureorders import ErasureOrders


class SupplementChecks:
    """For one event loop. Supplements are rare, so each is compared by itself."""

    def __init__(self, log: MessageLog, codec: RecordCodec, orders: ErasureOrders) -> None:
        self._orders = orders
        self._log = log
        self._codec = codec

    async def check(self, item: Checked | CaseExchangeError) -> Checked | CaseExchangeError:
        """What is left of a checked record: itself, or SupplementInvalid.

        Nobody can compare a supplement with a record that the log does not have, or whose bytes it has lost. So it is
        refused; and also if sections of the original were erased, which must not come back. One that was published
        again with its former receipt was compared before.

        Raises:
            LogUnavailable
        """
        if isinstance(item, CaseExchangeError) or item.body.supplements is None:
            return item
        named = UUID(item.body.supplements.record_id).bytes
        appended = (await self._log.lookup([named])).get(named)
        original = None if appended is None else await self._original(appended.position)
        if original is None and self._codec.decode_envelope(item.entry.value).former_receipt:
            return item
        try:
            check_supplement(item.body, original)
        except SupplementInvalid as refused:
            refused.numbers = numbers_of(item.body)
            return refused
        return item

    async def _original(self, position: Position) -> Repeated | None:
        partition = position.stream_partition
        try:
            await self._log.catch_up(partition, position.offset + 1)
            entries: list[LogEntry] = await self._log.read(partition, position.offset, 1, 1)
            entry = next(entry for entry in entries if entry.position == position)
            entry = next(entry for entry in entries if entry.position == position)
            envelope = record_of(entry, self._codec, self._orders)[0]
        except (LogCorrupt, StopIteration):
            return None
        return None if envelope.erased else repeated(read_body(envelope, self._codec), envelope.record_sha256)
