"""The gateway says how many records were not processed: at its start, and when a number grows.

Of what it receives, the dead letters of its agency's subscriptions. Of what its agency publishes, the refusals and the
dead letters at the recipients.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from broker.client.deadletters import DeadLettersClient
from broker.client.trace import TraceClient
from broker.core.errors import CaseExchangeError

if TYPE_CHECKING:
    import grpc

    from broker.ports import Clock

_log = structlog.get_logger("adapters.gateway.deadletters")
MINUTE_SECONDS: Final = 60.0
_REMEDY: Final = "Look at them: case-exchange deadletter list. Their cause is in this gateway's log at that time."
_PUBLISHED_REMEDY: Final = "Look at them: case-exchange trace --unprocessed. Ask the recipient or correct them."


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


async def watch_published(channel: grpc.aio.Channel, every_seconds: float = MINUTE_SECONDS) -> None:
    """The same for what became of the agency's own records at their recipients. Never returns."""
    client, refused, dead = TraceClient(channel), 0, 0
    while True:
        try:
            tally = await client.count_unprocessed()
        except CaseExchangeError as error:
            _log.debug("refusals are not known now", reason=error.reason)
        else:
            if tally.refused > refused:
                _log.error("recipients refused published records", count=tally.refused, remedy=_PUBLISHED_REMEDY)
            if tally.dead_letters > dead:
                _log.error(
                    "published records are dead letters at recipients",
                    count=tally.dead_letters,
                    remedy=_PUBLISHED_REMEDY,
                )
            refused, dead = tally.refused, tally.dead_letters
        await asyncio.sleep(every_seconds)
