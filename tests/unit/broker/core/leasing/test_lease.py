from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from broker.core.errors import InputRefused, LeaseLost, SubscriptionInvalid
from broker.core.leasing.ackstate import AckState
from broker.core.leasing.lease import MAX_NACK_DELAY_SECONDS, LeaseBook
from broker.core.leasing.terms import (
    FIRST_CREDIT,
    DeadLetter,
    Expired,
    Lease,
    LeaseSettings,
    Room,
    check_code,
)
from broker.core.streams import Position, StreamPartition

CASES = StreamPartition("cases", 0)
DNA = StreamPartition("dna", 3)
SETTINGS = LeaseSettings(
    lease_seconds=10, max_lease_seconds=60, max_attempts=3, window_records=100, window_bytes=10_000
)


def a_book(*cases: str, settings: LeaseSettings = SETTINGS, size_bytes: int = 10, consumers: int = 1) -> LeaseBook:
    """A book over one partition. The record at offset n belongs to the n-th given case."""
    book = LeaseBook(settings, {CASES: AckState()}, first_delivery_id=1000)
    for offset, case in enumerate(cases):
        assert book.offer(CASES, offset, case, size_bytes)
    for number in range(1, consumers + 1):
        book.consumer_added(f"lab-{number}", 100, 100_000)
    return book


def offsets(leases: list[Lease]) -> list[int]:
    return [lease.position.offset for lease in leases]


def one_lease(book: LeaseBook, now: float, consumer: str = "lab-1") -> Lease:
    (lease,) = book.lease(now, consumer)
    return lease


def in_order(book: LeaseBook, now: float, consumer: str) -> list[int]:
    """The offsets of what is leased to a consumer that acknowledges each record at once."""
    found = []
    while leases := book.lease(now, consumer):
        found += offsets(leases)
        for lease in leases:
            book.ack(lease.delivery_id)
    return found


# --- the table's rows, as the book walks them ---


def test_freed_then_granted_a_record_is_leased_with_its_attempt_and_deadline() -> None:
    book = a_book("a")

    assert book.ready_records == 1
    assert one_lease(book, 5.0) == Lease(1000, Position(*CASES, 0), attempt=1, deadline=15.0)
    assert book.ready_records == 0
    assert book.lease(5.0, "lab-1") == []


def test_extended_a_lease_ends_later() -> None:
    book = a_book("a")
    lease = one_lease(book, 0)

    assert book.extend(lease.delivery_id, now=9.8, seconds=0.5) == 10.3
    assert book.extend(lease.delivery_id, now=8, seconds=20) == 28
    assert book.next_deadline() == 28
    assert book.tick(27.9) == []
    assert book.tick(28) == [Expired(lease.delivery_id, "lab-1", Position(*CASES, 0))]


def test_a_lease_cannot_be_extended_beyond_the_bound_nor_be_shortened() -> None:
    book = a_book("a")
    lease = one_lease(book, 0)

    assert book.extend(lease.delivery_id, now=1, seconds=2) == 10, "3 would be earlier than it was"
    assert book.extend(lease.delivery_id, now=9, seconds=1e9) == 60
    assert book.extend(lease.delivery_id, now=59, seconds=math.inf) == 60
    book.tick(60)
    with pytest.raises(LeaseLost):
        book.extend(lease.delivery_id, now=60, seconds=1)


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_an_extension_must_be_positive(seconds: float) -> None:
    book = a_book("a")
    lease = one_lease(book, 0)

    with pytest.raises(InputRefused):
        book.extend(lease.delivery_id, now=1, seconds=seconds)
    assert book.next_deadline() == 10


def test_acked_a_record_is_done_and_its_window_is_free() -> None:
    book = a_book("a")

    book.ack(one_lease(book, 0).delivery_id)

    assert book.ack_state(CASES) == AckState(1)
    assert book.undone_in_window == Room(0, 0)
    assert book.next_deadline() is None


def test_nacked_a_record_waits_for_its_delay_and_is_then_due() -> None:
    book = a_book("a")

    assert book.nack(one_lease(book, 0).delivery_id, now=2, delay=30) is None
    assert book.ack_state(CASES) == AckState(0, (), ((0, 1, 0),))
    assert book.lease(31, "lab-1") == []
    assert book.next_deadline() == 32
    assert book.tick(32) == []
    assert one_lease(book, 32).attempt == 2


