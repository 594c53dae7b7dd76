"""Send records from the spool, and store their receipts. For every program at an agency's edge.

A record can be kept back for four reasons (docs/adr/0029-held-records.md has the list):

- For good: the record leaves the spool, with its reason.
- Time cures it: the record is held, and with it the later records of its case. All others go meanwhile. If the clock
  was ahead and is right again, the record is issued again: same id, same numbers, new time, new signature.
- A second principal has to sign it: the record is held too, until the signature lies there (countersigning.py).
- The whole call is refused, or breaks: no record is at fault, so all wait. What was sent is sent again, byte for byte.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import structlog

from adapters.edge.again import asked_seconds, attempts
from broker.client.publisher import Published
from broker.core.errors import (
    CaseExchangeError,
    CountersignatureAwaited,
    InputRefused,
    Internal,
    IssuedInFuture,
    PeerUnknown,
    RightDenied,
)
from broker.wire.receipts import receipt_bytes
from broker.wire.status import RETRY_AFTER_MS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from adapters.edge.edge import Edge
    from adapters.edge.holds import Outgoing
    from broker.core.receipt import Receipt
    from broker.core.streams import Position

_log = structlog.get_logger("adapters.edge.sending")
_BATCH: Final = 100
_BATCH_BYTES: Final = 1 << 20
"""With one more record, which has 4 MiB at most, a batch stays far below the largest message of a broker."""
_UNHEARD: Final = 10_000
"""How many refusals are kept for a later question. The oldest are dropped first."""
_LONGEST_HELD_SECONDS: Final = 600.0
"""The limit for the time that a broker can make a record wait: the broker's own clock may be the wrong one."""


Refused: TypeAlias = "Callable[[str, CaseExchangeError, bytes], None]"
"""Stores, by record id, the reason of a refusal for good, and the signed record: its content may be nowhere else."""


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
    """The result of a spooled record: accepted, refused for good, or held until time cures its refusal."""

    record_id: str
    result: Published | CaseExchangeError

    @property
    def held(self) -> bool:
        """Whether the record stays in the spool, to be sent again."""
        return isinstance(self.result, CaseExchangeError) and time_cures(self.result)


def time_cures(refusal: CaseExchangeError) -> bool:
    """Whether a record that was refused so may be accepted later: the broker says so, or says when."""
    return refusal.retriable or RETRY_AFTER_MS in refusal.details


async def send_spooled(edge: Edge, refused: Refused, hold_seconds: float) -> AsyncIterator[Settled]:
    """Publish the records in the spool that may go now, oldest first, until there is none.

    Args:
        edge: the edge with the spool.
        refused: stores the reason of a refusal for good and the envelope, before the record is deleted from the spool.
        hold_seconds: how long a record is held, if the broker does not say how long.

    Yields:
        The result of each record, when it is durable in the spool.

    Raises:
        CaseExchangeError: the broker cannot be reached, or cannot accept now. Records without a receipt stay in the
            spool.
    """
    waiting, aside = await asyncio.to_thread(_next, edge, refused, hold_seconds)
    if not waiting:
        for each in aside:
            yield each
        return
    await edge.checkpoints.before_sending()
    async with edge.publisher.stream() as stream:
        while waiting:
            for each in aside:
                yield each
            results = await stream.publish([edge.codec.decode_envelope(item.envelope) for item in waiting])
            settled = [Settled(item.record_id, result) for item, result in zip(waiting, results, strict=True)]
            await asyncio.to_thread(_settle, edge, waiting, settled, refused, hold_seconds)
            for each in settled:
                yield each
            waiting, aside = await asyncio.to_thread(_next, edge, refused, hold_seconds)
        for each in aside:
            yield each


def _next(edge: Edge, refused: Refused, hold_seconds: float) -> tuple[list[Outgoing], list[Settled]]:
    """The records to be sent next, and those that are set aside: dropped, because they cannot be issued again, or held.

    What they are sent as is durable. If none is to be sent, none may go now.
    """
    aside: list[Settled] = []
    edge.countersigning.look()
    # One time for all: what is held here is not ready again before the next call.
    begun_ms, now_ms = _monotonic_ms(edge), edge.clock.now_ms()
    while True:
        waiting = edge.spool.holds.ready(_BATCH, _BATCH_BYTES, begun_ms, now_ms)
        going: list[Outgoing] = []
        for item in waiting:
            try:
                going.append(_complete(edge, _released(edge, item, now_ms) if item.refused_issue_ms else item))
            except CountersignatureAwaited as awaited:
                with edge.spool.transaction():
                    edge.spool.holds.hold(item.record_id, begun_ms + 1 + int(hold_seconds * 1000))
                _log.warning("held", record_id=item.record_id, reason=awaited.reason, remedy=awaited.remedy)
                aside.append(Settled(item.record_id, awaited))
            except (InputRefused, PeerUnknown, RightDenied) as refusal:
                # Keys or rights are others at the right time. Nobody can seal it anew without its contents.
                _drop(edge, item, refusal, refused)
                aside.append(Settled(item.record_id, refusal))
        if going or not waiting:
            return going, aside


