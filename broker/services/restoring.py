"""Put damaged records back when their publishers publish them again, if the log can change what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.core.errors import LogCorrupt
from broker.services.accepted import accepted, check_recipients

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.core.entry import Appended, LogEntry, NewEntry
    from broker.ports import LogRepair, RecordCodec

_log = structlog.get_logger("broker")


class Restoring:
    """See the module. ``repair`` None: the log never changes what it has."""

    def __init__(self, repair: LogRepair | None, codec: RecordCodec) -> None:
        self._repair = repair
        self._codec = codec

    async def offered(self, records: Iterable[tuple[NewEntry, Appended]]) -> None:
        """These records were published, and have these places. What the log had before is put back if it is damaged.

        Raises:
            LogFull, LogUnavailable
        """
        again = [
            (place.position, entry)
            for entry, place in records
            if place.duplicate and place.record_sha256 == entry.record_sha256
        ]
        if self._repair is None or not again:
            return
        for position in await self._repair.restore(again, self._sound):
            _log.warning("a damaged record was put back and goes out again", position=str(position))

    def _sound(self, entry: LogEntry) -> bool:
        try:
            _, routing = accepted(entry, self._codec)
            check_recipients(entry, routing)
        except LogCorrupt:
            return False
        return True
