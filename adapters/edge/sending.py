"""Send records from the spool, and store their receipts. For every program at an agency's edge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from adapters.edge.again import attempts
from broker.client.publisher import Published
from broker.core.errors import CaseExchangeError, Internal
from broker.wire.receipts import receipt_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from adapters.edge.edge import Edge
    from broker.core.receipt import Receipt
    from broker.core.streams import Position

_log = structlog.get_logger("adapters.edge.sending")
_BATCH: Final = 100
_UNHEARD: Final = 10_000
"""How many refusals are kept for a later question. The oldest are dropped first."""


class Accepted(NamedTuple):
    """A record was accepted. The receipt proves it. The spool keeps the receipt too.

    Attributes:
        record_id: the record's id.
        position: its position in the log.
        accepted_at_ms: when the broker accepted it: milliseconds since the Unix epoch, UTC.
        receipt: the receipt, signed by the exchange and verified.
    """

    record_id: str
    position: Position
    accepted_at_ms: int
    receipt: Receipt


class Settled(NamedTuple):
    """The result of a spooled record: accepted, or refused for good."""

    record_id: str
    result: Published | CaseExchangeError


async def send_spooled(edge: Edge, refused: Callable[[str, CaseExchangeError], None]) -> AsyncIterator[Settled]:
    """Publish the records in the spool, oldest first, until none is left.

    Args:
        edge: the edge with the spool.
        refused: stores the reason of a refusal for good, before the record is deleted from the spool.

    Yields:
        The result of each record, when it is durable in the spool.

    Raises:
        CaseExchangeError: the broker cannot be reached, or cannot accept now. Records without a receipt stay in the
            spool.
    """
    async with edge.publisher.stream() as stream:
        while waiting := edge.spool.outgoing(_BATCH):
            envelopes = [edge.codec.decode_envelope(item.envelope) for item in waiting]
            for item, result in zip(waiting, await stream.publish(envelopes), strict=True):
                _settle(edge, item.record_id, result, refused)
                yield Settled(item.record_id, result)


def _settle(
    edge: Edge,
    record_id: str,
    result: Published | CaseExchangeError,
    refused: Callable[[str, CaseExchangeError], None],
) -> None:
    if isinstance(result, Published):
        receipt = receipt_to(result.receipt()).SerializeToString(deterministic=True)
        with edge.spool.transaction():
            edge.spool.add_receipt(record_id, receipt)
        _log.info("published", record_id=record_id, position=str(result.statement.position))
        return
    if result.retriable:
        raise result
    _log.error("refused", record_id=record_id, reason=result.reason, remedy=result.remedy)
    refused(record_id, result)
    with edge.spool.transaction():
        edge.spool.drop_refused(record_id)


class Sender:
    """Sends the records in the spool while it runs, also after every restart of the broker. For one event loop."""

    def __init__(self, edge: Edge, refused: Callable[[str, CaseExchangeError], None], retry_seconds: float) -> None:
        self._edge = edge
        self._refused = refused
        self._retry_seconds = retry_seconds
        self._spooled = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[CaseExchangeError | None]] = {}
        self._unheard: dict[str, CaseExchangeError] = {}
        self._failed: CaseExchangeError | None = None

    async def run(self) -> None:
        """Send until cancelled. If the broker refuses this agency for good, it ends, and so does every wait."""
        try:
            async for attempt in attempts(self._retry_seconds):
                with attempt:
                    while True:
                        self._spooled.clear()
                        async for settled in send_spooled(self._edge, self._refused):
                            attempt.retry_state.attempt_number = 1
                            refusal = settled.result if isinstance(settled.result, CaseExchangeError) else None
                            self._settle(settled.record_id, refusal)
                        await self._spooled.wait()
        except CaseExchangeError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a defect must not leave anybody waiting for a receipt
            self._fail(Internal(f"a defect: {type(error).__name__}"))

    async def settled(self, record_ids: Sequence[str]) -> list[CaseExchangeError | None]:
        """Wait for the result of each of these spooled records: None for a receipt, or the refusal."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[CaseExchangeError | None]] = []
        for record_id in record_ids:
            future = self._waiting.setdefault(record_id, loop.create_future())
            futures.append(future)
            if self._edge.spool.receipt(record_id) is not None:
                self._settle(record_id, None)
            elif record_id in self._unheard:
                self._settle(record_id, self._unheard.pop(record_id))
            elif self._failed is not None:
                self._settle(record_id, self._failed)
        self._spooled.set()
        return list(await asyncio.gather(*map(asyncio.shield, futures)))

    def _fail(self, error: CaseExchangeError) -> None:
        self._failed = error
        for record_id in list(self._waiting):
            self._settle(record_id, error)
        _log.error("nothing is sent any more", reason=error.reason, remedy=error.remedy)

    def _settle(self, record_id: str, refusal: CaseExchangeError | None) -> None:
        future = self._waiting.pop(record_id, None)
        if future is not None and not future.done():
            future.set_result(refusal)
        elif future is None and refusal is not None:
            # The caller may ask a moment later. Receipts are not kept here: the spool has them.
            self._unheard[record_id] = refusal
            if len(self._unheard) > _UNHEARD:
                del self._unheard[next(iter(self._unheard))]
