"""What a round tells the auditors."""

from __future__ import annotations

from broker.core.envelope import BODY_TYPE, Envelope
from broker.core.events import AuditEvent, DeadLetterMade, DeliveryConfirmed, DeliveryMade, DeliveryRefused
from broker.core.identity import Principal
from broker.core.streams import Position
from broker.ports import SubscriptionKey
from broker.services.deliveries import DeliveredCopy
from broker.services.round import Acked, Consumer, GivenUp, Round
from tests.support.records import CASE

LAB = Principal("case-exchange.example", "national-dna-database", "gateway")
KEY = SubscriptionKey("national-dna-database", "samples")
ENVELOPE = Envelope(BODY_TYPE, b"", (), ())


def copy(partition: int, offset: int, attempt: int = 1, withheld: tuple[str, ...] = ()) -> DeliveredCopy:
    return DeliveredCopy(offset, Position("dna", partition, offset), 0, attempt, ENVELOPE, withheld)


def test_what_differs_only_in_its_offset_shares_an_event() -> None:
    one, other = Consumer("1", LAB), Consumer("2", LAB)
    copies = [copy(0, 5), copy(0, 3), copy(1, 4), copy(0, 6, attempt=2), copy(0, 7, withheld=("identity",)), copy(0, 9)]
    done = Round(
        deliveries=[*((one, each) for each in copies), (other, copy(0, 8))],
        acked=[
            Acked(one, 1, Position("dna", 0, 2)),
            Acked(one, 2, Position("dna", 1, 2)),
            Acked(one, 4, Position("dna", 0, 4), "SIGNATURE_INVALID", "shanxi-police"),
            Acked(one, 3, Position("dna", 0, 1)),
            Acked(one, 5, Position("dna", 0, 6), "TIME_INVALID"),
            Acked(one, 6, Position("dna", 0, 3), "SIGNATURE_INVALID", "shanxi-police"),
            Acked(one, 7, Position("dna", 0, 7), "SIGNATURE_INVALID", "hebei-police"),
        ],
        dead=[
            GivenUp(Position("dna", 0, 0), "nobody", CASE, 3),
            GivenUp(Position("dna", 0, 1), "nobody", CASE, 0, "LOG_CORRUPT"),
            GivenUp(Position("dna", 0, 2), "nobody", CASE, 0, "", "shanxi-police", "DISK_FULL"),
        ],
    )
    events = done.events(1000, KEY, {})
    assert {(event.at_ms, event.principal) for event in events} == {(1000, LAB.spiffe_id), (1000, "nobody")}
    assert [event.event for event in events] == [
        DeliveryMade(Position("dna", 0, 5), "samples", 1, (), (3, 9)),
        DeliveryMade(Position("dna", 1, 4), "samples", 1, ()),
        DeliveryMade(Position("dna", 0, 6), "samples", 2, ()),
        DeliveryMade(Position("dna", 0, 7), "samples", 1, ("identity",)),
        DeliveryMade(Position("dna", 0, 8), "samples", 1, ()),
        DeliveryConfirmed(Position("dna", 0, 2), "samples", (1,)),
        DeliveryConfirmed(Position("dna", 1, 2), "samples"),
        DeliveryRefused(Position("dna", 0, 4), "samples", "SIGNATURE_INVALID", (3,), "shanxi-police", KEY.agency),
        DeliveryRefused(Position("dna", 0, 6), "samples", "TIME_INVALID", agency=KEY.agency),
        DeliveryRefused(Position("dna", 0, 7), "samples", "SIGNATURE_INVALID", (), "hebei-police", KEY.agency),
        DeadLetterMade(Position("dna", 0, 0), "samples", 3, "national-dna-database", CASE),
        DeadLetterMade(Position("dna", 0, 1), "samples", 0, "national-dna-database", CASE, "LOG_CORRUPT"),
        DeadLetterMade(Position("dna", 0, 2), "samples", 0, KEY.agency, CASE, "", "shanxi-police", "DISK_FULL"),
    ]


def test_an_event_is_of_at_most_a_hundred_records() -> None:
    consumer = Consumer("1", LAB)
    events = Round(deliveries=[(consumer, copy(0, offset)) for offset in range(201)]).events(1000, KEY, {})
    parts = [list(event.event.positions()) for event in events if isinstance(event.event, DeliveryMade)]
    assert [len(part) for part in parts] == [100, 100, 1]
    assert [at.offset for part in parts for at in part] == list(range(201))
    assert events[2] == AuditEvent(1000, LAB.spiffe_id, DeliveryMade(Position("dna", 0, 200), "samples", 1, ()))
