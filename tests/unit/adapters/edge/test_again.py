from __future__ import annotations

import pytest
from tenacity import RetryCallState

from adapters.edge.again import attempts
from broker.core.errors import Internal, LogCorrupt, PeerRevoked, QuotaExceeded, RightDenied, Unavailable

LONGEST = 0.01


async def test_faults_that_can_pass_are_waited_out_and_the_first_that_cannot_is_raised() -> None:
    of_the_broker = [LogCorrupt("damaged"), Internal("a defect"), PeerRevoked("renew it")]
    faults = [Unavailable("away"), OSError("full"), *of_the_broker, Unavailable("still"), None, RightDenied("not you")]
    waits = []

    async def try_each() -> None:
        async for attempt in attempts(LONGEST):
            waits.append(attempt.retry_state.upcoming_sleep)
            with attempt:
                if (fault := faults[len(waits) - 1]) is not None:
                    raise fault

    with pytest.raises(RightDenied):
        await try_each()

    assert len(waits) == len(faults)
    assert max(waits) <= LONGEST


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("300", 0.3, 0.5), ("99999999", 60.0, 60.2), ("", 0.0, 0.2), ("-1", 0.0, 0.2), ("soon", 0.0, 0.2)],
)
async def test_no_attempt_comes_before_the_time_that_the_broker_names_within_a_bound(
    said: str, least: float, most: float
) -> None:
    retrying = attempts(0.2)
    state = RetryCallState(retrying, None, (), {})
    state.set_exception((QuotaExceeded, QuotaExceeded("too much", retry_after_ms=said), None))
    assert least <= retrying.wait(state) <= most


async def test_who_got_on_begins_with_short_waits_again() -> None:
    waits = []

    async for attempt in attempts(1):
        waits.append(attempt.retry_state.upcoming_sleep)
        if len(waits) == 10:
            break
        with attempt:
            attempt.retry_state.attempt_number = 1

    assert max(waits) <= 0.2
