"""What numbers stand for, whoever says so: an agency's own numbers are its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapters.base import DecodedRecord
from adapters.edge.profile import Route
from adapters.edge.routing import draft_of, learn, learn_delivered, references_of, reply_draft, supersede
from adapters.edge.spool import Spool
from broker.core.body import Body, Recipient
from broker.core.errors import InputRefused
from caseexchange.records.v1 import case_pb2, dna_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adapters.base import Record

NUMBER = "SYN-A1"
ROUTES = {kind: Route(stream="cases", recipients=(), purpose="p") for kind in ("CaseRecord", "Closure", "StrProfile")}
CASE = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.db")
    yield opened
    opened.close()


def case_of(record: Record, spool: Spool) -> str:
    return draft_of(DecodedRecord(record, NUMBER, ""), ROUTES, spool).case_id


def corrected(spool: Spool) -> str:
    correction = case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_WITHDRAW)
    supersede(DecodedRecord(correction, NUMBER, ""), spool)
    return correction.target_record_id


def test_a_record_of_another_agency_does_not_take_over_a_number_of_our_own(spool: Spool) -> None:
    own = case_of(CASE, spool)
    learn(CASE, NUMBER, own, "our-record", spool)
    assert not learn_delivered(CASE, "their-case", "their-record", spool)
    assert case_of(case_pb2.Closure(), spool) == own
    assert corrected(spool) == "our-record"


def test_a_record_that_came_first_does_not_take_the_number_of_a_case_that_we_open(spool: Spool) -> None:
    assert learn_delivered(CASE, "their-case", "their-record", spool)
    own = case_of(CASE, spool)
    assert own != "their-case"
    learn(CASE, NUMBER, own, "our-record", spool)
    assert case_of(case_pb2.Closure(), spool) == own


def test_our_correction_names_our_record_and_not_the_newest_of_its_case(spool: Spool) -> None:
    learn(CASE, NUMBER, "case", "our-record", spool)
    assert learn_delivered(dna_pb2.NoMatchResult(barcode=NUMBER), "case", "their-record", spool)
    assert corrected(spool) == "our-record"


def test_a_correction_does_not_become_the_record_of_its_case(spool: Spool) -> None:
    learn(CASE, NUMBER, "case", "our-record", spool)
    learn(case_pb2.Correction(target_record_id="our-record"), NUMBER, "case", "our-correction", spool)
    assert corrected(spool) == "our-record"


def test_a_case_stays_one_by_whichever_of_its_numbers_the_next_record_speaks_of_it(spool: Spool) -> None:
    learn(dna_pb2.SampleRequest(barcode="SYN-BLD-1"), NUMBER, "case", "our-record", spool)
    for number in (NUMBER, "SYN-BLD-1"):
        draft = draft_of(DecodedRecord(case_pb2.Closure(), number, ""), ROUTES, spool)
        assert (draft.case_id, draft.in_reply_to) == ("case", "our-record")


def test_a_reply_s_case_is_not_what_no_number_stands_for(spool: Spool) -> None:
    learn(case_pb2.Closure(), "", "case", "our-reply", spool)
    assert spool.own_reference("") is None


@pytest.mark.parametrize(
    ("record", "numbers"),
    [
        (CASE, (NUMBER,)),
        (dna_pb2.SampleRequest(barcode="SYN-BLD-1"), ("SYN-BLD-1",)),
        (dna_pb2.StrProfile(barcode="SYN-BLD-1", case_number="other"), ("SYN-BLD-1",)),
        (dna_pb2.NoMatchResult(barcode="SYN-BLD-1"), ("SYN-BLD-1",)),
        (dna_pb2.MatchNotification(match_id="SYN-M1", barcodes=["other"]), ("SYN-M1",)),
        (notice_pb2.PublicNotice(notice_id="SYN-N1"), ("SYN-N1",)),
        (case_pb2.Tip(local_id="SYN-T1"), ()),
        (case_pb2.Closure(local_id=NUMBER), ()),
        (case_pb2.Correction(target_record_id="other", replacement=CASE), ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_tells_the_numbers_by_which_its_case_will_be_spoken_of(
    record: Record, numbers: tuple[str, ...], spool: Spool
) -> None:
    assert references_of(record) == numbers
    assert learn_delivered(record, "case", "their-record", spool)
    assert [spool.reference(number) for number in numbers] == [("case", "their-record") for _ in numbers]


def test_a_number_that_was_withheld_is_not_remembered(spool: Spool) -> None:
    assert learn_delivered(dna_pb2.StrProfile(), "case", "their-record", spool)
    assert spool.reference("") is None


def test_a_draft_says_what_the_route_and_the_record_say(spool: Spool) -> None:
    learn(CASE, NUMBER, "case", "our-record", spool)
    route = Route(stream="cases", recipients=("hebei-police", "child-aid-ngo"), purpose="child-rescue")
    correction = case_pb2.Correction(target_record_id="our-record", kind=case_pb2.CORRECTION_KIND_WITHDRAW)
    for number in (1, 2):
        draft = draft_of(DecodedRecord(correction, NUMBER, ""), {"Correction": route}, spool)
        assert (draft.kind, draft.stream, draft.purpose) == ("Correction", "cases", "child-rescue")
        assert draft.recipients == (Recipient("hebei-police", number), Recipient("child-aid-ngo", number))
        assert (draft.case_id, draft.in_reply_to, draft.supersedes) == ("case", "", "our-record")
        (section,) = draft.sections
        assert (section.name, section.type) == ("correction", "caseexchange.records.v1.Correction")
        assert case_pb2.Correction.FromString(section.content) == correction


def test_a_reply_stands_in_the_case_of_what_it_answers_and_corrects_nothing(spool: Spool) -> None:
    answered = Body(
        record_id="their-record",
        kind="SampleRequest",
        stream="dna",
        case_id="their-case",
        publisher="shanxi-police",
        system="gateway",
        recipients=(Recipient("national-dna-database", 1),),
        issued_at_ms=0,
        expires_at_ms=None,
        in_reply_to="",
        supersedes="",
        purpose="dna-matching",
        signers=(),
        sections=(),
    )
    route = Route(stream="dna", recipients=("shanxi-police",), purpose="dna-matching")
    draft = reply_draft(dna_pb2.NoMatchResult(barcode="SYN-BLD-1"), route, answered, spool)
    assert (draft.kind, draft.case_id, draft.in_reply_to) == ("NoMatchResult", "their-case", "their-record")
    assert (draft.recipients, draft.supersedes) == ((Recipient("shanxi-police", 1),), "")


def test_what_cannot_be_routed_or_corrected_is_refused(spool: Spool) -> None:
    with pytest.raises(InputRefused, match=r"no \[routes.Tip\]"):
        draft_of(DecodedRecord(case_pb2.Tip(), NUMBER, ""), ROUTES, spool)
    with pytest.raises(InputRefused, match="names no case"):
        draft_of(DecodedRecord(CASE, "", ""), ROUTES, spool)
    with pytest.raises(InputRefused, match="none of its case is known"):
        corrected(spool)


def test_an_answer_joins_the_case_of_what_it_answers(spool: Spool) -> None:
    assert learn_delivered(dna_pb2.SampleRequest(barcode=NUMBER), "their-case", "their-record", spool)
    draft = draft_of(DecodedRecord(dna_pb2.StrProfile(barcode=NUMBER), NUMBER, ""), ROUTES, spool)
    assert (draft.case_id, draft.in_reply_to) == ("their-case", "their-record")


def test_a_number_that_two_others_use_stays_the_first_ones(spool: Spool) -> None:
    request = dna_pb2.SampleRequest(barcode=NUMBER)
    assert learn_delivered(request, "first-case", "first", spool)
    assert not learn_delivered(request, "second-case", "second", spool)
    assert case_of(dna_pb2.StrProfile(barcode=NUMBER), spool) == "first-case"
