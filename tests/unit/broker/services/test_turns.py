"""What an agency sends in vain, or too much of at once, waits. What others send does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import Internal, LogUnavailable, PositionUnknown, QuotaExceeded, RightDenied
from broker.core.quota import QuotaLimits
from broker.services.quotas import Quotas
from broker.services.turns import (
    ANSWER_BYTES,
    AT_ONCE_SECONDS,
    BYTES_OF_ONE,
    CANCELLED_SECONDS,
    LARGE_BYTES,
    MOST_LARGE_BYTES,
    MOST_WAIT_SECONDS,
    MOST_WAITING_BYTES,
    RECORD_BYTES,
)
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from broker.core.errors import CaseExchangeError
    from broker.services.turns import Turn

REFUSED = RightDenied("you may not")
RATE = 100
ROOM = int(RATE * AT_ONCE_SECONDS)


class Served:
    """One broker process, whose clock stands still until a test moves it."""

    def __init__(self, **limits: float) -> None:
        self.clock = ManualClock(0)
        given = {"refusals_per_second": RATE, **limits}
        self.quotas = Quotas(lambda _: QuotaLimits(**given), self.clock)  # type: ignore[arg-type] # names of limits

    def turn(self, agency: str = "police", service: str = "publishing", *, publishes: bool = True) -> Turn:
        return self.quotas.turns.of(agency, service, publishes=publishes)

    def refuse(self, calls: int, agency: str = "police", error: CaseExchangeError = REFUSED) -> None:
        for _ in range(calls):
            self.turn(agency).refused(error)


async def waits(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Begin something that must wait."""
    task = asyncio.create_task(work)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def at_once(work: Coroutine[None, None, None]) -> None:
    """Do something that must not wait: with no turn of the event loop between."""
    with pytest.raises(StopIteration):
        work.send(None)


