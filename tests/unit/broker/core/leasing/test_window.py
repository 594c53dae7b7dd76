from __future__ import annotations

import random
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.groupseal import SEAL_TEXT_BYTES
from broker.core.leasing.ackstate import MAX_TEXT_BYTES, AckState
from broker.core.leasing.delivery import Delivery, Event, State
from broker.core.leasing.window import PartitionWindow
from broker.core.streams import StreamPartition

if TYPE_CHECKING:
    from collections.abc import Callable

PARTITION = StreamPartition("cases", 0)
yes_or_no = st.booleans()
MOST = MAX_TEXT_BYTES - SEAL_TEXT_BYTES
"""What is left for a state beside its seal."""


def a_window(state: AckState | None = None) -> PartitionWindow:
    return PartitionWindow(PARTITION, state or AckState())


def tracked(window: PartitionWindow, offset: int, case: str | None = None, size_bytes: int = 1) -> Delivery:
    delivery = window.track(offset, f"case-{offset}" if case is None else case, size_bytes)
    assert delivery is not None
    return delivery


def counted(window: PartitionWindow, offset: int) -> None:
    """Track a record with the highest counts that there can be."""
    delivery = tracked(window, offset)
    delivery.failed_attempts, delivery.lost_leases = 127, 3


def finish(window: PartitionWindow, delivery: Delivery) -> Delivery | None:
    delivery.on(Event.GRANTED)
    delivery.on(Event.ACKED)
    return window.finish(delivery)


def binary_bytes(state: AckState) -> int:
    return len(state.encode()) * 3 // 4


# --- reading ---


def test_the_first_record_of_a_case_is_ready_and_later_ones_are_held() -> None:
    window = a_window()

    states = [tracked(window, offset, case).state for offset, case in ((0, "a"), (1, "a"), (2, "b"), (3, "a"))]

    assert states == [State.READY, State.HELD, State.READY, State.HELD]
    assert [delivery.offset for delivery in window.undone] == [0, 1, 2, 3]


def test_a_finished_record_frees_the_next_of_its_case_only() -> None:
    window = a_window()
    first, second, third, other = (tracked(window, at, case) for at, case in enumerate(["a", "a", "a", "b"]))

    assert finish(window, first) is second
    assert (second.state, third.state) == (State.READY, State.HELD)
    assert finish(window, other) is None
    assert finish(window, second) is third
    assert finish(window, third) is None


def test_a_case_that_was_finished_begins_again() -> None:
    window = a_window()
    finish(window, tracked(window, 0, "a"))

    assert tracked(window, 1, "a").state is State.READY


def test_an_offset_below_the_cursor_is_ignored() -> None:
    window = a_window(AckState(10))
    tracked(window, 12)

    for offset in (3, 9, 11, 12):
        assert window.track(offset, "a", 1) is None
        window.pass_to(offset + 1)
    assert window.next_offset == 13
    assert [delivery.offset for delivery in window.undone] == [12]


# --- what is committed ---


def test_the_floor_stays_at_the_first_undone_record() -> None:
    window = a_window()
    first, second, third = (tracked(window, offset) for offset in (0, 1, 2))

    finish(window, second)
    assert window.ack_state() == AckState(0, ((1, 1),))
    finish(window, third)
    assert window.ack_state() == AckState(0, ((1, 2),))
    finish(window, first)
    assert window.ack_state() == AckState(3)


def test_what_is_skipped_counts_as_done() -> None:
    window = a_window()
    window.pass_to(1)
    window.pass_to(6)
    assert window.ack_state() == AckState(6)

    tracked(window, 6)
    window.pass_to(10)
    assert window.ack_state() == AckState(6), "a gap holds no record that was delivered, so it needs no range"


def test_a_window_says_whether_its_cursor_moved_and_never_moves_back() -> None:
    window = a_window(AckState(5))
    assert [window.pass_to(offset) for offset in (5, 4, 7, 7, 6)] == [False, False, True, False, False]
    assert window.next_offset == 7
    window.changed = False
    window.pass_to(7)
    assert not window.changed


