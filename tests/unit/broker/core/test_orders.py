"""Which orders about subscriptions count in an audit: those that have effect in the brokers, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.core.bundle import PartitionRecords
from broker.core.events import AuditEvent, Cause, SubscriptionBegun, SubscriptionDeleted
from broker.core.streams import StreamPartition
from broker.core.subscriptions import EARLIEST, Moved
from tests.support.pki import ManualClock, SamplePki
from tests.unit.broker.core.audit.test_judge import judge_of, told_by_audit_stream
from tests.unit.broker.core.audit.test_whole import Auditing

if TYPE_CHECKING:
    from broker.core.events import SubscriptionEvent

AUDIT_0 = StreamPartition("audit", 0)
LAB = "national-dna-database"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


def sought(number: int, skipped: int) -> SubscriptionBegun:
    moved = (Moved(StreamPartition("dna", 0), 0, skipped, skipped),)
    return SubscriptionBegun("samples", LAB, number, Cause.SOUGHT, EARLIEST, ("SampleRequest",), (), moved)


def deleted(number: int, skipped: int) -> SubscriptionDeleted:
    return SubscriptionDeleted("samples", LAB, number, (Moved(StreamPartition("dna", 0), 0, skipped, skipped),))


@pytest.mark.parametrize(
    ("records", "counted"),
    [
        ([[sought(1, 2), sought(1, 3)]], [2]),
        ([[sought(1, 2)], [sought(1, 3)]], [2]),
        ([[sought(1, 2)], [deleted(1, 3)]], [2]),
        ([[deleted(1, 3)], [sought(1, 2)]], [3]),
        ([[sought(1, 0)], [sought(1, 3)]], []),
        ([[sought(2, 2)], [sought(1, 3)], [deleted(3, 1)]], [2, 1]),
    ],
    ids=["one record", "two records", "a deletion that lost", "a deletion that won", "won without a skip", "late"],
)
async def test_the_first_order_of_a_number_counts(
    pki: SamplePki, records: list[list[SubscriptionEvent]], counted: list[int]
) -> None:
    auditing = Auditing(pki, streams=("audit",))
    auditing.start(AUDIT_0)
    for orders in records:
        clock = ManualClock(pki.now_ms + 1000)
        told = [AuditEvent(pki.now_ms, f"spiffe://case-exchange.example/agency/{LAB}/gateway", each) for each in orders]
        entry = await told_by_audit_stream(pki, clock, *told)
        auditing.audit.add_batch(judge_of(pki).judge(AUDIT_0, PartitionRecords((entry,), None)))
    report = auditing.finish()
    assert [skipped.records for skipped in report.skipped] == counted
