from __future__ import annotations

import time

import pytest

from broker.core.body import is_uuid
from broker.trust.system import LEAP_MS, SteadyClock, SystemClock, SystemEntropy


def test_a_record_id_is_a_uuid_of_version_7_that_begins_with_the_time() -> None:
    before = SystemClock().now_ms()
    ids = [SystemEntropy().record_id() for _ in range(200)]
    after = SystemClock().now_ms()
    assert all(is_uuid(text) and text[14] == "7" and text[19] in "89ab" for text in ids)
    assert all(before <= int(text.replace("-", "")[:12], 16) <= after for text in ids)
    # Each of the other bits is random: it is seen as 0 and as 1.
    numbers = [int(text.replace("-", ""), 16) & ((1 << 80) - 1) for text in ids]
    fixed = [bit for bit in range(80) if len({number >> bit & 1 for number in numbers}) == 1]
    assert fixed == [62, 63, 76, 77, 78, 79]


def test_a_record_id_has_48_bits_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # A time that needs 49 bits (after the year 10889) shows that the bits that do not fit are left out.
    monkeypatch.setattr(time, "time_ns", lambda: (1 << 48 | 0x0123456789AB) * 1_000_000 + 999_999)
    assert SystemEntropy().record_id().startswith("01234567-89ab-7")


def test_the_clock_is_this_machines() -> None:
    clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1000
    assert abs(clock.monotonic() - time.monotonic()) < 1


def test_tokens_have_the_size_asked_for_and_differ() -> None:
    tokens = {SystemEntropy().token(16) for _ in range(20)}
    assert {len(token) for token in tokens} == {16}
    assert len(tokens) == 20


class Machine:
    """A machine's time of day and its uptime. Only a leap moves them apart."""

    def __init__(self) -> None:
        self.wall, self.up = 1_700_000_000_000, 5_000.0

    def pass_seconds(self, seconds: float) -> None:
        self.wall += round(seconds * 1000)
        self.up += seconds

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.up)


def test_a_steady_clock_is_the_machines_and_follows_small_corrections() -> None:
    machine = Machine()
    clock = machine.clock()
    for correction_ms in (0, 40, -700, LEAP_MS, -LEAP_MS):
        machine.pass_seconds(60)
        machine.wall += correction_ms
        assert (clock.leap_ms(), clock.now_ms()) == (0, machine.wall)


@pytest.mark.parametrize("days", [100, -100])
def test_a_steady_clock_goes_on_by_the_uptime_when_the_machines_leaps_and_follows_it_again_when_it_is_right(
    days: int,
) -> None:
    machine = Machine()
    clock, before_ms = machine.clock(), machine.wall
    leap_ms = days * 24 * 3_600_000
    machine.wall += leap_ms
    machine.pass_seconds(10)
    assert (clock.leap_ms(), clock.now_ms()) == (leap_ms, before_ms + 10_000)
    machine.pass_seconds(3_600)
    assert (clock.leap_ms(), clock.now_ms()) == (leap_ms, before_ms + 3_610_000)
    machine.wall -= leap_ms
    assert (clock.leap_ms(), clock.now_ms()) == (0, machine.wall)


def test_the_smallest_leap_is_one_and_a_small_step_after_it_is_none() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += LEAP_MS + 1
    assert clock.leap_ms() == LEAP_MS + 1
    machine.wall -= 1
    assert (clock.leap_ms(), clock.now_ms()) == (0, machine.wall)


def test_a_steady_clock_of_this_machine_says_its_time() -> None:
    clock, before = SteadyClock(), SystemClock().now_ms()
    assert before <= clock.now_ms() <= SystemClock().now_ms()
    assert clock.leap_ms() == 0


def test_a_stop_between_the_two_readings_is_no_leap_and_moves_no_clock() -> None:
    machine = Machine()
    stopped = iter([0.0, 3_600.0])

    def wall_ms() -> int:
        machine.pass_seconds(next(stopped, 0.0))
        return machine.wall

    clock = SteadyClock(wall_ms, lambda: machine.up)
    assert (clock.leap_ms(), clock.now_ms()) == (0, machine.wall)
    machine.pass_seconds(60)
    assert (clock.leap_ms(), clock.now_ms()) == (0, machine.wall)
