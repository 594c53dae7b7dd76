from __future__ import annotations

import re
from itertools import product

import pytest

from broker.core.errors import Internal
from broker.core.leasing import delivery as module
from broker.core.leasing.delivery import TRANSITIONS, ConsumerAccount, CreditStep, Delivery, Event, State
from broker.core.streams import StreamPartition

UNDONE = {State.HELD, State.READY, State.LEASED, State.DELAYED}
FINAL = {State.DONE, State.DEAD, State.PARKED, State.RELEASED}


def a_delivery(state: State) -> Delivery:
    return Delivery(
        partition=StreamPartition("cases", 0),
        offset=7,
        ordering_key="case-1",
        size_bytes=100,
        failed_attempts=0,
        lost_leases=0,
        attempt=0,
        done_before=False,
        state=state,
    )


def documented() -> dict[tuple[State, Event], State]:
    """The table in the module's docstring, so that it and the code stay equal."""
    table = {}
    for state, event, following in re.findall(r"^(\w+) +([A-Z]+) +([A-Z]+) +\w", module.__doc__ or "", re.MULTILINE):
        for each in UNDONE if state == "undone" else {State[state]}:
            table[each, Event[event]] = State[following]
    return table


def test_the_documented_table_is_the_one_in_force() -> None:
    assert documented() == TRANSITIONS
    assert len(TRANSITIONS) == 18


@pytest.mark.parametrize(("state", "event"), TRANSITIONS, ids=lambda item: item.name)
def test_each_row_leads_to_its_next_state(state: State, event: Event) -> None:
    delivery = a_delivery(state)

    delivery.on(event)

    assert delivery.state is documented()[state, event]


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in product(State, Event) if pair not in TRANSITIONS],
    ids=lambda item: item.name,
)
def test_any_other_pair_is_a_defect_and_changes_nothing(state: State, event: Event) -> None:
    delivery = a_delivery(state)

    with pytest.raises(Internal) as refusal:
        delivery.on(event)

    assert delivery.state is state
    assert refusal.value.details == {"partition": "cases/0", "offset": "7"}
    assert "case-1" not in str(refusal.value)


def test_nothing_follows_a_final_state() -> None:
    assert {state for state, _ in TRANSITIONS} == UNDONE == set(State) - FINAL


def test_a_delivery_begins_held() -> None:
    partition = StreamPartition("dna", 1)
    delivery = Delivery(partition, 0, "case-1", 1, failed_attempts=0, lost_leases=0, attempt=0, done_before=False)

    assert delivery.state is State.HELD


@pytest.mark.parametrize(
    ("credit", "records", "size_bytes", "fits"),
    [
        (9, 0, 50, True),
        (9, 0, 5000, True),
        (9, 1, 50, True),
        (9, 1, 51, False),
        (9, 2, 0, False),
        (9, 2, 1, False),
        (1, 0, 50, True),
        (1, 1, 50, False),
    ],
)
def test_a_record_fits_within_all_limits_or_when_nothing_is_outstanding(
    credit: int,
    records: int,
    size_bytes: int,
    fits: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    consumer = ConsumerAccount("lab-1", 2, 100, credit, CreditStep(credit, 1, 0), records, 50 * records)

    assert consumer.has_room_for(size_bytes) is fits
