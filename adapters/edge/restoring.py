"""Bring back what the log has lost: ask the broker which of our records it does not have, and spool these again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.client.checkpoints import find_missing

if TYPE_CHECKING:
    from adapters.edge.edge import Edge

_ASKED_AT_ONCE: Final = 1000


async def spool_missing(edge: Edge) -> int:
    """Put every kept record that the log does not have back into the spool, in order. Returns how many.

    The records are those that got a receipt in the last ``keep_days``. Nothing changes before all were asked for.

    Raises:
        CaseExchangeError: the broker did not answer, or refused.
        SpoolUnavailable
    """
    missing: list[str] = []
    last = 0
    while asked := await asyncio.to_thread(edge.spool.sent.after, last, _ASKED_AT_ONCE):
        last = asked[-1][0]
        missing += await find_missing(edge.channel, [record_id for _, record_id in asked])
    if missing:
        await asyncio.to_thread(edge.spool.sent.send_again, missing)
    return len(missing)
