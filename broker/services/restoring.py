"""Put damaged records back when their publishers publish them again.

The embedded log puts the row back, and its subscriptions read it again. One that begins after the record now, because
it was moved or its kinds were changed, gets it as a redriven dead letter. A log on Kafka appends the record once more,
and its value stands in. Then every subscription that has set the record aside gets it as a redriven dead letter, and
one that has processed it does not get it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from broker.core.errors import LogCorrupt
from broker.services.accepted import accepted, check_recipients

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from broker.core.entry import Appended, LogEntry, NewEntry
    from broker.core.streams import Position
    from broker.ports import LogRepair, RecordCodec
    from broker.services.erasureorders import ErasureOrders

_log = structlog.get_logger("broker")


class DamagedLetters(Protocol):
    """The dead letters of damaged records. Raises LogUnavailable."""

    async def damaged(self, positions: Collection[Position]) -> frozenset[Position]:
        """Those of these positions that a subscription has set aside as damaged."""

    async def repaired(self, positions: Collection[Position], *, rereads: bool) -> None:
        """Deliver the records at these positions again where they were set aside as damaged.

        Args:
            positions: the records, which were published again.
            rereads: whether subscriptions read again by themselves what is put back. Then only those are meant that
                begin after the record now, because they were moved or their kinds were changed.
        """


class Restoring:
    """See the module.

    Args:
        repair: puts records back. None: the log cannot.
        codec: reads the records.
        letters: the dead letters to redrive.
        orders: what records may lack.
    """

    def __init__(
        self, repair: LogRepair | None, codec: RecordCodec, letters: DamagedLetters, orders: ErasureOrders
    ) -> None:
        self._orders = orders
        self._repair = repair
        self._codec = codec
        self._letters = letters

    async def offered(self, records: Iterable[tuple[NewEntry, Appended]]) -> None:
        """These records were published, and have these places. What the log had before is put back if it is damaged.

        Raises:
            LogFull, LogUnavailable
        """
        again = {
            place.position: entry
            for entry, place in records
            if place.duplicate and place.record_sha256 == entry.record_sha256
        }
        if not again:
            return
        damaged = await self._letters.damaged(again)
        rereads = self._repair is not None and self._repair.rereads
        if self._repair is not None:
            suspected = self._repair.suspected(again) | damaged
            offered = [(position, entry) for position, entry in again.items() if position in suspected]
            for position in await self._repair.restore(offered, self._sound) if offered else ():
                _log.warning("a damaged record was put back and goes out again", position=str(position))
            if not rereads:
                # Another process may have set them aside, and this one does not know it yet.
                damaged |= suspected
        if damaged:
            # Also if this call put nothing back: another process may have, or a crash came between the two.
            await self._letters.repaired(damaged, rereads=rereads)

    def _sound(self, entry: LogEntry) -> bool:
        try:
            _, routing = accepted(entry, self._codec, self._orders)
            check_recipients(entry, routing)
        except LogCorrupt:
            return False
        return True
