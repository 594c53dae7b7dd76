"""Writes keep their order, also where one of them fails."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import LogFull
from broker.messagelog.sqlite.database import Database
from broker.sqlitefile import Schema

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

NUMBERS = Schema(0x54455354, (("CREATE TABLE numbers (number INTEGER)",),))


@pytest.fixture(params=["file", "memory"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "numbers.db" if request.param == "file" else None, NUMBERS)
    yield opened
    await opened.close()


def insert(number: int) -> Callable[[sqlite3.Connection], sqlite3.Cursor]:
    return lambda connection: connection.execute("INSERT INTO numbers VALUES (?)", (number,))


async def stored(database: Database) -> list[int]:
    return [row[0] for row in await database.read(lambda each: each.execute("SELECT number FROM numbers").fetchall())]


async def test_writes_that_were_asked_for_before_a_failure_was_known_fail_with_it(database: Database) -> None:
    begun, go = threading.Event(), threading.Event()

    def fails(_: sqlite3.Connection) -> None:
        begun.set()
        assert go.wait(60)
        message = "as a full disk would"
        raise LogFull(message)

    first = asyncio.create_task(database.write(fails))
    assert await asyncio.to_thread(begun.wait, 10)
    # The thread is busy with the first. So these two are in another group, which nothing is wrong with.
    later: list[asyncio.Task[object]] = [asyncio.create_task(database.write(insert(number))) for number in (1, 2)]
    reading = asyncio.create_task(stored(database))
    await asyncio.sleep(0)
    go.set()
    for write in (first, *later):
        with pytest.raises(LogFull):
            await write
    assert await reading == []
    await database.write(insert(3))
    assert await stored(database) == [3]


async def test_a_write_whose_caller_could_not_know_of_a_failure_fails_with_it(database: Database) -> None:
    """Whoever asks in the moment when a failure becomes known either knows of it or shares it."""
    for round_ in range(30):
        go = threading.Event()

        def fails(_: sqlite3.Connection, go: threading.Event = go) -> None:
            assert go.wait(60)
            message = "as a full disk would"
            raise LogFull(message)

        first = asyncio.create_task(database.write(fails))

        async def later(first: asyncio.Task[None] = first, number: int = round_) -> bool:
            """Whether a number was inserted by a caller that did not know."""
            if first.done():
                return False
            try:
                await database.write(insert(number))
            except LogFull:
                return False
            return True

        callers: list[asyncio.Task[bool]] = []
        go.set()
        while not first.done():
            callers.append(asyncio.create_task(later()))
            await asyncio.sleep(0)
        assert isinstance(first.exception(), LogFull)
        assert not any(await asyncio.gather(*callers))


async def test_jobs_that_follow_each_other_run_in_one_call_and_keep_their_places(database: Database) -> None:
    begun, go = threading.Event(), threading.Event()
    calls: list[list[int]] = []
    told: list[int] = []

    def waits(_: sqlite3.Connection) -> None:
        begun.set()
        assert go.wait(60)

    def insert_all(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
        calls.append(list(numbers))
        connection.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in numbers])
        return [10 * number for number in numbers]

    first = asyncio.create_task(database.write(waits))
    assert await asyncio.to_thread(begun.wait, 10)
    # The thread is busy with the first. So these are in one group.
    tasks: list[asyncio.Task[int]] = [
        asyncio.create_task(database.write_together(insert_all, number, told.append)) for number in (1, 2)
    ]
    between = asyncio.create_task(database.write(insert(3)))
    tasks += [asyncio.create_task(database.write_together(insert_all, 4, told.append))]
    await asyncio.sleep(0)
    go.set()
    await first
    assert await asyncio.gather(*tasks) == [10, 20, 40]
    await between
    assert calls == [[1, 2], [4]]
    assert told == [10, 20, 40]
    assert await stored(database) == [1, 2, 3, 4]


async def test_what_would_use_the_reserve_is_refused_and_what_it_is_for_goes_on(tmp_path: Path) -> None:
    # No disk is so large that so much of it is free.
    database = Database(tmp_path / "numbers.db", NUMBERS, reserve_bytes=1 << 60)
    begun, go = threading.Event(), threading.Event()

    def waits(_: sqlite3.Connection) -> None:
        begun.set()
        assert go.wait(60)

    first = asyncio.create_task(database.write(waits))
    assert await asyncio.to_thread(begun.wait, 10)
    # All of these are in one group.
    records = [asyncio.create_task(database.write(insert(number), room=0)) for number in (1, 3)]
    audit = [asyncio.create_task(database.write(insert(number))) for number in (2, 4)]
    await asyncio.sleep(0)
    go.set()
    await first
    for record in records:
        with pytest.raises(LogFull):
            await record
    await asyncio.gather(*audit)
    assert await stored(database) == [2, 4]
    await database.close()


async def test_a_write_passes_no_earlier_one_that_had_no_room(tmp_path: Path) -> None:
    database = Database(tmp_path / "numbers.db", NUMBERS)
    begun, go = threading.Event(), threading.Event()

    def waits(_: sqlite3.Connection) -> None:
        begun.set()
        assert go.wait(60)

    first = asyncio.create_task(database.write(waits))
    assert await asyncio.to_thread(begun.wait, 10)
    # The first asks for more than any disk has. There is room for the second, but it comes later.
    writes = [
        asyncio.create_task(database.write(insert(1), room=1 << 60)),
        asyncio.create_task(database.write(insert(2), room=0)),
    ]
    await asyncio.sleep(0)
    go.set()
    await first
    for write in writes:
        with pytest.raises(LogFull):
            await write
    await database.write(insert(3), room=0)
    assert await stored(database) == [3]
    await database.close()
