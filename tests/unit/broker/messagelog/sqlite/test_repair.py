"""Rows that are put back, and the cursors that are open meanwhile."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from broker.core.entry import NewEntry
from broker.core.leasing.ackstate import AckState
from broker.core.streams import StreamPartition
from broker.core.subscriptions import FIRST, Generation, KindsStart
from broker.messagelog.sqlite import SqliteLog
from broker.ports import Assigned, Revoked, SubscriptionKey
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.entry import LogEntry
    from broker.core.streams import Position

CASES_0 = StreamPartition("cases", 0)
CASES_1 = StreamPartition("cases", 1)
LAB = SubscriptionKey("lab", "samples")
KINDS = frozenset({"CaseRecord"})
MANY = 1 << 30


def entry(number: int, value: bytes = b"value", to: tuple[str, ...] = ("lab",)) -> NewEntry:
    digest = hashlib.sha256(b"%d" % number).digest()
    return NewEntry(CASES_0, digest[:16], "CaseRecord", f"case-{number}", to, digest, value)


@pytest.fixture
async def log() -> AsyncIterator[SqliteLog]:
    opened = await SqliteLog.open(None, ManualClock(1_790_000_000_000), tail_bytes=1)
    yield opened
    await opened.close()


async def places(log: SqliteLog, *entries: NewEntry) -> list[Position]:
    return [each.position for each in await log.append(entries)]


async def test_only_a_damaged_row_with_the_same_digest_is_put_back(log: SqliteLog) -> None:
    first, second, third = await places(log, entry(1), entry(2), entry(3))
    again = [
        (first, entry(1, b"sound")),
        (second, entry(2, b"put back", to=("lab", "ngo"))),
        (third, entry(4, b"another record")),
    ]

    def sound(found: LogEntry) -> bool:
        return found.position == first

    assert await log.restore(again, sound) == [second]
    read = await log.read(CASES_0, 0, MANY, MANY)
    assert [each.value for each in read] == [b"value", b"put back", b"value"]
    assert read[1].recipients == ("lab", "ngo")
    assert await log.not_indexed(read) == []


async def test_a_row_that_was_put_back_is_found_by_its_readers(log: SqliteLog) -> None:
    (at,) = await places(log, entry(1))
    assert await log.restore([(at, entry(1, to=("ngo",)))], lambda _: False) == [at]
    assert await log.restore([(at, entry(1, to=("ngo",)))], lambda _: True) == []
    cursor = await log.open_cursor(SubscriptionKey("ngo", "all"), KINDS, FIRST)
    assert [each.position for each in (await cursor.read(CASES_0, MANY, MANY)).entries] == [at]
    await cursor.close()


async def test_an_open_cursor_begins_again_and_nothing_is_committed_under_its_old_assignment(log: SqliteLog) -> None:
    positions = await places(log, entry(0), entry(1), entry(2))
    cursor, other = (
        await log.open_cursor(LAB, KINDS, FIRST),
        await log.open_cursor(SubscriptionKey("ngo", "all"), KINDS, FIRST),
    )
    cursor.assignment_changes()
    other.assignment_changes()
    await cursor.read(CASES_0, MANY, MANY)
    assert await cursor.commit({CASES_0: AckState(3), CASES_1: AckState()}) == {CASES_0, CASES_1}
    assert await log.restore([(positions[1], entry(1))], lambda _: False) == [positions[1]]
    # It has not seen the change: what it commits and reads now is of the old assignment.
    assert await cursor.commit({CASES_0: AckState(3), CASES_1: AckState()}) == {CASES_1}
    assert (await cursor.read(CASES_0, MANY, MANY)).entries == []
    reopened = AckState(1, ((2, 2),))
    await cursor.wait()
    assert cursor.assignment_changes() == [Revoked(CASES_0), Assigned(CASES_0, reopened)]
    page = await cursor.read(CASES_0, MANY, MANY)
    assert [each.position for each in page.entries] == positions[1:]
    assert await cursor.commit({CASES_0: AckState(3)}) == {CASES_0}
    assert other.assignment_changes() == []
    await cursor.close()
    await other.close()


async def test_a_cursor_that_has_committed_nothing_begins_again_where_its_generation_begins(log: SqliteLog) -> None:
    positions = await places(log, entry(0), entry(1), entry(2))
    generation = Generation(1, 0, (KindsStart(CASES_0, ("CaseRecord",), 2),))
    cursor = await log.open_cursor(LAB, KINDS, generation)
    cursor.assignment_changes()
    assert await log.restore([(positions[2], entry(2))], lambda _: False) == [positions[2]]
    assert cursor.assignment_changes() == [Revoked(CASES_0), Assigned(CASES_0, AckState(2))]
    await cursor.close()


async def test_a_closed_subscription_reads_it_again_when_it_opens(log: SqliteLog) -> None:
    positions = await places(log, entry(0), entry(1))
    await log.commit(LAB, FIRST, {CASES_0: AckState(2)})
    await log.restore([(positions[0], entry(0))], lambda _: False)
    cursor = await log.open_cursor(LAB, KINDS, FIRST)
    assert Assigned(CASES_0, AckState(0, ((1, 1),))) in cursor.assignment_changes()
    await cursor.close()
