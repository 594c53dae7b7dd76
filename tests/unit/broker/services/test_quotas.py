"""An agency uses as much as it may, and no agency's use counts against another."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from broker.core.errors import QuotaExceeded
from broker.services.quotas import QuotaLimits, Quotas
from tests.support.pki import ManualClock


def quotas(**limits: float) -> Quotas:
    return Quotas(QuotaLimits(**limits), ManualClock(1_000_000))  # type: ignore[arg-type] # whole numbers are given as such


def test_calls_count_while_they_run_and_for_their_agency_only() -> None:
    each = quotas(calls=2)
    with ExitStack() as running:
        for _ in range(2):
            running.enter_context(each.call("police"))
        with pytest.raises(QuotaExceeded), each.call("police"):
            pass
        with each.call("ministry"):
            pass
    with each.call("police"):
        pass


def test_a_call_that_fails_counts_no_longer() -> None:
    each = quotas(calls=1)
    with pytest.raises(ZeroDivisionError), each.call("police"):
        raise ZeroDivisionError
    with each.call("police"):
        pass


def test_subscriptions_count_until_they_are_closed() -> None:
    each = quotas(subscriptions=1)
    each.open_subscription("police")
    with pytest.raises(QuotaExceeded):
        each.open_subscription("police")
    each.close_subscription("police")
    each.open_subscription("police")


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
def test_a_rate_says_when_to_try_again_and_lets_a_large_batch_through_once(
    limits: dict[str, int], records: int, size: int
) -> None:
    clock = ManualClock(1_000_000)
    each = Quotas(QuotaLimits(**limits), clock)
    with each.publishing("police") as share:
        share.take(records, size)
        share.give_back(size)
        with pytest.raises(QuotaExceeded) as refused:
            share.take(1, 1)
        assert 2000 <= int(refused.value.details["retry_after_ms"]) <= 2001
        with each.publishing("ministry") as other:
            other.take(1, 1)
        clock.value_ms += 2000
        share.take(1, 1)


def test_nothing_is_kept_of_an_agency_that_uses_nothing() -> None:
    each = quotas()
    with each.call("police"), each.publishing("police") as share:
        share.take(5, 500)
    each.open_subscription("police")
    each.close_subscription("police")
    assert not any((each._calls, each._subscriptions, each._publishing))
