"""Agencies share the threads by turns, and none takes the last slot."""

from __future__ import annotations

import asyncio
import threading

import pytest

from broker.services.slots import OF_ONE, SLOTS, Slots


class Work:
    """Work in threads that goes on until it is let go. It notes who began, in order."""

    def __init__(self) -> None:
        self.slots = Slots()
        self.begun: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._another = asyncio.Event()
        self._go = threading.Semaphore(0)
        self._asked: list[asyncio.Task[str]] = []

    def ask(self, *agencies: str) -> list[asyncio.Task[str]]:
        asked = [asyncio.create_task(self.slots.run(agency, self._work, agency)) for agency in agencies]
        self._asked += asked
        return asked

    def let_go(self, count: int = 1) -> None:
        self._go.release(count)

    def _work(self, agency: str) -> str:
        self.begun.append(agency)
        self._loop.call_soon_threadsafe(self._another.set)
        assert self._go.acquire(timeout=60)
        return agency

    async def until_begun(self, count: int) -> list[str]:
        async with asyncio.timeout(60):
            while len(self.begun) < count:
                self._another.clear()
                await self._another.wait()
        # Nobody else begins.
        for _ in range(20):
            await asyncio.sleep(0)
        return self.begun[:]


async def test_an_agency_never_takes_the_last_place_and_those_that_wait_take_turns() -> None:
    work = Work()
    asked = work.ask(*["flood"] * 10)
    assert await work.until_begun(OF_ONE) == ["flood"] * OF_ONE
    asked += work.ask("lab", "ministry", "lab", "police")
    begun = await work.until_begun(SLOTS)
    assert begun == [*["flood"] * OF_ONE, "lab"]
    work.let_go(len(asked))
    assert [await each for each in asked] == [*["flood"] * 10, "lab", "ministry", "lab", "police"]
    assert {"lab", "ministry", "police"} <= set(work.begun[SLOTS : SLOTS + 4])


async def test_what_is_cancelled_while_it_runs_keeps_its_slot_and_what_waits_never_begins() -> None:
    work = Work()
    running = work.ask("flood", "flood")
    await work.until_begun(OF_ONE)
    waiting = work.ask("flood", "flood")
    for each in (running[0], waiting[0]):
        each.cancel()
        with pytest.raises(asyncio.CancelledError):
            await each
    assert await work.until_begun(OF_ONE) == ["flood"] * OF_ONE
    work.let_go(2)
    assert await work.until_begun(3) == ["flood"] * 3
    work.let_go()
    assert [await each for each in (running[1], waiting[1])] == ["flood", "flood"]


async def test_what_fails_in_its_slot_is_told_and_leaves_it() -> None:
    slots = Slots()
    for _ in range(SLOTS + 1):
        with pytest.raises(ValueError, match="not a number"):
            await slots.run("lab", int, "not a number")
