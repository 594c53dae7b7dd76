"""Bring back what the log has lost: ask the broker which of our records it does not have, and spool these again.

Each goes with its first receipt, so that the broker judges it at that time: it may have expired since, or its signing
certificate may have ended (docs/adr/0034-a-log-that-went-back.md).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.client.checkpoints import find_missing
from broker.wire.codec import ProtobufCodec
from broker.wire.receipts import read_receipt, statement_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.edge.edge import Edge
    from broker.core.streams import Position

_CODEC: Final = ProtobufCodec()
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
        await asyncio.to_thread(edge.spool.sent.send_again, missing, _with_first_receipt)
    return len(missing)


def former_positions(edge: Edge, record_id: str) -> list[Position]:
    """Where the log had a record before it was published again, by the receipts of then, the oldest first."""
    statements = [statement_from(read_receipt(data).statement) for data in edge.spool.sent.former_receipts(record_id)]
    return [each.position for each in sorted(statements, key=lambda each: each.accepted_at_ms)]


def _with_first_receipt(envelope: bytes, receipts: Sequence[bytes]) -> bytes:
    # A later receipt is of a time when the record came again, and was perhaps accepted only with the first.
    first = min(receipts, key=lambda receipt: statement_from(read_receipt(receipt).statement).accepted_at_ms)
    return _CODEC.encode_envelope(_CODEC.decode_envelope(envelope).with_former_receipt(first))
