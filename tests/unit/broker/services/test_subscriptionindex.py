"""What a process knows of subscriptions from the audit stream."""

from __future__ import annotations

import pytest

from broker.core.events import AuditEvent, Cause, SubscriptionBegun
from broker.core.subscriptions import EARLIEST
from broker.ports import SubscriptionKey
from broker.services.auditindex import AuditIndex, Folded

BY = "spiffe://case-exchange.example/agency/lab/gateway"


@pytest.mark.parametrize(("number", "told_at"), [(0, 0), (1, 70)])
def test_what_was_acknowledged_before_the_event_of_the_first_generation_counts(number: int, told_at: int) -> None:
    """A subscription from before the events has such an event late. No earlier life of it has the number 0."""
    index = AuditIndex(None, "log")
    begun = SubscriptionBegun("samples", "lab", number, Cause.CREATED, EARLIEST, ("SampleRequest",), (), ())
    index.fold([AuditEvent(1000, BY, begun)], Folded(70, b""))
    known = index.subscriptions.get(SubscriptionKey("lab", "samples"))
    assert known is not None
    assert (known.generation.number, known.generation.told_at) == (number, told_at)