def test_the_floor_moves_over_a_resumed_range_that_it_reaches() -> None:
    window = a_window(AckState(10, ((11, 14),)))
    finish(window, tracked(window, 10))
    assert window.ack_state() == AckState(15)


def test_failed_attempts_and_lost_leases_of_undone_records_are_kept() -> None:
    window = a_window()
    first, second, third = tracked(window, 4), tracked(window, 7), tracked(window, 8)
    first.failed_attempts, second.failed_attempts = 2, 1
    second.lost_leases, third.lost_leases = 3, 1

    assert window.ack_state() == AckState(4, (), ((4, 2, 0), (7, 1, 3), (8, 0, 1)))
    finish(window, first)
    assert window.ack_state() == AckState(7, (), ((7, 1, 3), (8, 0, 1)))


def test_a_window_says_when_its_state_may_have_changed() -> None:
    window = a_window()

    def changed_by(step: Callable[[], object]) -> bool:
        window.changed = False
        step()
        return window.changed

    assert changed_by(lambda: window.pass_to(1))
    assert changed_by(lambda: tracked(window, 3)), "the floor moves over the gap below it"
    assert not changed_by(lambda: tracked(window, 4))
    assert changed_by(lambda: finish(window, window.undone[0]))
    assert not changed_by(lambda: window.pass_to(6))


def test_a_resumed_window_knows_what_was_done_and_what_failed() -> None:
    state = AckState(10, ((12, 14), (17, 17)), ((10, 3, 0), (15, 1, 2), (16, 0, 3)))
    window = a_window(state)

    assert window.ack_state() == state
    deliveries = {offset: window.track(offset, f"case-{offset}", 1) for offset in range(10, 20)}
    assert [offset for offset, delivery in deliveries.items() if delivery is None] == [12, 13, 14, 17]
    counts = {at: (each.failed_attempts, each.lost_leases) for at, each in deliveries.items() if each}
    assert {at: each for at, each in counts.items() if any(each)} == {10: (3, 0), 15: (1, 2), 16: (0, 3)}
    assert [each.attempt for each in deliveries.values() if each][:2] == [3, 0]
    assert [each.offset for each in deliveries.values() if each and each.suspect] == [16]
    assert window.ack_state() == state


def test_a_window_that_resumed_says_at_every_offset_what_is_done_though_the_cursor_stands_in_a_range() -> None:
    state = AckState(10, ((12, 13), (15, 15), (17, 20)))
    window = a_window(state)
    for offset in range(10, 22):
        window.track(offset, f"case-{offset}", 1)
        assert window.ack_state() == state, f"at {offset}"


def test_attempts_of_a_record_that_the_log_has_no_more_are_not_anothers() -> None:
    window = a_window(AckState(10, (), ((12, 3, 1),)))

    assert [tracked(window, offset).attempt for offset in (10, 13)] == [0, 0]


def test_a_new_window_has_nothing_to_commit() -> None:
    assert not a_window(AckState(10, ((12, 14),), ((10, 3, 0),))).changed


@given(st.data())
@settings(max_examples=200)
def test_a_window_that_resumes_from_any_state_of_another_tracks_exactly_the_undone_records(data: st.DataObject) -> None:
    """Against a simple model: a dict of every offset of the log, with whether it is wanted and whether it is done."""
    log = sorted(data.draw(st.sets(st.integers(0, 60), min_size=1, max_size=40)))
    wanted = {offset: data.draw(yes_or_no, label=f"wanted {offset}") for offset in log}
    counts: dict[int, tuple[int, int]] = {}
    done: set[int] = set()
    state = AckState(data.draw(st.integers(0, log[0])))
    for _ in range(3):
        window = PartitionWindow(PARTITION, AckState.decode(state.encode()))
        undone: list[Delivery] = []
        last = data.draw(st.integers(0, len(log)))
        for offset in log[:last]:
            if not wanted[offset]:
                window.pass_to(offset + 1)
                continue
            delivery = window.track(offset, f"case-{offset}", 1)
            assert (delivery is None) == (offset in done)
            if delivery is not None:
                assert (delivery.failed_attempts, delivery.lost_leases) == counts.get(offset, (0, 0))
                undone.append(delivery)
            step = data.draw(yes_or_no)
            if undone and step:
                _finish_or_count_one(data, window, undone, done, counts)
        state = window.ack_state()
        assert window.undone == undone
        assert binary_bytes(state) <= window.committed_bytes_bound
        assert {offset for offset in log if wanted[offset] and state.is_done(offset)} == done