def test_nacked_without_delay_a_record_is_due_at_the_next_tick() -> None:
    book = a_book("a")
    book.nack(one_lease(book, 0).delivery_id, now=2, delay=0)

    assert book.lease(2, "lab-1") == []
    book.tick(2)
    assert one_lease(book, 2).attempt == 2


def test_postponed_a_record_comes_again_more_often_than_it_may_fail_and_nothing_is_to_be_committed() -> None:
    book = a_book("a")
    book.take_commits()
    for now in range(0, 10 * SETTINGS.max_attempts, 10):
        assert book.nack(one_lease(book, now).delivery_id, now, delay=10, transient=True) is None
        assert book.next_deadline() == now + 10
        book.tick(now + 10)

    assert one_lease(book, 100).attempt == SETTINGS.max_attempts + 1
    assert book.take_commits() == {}
    assert book.ack_state(CASES) == AckState(0)


@pytest.mark.parametrize("code", ["A", "Z9_", "A" * 64])
def test_a_code_of_a_refusal_is_a_short_upper_case_identifier(code: str) -> None:
    check_code(code, "the reason of a refusal")


@pytest.mark.parametrize("code", ["", "record_invalid", "RECORD INVALID", "1", "_A", "A\n", "Ä", "A" * 65])
def test_what_is_no_code_of_a_refusal_is_refused(code: str) -> None:
    with pytest.raises(InputRefused, match="the reason of a refusal is a code: "):
        check_code(code, "the reason of a refusal")


def test_a_postponed_record_keeps_the_failures_that_it_had() -> None:
    book = a_book("a")
    for transient in (False, True, False, True):
        assert book.nack(one_lease(book, 0).delivery_id, 0, 0, transient=transient) is None
        book.tick(0)

    assert book.ack_state(CASES) == AckState(0, (), ((0, 2, 0),))
    assert book.nack(one_lease(book, 0).delivery_id, 0, 0) == DeadLetter(Position(*CASES, 0), 3)


@pytest.mark.parametrize("delay", [-0.001, MAX_NACK_DELAY_SECONDS + 0.001, math.inf, math.nan])
def test_a_delay_out_of_bounds_is_refused_and_leaves_the_lease(delay: float) -> None:
    book = a_book("a")
    lease = one_lease(book, 0)

    with pytest.raises(InputRefused):
        book.nack(lease.delivery_id, now=1, delay=delay)
    book.ack(lease.delivery_id)


def test_expired_a_record_is_ready_again_and_its_consumer_is_informed() -> None:
    book = a_book("a")
    lease = one_lease(book, 0)

    assert book.tick(9.9) == []
    assert book.tick(10) == [Expired(lease.delivery_id, "lab-1", Position(*CASES, 0))]
    again = one_lease(book, 10)
    assert (again.attempt, again.position.offset) == (2, 0)
    assert again.delivery_id != lease.delivery_id


def test_returned_by_a_clean_close_records_are_ready_at_once_in_the_order_of_their_grants() -> None:
    book = a_book("a", "b", "c", consumers=2)
    book.lease(0, "lab-1")

    book.consumer_gone("lab-1", clean=True)

    assert offsets(book.lease(1, "lab-2")) == [0, 1, 2]
    assert book.ack_state(CASES) == AckState(0), "a clean close is not a failed attempt"


def test_exhausted_by_a_nack_a_record_is_dead_and_its_successor_is_freed() -> None:
    book = a_book("a", "a")
    for now in (0, 1):
        assert book.nack(one_lease(book, now).delivery_id, now, 0) is None
        book.tick(now)

    assert book.nack(one_lease(book, 2).delivery_id, 2, 0) == DeadLetter(Position(*CASES, 0), failed_attempts=3)
    assert one_lease(book, 3).position.offset == 1
    assert book.ack_state(CASES) == AckState(1)


