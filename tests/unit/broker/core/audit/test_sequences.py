"""Numbers that fall within a case, and gaps that a refusal explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.core.audit.findings import EntryFacts, Finding, RefusedNumbers, Severity
from broker.core.audit.sequences import COVERED_WITHIN_MS, CaseOrder, Sequences
from broker.core.streams import Position

if TYPE_CHECKING:
    from collections.abc import Iterator

CASE, OTHER_CASE = "case-1", "case-2"


def facts(
    offset: int,
    number: int,
    *,
    case: str = CASE,
    issued_ms: int = 0,
    partition: int = 0,
    system: str = "gateway",
    to: str = "lab",
    again: bool = False,
) -> EntryFacts:
    position = Position("dna", partition, offset)
    told = (position, 1000 + offset, "log", 0, f"record-{number}", "police", system, "SampleRequest", ((to, number),))
    return EntryFacts(*told, 0, case, issued_ms or number, again=again)


def falls(*records: EntryFacts) -> list[Finding]:
    order = CaseOrder()
    return [finding for record in records for finding in order.take(record)]


def test_a_number_that_falls_within_a_case_is_named_with_both_records() -> None:
    (found,) = falls(facts(0, 1), facts(1, 3), facts(2, 2), facts(3, 4))
    assert (found.code, found.severity) == ("SEQUENCE_FALLS", Severity.WARNING)
    assert (found.record_id, found.position) == ("record-2", Position("dna", 0, 2))
    assert "signed it as number 2 to lab, and the record at dna/0/1 of the same case as number 3" in found.message
    assert "issued 1 ms later" in found.message


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([facts(0, 2, case=OTHER_CASE), facts(1, 1)], id="another passes a held record and its case"),
        pytest.param([facts(0, 2), facts(1, 1, issued_ms=3)], id="it was issued again"),
        pytest.param([facts(0, 2), facts(1, 1, again=True)], id="it was published again"),
        pytest.param([facts(0, 2, again=True), facts(1, 1)], id="what was published again says nothing of others"),
        pytest.param([facts(0, 2), facts(0, 1, partition=1)], id="it is in another partition"),
        pytest.param([facts(0, 2), facts(1, 1, system="archive")], id="it is of another system"),
        pytest.param([facts(0, 2), facts(1, 1, to="ngo")], id="it is to another recipient"),
    ],
)
def test_what_an_honest_publisher_causes_is_no_fall(records: list[EntryFacts]) -> None:
    assert falls(*records) == []


def test_a_number_that_falls_was_issued_no_later() -> None:
    (found,) = falls(facts(0, 2, issued_ms=5), facts(1, 1, issued_ms=5))
    assert "issued 0 ms later" in found.message
    # A number that is there twice is another finding. The first record with it is what the next is compared with.
    assert falls(facts(0, 3, issued_ms=5), facts(1, 3, issued_ms=9), facts(2, 2, issued_ms=7)) == []
    assert falls(facts(0, 2, issued_ms=5), facts(1, 2, issued_ms=5)) == []


def gaps(*records: EntryFacts, refused: list[RefusedNumbers]) -> tuple[list[str], int]:
    sequences = Sequences(10**12, whole=False)
    for record in records:
        sequences.take(record)
    sequences.take_refusals(refused)
    messages = [finding.message for finding in sequences.findings()]
    return messages, sequences.explained


def told(*numbers: int, system: str = "gateway", to: str = "lab", count: int = 1) -> RefusedNumbers:
    return RefusedNumbers("police", system, tuple((to, number) for number in numbers), count)


def test_a_gap_that_a_refusal_explains_is_none() -> None:
    assert gaps(facts(0, 1), facts(1, 4), refused=[told(2), told(3), told(3), told(9)]) == ([], 2)


def test_each_gap_looks_only_at_its_own_refusals() -> None:
    class Numbers(set[int]):
        """Counts how often somebody reads all of them."""

        read = 0

        def __iter__(self) -> Iterator[int]:
            Numbers.read += 1
            return super().__iter__()

    sent, many = Sequences(10**12, whole=True), 100
    for place in range(many):
        sent.take(facts(place, 2 * place + 2))
    sent._refused["police", "gateway", "lab"] = Numbers(range(1, 2 * many, 2))
    assert list(sent.findings()) == []
    assert (sent.explained, Numbers.read) == (many, 1)


def test_what_no_refusal_explains_stays_a_gap() -> None:
    refused = [told(3), told(5, system="archive"), told(6, to="ngo")]
    messages, explained = gaps(facts(0, 1), facts(1, 7), refused=refused)
    assert explained == 1
    assert [message.split(" of police")[0] for message in messages] == ["number 2", "numbers 4 to 6"]
    assert not any("only counted" in message for message in messages)


def test_a_gap_says_that_refusals_were_only_counted() -> None:
    (message,), _ = gaps(facts(0, 1), facts(1, 3), refused=[told(count=40), told(system="archive", count=9)])
    assert "The exchange says that it refused 40 things that it only counted" in message
    assert message.startswith("number 2 of police/gateway to lab are not here: never sent")
    # Those of senders that the exchange did not know are added.
    unknown = RefusedNumbers("", "", (), 5)
    (message,), _ = gaps(facts(0, 1), facts(1, 3), refused=[told(count=40), told(count=1), unknown])
    assert "The exchange says that it refused 46 things that it only counted" in message


def judged(
    *numbers: tuple[int, int], whole: bool = False, made_at_ms: int = 10**9, within_ms: int = COVERED_WITHIN_MS
) -> list[tuple[str, Severity, str]]:
    """The findings for records of these numbers, each accepted so long (ms) before the bundle was made."""
    sequences = Sequences(made_at_ms, whole=whole, covered_within_ms=within_ms)
    for number, ago_ms in numbers:
        sequences.take(facts(number, number)._replace(accepted_at_ms=made_at_ms - ago_ms))
    found = list(sequences.findings())
    return [(one.code, one.severity, one.message.split(" of police")[0]) for one in found]


OLD = 2 * COVERED_WITHIN_MS


def test_only_a_whole_replay_shows_that_the_first_numbers_are_missing() -> None:
    assert judged((2, OLD), (3, OLD)) == judged((1, OLD), (2, OLD), whole=True) == []
    assert judged((1, OLD), whole=True) == []
    assert judged((3, OLD), whole=True) == [("SEQUENCE_GAP", Severity.WARNING, "numbers 1 to 2")]


def test_a_number_that_two_records_have_is_an_error() -> None:
    (found,) = judged((1, OLD), (1, OLD), (2, OLD))
    assert found[:2] == ("SEQUENCE_REPEATED", Severity.ERROR)


def test_a_gap_just_before_a_recent_number_is_not_yet_covered() -> None:
    def code(*numbers: tuple[int, int], within_ms: int = COVERED_WITHIN_MS) -> list[str]:
        return [code for code, _, _ in judged(*numbers, within_ms=within_ms)]

    edge = COVERED_WITHIN_MS
    assert code((1, OLD), (4, edge)) == ["NOT_YET_COVERED"]
    assert code((1, OLD), (4, edge + 1)) == ["SEQUENCE_GAP"]
    assert code((1, OLD), (4, 10), within_ms=9) == ["SEQUENCE_GAP"]
    assert code((1, OLD), (4, 10), within_ms=10) == ["NOT_YET_COVERED"]
    # What stands before an old number is missing, although a recent one follows.
    assert code((1, OLD), (3, OLD), (4, 0)) == ["SEQUENCE_GAP"]
    # The lowest recent number counts.
    assert code((1, OLD), (4, 0), (6, 0), (3, 0)) == ["NOT_YET_COVERED", "NOT_YET_COVERED"]
    assert code((1, OLD), (6, 0), (3, 0)) == ["NOT_YET_COVERED", "NOT_YET_COVERED"]
    assert Sequences(10**9, whole=False)._recent_from_ms == 10**9 - COVERED_WITHIN_MS
