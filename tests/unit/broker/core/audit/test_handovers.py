"""Who was handed what: every agency's share, and a list that ends somewhere."""

from __future__ import annotations

from uuid import UUID

from broker.core.audit.findings import RecordedDelivery
from broker.core.audit.handovers import MAX_LISTED, AgencyShare, HandedOver, Handovers, handovers
from broker.core.streams import Position

TOLD, LATER = Position("audit", 0, 3), Position("audit", 0, 9)
RECORD = UUID("01990000-0000-7000-8000-0000000000aa")


def at(offset: int) -> Position:
    return Position("cases", 0, offset)


def test_deliveries_of_a_record_to_an_agency_are_one_line_for_what_was_withheld_and_are_counted() -> None:
    deliveries = [RecordedDelivery("ngo", at(1), TOLD, ("identity",)), RecordedDelivery("lab", at(1), TOLD)]
    deliveries += [RecordedDelivery("ngo", at(1), LATER, ("identity",)), RecordedDelivery("ngo", at(2), LATER)]
    # What was withheld at first was handed over later.
    deliveries += [RecordedDelivery("ngo", at(1), LATER)]
    assert handovers(deliveries, {RECORD.bytes: at(1), bytes(16): at(7)}) == Handovers(
        (AgencyShare("lab", 1, 0), AgencyShare("ngo", 4, 2)),
        (
            HandedOver("ngo", at(1), str(RECORD), ("identity",), TOLD, 2),
            HandedOver("lab", at(1), str(RECORD), (), TOLD, 1),
            HandedOver("ngo", at(2), "", (), LATER, 1),
            HandedOver("ngo", at(1), str(RECORD), (), LATER, 1),
        ),
        0,
    )


def test_a_long_list_ends_and_the_rest_is_counted() -> None:
    deliveries = [RecordedDelivery("lab", at(number), TOLD) for number in range(MAX_LISTED + 5)]
    # One that is listed already is counted there.
    deliveries += [RecordedDelivery("lab", at(0), LATER), RecordedDelivery("ngo", at(0), LATER)]
    made = handovers(deliveries, {})
    assert (len(made.listed), made.left_out) == (MAX_LISTED, 6)
    assert made.listed[0].times == 2
    assert made.shares == (AgencyShare("lab", MAX_LISTED + 6, 0), AgencyShare("ngo", 1, 0))


def test_a_bundle_without_deliveries_has_none() -> None:
    assert handovers([], {RECORD.bytes: at(1)}) == Handovers((), (), 0)