def test_released_a_partition_s_leases_end_and_its_state_is_handed_over() -> None:
    book = a_book("a", "a", "b", "c", "d")
    book.assign_partition(DNA, AckState(5))
    book.offer(DNA, 5, "a", 10)
    held_up = book.lease(0, "lab-1")
    assert offsets(held_up) == [0, 2, 3, 4, 5]
    book.ack(held_up[1].delivery_id)
    book.nack(held_up[2].delivery_id, 0, 600)

    assert book.release_partition(CASES) == AckState(0, ((2, 2),), ((3, 1, 0),))

    assert book.undone_in_window == Room(1, 10)
    assert book.next_deadline() == 10
    for lease in held_up[:4]:
        with pytest.raises(LeaseLost):
            book.ack(lease.delivery_id)
    book.ack(held_up[4].delivery_id)
    assert book.next_deadline() is None
    with pytest.raises(KeyError):
        book.ack_state(CASES)


def test_released_records_are_not_granted_though_they_were_ready() -> None:
    book = a_book("a", "b")
    book.assign_partition(DNA, AckState())
    book.offer(DNA, 0, "a", 10)

    book.release_partition(CASES)

    assert book.ready_records == 1
    assert [lease.position.stream_partition for lease in book.lease(0, "lab-1")] == [DNA]


# --- rule 1: at least once ---


def test_until_it_is_acked_a_record_comes_again_after_a_restart() -> None:
    book = a_book("a", "b", "c")
    leases = book.lease(0, "lab-1")
    book.ack(leases[1].delivery_id)

    resumed = LeaseBook(SETTINGS, {CASES: AckState.decode(book.ack_state(CASES).encode())})
    resumed.consumer_added("lab-1", 10, 1000)

    assert [resumed.offer(CASES, offset, case, 10) for offset, case in enumerate("abc")] == [True, False, True]
    assert offsets(resumed.lease(0, "lab-1")) == [0, 2]


def test_failed_attempts_survive_a_restart_so_that_a_poison_record_still_ends() -> None:
    book = a_book("a")
    book.nack(one_lease(book, 0).delivery_id, 0, 0)
    resumed = LeaseBook(SETTINGS, {CASES: book.ack_state(CASES)})
    resumed.consumer_added("lab-1", 10, 1000)
    resumed.offer(CASES, 0, "a", 10)

    lease = one_lease(resumed, 0)
    assert lease.attempt == 2
    resumed.nack(lease.delivery_id, 0, 0)
    resumed.tick(0)
    assert resumed.nack(one_lease(resumed, 0).delivery_id, 0, 0) == DeadLetter(Position(*CASES, 0), 3)


# --- rule 2: ordered per case ---


def test_the_records_of_a_case_go_out_one_after_the_other() -> None:
    book = a_book("a", "a", "a")

    for offset in range(3):
        lease = one_lease(book, 0)
        assert lease.position.offset == offset
        book.ack(lease.delivery_id)
    assert book.ack_state(CASES) == AckState(3)


def test_a_poison_record_holds_back_its_own_case_only() -> None:
    book = a_book("poison", "poison", "b", "c", "b")
    poison, first, other = book.lease(0, "lab-1")
    book.nack(poison.delivery_id, 0, 600)
    book.ack(first.delivery_id)
    book.ack(other.delivery_id)

    assert offsets(book.lease(0, "lab-1")) == [4]


def test_one_case_in_two_partitions_is_two_queues() -> None:
    book = a_book("a")
    book.assign_partition(DNA, AckState())
    book.offer(DNA, 0, "a", 10)

    assert [lease.position.stream_partition for lease in book.lease(0, "lab-1")] == [CASES, DNA]


# --- rule 3: fair across cases ---


def test_a_case_that_has_had_its_turn_or_failed_goes_to_the_back() -> None:
    book = a_book("a", "a", "b", "c")
    book.consumer_added("one-at-a-time", 1, 1000)
    order = []
    for now in range(6):
        lease = one_lease(book, now, "one-at-a-time")
        order.append(lease.position.offset)
        if lease.position.offset == 2 and lease.attempt == 1:
            book.nack(lease.delivery_id, now, 0)
            book.tick(now)
        else:
            book.ack(lease.delivery_id)
        if book.undone_in_window.records == 0:
            break

    assert order == [0, 2, 3, 1, 2]


def test_a_consumer_begins_with_little_and_gets_twice_as_much_each_time_it_acknowledges_all() -> None:
    settings = replace(SETTINGS, window_records=1000, window_bytes=10**6)
    book = a_book(*map(str, range(570)), settings=settings, consumers=0)
    book.consumer_added("quick", 200, 100_000)
    book.consumer_added("silent", 200, 100_000)
    assert len(book.lease(0, "silent")) == FIRST_CREDIT
    granted: list[int] = []
    while len(granted) < 5:
        leases = book.lease(0, "quick")
        granted.append(len(leases))
        for lease in leases:
            book.ack(lease.delivery_id)

    # Then as much as its own limit, then what is left.
    assert granted == [32, 64, 128, 200, 114]
    assert not book.lease(0, "silent")


