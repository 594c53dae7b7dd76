"""An agency uses as much as it may, and no agency's use counts against another."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import DirectoryUnavailable, QuotaExceeded
from broker.core.leasing.terms import Room
from broker.core.quota import QuotaLimits
from broker.services.quotas import Quotas, limits_in_force
from tests.support.pki import ManualClock, SamplePki

if TYPE_CHECKING:
    from broker.core.policy import Directory


ROOM = Room(10, 1000)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


class Directories:
    """The directory in force, which changes."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.expired = False

    def give(self, agency: str, limits: dict[str, int]) -> None:
        agencies = dict(self.directory.agencies)
        agencies[agency] = replace(agencies[agency], limits=limits)
        self.directory = replace(self.directory, agencies=agencies)

    def current(self) -> Directory:
        if self.expired:
            message = "the directory has expired"
            raise DirectoryUnavailable(message)
        return self.directory


def quotas(**limits: float) -> Quotas:
    return Quotas(lambda _: QuotaLimits(**limits), ManualClock(1_000_000))  # type: ignore[arg-type] # whole numbers are given as such


def test_connections_count_while_they_have_calls_and_for_their_agency_only() -> None:
    each = quotas(connections=2)
    with ExitStack() as running:
        running.enter_context(each.call("police", "one"))
        running.enter_context(each.call("police", "two"))
        # Another call on one of them is no other connection.
        with each.call("police", "one"):
            pass
        with pytest.raises(QuotaExceeded, match="connections"), each.call("police", "three"):
            pass
        with each.call("ministry", "three"):
            pass
    # A refused call has used up nothing.
    with each.call("police", "three"), each.call("police", "four"):
        pass


def test_calls_count_while_they_run_and_for_their_agency_only() -> None:
    each = quotas(calls=2)
    with ExitStack() as running:
        for _ in range(2):
            running.enter_context(each.call("police", "one"))
        with pytest.raises(QuotaExceeded), each.call("police", "one"):
            pass
        with each.call("ministry", "one"):
            pass
    with each.call("police", "one"):
        pass


def test_a_call_that_fails_counts_no_longer() -> None:
    each = quotas(calls=1)
    with pytest.raises(ZeroDivisionError), each.call("police", "one"):
        raise ZeroDivisionError
    with each.call("police", "one"):
        pass


def test_subscriptions_count_until_they_are_closed() -> None:
    each = quotas(subscriptions=1)
    first = each.open_subscription("police")
    with pytest.raises(QuotaExceeded):
        each.open_subscription("police")
    first.close()
    each.open_subscription("police")


def test_an_agency_has_one_long_call_at_a_time() -> None:
    each = quotas()
    with each.long_call("police"):
        with pytest.raises(QuotaExceeded), each.long_call("police"):
            pass
        with each.long_call("ministry"):
            pass
    with each.long_call("police"):
        pass


def test_bytes_under_way_count_over_all_calls_until_they_are_answered_or_their_call_ends() -> None:
    each = quotas(publishing_bytes=100)
    with each.publishing("police") as one, each.publishing("police") as other:
        one.take(1, 60)
        other.take(1, 40)
        with pytest.raises(QuotaExceeded):
            other.take(1, 1)
        one.give_back(60)
        other.take(1, 1)
        one.take(1, 30)
    with each.publishing("police") as again:
        again.take(1, 100)


def test_a_record_larger_than_the_quota_can_be_published_alone() -> None:
    each = quotas(publishing_bytes=100)
    with each.publishing("police") as share:
        share.take(1, 1000)
        with pytest.raises(QuotaExceeded):
            share.take(1, 1)


@pytest.mark.parametrize(
    ("limits", "records", "size"), [({"records_per_second": 10}, 30, 0), ({"bytes_per_second": 10}, 0, 30)]
)
def test_a_rate_says_how_long_the_next_records_wait_and_lets_a_large_batch_through(
    limits: dict[str, int], records: int, size: int
) -> None:
    clock = ManualClock(1_000_000)
    each = Quotas(lambda _: QuotaLimits(**limits), clock)
    with each.publishing("police") as share:
        share.take(records, size)
        share.give_back(size)
        assert each.rate_seconds("police") == 2
        # Two large messages that were let through together: both count, and none is refused.
        share.take(records, size)
        assert each.rate_seconds("police") == 5
        assert each.rate_seconds("ministry") == 0
        clock.value_ms += 5000
        assert each.rate_seconds("police") == 0


def test_nothing_is_kept_of_an_agency_that_uses_nothing() -> None:
    each = quotas()
    with each.call("police", "one"), each.publishing("police") as share:
        share.take(5, 500)
    holding = each.open_subscription("police")
    holding.room(700, ROOM)
    holding.close()
    assert not any((each._calls, each._subscriptions, each._publishing, each._undelivered))


def test_subscriptions_of_an_agency_share_what_it_may_hold_undelivered_and_one_that_holds_nothing_reads_a_record() -> (
    None
):
    each = quotas(undelivered_bytes=100)
    one, other = each.open_subscription("police"), each.open_subscription("police")
    assert one.room(0, ROOM) == Room(10, 100)
    assert one.room(70, ROOM) == Room(10, 30)
    assert other.room(0, ROOM) == Room(10, 30)
    assert other.room(40, ROOM) == Room(0, 0)
    assert one.room(0, Room(0, 0)) == Room(0, 0)
    assert one.room(110, ROOM) == Room(0, 0)
    assert other.room(0, ROOM) == Room(1, 1)
    assert each.open_subscription("ministry").room(0, ROOM) == Room(10, 100)
    one.close()
    assert other.room(0, ROOM) == Room(10, 100)


def test_the_directory_gives_an_agency_other_quotas_at_any_time(pki: SamplePki) -> None:
    clock, in_force = ManualClock(1_000_000), Directories(pki.directory)
    each = Quotas(limits_in_force(QuotaLimits(calls=1), in_force), clock)
    with each.call("shanxi-police", "one"):
        with pytest.raises(QuotaExceeded), each.call("shanxi-police", "one"):
            pass
        in_force.give("shanxi-police", {"calls": 2, "records_per_second": 1})
        with each.call("shanxi-police", "one"), each.call("hebei-police", "one"):
            pass
        with pytest.raises(QuotaExceeded), each.call("hebei-police", "one"), each.call("hebei-police", "one"):
            pass
    with each.publishing("shanxi-police") as share:
        share.take(3, 1)
        assert each.rate_seconds("shanxi-police") == 2
        in_force.give("shanxi-police", {})
        assert each.rate_seconds("shanxi-police") == 0
        in_force.give("shanxi-police", {"records_per_second": 5})
        share.take(1, 1)
        assert each.rate_seconds("shanxi-police") == 0


def test_without_a_directory_in_force_an_agency_has_what_the_broker_gives_to_all(pki: SamplePki) -> None:
    in_force = Directories(pki.directory)
    each = Quotas(limits_in_force(QuotaLimits(calls=1), in_force), ManualClock(1_000_000))
    in_force.expired = True
    with each.call("shanxi-police", "one"), pytest.raises(QuotaExceeded), each.call("shanxi-police", "one"):
        pass
