"""What every backend of the message log promises (broker/ports/messagelog.py)."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.entry import EXCHANGE, Interest, NewEntry, Page
from broker.core.errors import LogCorrupt, LogInUse, LogUnavailable, PositionUnknown
from broker.core.leasing.ackstate import AckState
from broker.core.streams import StreamPartition
from broker.core.subscriptions import FIRST
from broker.messagelog.kafka.positions import position_of
from broker.messagelog.sqlite import SqliteLog
from broker.ports import Assigned, SubscriptionKey
from broker.trust.signing import Ed25519NoteSigner
from tests.support.kafkalog import LogOnKafka
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from broker.core.entry import Appended, LogEntry
    from broker.ports import LogCursor, MessageLog

CASES_0 = StreamPartition("cases", 0)
CASES_1 = StreamPartition("cases", 1)
LAB = SubscriptionKey("national-dna-database", "samples")
KINDS = frozenset({"CaseRecord", "Tip"})
MANY = 1 << 30


def entry(
    number: int,
    partition: StreamPartition = CASES_0,
    value: bytes = b"value",
    *,
    kind: str = "CaseRecord",
    to: tuple[str, ...] = ("ministry", "national-dna-database"),
) -> NewEntry:
    record_id = hashlib.sha256(b"id %d" % number).digest()[:16]
    digest = hashlib.sha256(value + b"%d" % number).digest()
    return NewEntry(partition, record_id, kind, f"case-{number % 3}", to, digest, value)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_790_000_000_000)


@pytest.fixture(params=["file", "memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def open_log(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Callable[[], Awaitable[MessageLog]]:
    """Opens a log of each backend, with almost nothing of it in memory."""
    if request.param == "kafka":
        signer = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.generate())
        on_kafka = LogOnKafka(request.getfixturevalue("kafka_cluster"), signer, clock)
        return lambda: on_kafka.open(tail_bytes=64)
    path = tmp_path / "log.db" if request.param == "file" else None
    return lambda: SqliteLog.open(path, clock, tail_bytes=64)


@pytest.fixture
async def log(open_log: Callable[[], Awaitable[MessageLog]]) -> AsyncIterator[MessageLog]:
    opened = await open_log()
    yield opened
    await opened.close()


async def assigned(cursor: LogCursor, partition: StreamPartition) -> AckState:
    """Wait until a partition is assigned. Return where the cursor begins to read it."""
    async with asyncio.timeout(30):
        while True:
            for change in cursor.assignment_changes():
                if isinstance(change, Assigned) and change.partition == partition:
                    return change.state
            await cursor.wait()


def offsets(items: Iterable[Appended | LogEntry]) -> list[int]:
    """Where they are in their partition. Offsets ascend, but the log may leave gaps."""
    return [item.position.offset for item in items]


def values(page: Page) -> list[bytes]:
    """Of the entries in a page."""
    return [item.value for item in page.entries]


async def test_entries_are_read_back_in_order_with_all_that_was_appended(log: MessageLog) -> None:
    offered = [entry(number) for number in range(200)]
    appended = await log.append(offered)
    read = await log.read(CASES_0, 0, MANY, MANY)
    assert {item.position.stream_partition for item in appended} == {CASES_0}
    assert offsets(appended) == sorted(set(offsets(appended)))
    assert [item.position for item in read] == [item.position for item in appended]
    assert [(item.record_id, item.value, item.recipients) for item in read] == [
        (item.record_id, item.value, item.recipients) for item in offered
    ]


async def test_a_record_id_is_appended_once_whatever_its_bytes(log: MessageLog) -> None:
    (first,) = await log.append([entry(1)])
    again, other = await log.append([entry(1), entry(1, CASES_1, b"other bytes")])
    assert (again.position, again.accepted_at_ms, again.duplicate) == (first.position, first.accepted_at_ms, True)
    assert (other.position, other.record_sha256) == (first.position, first.record_sha256)
    assert await log.end_offset(CASES_1) == 0


async def test_a_record_that_stands_twice_in_one_append_is_appended_once(log: MessageLog) -> None:
    first, second = await log.append([entry(1), entry(1)])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert await log.end_offset(CASES_0) == first.position.offset + 1
    assert len(await log.read(CASES_0, 0, MANY, MANY)) == 1


async def test_of_many_records_at_once_every_one_that_is_there_already_is_found(log: MessageLog) -> None:
    first = await log.append([entry(number) for number in range(200)])
    again = await log.append([entry(number) for number in range(210)])
    assert [item.duplicate for item in again] == [True] * 200 + [False] * 10
    assert [item.position for item in again[:200]] == [item.position for item in first]
    assert await log.end_offset(CASES_0) == offsets(again)[-1] + 1
    found = await log.lookup([entry(number).record_id for number in range(300)])
    assert [found[entry(number).record_id].position for number in range(210)] == [item.position for item in again]
    assert len(found) == 210


async def test_concurrent_appends_lose_nothing(log: MessageLog) -> None:
    await asyncio.gather(*(log.append([entry(number * 10 + i) for i in range(10)]) for number in range(50)))
    read = await log.read(CASES_0, 0, MANY, MANY)
    assert {item.record_id for item in read} == {entry(number).record_id for number in range(500)}
    assert len(read) == 500


async def test_the_accepted_time_never_falls(log: MessageLog, clock: ManualClock) -> None:
    (first,) = await log.append([entry(1)])
    clock.value_ms -= 60_000
    (second,) = await log.append([entry(2)])
    assert second.accepted_at_ms == first.accepted_at_ms


async def test_lookup_finds_what_is_there_and_leaves_out_the_rest(log: MessageLog) -> None:
    (appended,) = await log.append([entry(1)])
    found = await log.lookup([entry(1).record_id, entry(2).record_id])
    assert {key: item.position for key, item in found.items()} == {entry(1).record_id: appended.position}


async def test_a_read_stops_after_the_entry_that_reaches_the_byte_limit(log: MessageLog) -> None:
    at = offsets(await log.append([entry(number, value=b"x" * 10) for number in range(5)]))
    assert offsets(await log.read(CASES_0, at[1], MANY, 15)) == at[1:3]


async def test_an_unknown_partition_is_refused(log: MessageLog) -> None:
    with pytest.raises(PositionUnknown):
        await log.read(StreamPartition("cases", 99), 0, 1, 1)
    with pytest.raises(PositionUnknown):
        await log.strays(StreamPartition("cases", 99))


async def test_what_was_appended_is_no_stray(log: MessageLog) -> None:
    assert await log.strays(CASES_0) == []
    await log.append([entry(number) for number in range(5)])
    assert await log.strays(CASES_0) == []


async def test_a_waiter_wakes_when_its_partition_grows_and_not_before(log: MessageLog) -> None:
    waiting = asyncio.create_task(log.wait_beyond({CASES_0: 0}))
    await log.append([entry(1, CASES_1)])
    assert not waiting.done()
    await log.append([entry(2)])
    await asyncio.wait_for(waiting, 60)


async def test_catching_up_returns_once_everything_below_can_be_read_and_says_so_where_the_partition_ends_before(
    log: MessageLog,
) -> None:
    await log.catch_up(CASES_0, 0)
    end = offsets(await log.append([entry(number) for number in range(5)]))[-1] + 1
    await log.catch_up(CASES_0, end)
    assert await log.end_offset(CASES_0) == end
    with pytest.raises(LogCorrupt):
        # On Kafka the next record is at least this far away.
        await log.catch_up(CASES_0, end + position_of(1))


async def test_a_cursor_resumes_where_it_committed(log: MessageLog) -> None:
    at = offsets(await log.append([entry(number) for number in range(5)]))
    cursor = await log.open_cursor(LAB, KINDS, FIRST)
    assert await assigned(cursor, CASES_0) == AckState()
    assert offsets((await cursor.read(CASES_0, MANY, MANY)).entries) == at
    assert await cursor.read(CASES_0, MANY, MANY) == Page([], at[-1] + 1)
    state = AckState(at[3], ((at[4], at[4]),), ((at[3], 1, 2),))
    assert await cursor.commit({CASES_0: state}) == {CASES_0}
    await cursor.close()
    resumed = await log.open_cursor(LAB, KINDS, FIRST)
    assert await assigned(resumed, CASES_0) == state
    assert offsets((await resumed.read(CASES_0, MANY, MANY)).entries) == at[3:]
    await resumed.close()


async def test_a_cursor_that_has_finished_everything_resumes_at_the_end(log: MessageLog) -> None:
    state = AckState()
    for number in range(3):
        (appended,) = await log.append([entry(number)])
        cursor = await log.open_cursor(LAB, KINDS, FIRST)
        await assigned(cursor, CASES_0)
        assert offsets((await cursor.read(CASES_0, MANY, MANY)).entries) == [appended.position.offset]
        state = AckState(appended.position.offset + 1)
        assert await cursor.commit({CASES_0: state}) == {CASES_0}
        await cursor.close()
    resumed = await log.open_cursor(LAB, KINDS, FIRST)
    assert await assigned(resumed, CASES_0) == state
    assert await resumed.read(CASES_0, MANY, MANY) == Page([], state.floor)
    await resumed.close()


def mixed(numbers: range) -> list[NewEntry]:
    """Of each ten, one CaseRecord (0) and one Tip (5) are for the laboratory; the others are not."""
    unlike = {
        0: entry(0),
        5: entry(0, kind="Tip"),
        7: entry(0, kind="Closure"),
    }
    elsewhere = entry(0, to=("ministry",))
    return [
        unlike.get(number % 10, elsewhere)._replace(record_id=entry(number).record_id, value=b"value %d" % number)
        for number in numbers
    ]


async def test_a_cursor_returns_what_its_subscription_wants_and_passes_over_the_rest(log: MessageLog) -> None:
    cursor = await log.open_cursor(LAB, KINDS, FIRST)
    await assigned(cursor, CASES_0)
    # Hardly any of this is still in memory, and then some is.
    for numbers in (range(38), range(38, 39), range(39, 52)):
        at = dict(zip(numbers, offsets(await log.append(mixed(numbers))), strict=True))
        wanted = [number for number in numbers if number % 5 == 0]
        page = await cursor.read(CASES_0, MANY, MANY)
        assert (offsets(page.entries), page.next_offset) == ([at[each] for each in wanted], at[numbers[-1]] + 1)
        assert values(page) == [b"value %d" % number for number in wanted]
    await cursor.close()


async def test_a_cursor_keeps_its_limits_without_losing_an_entry(log: MessageLog) -> None:
    at = offsets(await log.append(mixed(range(41))))
    cursor = await log.open_cursor(LAB, KINDS, FIRST)
    await assigned(cursor, CASES_0)
    by_records = await cursor.read(CASES_0, 3, MANY)
    assert (offsets(by_records.entries), by_records.next_offset) == ([at[0], at[5], at[10]], at[10] + 1)
    by_bytes = await cursor.read(CASES_0, MANY, len("value 15") + 1)
    assert (offsets(by_bytes.entries), by_bytes.next_offset) == ([at[15], at[20]], at[20] + 1)
    rest = await cursor.read(CASES_0, 4, MANY)
    assert offsets(rest.entries) == [at[25], at[30], at[35], at[40]]
    assert await cursor.read(CASES_0, MANY, MANY) == Page([], at[40] + 1)
    await cursor.close()


async def test_what_is_addressed_to_nobody_is_for_the_exchange_itself(log: MessageLog) -> None:
    at = offsets(await log.append([entry(0, to=()), entry(1), entry(2, kind="Tip", to=()), entry(3, to=())]))
    own = Interest(EXCHANGE, frozenset({"CaseRecord"}))
    page = await log.read_wanted(CASES_0, 0, own, MANY, MANY)
    assert (offsets(page.entries), page.next_offset) == ([at[0], at[3]], at[3] + 1)
    # One that is still in memory.
    (last,) = offsets(await log.append([entry(4, to=())]))
    page = await log.read_wanted(CASES_0, at[3] + 1, own, MANY, MANY)
    assert (offsets(page.entries), page.next_offset) == ([last], last + 1)


async def test_what_was_appended_is_in_the_index_for_each_of_its_readers(log: MessageLog) -> None:
    await log.append([entry(0), entry(1, to=()), entry(2, kind="Tip")])
    read = await log.read(CASES_0, 0, MANY, MANY)
    assert await log.not_indexed(read) == []
    first, second, third = read
    changed = [
        first._replace(recipients=(*first.recipients, "child-aid-ngo")),
        second._replace(kind="Tip"),
        third._replace(recipients=()),
    ]
    assert await log.not_indexed(changed) == [each.position for each in read]


async def test_wanted_entries_that_lie_far_apart_are_all_read(log: MessageLog) -> None:
    """On Kafka nothing between them is fetched if many packs are between them."""
    wanted: list[int] = []
    for number in range(61):
        to = (LAB.agency if number % 20 == 0 else "ministry",)
        (at,) = offsets(await log.append([entry(number, to=to)]))
        wanted += [at] if number % 20 == 0 else []
    cursor = await log.open_cursor(LAB, KINDS, FIRST)
    await assigned(cursor, CASES_0)
    read: list[int] = []
    while (page := await cursor.read(CASES_0, MANY, MANY)).entries:
        read += offsets(page.entries)
    assert (read, page.next_offset) == (wanted, wanted[-1] + 1)
    await cursor.close()


async def test_a_cursor_waits_until_something_comes_that_its_subscription_wants(log: MessageLog) -> None:
    cursor = await log.open_cursor(LAB, KINDS, FIRST)
    await assigned(cursor, CASES_0)
    while (await cursor.read(CASES_0, MANY, MANY)).entries or cursor.assignment_changes():
        pass
    waiting = asyncio.create_task(cursor.wait())
    await log.append([entry(1, to=("ministry",)), entry(2, kind="Closure"), entry(3, kind="SampleRequest")])
    assert not waiting.done()
    at = offsets(await log.append([entry(4, kind="Tip")]))
    await asyncio.wait_for(waiting, 60)
    assert offsets((await cursor.read(CASES_0, MANY, MANY)).entries) == at
    await cursor.close()


async def test_subscriptions_do_not_share_their_state(log: MessageLog) -> None:
    cursor = await log.open_cursor(LAB, KINDS, FIRST)
    await assigned(cursor, CASES_0)
    assert await cursor.commit({CASES_0: AckState(7)}) == {CASES_0}
    other = await log.open_cursor(SubscriptionKey("ministry", LAB.name), KINDS, FIRST)
    assert await assigned(other, CASES_0) == AckState()
    await cursor.close()
    await other.close()


async def test_a_closed_log_says_so(log: MessageLog) -> None:
    await log.close()
    with pytest.raises(LogUnavailable):
        await log.append([entry(1)])


async def test_a_file_outlives_its_process_and_keeps_its_identity(tmp_path: Path, clock: ManualClock) -> None:
    first = await SqliteLog.open(tmp_path / "log.db", clock)
    appended = await first.append([entry(1), entry(2, CASES_1)])
    await first.close()
    second = await SqliteLog.open(tmp_path / "log.db", clock, partitions={"cases": 1})
    assert second.log_id("cases") == first.log_id("cases")
    assert second.partitions("cases") == first.partitions("cases")
    assert [item.position for item in await second.append([entry(1), entry(2)])] == [i.position for i in appended]
    await second.close()


async def test_a_file_has_one_owner(tmp_path: Path, clock: ManualClock) -> None:
    first = await SqliteLog.open(tmp_path / "log.db", clock)
    with pytest.raises(LogInUse):
        await SqliteLog.open(tmp_path / "log.db", clock)
    await first.close()