def test_a_lost_lease_sets_a_consumer_back_and_no_other() -> None:
    book = a_book(*map(str, range(100)), settings=replace(SETTINGS, first_credit=2), consumers=2)
    for _ in range(3):
        for lease in book.lease(0, "lab-1"):
            book.ack(lease.delivery_id)
        for lease in book.lease(0, "lab-2"):
            book.ack(lease.delivery_id)
    assert len(book.lease(0, "lab-1")) == 16
    book.tick(10)
    book.ack(one_lease(book, 10).delivery_id)

    assert [len(book.lease(10, name)) for name in ("lab-1", "lab-2")] == [3, 16]


def test_what_a_consumer_gives_back_earns_it_nothing() -> None:
    book = a_book(*map(str, range(10)), settings=replace(SETTINGS, first_credit=2))
    for _ in range(3):
        leases = book.lease(0, "lab-1")
        assert len(leases) == 2
        for lease in leases:
            book.nack(lease.delivery_id, 0, 600, transient=True)


def test_no_more_is_read_ahead_than_the_consumers_have_shown_to_take() -> None:
    book = a_book("a", "a", "b", settings=replace(SETTINGS, first_credit=4), consumers=0)
    assert book.room_to_read(CASES, 0) == Room(0, 9970)
    book.consumer_added("one-at-a-time", 1, 1000)
    # A record that waits for another one of its case is not ready, so that one case does not end the reading.
    assert book.room_to_read(CASES, 0) == Room(2, 9970)
    book.ack(one_lease(book, 0, "one-at-a-time").delivery_id)
    assert book.room_to_read(CASES, 0) == Room(3, 9980)


def test_a_consumer_that_acknowledges_only_full_batches_gets_one_before_its_first_lease_ends() -> None:
    book = a_book(*map(str, range(100)), settings=replace(SETTINGS, first_credit=16), consumers=0)
    book.consumer_added("in-batches", 100, 10_000)
    leases = book.lease(0, "in-batches")
    assert len(leases) == 16
    while len(leases) < 100:
        now = book.next_deadline()
        assert now is not None
        assert now < leases[0].deadline
        assert book.tick(now) == []
        leases += book.lease(now, "in-batches")


def test_a_lost_lease_ends_the_growth_of_the_credit_by_itself() -> None:
    book = a_book(*map(str, range(100)), settings=replace(SETTINGS, first_credit=2), consumers=0)
    book.consumer_added("silent", 100, 10_000)
    granted = 0
    for now in range(0, 100, 5):
        book.tick(now)
        granted = max(granted, len(book.lease(now, "silent")))
    # In doubt it gets one record at a time.
    assert len(book.lease(100, "silent")) <= 1
    assert granted <= 16


def test_a_partition_with_many_records_does_not_keep_the_others_waiting() -> None:
    other = CASES._replace(partition=CASES.partition + 1)
    settings = replace(SETTINGS, first_credit=4)
    book = LeaseBook(settings, {CASES: AckState(), other: AckState()})
    book.consumer_added("lab", 4, 10_000)
    waiting, acked = {CASES: 100, other: 2}, 0
    while waiting[other]:
        for partition in book.partitions:
            for _ in range(min(book.room_to_read(partition, 0).records, waiting[partition])):
                offset = book.read_to(partition)
                book.offer(partition, offset, f"{partition}-{offset}", 10)
                waiting[partition] -= 1
        for lease in book.lease(0, "lab"):
            book.ack(lease.delivery_id)
            acked += 1
    assert acked < 20


def test_what_expires_is_granted_again_after_what_was_ready_before() -> None:
    book = a_book("a", "b", "c")
    book.consumer_added("two-at-a-time", 2, 1000)
    assert offsets(book.lease(0, "two-at-a-time")) == [0, 1]
    book.tick(10)

    assert in_order(book, 10, "lab-1") == [2, 0, 1]


# --- rule 4: what comes after a lease's end changes nothing ---