def _complete(edge: Edge, item: Outgoing) -> Outgoing:
    """The record with the signatures of all principals. Raises CountersignatureAwaited."""
    envelope = edge.countersigning.complete(item)
    if envelope is not item.envelope:
        with edge.spool.transaction():
            edge.spool.holds.release(item.record_id, envelope)
        edge.countersigning.forget(item.record_id)
    return item._replace(envelope=envelope)


def _drop(edge: Edge, item: Outgoing, refusal: CaseExchangeError, refused: Refused) -> None:
    _log.error("refused", record_id=item.record_id, reason=refusal.reason, remedy=refusal.remedy)
    refused(item.record_id, refusal, item.envelope)
    with edge.spool.transaction():
        edge.spool.drop_refused(item.record_id)
    edge.countersigning.forget(item.record_id)


def _released(edge: Edge, item: Outgoing, now_ms: int) -> Outgoing:
    envelope = item.envelope
    # A clock that is still ahead would only give it a later time.
    if item.refused_issue_ms > now_ms:
        issued = edge.composer.issue_again(edge.codec.decode_envelope(envelope))
        envelope = edge.codec.encode_envelope(issued.envelope)
        _log.info("issued again", record_id=item.record_id)
    with edge.spool.transaction():
        edge.spool.holds.release(item.record_id, envelope)
    return item._replace(envelope=envelope, refused_issue_ms=0)


def _settle(
    edge: Edge,
    waiting: Sequence[Outgoing],
    settled: Sequence[Settled],
    refused: Refused,
    hold_seconds: float,
) -> None:
    held: Counter[tuple[str, str]] = Counter()
    now_ms = edge.clock.now_ms()
    with edge.spool.transaction():
        for item, (record_id, result) in zip(waiting, settled, strict=True):
            if isinstance(result, Published):
                receipt = receipt_bytes(result.receipt())
                edge.spool.sent.keep(record_id, now_ms)
                edge.spool.add_receipt(record_id, receipt)
            elif time_cures(result):
                _hold(edge, item, result, hold_seconds)
                held[result.reason, result.remedy] += 1
    for (reason, remedy), count in held.items():
        _log.warning("records are held, and the others go on", count=count, reason=reason, remedy=remedy)
    for item, (record_id, result) in zip(waiting, settled, strict=True):
        if isinstance(result, Published):
            _log.info("published", record_id=record_id, position=str(result.statement.position))
        elif not time_cures(result):
            _drop(edge, item, result, refused)


def _hold(edge: Edge, item: Outgoing, refusal: CaseExchangeError, hold_seconds: float) -> None:
    # The broker asks its log before it refuses a record's time. So this record is in no log.
    issued = edge.codec.parse_body(edge.codec.decode_envelope(item.envelope).body).issued_at_ms
    seconds = min(asked_seconds(refusal) or hold_seconds, _LONGEST_HELD_SECONDS)
    due_ms = _monotonic_ms(edge) + int(seconds * 1000)
    edge.spool.holds.hold(item.record_id, due_ms, issued if isinstance(refusal, IssuedInFuture) else 0)


def _monotonic_ms(edge: Edge) -> int:
    return int(edge.clock.monotonic() * 1000)


class Sender:
    """Sends the records in the spool while it runs, also after every restart of the broker. For one event loop."""

    def __init__(self, edge: Edge, refused: Refused, retry_seconds: float) -> None:
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
                        async for settled in send_spooled(self._edge, self._refused, self._retry_seconds):
                            attempt.retry_state.attempt_number = 1
                            if not settled.held:
                                refusal = settled.result if isinstance(settled.result, CaseExchangeError) else None
                                self._settle(settled.record_id, refusal)
                        await self._more()
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

    async def _more(self) -> None:
        """Wait for a record, or until it is time to look after those that are held."""
        held = await asyncio.to_thread(self._edge.spool.holds.count)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._retry_seconds if held else None):
                await self._spooled.wait()

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
