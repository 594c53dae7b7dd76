from __future__ import annotations

import pytest

from adapters.edge.again import attempts
from broker.core.errors import Internal, LogCorrupt, PeerRevoked, RightDenied, Unavailable

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


async def test_who_got_on_begins_with_short_waits_again() -> None:
    waits = []

    async for attempt in attempts(1):
        waits.append(attempt.retry_state.upcoming_sleep)
        if len(waits) == 10:
            break
        with attempt:
            attempt.retry_state.attempt_number = 1

    assert max(waits) <= 0.2
