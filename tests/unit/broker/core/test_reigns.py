"""Reigns: the audit stream alone says whose pointers count, and everyone who reads it finds the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.events import AuditEvent, DeadLetterDiscarded, DeadLetterMade, RecordsParked, SetAsideEnded, TakenOver
from broker.core.reigns import RANDOM_BYTES, Reigns, next_reign, of_reign
from broker.core.streams import Position, StreamPartition
from broker.ports import SubscriptionKey
from broker.services.auditindex import AuditIndex, Folded, Scope

if TYPE_CHECKING:
    from broker.core.events import Pointer

    Told: TypeAlias = Pointer | TakenOver

DNA_0 = StreamPartition("dna", 0)
KEY = SubscriptionKey("lab", "samples")
steps = st.lists(st.tuples(st.sampled_from("tdpe"), st.booleans(), st.integers(0, 3)), max_size=30)


def pointer(what: str, offset: int, reign: int) -> Pointer:
    position = Position(*DNA_0, offset)
    match what:
        case "d":
            return DeadLetterMade(position, KEY.name, 2, KEY.agency, "case", reign=reign)
        case "p":
            return RecordsParked(position, KEY.name, KEY.agency, "case", (), reign)
    return SetAsideEnded(position, KEY.name, KEY.agency, (), reign)


def told(event: Told | DeadLetterDiscarded) -> AuditEvent:
    return AuditEvent(0, "", event)


@given(st.integers(0, 2**50), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_new_reign_is_above_every_earlier_one_and_fits_into_64_bits(latest: int, random: bytes) -> None:
    assert latest < next_reign(latest, random) < 2**63


@settings(deadline=None)
@given(steps)
def test_of_two_writers_only_the_last_to_take_over_counts(steps: list[tuple[str, bool, int]]) -> None:
    """They write in any order: each as if it had the partition."""
    index, reigns = AuditIndex(None, "log"), Reigns()
    ours = {True: 0, False: 0}
    rightful: dict[int, str] = {}
    for number, (what, who, offset) in enumerate(steps):
        event: Told
        if what == "t":
            ours[who] = next_reign(max(ours.values()), number.to_bytes(RANDOM_BYTES))
            event = TakenOver(DNA_0, KEY.name, KEY.agency, ours[who])
        else:
            event = pointer(what, offset, ours[who])
        counts = ours[who] in {0, max(ours.values())}
        index.fold([told(event)], Folded(number, b""))
        assert reigns.make_void(of_reign(event)) is not counts
        assert index.reign(KEY, DNA_0) == max(ours.values())
        if counts and (what == "d" or (what == "p" and offset not in rightful)):
            rightful[offset] = what
        elif counts and what == "e" and rightful.get(offset) == "p":
            del rightful[offset]
        # Nothing but what counts is in the index.
        dead = [item.position.offset for item in index.page(Scope(), None, 100)]
        assert dead == sorted(offset for offset, what in rightful.items() if what == "d")
        assert index.tally(Scope()).parked == list(rightful.values()).count("p")
    index.close()


def test_what_a_person_decides_counts_under_every_reign_and_so_do_old_events() -> None:
    index = AuditIndex(None, "log")
    events = [TakenOver(DNA_0, KEY.name, KEY.agency, 7), pointer("d", 0, 0), pointer("d", 1, 7)]
    index.fold([told(event) for event in events], Folded(0, b""))
    assert index.tally(Scope()).dead_letters == 2
    decisions = [DeadLetterDiscarded(Position(*DNA_0, at), KEY.name, KEY.agency, "case", "CODE") for at in range(2)]
    index.fold([told(event) for event in decisions], Folded(1, b""))
    assert index.tally(Scope()).dead_letters == 0
    index.close()


def test_a_pointer_begins_its_reign_if_the_takeover_is_damaged() -> None:
    index = AuditIndex(None, "log")
    events = [TakenOver(DNA_0, KEY.name, KEY.agency, 7), pointer("d", 0, 9), pointer("d", 1, 7)]
    index.fold([told(event) for event in events], Folded(0, b""))
    assert [item.position.offset for item in index.page(Scope(), None, 100)] == [0]
    index.close()


def test_reigns_are_apart_by_agency_subscription_and_partition() -> None:
    index = AuditIndex(None, "log")
    others = [
        TakenOver(DNA_0, KEY.name, "other", 7),
        TakenOver(DNA_0, "other", KEY.agency, 7),
        TakenOver(StreamPartition("dna", 1), KEY.name, KEY.agency, 7),
    ]
    index.fold([told(event) for event in [*others, pointer("d", 0, 5)]], Folded(0, b""))
    assert index.tally(Scope()).dead_letters == 1
    assert index.reign(KEY, DNA_0) == 5
    index.start_again()
    assert index.reign(KEY, DNA_0) == 0
    index.close()