def _ack(book: LeaseBook, lease: Lease) -> None:
    book.ack(lease.delivery_id)


def _nack(book: LeaseBook, lease: Lease) -> None:
    book.nack(lease.delivery_id, 1, 600)


def _expire(book: LeaseBook, lease: Lease) -> None:
    book.tick(lease.deadline)


def _close(book: LeaseBook, lease: Lease) -> None:
    assert lease.position.offset == 0
    book.consumer_gone("lab-1", clean=True)


def _release(book: LeaseBook, lease: Lease) -> None:
    book.release_partition(lease.position.stream_partition)


@pytest.mark.parametrize("end", [_ack, _nack, _expire, _close, _release])
def test_a_late_answer_is_refused_and_changes_nothing(end: object) -> None:
    book = a_book("a", "a", consumers=2)
    lease = one_lease(book, 0)
    assert callable(end)
    end(book, lease)
    after = (book.undone_in_window, book.ready_records, book.next_deadline())

    for late in (
        lambda: book.ack(lease.delivery_id),
        lambda: book.nack(lease.delivery_id, 2, 0),
        lambda: book.extend(lease.delivery_id, 2, 50),
    ):
        with pytest.raises(LeaseLost) as refusal:
            late()
        assert refusal.value.details == {"delivery_id": str(lease.delivery_id)}
    assert (book.undone_in_window, book.ready_records, book.next_deadline()) == after


def test_an_ack_for_an_earlier_attempt_does_not_finish_the_later_one() -> None:
    book = a_book("a")
    first = one_lease(book, 0)
    book.tick(10)
    second = one_lease(book, 10)

    with pytest.raises(LeaseLost):
        book.ack(first.delivery_id)
    assert book.undone_in_window.records == 1
    book.ack(second.delivery_id)


def test_a_delivery_id_that_never_was_is_a_lost_lease_too() -> None:
    with pytest.raises(LeaseLost):
        a_book("a").ack(7)


# --- rule 5: failed attempts ---


def test_a_lost_consumer_s_leases_run_on_and_can_be_acked_over_its_next_connection() -> None:
    book = a_book("a", "b", consumers=2)
    kept, lost = book.lease(0, "lab-1")
    book.consumer_gone("lab-1", clean=False)
    book.consumer_added("lab-1", 10, 1000)

    assert book.lease(1, "lab-2") == []
    book.ack(kept.delivery_id)
    assert book.tick(10) == [Expired(lost.delivery_id, "lab-1", Position(*CASES, 1))]
    assert book.ack_state(CASES) == AckState(1, (), ((1, 0, 1),))


def test_clean_closes_never_make_a_dead_letter() -> None:
    book = a_book("a", consumers=0)
    for attempt in range(1, 10):
        book.consumer_added("lab-1", 10, 1000)
        assert one_lease(book, 0).attempt == attempt
        book.consumer_gone("lab-1", clean=True)

    assert book.ack_state(CASES) == AckState(0)


# --- rule 6: time passes only in tick ---


def test_until_a_tick_has_seen_the_deadline_an_ack_is_in_time() -> None:
    book = a_book("a", "b")
    first, second = book.lease(0, "lab-1")
    book.ack(first.delivery_id)
    assert book.extend(second.delivery_id, now=50, seconds=5) == 55

    assert book.tick(54) == []
    book.ack(second.delivery_id)


def test_one_tick_ends_everything_that_is_due_in_the_order_of_deadlines() -> None:
    book = a_book("a", "b", "c")
    first, second, third = book.lease(0, "lab-1")
    book.extend(first.delivery_id, now=0, seconds=30)
    book.nack(third.delivery_id, 0, 5)

    assert [book.next_deadline(), book.tick(100)] == [
        5,
        [
            Expired(second.delivery_id, "lab-1", Position(*CASES, 1)),
            Expired(first.delivery_id, "lab-1", Position(*CASES, 0)),
        ],
    ]
    assert in_order(book, 100, "lab-1") == [2, 1, 0]


def test_the_next_deadline_is_the_earliest_of_what_is_alive() -> None:
    book = a_book("a", "b")
    assert book.next_deadline() is None
    first, second = book.lease(0, "lab-1")
    book.extend(first.delivery_id, now=5, seconds=40)
    assert book.next_deadline() == 10
    book.ack(second.delivery_id)
    assert book.next_deadline() == 45


