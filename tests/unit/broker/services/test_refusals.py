"""What is told of refusals one by one, what is counted, and that neither is lost while the log fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.core.errors import CaseExchangeError, InputRefused, Internal, LogFull, PeerRevoked, RightDenied
from broker.core.events import AuditEvent, RefusalMade
from broker.services.refusals import FEW, MOST_PAIRS, Refusals
from tests.support.fakes import ListedAudit
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICE = "spiffe://x/agency/police/gateway"
LAB = "spiffe://x/agency/lab/gateway"


def denied(count: int = 1) -> list[CaseExchangeError]:
    return [RightDenied("you may not", record_id=f"record-{number}") for number in range(count)]


class FailingAudit(ListedAudit):
    """An audit trail on a log that a test fills, or that holds its answer until the test lets it go."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def record(self, events: Sequence[AuditEvent]) -> None:
        await self.go_on.wait()
        if self.full:
            message = "the disk is full"
            raise LogFull(message)
        await super().record(events)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_790_000_000_000)


@pytest.fixture
def audit() -> FailingAudit:
    return FailingAudit()


@pytest.fixture
def refusals(audit: FailingAudit, clock: ManualClock) -> Refusals:
    return Refusals(audit, clock)


def counts(audit: ListedAudit) -> list[tuple[str, str, str, int]]:
    return [
        (event.principal, event.event.reason, event.event.record_id, event.event.count)
        for event in audit.events
        if isinstance(event.event, RefusalMade)
    ]


async def test_the_first_few_are_told_one_by_one_and_the_rest_as_their_number(
    refusals: Refusals, audit: FailingAudit, clock: ManualClock
) -> None:
    began = clock.now_ms()
    for error in denied(1000):
        await refusals.tell(POLICE, [error], method="publish")
        clock.value_ms += 10
    few = [(POLICE, "RIGHT_DENIED", f"record-{number}", 1) for number in range(FEW)]
    assert counts(audit) == few
    await refusals.end_minute()
    assert counts(audit) == [*few, (POLICE, "RIGHT_DENIED", "", 1000 - FEW)]
    assert [event.at_ms - began for event in audit.events] == [*range(0, 10 * FEW, 10), 9990]


async def test_every_minute_begins_anew_and_one_without_refusals_tells_nothing(
    refusals: Refusals, audit: FailingAudit
) -> None:
    await refusals.tell(POLICE, denied(FEW + 1), method="publish")
    await refusals.end_minute()
    await refusals.end_minute()
    told = len(audit.events)
    await refusals.tell(POLICE, denied(), method="publish")
    assert told == FEW + 1
    assert counts(audit)[told:] == [(POLICE, "RIGHT_DENIED", "record-0", 1)]


async def test_a_flood_of_one_does_not_hide_another_principal_or_reason(
    refusals: Refusals, audit: FailingAudit
) -> None:
    await refusals.tell(POLICE, denied(1000), method="publish")
    await refusals.tell(LAB, denied(), method="publish")
    await refusals.tell(POLICE, [PeerRevoked("revoked")], method="publish")
    assert counts(audit)[FEW:] == [(LAB, "RIGHT_DENIED", "record-0", 1), (POLICE, "PEER_REVOKED", "", 1)]


async def test_principals_without_number_are_counted_in_bounded_memory(refusals: Refusals, audit: FailingAudit) -> None:
    principals = [f"spiffe://x/agency/police/{number}" for number in range(3 * MOST_PAIRS)]
    for principal in principals:
        await refusals.tell(principal, denied(2), method="publish")
    assert len(refusals._counts) == MOST_PAIRS + 1
    await refusals.end_minute()
    assert counts(audit)[-1][:2] == ("", "RIGHT_DENIED")
    assert sum(count for *_, count in counts(audit)) == 2 * len(principals)
    assert len(refusals._counts) == 0


async def test_what_the_log_does_not_take_is_counted_and_told_later(
    refusals: Refusals, audit: FailingAudit, clock: ManualClock
) -> None:
    audit.full = True
    with capture_logs() as logs:
        await refusals.tell(POLICE, denied(FEW + 2), method="publish")
        await refusals.end_minute()
    assert [line["reason"] for line in logs if line["log_level"] == "error"] == ["LOG_FULL", "LOG_FULL"]
    audit.full = False
    clock.value_ms += 60_000
    await refusals.end_minute()
    assert audit.events == [AuditEvent(clock.now_ms() - 60_000, POLICE, RefusalMade("RIGHT_DENIED", "", FEW + 2))]


@pytest.mark.parametrize("full", [False, True])
async def test_a_caller_that_goes_away_leaves_its_refusal_behind(
    refusals: Refusals, audit: FailingAudit, *, full: bool
) -> None:
    audit.full = full
    audit.go_on.clear()
    caller = asyncio.create_task(refusals.tell(POLICE, denied(), method="publish"))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    audit.go_on.set()
    await refusals.write()
    audit.full = False
    await refusals.write()
    assert [(principal, reason, count) for principal, reason, _, count in counts(audit)] == [
        (POLICE, "RIGHT_DENIED", 1)
    ]


async def test_the_operator_hears_of_every_reason_and_auditors_of_security_events(
    refusals: Refusals, audit: FailingAudit
) -> None:
    with capture_logs() as logs:
        await refusals.tell(POLICE, [InputRefused("no message")] * (FEW + 3), method="/a/B")
        await refusals.tell(POLICE, [Internal("a defect")], method="/a/B", cause="ValueError at x.py:1")
        await refusals.end_minute()
    one = {"event": "refused", "log_level": "info", "principal": POLICE, "method": "/a/B"}
    assert logs == [
        *[{**one, "reason": "INPUT_REFUSED", "cause": ""}] * FEW,
        {**one, "log_level": "error", "reason": "INTERNAL", "cause": "ValueError at x.py:1"},
        {
            "event": "more was refused",
            "log_level": "info",
            "principal": POLICE,
            "reason": "INPUT_REFUSED",
            "count": 3,
        },
    ]
    assert audit.events == []
