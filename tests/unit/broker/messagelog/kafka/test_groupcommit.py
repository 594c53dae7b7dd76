"""Appends that wait become one group, and a record is answered only where it was read back."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from broker.core.entry import Appended, NewEntry
from broker.core.errors import LogCorrupt, LogUnavailable, RecordTooLarge
from broker.core.streams import Position, StreamPartition
from broker.messagelog.kafka.arrivals import Arrival, Arrivals, key_of
from broker.messagelog.kafka.groupcommit import GroupCommit
from broker.messagelog.kafka.index import KafkaIndex

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

CASES = StreamPartition("cases", 0)
DNA = StreamPartition("dna", 0)
LARGEST = 100


def entry(number: int, partition: StreamPartition = CASES, value: bytes = b"value") -> NewEntry:
    digest = hashlib.sha256(b"%d" % number).digest()
    return NewEntry(partition, digest[:16], "CaseRecord", "case", ("ministry",), digest, value)


class HeldAppender:
    """Where groups go. Each is acknowledged, or fails, when the test says so."""

    def __init__(self) -> None:
        self.groups: list[list[NewEntry]] = []
        self._answers: list[asyncio.Future[bytes]] = []
        self._begun = asyncio.Event()

    def check_size(self, entries: Sequence[NewEntry]) -> None:
        if any(len(each.value) > LARGEST for each in entries):
            message = "too large"
            raise RecordTooLarge(message)

    async def append(self, entries: Sequence[NewEntry]) -> bytes:
        self.groups.append([*entries])
        self._answers.append(asyncio.get_running_loop().create_future())
        self._begun.set()
        return await self._answers[-1]

    async def begun(self, groups: int) -> None:
        """Wait until so many groups were sent."""
        while len(self.groups) < groups:
            self._begun.clear()
            await self._begun.wait()

    def acknowledge(self, append_id: bytes) -> None:
        self._answers[-1].set_result(append_id)

    def fail(self, error: Exception) -> None:
        self._answers[-1].set_exception(error)


class World:
    def __init__(self, index: KafkaIndex, timeout_seconds: float) -> None:
        self.appender = HeldAppender()
        self.arrivals = Arrivals()
        self.appends = GroupCommit(index, self.appender, self.arrivals, timeout_seconds)
        self._offset = 0

    def begin(self, *entries: NewEntry) -> asyncio.Task[list[Appended]]:
        return asyncio.create_task(self.appends.append(entries))

    def read_back(self, append_id: bytes, *entries: NewEntry) -> None:
        for each in entries:
            position = Position(*each.partition, self._offset)
            self._offset += 1
            place = Appended(position, 0, each.record_sha256, "log", 0, duplicate=False)
            self.arrivals.arrived([(key_of(each), Arrival(place, append_id))])


@pytest.fixture
async def index() -> AsyncIterator[KafkaIndex]:
    opened = KafkaIndex(None, [CASES, DNA], {"cases": "log", "dna": "log"})
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def world(index: KafkaIndex) -> AsyncIterator[World]:
    async with asyncio.timeout(60):
        yield World(index, timeout_seconds=10)


async def test_what_arrives_while_a_group_is_under_way_is_the_next_group(world: World) -> None:
    calls = [world.begin(entry(0))]
    await world.appender.begun(1)
    calls += [world.begin(entry(number, DNA), entry(number + 10)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    assert [len(group) for group in world.appender.groups] == [1]
    world.appender.acknowledge(b"first")
    world.read_back(b"first", entry(0))
    await world.appender.begun(2)
    assert [each.record_id for each in world.appender.groups[1]] == [
        entry(number).record_id for number in (1, 11, 2, 12, 3, 13)
    ]
    world.appender.acknowledge(b"second")
    world.read_back(b"second", *world.appender.groups[1])
    answers = await asyncio.gather(*calls)
    assert [[place.duplicate for place in answer] for answer in answers] == [[False]] + [[False, False]] * 3
    assert [place.position.offset for answer in answers for place in answer] == [0, 1, 2, 3, 4, 5, 6]


async def test_a_small_group_waits_until_the_one_before_is_read_back_and_grows_meanwhile(world: World) -> None:
    calls = [world.begin(entry(0))]
    await world.appender.begun(1)
    calls.append(world.begin(entry(1)))
    world.appender.acknowledge(b"first")
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(world.appender.groups) == 1
    calls.append(world.begin(entry(2)))
    world.read_back(b"first", entry(0))
    await world.appender.begun(2)
    assert world.appender.groups[1] == [entry(1), entry(2)]
    world.appender.acknowledge(b"second")
    world.read_back(b"second", entry(1), entry(2))
    await asyncio.gather(*calls)


async def test_a_large_group_is_sent_while_the_one_before_is_read_back(world: World) -> None:
    calls = [world.begin(entry(0))]
    await world.appender.begun(1)
    large = [entry(number) for number in range(1, 65)]
    calls.append(world.begin(*large))
    await asyncio.sleep(0)
    world.appender.acknowledge(b"first")
    await world.appender.begun(2)
    world.appender.acknowledge(b"second")
    world.read_back(b"first", entry(0))
    world.read_back(b"second", *large)
    assert [len(answer) for answer in await asyncio.gather(*calls)] == [1, 64]


async def test_no_call_is_answered_before_its_records_were_read_back(world: World) -> None:
    call = world.begin(entry(1), entry(2))
    await world.appender.begun(1)
    world.appender.acknowledge(b"id")
    world.read_back(b"id", entry(1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not call.done()
    world.read_back(b"id", entry(2))
    assert len(await call) == 2


async def test_a_record_that_another_append_put_there_first_is_a_duplicate(world: World) -> None:
    call = world.begin(entry(1), entry(2), entry(2))
    await world.appender.begun(1)
    assert len(world.appender.groups[0]) == 2
    world.appender.acknowledge(b"ours")
    world.read_back(b"theirs", entry(1))
    world.read_back(b"ours", entry(2))
    assert [place.duplicate for place in await call] == [True, False, True]


async def test_if_a_group_fails_those_that_wait_fail_with_it(world: World) -> None:
    """Or a later record of a publisher could come to stand before an earlier one that he sends again."""
    first = world.begin(entry(1))
    await world.appender.begun(1)
    second = world.begin(entry(2))
    await asyncio.sleep(0)
    world.appender.fail(LogUnavailable("unknown"))
    for call in (first, second):
        with pytest.raises(LogUnavailable):
            await call
    assert len(world.appender.groups) == 1
    assert not world.arrivals.waits_for(key_of(entry(1)))
    again = world.begin(entry(1))
    await world.appender.begun(2)
    world.appender.acknowledge(b"id")
    world.read_back(b"id", entry(1))
    assert len(await again) == 1


async def test_a_record_that_is_too_large_fails_nobody_else(world: World) -> None:
    good = world.begin(entry(1))
    await world.appender.begun(1)
    large = world.begin(entry(2, value=b"x" * (LARGEST + 1)))
    with pytest.raises(RecordTooLarge):
        await large
    world.appender.acknowledge(b"id")
    world.read_back(b"id", entry(1))
    assert len(await good) == 1


async def test_a_caller_that_gives_up_does_not_stop_its_group(world: World) -> None:
    left, stays = world.begin(entry(1)), world.begin(entry(2))
    await world.appender.begun(1)
    left.cancel()
    world.appender.acknowledge(b"id")
    world.read_back(b"id", entry(1), entry(2))
    assert len(await stays) == 1
    assert not world.arrivals.waits_for(key_of(entry(1)))


async def test_records_that_are_never_read_back_are_unknown_and_then_forgotten(index: KafkaIndex) -> None:
    world = World(index, timeout_seconds=0.05)
    call = world.begin(entry(1))
    await world.appender.begun(1)
    world.appender.acknowledge(b"id")
    with pytest.raises(LogUnavailable):
        await call
    await world.appends.close()
    assert not world.arrivals.waits_for(key_of(entry(1)))


async def test_what_could_not_be_read_back_is_a_trouble_until_something_is(index: KafkaIndex) -> None:
    world = World(index, timeout_seconds=0.5)
    troubles = [world.appends.trouble]
    lost = world.begin(entry(1))
    await world.appender.begun(1)
    world.appender.acknowledge(b"id")
    with pytest.raises(LogUnavailable):
        await lost
    troubles.append(world.appends.trouble)
    found = world.begin(entry(2))
    await world.appender.begun(2)
    world.appender.acknowledge(b"id")
    world.read_back(b"id", entry(2))
    await found
    troubles.append(world.appends.trouble)
    assert [each and each.reason for each in troubles] == [None, "LOG_UNAVAILABLE", None]


async def test_a_log_that_has_failed_answers_every_append_at_once(world: World) -> None:
    call = world.begin(entry(1))
    await world.appender.begun(1)
    world.appender.acknowledge(b"id")
    world.arrivals.fail(LogCorrupt("the topic was cut"))
    later = world.begin(entry(2))
    await world.appender.begun(2)
    world.appender.acknowledge(b"id")
    for each in (call, later):
        with pytest.raises(LogCorrupt):
            await each


async def test_an_append_whose_caller_could_not_know_of_a_failure_fails_with_it(world: World) -> None:
    """Whoever asks in the moment when a failure becomes known either knows of it or shares it."""
    first = world.begin(entry(0))
    await world.appender.begun(1)

    async def later(number: int) -> bool:
        """Whether the caller knew, and so appended nothing."""
        if first.done():
            return True
        with pytest.raises(LogUnavailable):
            await world.appends.append([entry(number)])
        return False

    callers: list[asyncio.Task[bool]] = []
    world.appender.fail(LogUnavailable("unknown"))
    while not first.done():
        callers.append(asyncio.create_task(later(1 + len(callers))))
        await asyncio.sleep(0)
    await asyncio.wait(callers, timeout=60)
    assert [task.done() for task in callers] == [True] * len(callers)
    assert len(world.appender.groups) == 1
    first.exception()