def test_a_timer_that_has_ended_is_never_due_again() -> None:
    book = LeaseBook(SETTINGS, {CASES: AckState()})
    book.consumer_added("lab-1", 100, 100_000)
    book.offer(CASES, 0, "a", 10)
    book.offer(CASES, 1, "b", 10)
    leases = book.lease(0, "lab-1")
    assert [lease.delivery_id for lease in leases] == [1, 2]

    book.nack(1, now=0, delay=2)
    assert book.tick(2) == []
    assert book.ready_records == 1
    book.ack(2)
    assert book.next_deadline() is None, "its lease would have ended at 10"
    assert one_lease(book, 3).delivery_id == 4
    book.release_partition(CASES)
    assert book.next_deadline() is None


@pytest.mark.parametrize("undone", [0, 20])
def test_quick_acks_leave_no_growing_heap_of_timers(undone: int) -> None:
    book = a_book(*(f"undone-{number}" for number in range(undone)))
    book.lease(0, "lab-1")
    for offset in range(undone, 2000):
        book.offer(CASES, offset, f"case-{offset}", 10)
        book.ack(one_lease(book, 0).delivery_id)
        # Twice the undone, this one among them, and the spare ones.
        assert len(book._timers) <= 2 * (undone + 1) + 64


def test_after_stale_timers_were_dropped_deadlines_still_come_in_order() -> None:
    rng = random.Random(7)  # noqa: S311 - a repeatable choice of delays, not a secret
    book = a_book(*map(str, range(100)))
    leases = book.lease(0, "lab-1")
    due = [float(rng.randint(1, 600)) for _ in leases[::4]]
    for lease, delay in zip(leases[::4], due, strict=True):
        book.nack(lease.delivery_id, 0, delay)
    for lease in leases:
        if lease.position.offset % 4:
            book.ack(lease.delivery_id)

    seen = []
    while (deadline := book.next_deadline()) is not None:
        seen += [deadline] * due.count(deadline)
        book.tick(deadline)
    assert seen == sorted(due)


# --- rule 7: flow control ---


def test_a_consumer_gets_no_more_records_than_it_said() -> None:
    book = a_book(*"abcde")
    book.consumer_added("small", 2, 1000)

    leases = book.lease(0, "small")
    assert offsets(leases) == [0, 1]
    assert book.lease(0, "small") == []
    book.ack(leases[0].delivery_id)
    assert offsets(book.lease(0, "small")) == [2]


def test_a_consumer_gets_no_more_bytes_than_it_said() -> None:
    book = a_book(*"abcde", size_bytes=40)
    book.consumer_added("small", 10, 100)

    assert offsets(book.lease(0, "small")) == [0, 1]


def test_bytes_that_were_finished_count_no_more() -> None:
    book = a_book(*"abcde", size_bytes=40)
    book.consumer_added("small", 10, 100)
    first, _ = book.lease(0, "small")

    book.ack(first.delivery_id)

    assert offsets(book.lease(0, "small")) == [2]


def test_of_bytes_outstanding_only_those_finished_are_taken_off() -> None:
    book = a_book()
    book.consumer_added("small", 10, 100)
    for offset, size_bytes in enumerate([30, 60, 60]):
        book.offer(CASES, offset, f"case-{offset}", size_bytes)
    first, second = book.lease(0, "small")

    book.ack(first.delivery_id)
    assert book.lease(0, "small") == []
    book.ack(second.delivery_id)
    assert offsets(book.lease(0, "small")) == [2]


def test_a_record_larger_than_the_limit_goes_out_alone() -> None:
    book = a_book()
    book.consumer_added("small", 10, 100)
    for offset, size_bytes in enumerate([30, 5000, 30]):
        book.offer(CASES, offset, f"case-{offset}", size_bytes)

    (first,) = book.lease(0, "small")
    assert (first.position.offset, book.lease(0, "small")) == (0, []), (
        "the small record behind does not overtake the large one"
    )
    book.ack(first.delivery_id)
    (large,) = book.lease(0, "small")
    assert (large.position.offset, book.lease(0, "small")) == (1, [])
    book.ack(large.delivery_id)
    assert offsets(book.lease(0, "small")) == [2]


