"""The gateway says how many of its agency's records are dead letters: at its start, and when the number grows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from broker.client.deadletters import DeadLettersClient
from broker.core.errors import CaseExchangeError

if TYPE_CHECKING:
    import grpc

    from broker.ports import Clock

_log = structlog.get_logger("adapters.gateway.deadletters")
MINUTE_SECONDS: Final = 60.0
_REMEDY: Final = "Look at them: case-exchange deadletter list. Their cause is in this gateway's log at that time."


async def watch_dead_letters(channel: grpc.aio.Channel, clock: Clock, every_seconds: float = MINUTE_SECONDS) -> None:
    """Ask the broker again and again. What it cannot answer now is asked again later. Never returns."""
    client, known = DeadLettersClient(channel), 0
    while True:
        try:
            tally = await client.count()
        except CaseExchangeError as error:
            # The streams of records say in the log what is wrong with the connection.
            _log.debug("dead letters are not known now", reason=error.reason)
        else:
            if tally.dead_letters > known and tally.oldest_ms is not None:
                hours = round((clock.now_ms() - tally.oldest_ms) / 3_600_000, 1)
                _log.error(
                    "records are dead letters",
                    count=tally.dead_letters,
                    parked=tally.parked,
                    hours=hours,
                    remedy=_REMEDY,
                )
            known = tally.dead_letters
        await asyncio.sleep(every_seconds)