async def done(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(60):
        await task


async def test_messages_of_an_agency_are_not_read_until_it_has_paid_for_what_was_refused() -> None:
    served = Served()
    served.refuse(ROOM)
    await at_once(served.turn().to_read())
    served.refuse(2)
    waiting = await waits(served.turn().to_read())
    served.clock.value_ms += 10
    await asyncio.sleep(0.03)
    assert not waiting.done()
    served.clock.value_ms += 10
    await done(waiting)


async def test_neither_other_agencies_wait_nor_other_services_of_the_agency() -> None:
    served = Served()
    served.refuse(ROOM + 1)
    await at_once(served.turn("ministry").to_read())
    await at_once(served.turn("ministry").to_use(1000))
    await at_once(served.turn(service="subscribing").to_read())
    (await waits(served.turn().to_read())).cancel()


async def test_a_message_that_was_read_before_the_refusals_is_not_used_before_they_are_paid() -> None:
    served = Served()
    late = served.turn()
    await at_once(late.to_read())
    served.refuse(ROOM + 1)
    waiting = await waits(late.to_use(10))
    served.clock.value_ms += 10
    await done(waiting)


async def test_what_is_refused_counts_with_its_bytes_and_records_of_a_batch_count_less() -> None:
    served = Served()
    large = served.turn()
    await at_once(large.to_use(ROOM * BYTES_OF_ONE))
    large.refused(REFUSED)
    (await waits(served.turn().to_read())).cancel()
    served.clock.value_ms += 100_000
    batch = served.turn()
    await at_once(batch.to_use(1000))
    batch.judged(1, ROOM * BYTES_OF_ONE // RECORD_BYTES)
    await at_once(batch.to_read())
    await at_once(batch.to_use(1000))
    batch.judged(1, 1)
    (await waits(batch.to_read())).cancel()
    served.clock.value_ms += 100_000
    await at_once(batch.to_read())
    batch.judged(0, 1, ROOM * BYTES_OF_ONE)
    (await waits(batch.to_read())).cancel()


async def test_a_call_of_which_nothing_was_refused_goes_on_with_messages_that_are_not_large() -> None:
    """What one program of an agency does wrong ends no lease of another."""
    served = Served()
    good, mixed, new = served.turn(), served.turn(), served.turn()
    for turn in (good, mixed):
        await at_once(turn.to_use(10))
        turn.judged()
    await at_once(mixed.to_use(10))
    mixed.judged(1, 1)
    served.refuse(ROOM + 1)
    await at_once(good.to_read())
    await at_once(good.to_use(LARGE_BYTES))
    for waits_for_it in (good.to_use(LARGE_BYTES + 1), mixed.to_read(), mixed.to_use(10), new.to_read()):
        (await waits(waits_for_it)).cancel()


async def test_nobody_waits_longer_than_the_longest_wait_however_much_was_refused() -> None:
    served = Served()
    served.refuse(RATE * 1000)
    assert served.quotas.turns.owed_seconds(served.turn()._account) == MOST_WAIT_SECONDS


@pytest.mark.parametrize("error", [LogUnavailable("no answer"), Internal("broken"), PositionUnknown("not yet")])
async def test_a_failure_of_the_broker_counts_against_nobody(error: CaseExchangeError) -> None:
    served = Served()
    served.refuse(10 * ROOM, error=error)
    await at_once(served.turn().to_read())
    served.refuse(ROOM + 1, error=QuotaExceeded("over its quota"))
    (await waits(served.turn().to_read())).cancel()


async def test_with_no_limit_nothing_refused_makes_anybody_wait() -> None:
    served = Served(refusals_per_second=0)
    served.refuse(1000)
    await at_once(served.turn().to_read())
    await at_once(served.turn().to_use(100))


@pytest.mark.parametrize("end", ["judged", "time"])
async def test_while_refusals_count_messages_of_many_calls_are_used_as_if_each_were_refused(end: str) -> None:
    """Otherwise all that waited would be used together, as soon as the agency has paid."""
    served = Served(refusals_per_second=10)
    room = int(10 * AT_ONCE_SECONDS)
    served.refuse(room + 1)
    more_than_half = room * BYTES_OF_ONE * 6 // 10
    turns = [served.turn() for _ in range(3)]
    waiting = [await waits(turn.to_use(more_than_half)) for turn in turns]
    served.clock.value_ms += 100
    await done(waiting[0])
    turns[0].refused(REFUSED)
    served.clock.value_ms += 2600
    await done(waiting[1])
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting[2].done()
    if end == "judged":
        # Accepted: it counts no more.
        turns[1].judged()
    else:
        # A call that is never judged, because its answer is long, holds the others up for some seconds only.
        served.clock.value_ms += round(1000 * AT_ONCE_SECONDS)
    await done(waiting[2])


async def test_of_messages_that_were_read_and_wait_only_some_bytes_are_kept() -> None:
    served = Served()
    served.refuse(ROOM + RATE)
    first = await waits(served.turn().to_use(MOST_WAITING_BYTES - 1000))
    await waits(served.turn().to_use(1000))
    with pytest.raises(QuotaExceeded, match="wait already"):
        await served.turn().to_use(1)
    served.clock.value_ms += 60_000
    await done(first)


async def test_what_is_over_a_quota_counts_as_a_call_and_not_with_its_bytes() -> None:
    served = Served()
    for _ in range(ROOM):
        turn = served.turn()
        await at_once(turn.to_use(10 * BYTES_OF_ONE))
        turn.refused(QuotaExceeded("too much"))
    await at_once(served.turn().to_read())
    served.refuse(1)
    await waits(served.turn().to_read())


async def test_a_large_message_that_waits_holds_up_no_small_one() -> None:
    served = Served()
    first = served.turn()
    await at_once(first.to_use(MOST_LARGE_BYTES))
    large = await waits(served.turn().to_use(LARGE_BYTES + 1))
    await at_once(served.turn().to_use(1000))
    first.close()
    await done(large)


@pytest.mark.parametrize("end", ["judged", "close"])
async def test_large_messages_of_one_agency_that_are_not_judged_are_bounded_by_their_bytes(end: str) -> None:
    served = Served()
    first, second = served.turn(), served.turn()
    await at_once(first.to_use(MOST_LARGE_BYTES))
    waiting = await waits(second.to_use(LARGE_BYTES + 1))
    await at_once(served.turn("ministry").to_use(MOST_LARGE_BYTES))
    getattr(first, end)()
    await done(waiting)


async def test_a_message_larger_than_the_bound_is_used_alone_and_small_ones_go_on() -> None:
    served = Served()
    await at_once(served.turn().to_use(2 * MOST_LARGE_BYTES))
    await at_once(served.turn().to_use(LARGE_BYTES))
    (await waits(served.turn().to_use(LARGE_BYTES + 1))).cancel()


async def test_a_message_that_gave_up_waiting_does_not_hold_back_the_next() -> None:
    served = Served()
    first = served.turn()
    await at_once(first.to_use(MOST_LARGE_BYTES))
    gone = await waits(served.turn().to_use(LARGE_BYTES + 1))
    waiting = await waits(served.turn().to_use(LARGE_BYTES + 1))
    gone.cancel()
    first.close()
    await done(waiting)


@pytest.mark.parametrize("limits", [{"records_per_second": 10}, {"bytes_per_second": 10}])
async def test_records_over_a_rate_are_not_read_and_other_requests_are(limits: dict[str, float]) -> None:
    served = Served(**limits)
    with served.quotas.publishing("police") as share:
        share.take(11, 11)
        waiting = await waits(served.turn().to_read())
        using = await waits(served.turn().to_use(10))
        await at_once(served.turn(publishes=False).to_read())
        await at_once(served.turn("ministry").to_read())
        served.clock.value_ms += 200
        await done(waiting)
        await done(using)


async def test_a_rate_that_was_lifted_makes_nobody_wait() -> None:
    clock, limits = ManualClock(0), [QuotaLimits(records_per_second=10)]
    quotas = Quotas(lambda _: limits[0], clock)
    with quotas.publishing("police") as share:
        share.take(1000, 1)
    assert quotas.rate_seconds("police") > 0
    limits[0] = QuotaLimits()
    assert quotas.rate_seconds("police") == 0


async def test_answers_to_deliveries_that_never_were_are_paid_for_and_a_few_of_them_hold_up_nothing() -> None:
    served = Served()
    turn = served.turn()
    await at_once(turn.to_use(10))
    turn.judged()
    turn.in_vain(ROOM * BYTES_OF_ONE // ANSWER_BYTES)
    await at_once(turn.to_read())
    turn.in_vain(0)
    await at_once(turn.to_read())
    turn.in_vain(BYTES_OF_ONE // ANSWER_BYTES)
    waiting = await waits(turn.to_read())
    served.clock.value_ms += 10
    await done(waiting)


async def test_what_clients_cancel_counts_only_beyond_what_a_broken_link_cancels() -> None:
    served = Served()
    room = int(RATE * CANCELLED_SECONDS) * BYTES_OF_ONE
    served.turn().cancelled()
    broken = served.turn()
    await at_once(broken.to_use(room - 2 * RECORD_BYTES))
    broken.cancelled()
    await at_once(served.turn().to_read())
    served.turn().cancelled()
    (await waits(served.turn().to_read())).cancel()
    await at_once(served.turn("ministry").to_read())


async def test_a_question_about_a_position_that_is_not_there_counts_a_tenth_of_a_refused_call() -> None:
    served = Served()
    served.refuse(10 * ROOM, error=PositionUnknown("no checkpoint covers it"))
    await at_once(served.turn().to_read())
    served.refuse(1, error=PositionUnknown("no checkpoint covers it"))
    (await waits(served.turn().to_read())).cancel()


async def test_calls_that_wait_go_on_one_by_one_and_each_pays_before_the_next() -> None:
    served = Served()
    served.refuse(ROOM + 1)
    read = list[int]()

    async def call(number: int) -> None:
        turn = served.turn()
        await turn.to_read()
        read.append(number)
        turn.refused(REFUSED)

    calls = [await waits(call(number)) for number in range(3)]
    for number in range(3):
        served.clock.value_ms += 11
        await done(calls[number])
        assert read == list(range(number + 1))


async def test_a_call_over_its_quota_waits_for_its_refusal_and_only_as_many_as_may_run() -> None:
    served = Served(calls=2)
    served.refuse(ROOM + 1)
    held = [await waits(served.quotas.hold_back("police", served.turn())) for _ in range(2)]
    await at_once(served.quotas.hold_back("police", served.turn()))
    # It has a line of its own: a call that runs is not behind those that are refused.
    reading = await waits(served.turn().to_read())
    served.clock.value_ms += 10
    await done(reading)
    for each in held:
        await done(each)