def _finish_or_count_one(
    data: st.DataObject,
    window: PartitionWindow,
    undone: list[Delivery],
    done: set[int],
    counts: dict[int, tuple[int, int]],
) -> None:
    delivery = undone[data.draw(st.integers(0, len(undone) - 1))]
    if data.draw(yes_or_no):
        finish(window, delivery)
        undone.remove(delivery)
        done.add(delivery.offset)
        counts.pop(delivery.offset, None)
        return
    delivery.failed_attempts = data.draw(st.integers(delivery.failed_attempts, 127))
    delivery.lost_leases = data.draw(st.integers(0, 3))
    if delivery.failed_attempts or delivery.lost_leases:
        counts[delivery.offset] = (delivery.failed_attempts, delivery.lost_leases)
    else:
        counts.pop(delivery.offset, None)


# --- the promise that it can be committed ---


_FIXED = 1 + 4 * 9 + 2 * 2
"""The fixed part: see the argument at the head of the module."""


def test_the_bound_counts_each_part_as_the_argument_says() -> None:
    window = a_window()
    assert window.committed_bytes_bound == _FIXED
    # Distances of 0, 100, 100: one byte each, for the attempts and for the range before.
    first, second, _ = (tracked(window, offset) for offset in (0, 100, 200))
    assert window.committed_bytes_bound == _FIXED + 3 * (2 * 1 + 3)
    # From 0 to 200 is one of two bytes.
    finish(window, second)
    assert window.committed_bytes_bound == _FIXED + (2 * 1 + 3) + (2 * 2 + 3)
    # The first has no distance.
    finish(window, first)
    assert window.committed_bytes_bound == _FIXED + (2 * 1 + 3)


def test_the_bound_counts_what_was_resumed_until_it_has_been_read_again() -> None:
    # Ranges of 2 bytes, counts of 3 bytes; the offsets themselves would need more.
    window = a_window(AckState(100, ((101, 102), (104, 105)), ((100, 1, 0), (103, 0, 1), (110, 1, 3))))
    resumed = 2 * 2 + 3 * 3
    assert window.committed_bytes_bound == _FIXED + resumed
    tracked(window, 100)
    assert window.committed_bytes_bound == _FIXED + (2 + 3) + resumed - 3
    tracked(window, 103)
    assert window.committed_bytes_bound == _FIXED + 2 * (2 + 3) + resumed - (3 + 2 + 3)


