"""Group commit: the appends that wait, of all callers, become one append with one seal.

One group is sent at a time, and nothing waits on purpose: whatever arrives meanwhile is the next group. Its callers are
answered once this process has read their records back. A large group is sent meanwhile. A small one waits for that: it
would cost as much at Kafka and here as a large one, however few records it has.

If a group fails, all that wait fail with it. So no record of a caller is appended after an earlier one of his failed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from broker.core.errors import CaseExchangeError, Internal, LogUnavailable
from broker.messagelog.kafka.arrivals import key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.entry import Appended, NewEntry
    from broker.messagelog.kafka.arrivals import Arrival, Arrivals, RecordKey
    from broker.messagelog.kafka.index import KafkaIndex

_GROUP_RECORDS: Final = 2000
_GROUP_BYTES: Final = 8 << 20
_LARGE_RECORDS: Final = 64
"""At this size of a group, what it costs as a whole is little beside what its records cost."""
_TROUBLE_SECONDS: Final = 30.0
"""After a trouble, callers may look elsewhere, so that no append shows that it is over. Then it is forgotten."""


class _Appender(Protocol):
    """The part of ``Appender`` that is needed here."""

    def check_size(self, entries: Sequence[NewEntry]) -> None: ...

    async def append(self, entries: Sequence[NewEntry]) -> bytes: ...


class _Call(NamedTuple):
    entries: Sequence[NewEntry]
    again: bool
    answer: asyncio.Future[list[Appended]]

    @property
    def size(self) -> int:
        return sum(len(entry.value) for entry in self.entries)


class _Group(NamedTuple):
    """Calls, the positions of records that the log had before, and the entries to append, by record id."""

    calls: Sequence[_Call]
    known: dict[bytes, Appended]
    fresh: dict[bytes, NewEntry]


class GroupCommit:
    """Appends for many callers. For one event loop.

    Args:
        index: knows which records are in the log.
        appender: seals and produces.
        arrivals: knows which records this process has read back.
        timeout_seconds: how long that may take.
    """

    def __init__(self, index: KafkaIndex, appender: _Appender, arrivals: Arrivals, timeout_seconds: float) -> None:
        self._index = index
        self._appender = appender
        self._arrivals = arrivals
        self._timeout_seconds = timeout_seconds
        self._waiting: list[_Call] = []
        self._failure: CaseExchangeError | None = None
        """Why a group has failed, until its callers can know of it."""
        self._unread: tuple[CaseExchangeError, float] | None = None
        """Why the newest group could not be read back, and when this was."""
        self._sending: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def append(self, entries: Sequence[NewEntry], *, again: bool = False) -> list[Appended]:
        """See ``MessageLog``. Calls are appended in their order, even if a caller is cancelled.

        If ``again``, they are appended also where the log has the records already: as copies of them (index.py).

        Raises:
            LogUnavailable, LogAccessDenied, RecordTooLarge
        """
        self._appender.check_size(entries)
        if self._failure is not None:
            raise self._failure
        call = _Call(entries, again, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="kafka group commit")
        try:
            return await call.answer
        except CaseExchangeError as error:
            self._know(error)
            raise

    @property
    def trouble(self) -> CaseExchangeError | None:
        """Why what was appended in the last half minute could not be read back, or None if it was."""
        if self._unread is None or asyncio.get_running_loop().time() > self._unread[1] + _TROUBLE_SECONDS:
            return None
        return self._unread[0]

    async def close(self) -> None:
        """Finish the appends that have begun. Idempotent."""
        while self._sending is not None or self._answering:
            tasks = [task for task in (self._sending, *self._answering) if task is not None]
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_all(self) -> None:
        while self._waiting:
            calls = self._next_calls()
            arrived: asyncio.Future[dict[RecordKey, Arrival]] | None = None
            try:
                group = await self._group(calls)
                arrived = self._arrivals.expect([key_of(entry) for entry in group.fresh.values()])
                append_id = await self._appender.append([*group.fresh.values()]) if group.fresh else b""
            except Exception as error:  # noqa: BLE001 - any error must reach the callers that wait; they raise it
                if arrived is not None:
                    arrived.cancel()
                calls += self._waiting
                self._waiting = []
                self._failure = _fail(calls, error)
                # The tasks that wait are woken first. A caller that asks before that cannot know of the failure.
                asyncio.get_running_loop().call_soon(self._know, self._failure)
            else:
                answering = asyncio.create_task(self._answer(group, append_id, arrived))
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)
                if sum(len(call.entries) for call in self._waiting) < _LARGE_RECORDS:
                    await asyncio.wait([answering])
        self._sending = None

    def _know(self, error: CaseExchangeError) -> None:
        """The callers know now why their group failed, so later appends do not share the failure."""
        if error is self._failure:
            self._failure = None

    def _next_calls(self) -> list[_Call]:
        """The calls that wait, at least one, up to the limits of a group."""
        records = size = taken = 0
        for call in self._waiting:
            records += len(call.entries)
            size += call.size
            if taken and (records > _GROUP_RECORDS or size > _GROUP_BYTES):
                break
            taken += 1
        calls, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return calls

    async def _group(self, calls: Sequence[_Call]) -> _Group:
        entries = [(entry, call.again) for call in calls for entry in call.entries]
        known = await self._index.find([entry.record_id for entry, _ in entries])
        fresh: dict[bytes, NewEntry] = {}
        for entry, again in entries:
            if again or entry.record_id not in known:
                fresh.setdefault(entry.record_id, entry)
        return _Group(calls, known, fresh)

    async def _answer(self, group: _Group, append_id: bytes, arrived: asyncio.Future[dict[RecordKey, Arrival]]) -> None:
        """Answer the callers of a group, once its records were read back."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                arrivals = await arrived
        except TimeoutError:
            error = _fail(group.calls, LogUnavailable("records were acknowledged but not read back in time"))
            self._unread = error, asyncio.get_running_loop().time()
            return
        except CaseExchangeError as error:
            _fail(group.calls, error)
            return
        self._unread = None
        try:
            for call in group.calls:
                if not call.answer.done():
                    call.answer.set_result([_appended(entry, group, append_id, arrivals) for entry in call.entries])
        except Exception as error:  # noqa: BLE001 - any error must reach the callers that wait; they raise it
            _fail(group.calls, error)


def _appended(entry: NewEntry, group: _Group, append_id: bytes, arrivals: dict[RecordKey, Arrival]) -> Appended:
    if (known := group.known.get(entry.record_id)) is not None:
        return known
    first = group.fresh[entry.record_id]
    arrival = arrivals[key_of(first)]
    # Another process may have been first. And if two entries of a group have one record id, the second is a duplicate.
    ours = first is entry and arrival.append_id == append_id
    return arrival.place._replace(duplicate=not ours)


def _fail(calls: Sequence[_Call], error: Exception) -> CaseExchangeError:
    if not isinstance(error, CaseExchangeError):
        failure = Internal("an append failed")
        failure.__cause__ = error
        error = failure
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
    return error
