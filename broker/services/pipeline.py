"""Publish a stream of batches. While some are appended, the next are checked. Answers keep the order.

An append begins while earlier ones of its stream are under way; the log keeps their order. Batches that wait, checked,
are appended and answered together, so that many small batches cost no more than a large one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import CaseExchangeError, LogUnavailable
from broker.services.turns import counts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from broker.core.envelope import Envelope
    from broker.core.identity import Principal
    from broker.services.publish import CheckedBatch, PublishOutcome, PublishService
    from broker.services.quotas import Share
    from broker.services.turns import Turn

_BATCHES: Final = 32
_BYTES: Final = 8 << 20
"""The limits for batches of one stream that are not answered yet. The transport's flow control holds back the rest."""
_APPENDS: Final = 4
"""The limit for appends of one stream that are under way. With more, it would crowd out the others."""


async def publish_in_turn(
    service: PublishService,
    principal: Principal,
    batches: AsyncIterator[Sequence[Envelope]],
    share: Share,
    turn: Turn | None = None,
) -> AsyncGenerator[PublishOutcome]:
    """Publish batches in their order. One outcome answers one batch or several. No answer waits for the next batch.

    ``turn`` is told what was judged as soon as it is, also if nobody asks for the outcome. Each batch is one message.

    Raises:
        What ``PublishService.publish``, ``batches`` or ``share`` raises, after the answers to the batches before it.
    """
    stream = _Stream(service, principal, share, turn)
    tasks = [asyncio.create_task(stream.check_all(batches)), asyncio.create_task(stream.append_all())]
    try:
        while append := await stream.next_append():
            yield await append
            stream.answered()
            # An idle stream keeps neither its last records nor its last answer, here and below.
            del append
        for task in reversed(tasks):
            await task
    finally:
        unfinished = [*tasks, *stream.unfinished()]
        for each in unfinished:
            each.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


class _Batch(NamedTuple):
    check: asyncio.Future[CheckedBatch]
    size: int


class _Append(NamedTuple):
    outcome: asyncio.Task[PublishOutcome]
    batches: int
    size: int


class _Stream:
    """The batches of one stream that are not answered yet: first those in appends, then those that wait."""

    def __init__(self, service: PublishService, principal: Principal, share: Share, turn: Turn | None) -> None:
        self._service = service
        self._principal = principal
        self._share = share
        self._told = turn
        self._waiting: deque[_Batch] = deque()
        self._appends: deque[_Append] = deque()
        self._unanswered_batches = 0
        self._unanswered_bytes = 0
        self._read_all = False
        self._appended_all = False
        self._changed = asyncio.Event()

    async def check_all(self, batches: AsyncIterator[Sequence[Envelope]]) -> None:
        """Begin to check every batch, as far as there is room."""
        try:
            async for batch in batches:
                size = sum(envelope.held_bytes for envelope in batch)
                self._share.take(len(batch), size)
                self._unanswered_batches += 1
                self._unanswered_bytes += size
                self._waiting.append(_Batch(self._check(batch), size))
                del batch
                self._notify()
                while self._unanswered_batches >= _BATCHES or self._unanswered_bytes >= _BYTES:
                    await self._change()
        finally:
            self._read_all = True
            self._notify()

    def _check(self, batch: Sequence[Envelope]) -> asyncio.Future[CheckedBatch]:
        done: asyncio.Future[CheckedBatch] = asyncio.get_running_loop().create_future()
        try:
            checked = self._service.check_small(self._principal, batch)
        except CaseExchangeError as error:
            done.set_exception(error)
            return done
        if checked is None:
            return asyncio.create_task(self._service.check(self._principal, batch))
        done.set_result(checked)
        return done

    async def append_all(self) -> None:
        """Append what is checked, in order, until a batch cannot be checked or appended."""
        try:
            while await self._turn():
                # Several at once, but only as far as their checks are done.
                checked = await self._waiting[0].check
                batches, size = 1, self._waiting.popleft().size
                while self._waiting and _succeeded(self._waiting[0].check):
                    checked += self._waiting[0].check.result()
                    batches, size = batches + 1, size + self._waiting.popleft().size
                earlier = [append.outcome for append in self._appends]
                outcome = await self._service.accept(self._principal, checked, partial(_check_order, earlier))
                if self._told is not None:
                    outcome.add_done_callback(partial(_tell_judged, self._told, batches, size))
                self._appends.append(_Append(outcome, batches, size))
                del checked, outcome, earlier
                self._notify()
        finally:
            self._appended_all = True
            self._notify()

    async def _turn(self) -> bool:
        """Wait for a batch, and until it may be appended. False: there is none."""
        while not self._waiting or len(self._appends) >= _APPENDS:
            if self._read_all and not self._waiting:
                return False
            await self._change()
        return True

    async def next_append(self) -> asyncio.Task[PublishOutcome] | None:
        """The oldest append. None: there is none, and none will follow."""
        while not self._appends:
            if self._appended_all:
                return None
            await self._change()
        return self._appends[0].outcome

    def answered(self) -> None:
        """The oldest append is answered."""
        append = self._appends.popleft()
        self._unanswered_batches -= append.batches
        self._unanswered_bytes -= append.size
        self._share.give_back(append.size)
        self._notify()

    def unfinished(self) -> list[asyncio.Future[CheckedBatch] | asyncio.Task[PublishOutcome]]:
        """The tasks of batches that are not answered."""
        return [*(batch.check for batch in self._waiting), *(append.outcome for append in self._appends)]

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _change(self) -> None:
        await self._changed.wait()


def _succeeded(task: asyncio.Future[CheckedBatch] | asyncio.Task[PublishOutcome]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _tell_judged(turn: Turn, batches: int, size: int, append: asyncio.Task[PublishOutcome]) -> None:
    """Those that could not be appended are told when the call ends."""
    if _succeeded(append):
        results = append.result().results
        refused = sum(isinstance(result, CaseExchangeError) and counts(result) for result in results)
        turn.judged(batches, refused, size * refused // max(1, len(results)))


def _check_order(earlier: Sequence[asyncio.Task[PublishOutcome]]) -> None:
    """Refuse to append after a failure. The publisher sends again from there on, so nothing later may be in the log."""
    if any(task.done() and not _succeeded(task) for task in earlier):
        message = "an earlier batch of the stream could not be appended"
        raise LogUnavailable(message)
