"""The tail wakes only the readers that an entry concerns, and gives each of them only what it wants."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from broker.core.entry import Interest, LogEntry, Page
from broker.core.errors import LogUnavailable
from broker.core.streams import Position, StreamPartition
from broker.messagelog.tail import Tail

CASES = StreamPartition("cases", 0)
DNA = StreamPartition("dna", 0)
LAB = Interest("national-dna-database", frozenset({"SampleRequest", "Correction"}))
MANY = 1 << 30


def entry(offset: int, kind: str, *recipients: str, partition: StreamPartition = DNA) -> LogEntry:
    digest = hashlib.sha256(b"%d" % offset).digest()
    return LogEntry(Position(*partition, offset), digest[:16], kind, "case", recipients, digest, 0, b"value", "log", 0)


def a_tail(max_bytes: int = MANY) -> Tail:
    return Tail({CASES: 0, DNA: 0}, max_bytes)


async def woken(*waiting: asyncio.Task[None]) -> list[bool]:
    """Which of the tasks are over once everything has run that could."""
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.done() for task in waiting]


async def test_an_entry_wakes_the_readers_that_it_concerns_and_no_others() -> None:
    tail = a_tail()
    others = [Interest("ministry", LAB.kinds), Interest(LAB.agency, frozenset({"Tip"}))]
    waiting = [asyncio.create_task(tail.watch(interest).wait()) for interest in (LAB, *others)]
    await woken(*waiting)

    tail.extend([entry(0, "StrProfile", LAB.agency), entry(1, "SampleRequest", "police-of-lanterns")])
    assert await woken(*waiting) == [False, False, False]
    tail.extend([entry(2, "Correction", "police-of-lanterns", LAB.agency)])
    assert await woken(*waiting) == [True, False, False]
    for task in waiting:
        task.cancel()


async def test_what_arrives_between_two_waits_ends_the_second() -> None:
    tail = a_tail()
    watch = tail.watch(LAB)
    tail.extend([entry(0, "SampleRequest", LAB.agency)])
    await asyncio.wait_for(watch.wait(), 60)
    tail.extend([entry(1, "SampleRequest", LAB.agency)])
    await asyncio.wait_for(watch.wait(), 60)
    again = asyncio.create_task(watch.wait())
    assert await woken(again) == [False]
    again.cancel()


async def test_a_failure_wakes_every_reader_and_every_later_wait() -> None:
    tail = a_tail()
    watches = [tail.watch(LAB), tail.watch(Interest("ministry", frozenset({"Tip"})))]
    waiting = [asyncio.create_task(watch.wait()) for watch in watches]
    beyond = asyncio.create_task(tail.wait_beyond({CASES: 0}))
    await woken(*waiting)

    tail.fail(LogUnavailable("gone"))
    assert await woken(*waiting, beyond) == [True, True, True]
    for task in (*waiting, beyond, asyncio.create_task(watches[0].wait())):
        with pytest.raises(LogUnavailable):
            await task


async def test_a_watch_that_was_closed_leaves_nothing_behind() -> None:
    tail = a_tail()
    first, second = tail.watch(LAB), tail.watch(LAB)
    first.close()
    first.close()
    waiting = asyncio.create_task(second.wait())
    await woken(waiting)
    tail.extend([entry(0, "SampleRequest", LAB.agency)])
    assert await woken(waiting) == [True]
    assert not first.event.is_set()


def test_wanted_entries_of_several_kinds_come_in_order_and_the_rest_is_passed() -> None:
    tail = a_tail()
    kinds = ["SampleRequest", "StrProfile", "Correction", "SampleRequest", "StrProfile"]
    tail.extend([entry(offset, kind, LAB.agency) for offset, kind in enumerate(kinds)])
    tail.extend([entry(5, "SampleRequest", "ministry")])

    page = tail.read_wanted(DNA, 0, LAB, MANY, MANY)
    assert page is not None
    assert ([item.position.offset for item in page.entries], page.next_offset) == ([0, 2, 3], 6)
    assert tail.read_wanted(DNA, 6, LAB, MANY, MANY) == Page([], 6)
    assert tail.read_wanted(CASES, 0, LAB, MANY, MANY) == Page([], 0)


def test_what_is_no_longer_kept_must_be_read_from_the_log() -> None:
    tail = a_tail(max_bytes=2 * len(b"value"))
    tail.extend([entry(0, "SampleRequest", LAB.agency), entry(1, "StrProfile", LAB.agency)])
    tail.extend([entry(2, "SampleRequest", LAB.agency), entry(3, "StrProfile", LAB.agency)])

    assert tail.read_wanted(DNA, 1, LAB, MANY, MANY) is None
    page = tail.read_wanted(DNA, 2, LAB, MANY, MANY)
    assert page is not None
    assert ([item.position.offset for item in page.entries], page.next_offset) == ([2], 4)
    tail.extend([entry(offset, "StrProfile", "ministry") for offset in (4, 5)])
    assert tail.read_wanted(DNA, 4, LAB, MANY, MANY) == Page([], 6)