@pytest.mark.parametrize("widest_gap", [1, 300, 3 * 4096, 2**50])
@pytest.mark.parametrize("seed", range(4))
def test_a_full_window_s_state_fits_into_an_offset_commit_whatever_is_done_or_fails(widest_gap: int, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a repeatable choice of cases, not a secret
    log = list(accumulate((rng.randint(1, widest_gap) for _ in range(8000)), initial=rng.randrange(2**10)))
    state = AckState()
    for _ in range(4):
        window = a_window(state)
        for offset in log[bisect_left(log, state.floor) :]:
            if not window.room:
                break
            delivery = window.track(offset, f"case-{offset}", 1)
            if delivery is not None and rng.random() < 0.3:
                finish(window, delivery)
        assert len(window.undone) > 50
        for step, delivery in enumerate(rng.sample(window.undone, len(window.undone) * 3 // 4)):
            delivery.failed_attempts, delivery.lost_leases = 127, 3
            if rng.random() < 0.5:
                finish(window, delivery)
            if step % 10 == 0:
                state = window.ack_state()
                assert binary_bytes(state) <= window.committed_bytes_bound
                assert len(state.encode()) <= MOST


@given(
    gaps=st.lists(st.integers(0, 55).map(lambda bits: 2**bits), min_size=1, max_size=6),
    finished=st.lists(yes_or_no, min_size=1, max_size=7),
    counts=st.lists(st.tuples(st.integers(0, 127), st.integers(0, 3)), min_size=1, max_size=5),
)
@settings(max_examples=60)
def test_at_any_gaps_and_with_any_counts_a_full_window_s_state_fits(
    gaps: list[int], finished: list[bool], counts: list[tuple[int, int]]
) -> None:
    """The patterns repeat over the window, so that it is full of them."""
    window, offset = a_window(), 0
    while window.room and offset < 2**62:
        delivery = tracked(window, offset)
        number = len(window.undone)
        delivery.failed_attempts, delivery.lost_leases = counts[number % len(counts)]
        offset += gaps[number % len(gaps)]
    for number, delivery in enumerate(list(window.undone)):
        if finished[number % len(finished)]:
            finish(window, delivery)
        if number % 50 == 0:
            assert binary_bytes(window.ack_state()) <= window.committed_bytes_bound
    state = window.ack_state()
    assert binary_bytes(state) <= window.committed_bytes_bound
    assert len(state.encode()) <= MOST


def test_the_worst_state_of_a_full_window_fits() -> None:
    window = a_window()
    offset = 0
    while window.room:
        counted(window, offset)
        offset += 2**7
    for delivery in window.undone[1::2]:
        finish(window, delivery)

    assert len(window.undone) > 200
    assert len(window.ack_state().encode()) <= MOST


@pytest.mark.parametrize(("distance", "records"), [(1, 576), (4096, 412), (16 * 4096, 321)])
def test_a_window_has_room_for_hundreds_of_records_each_in_a_pack_of_its_own(distance: int, records: int) -> None:
    """On Kafka two packs are 4096 apart. The rest of the budget is what the next record may need at the most."""
    window = a_window()
    tracked_so_far = 0
    while window.room:
        counted(window, tracked_so_far * distance)
        tracked_so_far += 1
    assert tracked_so_far == records
    if distance > 1:
        # The worst case: something is done between any two.
        for delivery in window.undone[1:]:
            delivery.done_before = True
    assert len(window.ack_state().encode()) <= MOST


def test_room_is_left_for_at_least_one_record_when_nothing_is_undone() -> None:
    spans = (*((offset, offset) for offset in range(1, 2 * 1532 + 1, 2)), (4000, 4000))
    window = a_window(AckState(0, spans))
    assert len(window.ack_state().encode()) == MAX_TEXT_BYTES
    assert window.room == 1

    delivery = tracked(window, 0)
    assert window.room == 0
    delivery.failed_attempts = delivery.lost_leases = 1
    finish(window, delivery)
    assert window.room == 1


def test_finished_records_make_room_again() -> None:
    window = a_window()
    empty = window.room
    deliveries = [tracked(window, offset) for offset in range(100)]
    assert window.room < empty

    for delivery in deliveries:
        finish(window, delivery)
    assert window.room == empty
    assert window.committed_bytes_bound == a_window().committed_bytes_bound


def test_what_was_resumed_costs_nothing_once_it_has_been_read_again() -> None:
    window = a_window(AckState(10, ((12, 14), (17, 17)), ((10, 3, 0), (15, 1, 3))))
    for offset in (10, 11, 15, 16):
        finish(window, tracked(window, offset))
    window.pass_to(19)

    assert window.ack_state() == AckState(19)
    assert window.committed_bytes_bound == a_window().committed_bytes_bound
