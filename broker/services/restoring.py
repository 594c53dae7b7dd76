"""Put damaged records back when their publishers publish them again.

The embedded log puts the row back, and its subscriptions read it again. A log on Kafka appends the record once more,
and its value stands in. Then a subscription that has set the record aside gets it as a redriven dead letter, and one
that has processed it does not get it again.
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

_log = structlog.get_logger("broker")


class DamagedLetters(Protocol):
    """The dead letters of damaged records. Raises LogUnavailable."""

    async def damaged(self, positions: Collection[Position]) -> frozenset[Position]:
        """Those of these positions that a subscription has set aside as damaged."""

    async def redrive_damaged(self, positions: Collection[Position]) -> None:
        """Deliver the records at these positions again to the subscriptions that have set them aside as damaged."""


class Restoring:
    """See the module.

    Args:
        repair: puts records back. None: the log cannot.
        codec: reads the records.
        letters: the dead letters to redrive, if subscriptions do not read again by themselves what was put back.
    """

    def __init__(self, repair: LogRepair | None, codec: RecordCodec, letters: DamagedLetters | None = None) -> None:
        self._repair = repair
        self._codec = codec
        self._letters = None if repair is None or repair.rereads else letters

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
        if self._repair is None or not again:
            return
        looked_at = self._repair.suspected(again)
        if self._letters is not None:
            looked_at |= await self._letters.damaged(again)
        offered = [(position, entry) for position, entry in again.items() if position in looked_at]
        for position in await self._repair.restore(offered, self._sound) if offered else ():
            _log.warning("a damaged record was put back and goes out again", position=str(position))
        if self._letters is not None:
            # Those that were put back now, and those that another process has put back.
            await self._letters.redrive_damaged(looked_at)

    def _sound(self, entry: LogEntry) -> bool:
        try:
            _, routing = accepted(entry, self._codec)
            check_recipients(entry, routing)
        except LogCorrupt:
            return False
        return True
