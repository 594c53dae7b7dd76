"""Which of the records that this process appends it has read back, and where they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from broker.core.entry import Appended

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from broker.core.entry import LogEntry, NewEntry
    from broker.core.errors import CaseExchangeError
    from broker.core.streams import StreamPartition

RecordKey: TypeAlias = "tuple[StreamPartition, bytes]"
"""A record id in a partition."""


class Arrival(NamedTuple):
    """Where a record is in its partition, and the append that put it there."""

    place: Appended
    append_id: bytes


def key_of(entry: NewEntry) -> RecordKey:
    """The key of an entry's record."""
    return entry.partition, entry.record_id


def arrival_of(entry: LogEntry, append_id: bytes) -> tuple[RecordKey, Arrival]:
    """What is to be said of an entry that this append put in its place."""
    position = entry.position
    place = Appended(position, entry.accepted_at_ms, entry.record_sha256, entry.log_id, entry.epoch, duplicate=False)
    return (position.stream_partition, entry.record_id), Arrival(place, append_id)


class _Expected:
    def __init__(self, keys: Collection[RecordKey], loop: asyncio.AbstractEventLoop) -> None:
        self.missing = set(keys)
        self.found: dict[RecordKey, Arrival] = {}
        self.all: asyncio.Future[dict[RecordKey, Arrival]] = loop.create_future()


class Arrivals:
    """Records that callers wait for. For one event loop."""

    def __init__(self) -> None:
        self._expected: dict[RecordKey, list[_Expected]] = {}
        self._failure: CaseExchangeError | None = None

    def expect(self, keys: Collection[RecordKey]) -> asyncio.Future[dict[RecordKey, Arrival]]:
        """Begin to wait for these records. Call it before they are sent. The future may be cancelled.

        It raises what ``fail`` is given.
        """
        expected = _Expected(keys, asyncio.get_running_loop())
        for key in expected.missing:
            self._expected.setdefault(key, []).append(expected)
        expected.all.add_done_callback(lambda _: self._forget(expected))
        if self._failure is not None:
            expected.all.set_exception(self._failure)
        elif not expected.missing:
            expected.all.set_result({})
        return expected.all

    def waits_for(self, key: RecordKey) -> bool:
        """Whether a caller waits for this record."""
        return key in self._expected

    def arrived(self, arrivals: Iterable[tuple[RecordKey, Arrival]]) -> None:
        """These records were read back."""
        for key, arrival in arrivals:
            for expected in self._expected.pop(key, ()):
                expected.missing.discard(key)
                expected.found[key] = arrival
                if not expected.missing and not expected.all.done():
                    expected.all.set_result(expected.found)

    def fail(self, error: CaseExchangeError) -> None:
        """Nothing will be read back any more."""
        self._failure = error
        for expected in {each for waiting in self._expected.values() for each in waiting}:
            if not expected.all.done():
                expected.all.set_exception(error)

    def _forget(self, expected: _Expected) -> None:
        for key in expected.missing:
            waiting = self._expected.get(key, [])
            if expected in waiting:
                waiting.remove(expected)
            if not waiting:
                self._expected.pop(key, None)