@pytest.mark.parametrize("end", [_ack, _nack, _expire])
def test_whatever_ends_a_lease_gives_its_consumer_room(end: object) -> None:
    book = a_book("a", "b")
    book.consumer_added("small", 1, 1000)
    (lease,) = book.lease(0, "small")
    assert callable(end)

    end(book, lease)

    assert offsets(book.lease(20, "small")) == [1]


@pytest.mark.parametrize("limits", [(0, 1), (1, 0), (-1, 5)])
def test_limits_that_can_never_be_met_are_refused(limits: tuple[int, int]) -> None:
    with pytest.raises(SubscriptionInvalid):
        a_book().consumer_added("lab-2", *limits)


# --- the window ---


def test_the_window_bounds_what_is_read_over_all_partitions() -> None:
    book = LeaseBook(LeaseSettings(10, 60, 3, window_records=3, window_bytes=100), {CASES: AckState(), DNA: AckState()})
    assert book.room(CASES) == Room(3, 100)
    book.offer(CASES, 0, "a", 70)
    book.offer(DNA, 0, "a", 70)
    assert book.room(CASES) == book.room(DNA) == Room(1, 0)
    book.offer(DNA, 1, "b", 10)

    with pytest.raises(ValueError, match="full"):
        book.offer(CASES, 1, "b", 10)
    assert book.undone_in_window == Room(3, 150)


def test_a_window_is_never_larger_than_an_offset_commit_can_hold() -> None:
    book = LeaseBook(
        LeaseSettings(10, 60, 3, window_records=10**6, window_bytes=10**9, first_credit=1000), {CASES: AckState()}
    )
    offset = 0
    while book.room(CASES).records:
        book.offer(CASES, offset, f"case-{offset}", 1)
        offset += 5

    assert 300 < book.undone_in_window.records < 1000
    book.consumer_added("lab-1", 10**6, 10**9)
    for lease in book.lease(0, "lab-1")[1::2]:
        book.ack(lease.delivery_id)
    book.tick(10)
    assert 3000 > len(book.ack_state(CASES).encode()) > 1000


def test_what_is_skipped_takes_no_room_and_is_committed() -> None:
    book = a_book()
    for offset in range(500):
        book.pass_to(CASES, offset + 1)

    assert book.undone_in_window == Room(0, 0)
    assert book.take_commits() == {CASES: AckState(500)}


def test_commits_are_taken_once_for_each_change() -> None:
    book = a_book("a", "b")
    book.assign_partition(DNA, AckState(4))
    assert book.take_commits() == {CASES: AckState(0)}
    assert book.take_commits() == {}
    first, second = book.lease(0, "lab-1")
    assert book.take_commits() == {}

    book.nack(second.delivery_id, 0, 5)
    assert book.take_commits() == {CASES: AckState(0, (), ((1, 1, 0),))}
    book.ack(first.delivery_id)
    assert book.take_commits() == {CASES: AckState(1, (), ((1, 1, 0),))}
    assert book.take_commits() == {}


def test_a_lost_lease_is_committed_too() -> None:
    book = a_book("a")
    book.lease(0, "lab-1")
    book.take_commits()
    book.tick(10)

    assert book.take_commits() == {CASES: AckState(0, (), ((0, 0, 1),))}


# --- misuse by the caller ---


def test_names_are_unique_while_they_are_present() -> None:
    book = a_book()
    with pytest.raises(ValueError, match="added already"):
        book.consumer_added("lab-1", 1, 1)
    with pytest.raises(ValueError, match="assigned already"):
        book.assign_partition(CASES, AckState())
    book.consumer_gone("lab-1", clean=True)
    with pytest.raises(KeyError):
        book.consumer_gone("lab-1", clean=True)
    with pytest.raises(KeyError):
        book.lease(0, "lab-1")
    with pytest.raises(KeyError):
        book.offer(DNA, 0, "a", 1)


@pytest.mark.parametrize(
    "bounds",
    [
        (0, 60, 3, 1, 1),
        (61, 60, 3, 1, 1),
        (math.nan, 60, 3, 1, 1),
        (10, 60, 0, 1, 1),
        (10, 60, 128, 1, 1),
        (10, 60, 3, 0, 1),
        (10, 60, 3, 1, 0),
    ],
)
def test_bounds_that_contradict_each_other_are_refused(bounds: tuple[float, float, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        LeaseSettings(*bounds)
