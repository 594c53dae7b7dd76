"""What numbers stand for, whoever says so: an agency's own numbers are its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapters.base import DecodedRecord, kind_of
from adapters.edge.profile import Route
from adapters.edge.routing import draft_of, learn, learn_delivered, not_obeyed, references_of, reply_draft, supersede
from adapters.edge.spool import Spool
from broker.client.verifying import VerifiedRecord
from broker.core.body import Body, Recipient
from broker.core.errors import InputRefused
from caseexchange.records.v1 import case_pb2, dna_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adapters.base import Record

NUMBER = "SYN-A1"
ROUTES = {
    kind: Route(stream="cases", recipients=(), purpose="p")
    for kind in ("CaseRecord", "Closure", "StrProfile", "NoMatchResult")
}
CASE = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)


US, THEM, OTHERS = "national-dna-database", "shanxi-police", "hebei-police"


def body(record: Record, case: str, record_id: str, publisher: str = THEM) -> Body:
    return Body(
        record_id=record_id,
        kind=kind_of(record),
        stream="dna",
        case_id=case,
        publisher=publisher,
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
    learn(CASE, NUMBER, body(CASE, own, "our-record", US), spool)
    assert not learn_delivered(CASE, body(CASE, "their-case", "their-record"), spool)
    assert case_of(case_pb2.Closure(), spool) == own
    assert corrected(spool) == "our-record"


def test_a_record_that_came_first_does_not_take_the_number_of_a_case_that_we_open(spool: Spool) -> None:
    assert learn_delivered(CASE, body(CASE, "their-case", "their-record"), spool)
    own = case_of(CASE, spool)
    assert own != "their-case"
    learn(CASE, NUMBER, body(CASE, own, "our-record", US), spool)
    assert case_of(case_pb2.Closure(), spool) == own


def test_our_correction_names_our_record_and_not_the_newest_of_its_case(spool: Spool) -> None:
    learn(CASE, NUMBER, body(CASE, "case", "our-record", US), spool)
    assert learn_delivered(
        dna_pb2.NoMatchResult(barcode=NUMBER),
        body(dna_pb2.NoMatchResult(barcode=NUMBER), "case", "their-record"),
        spool,
    )
    assert corrected(spool) == "our-record"


def test_a_correction_does_not_become_the_record_of_its_case(spool: Spool) -> None:
    learn(CASE, NUMBER, body(CASE, "case", "our-record", US), spool)
    learn(
        case_pb2.Correction(target_record_id="our-record"),
        NUMBER,
        body(case_pb2.Correction(target_record_id="our-record"), "case", "our-correction", US),
        spool,
    )
    assert corrected(spool) == "our-record"


def test_a_case_stays_one_by_whichever_of_its_numbers_the_next_record_speaks_of_it(spool: Spool) -> None:
    learn(
        dna_pb2.SampleRequest(barcode="SYN-BLD-1"),
        NUMBER,
        body(dna_pb2.SampleRequest(barcode="SYN-BLD-1"), "case", "our-record", US),
        spool,
    )
    for number in (NUMBER, "SYN-BLD-1"):
        draft = draft_of(DecodedRecord(case_pb2.Closure(), number, ""), ROUTES, spool)
        assert (draft.case_id, draft.in_reply_to) == ("case", "our-record")


def test_a_reply_s_case_is_not_what_no_number_stands_for(spool: Spool) -> None:
    learn(case_pb2.Closure(), "", body(case_pb2.Closure(), "case", "our-reply", US), spool)
    assert spool.numbers.own_reference("") is None


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
    assert learn_delivered(record, body(record, "case", "their-record"), spool)
    assert [spool.numbers.reference(number) for number in numbers] == [("case", "their-record") for _ in numbers]


def test_a_number_that_was_withheld_is_not_remembered(spool: Spool) -> None:
    assert learn_delivered(dna_pb2.StrProfile(), body(dna_pb2.StrProfile(), "case", "their-record"), spool)
    assert spool.numbers.reference("") is None


def test_a_draft_says_what_the_route_and_the_record_say(spool: Spool) -> None:
    learn(CASE, NUMBER, body(CASE, "case", "our-record", US), spool)
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
    answered = body(dna_pb2.SampleRequest(), "their-case", "their-record")
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
    assert learn_delivered(
        dna_pb2.SampleRequest(barcode=NUMBER),
        body(dna_pb2.SampleRequest(barcode=NUMBER), "their-case", "their-record"),
        spool,
    )
    draft = draft_of(DecodedRecord(dna_pb2.StrProfile(barcode=NUMBER), NUMBER, ""), ROUTES, spool)
    assert (draft.case_id, draft.in_reply_to) == ("their-case", "their-record")


def test_a_barcode_that_two_agencies_sent_is_answered_only_for_the_one_that_is_named(spool: Spool) -> None:
    """Whoever guesses a barcode and sends it first does not get the other's result, nor gives it to him."""
    request = dna_pb2.SampleRequest(barcode=NUMBER)
    assert learn_delivered(request, body(request, "their-case", "their-request", THEM), spool)
    assert not learn_delivered(request, body(request, "other-case", "other-request", OTHERS), spool)
    with pytest.raises(InputRefused, match="AGENCY/NUMBER"):
        case_of(dna_pb2.StrProfile(barcode=NUMBER), spool)
    for agency, case in ((THEM, "their-case"), (OTHERS, "other-case")):
        profile = dna_pb2.StrProfile(barcode=f"{agency}/{NUMBER}")
        draft = draft_of(DecodedRecord(profile, profile.barcode, ""), ROUTES, spool)
        assert (draft.case_id, profile.barcode) == (case, NUMBER)
        learn(profile, f"{agency}/{NUMBER}", body(profile, case, f"profile-for-{agency}", US), spool)
    with pytest.raises(InputRefused, match="AGENCY/NUMBER"):
        case_of(dna_pb2.NoMatchResult(barcode=NUMBER), spool)


def test_a_result_for_our_barcode_from_a_stranger_does_not_take_the_barcode_from_our_case(spool: Spool) -> None:
    request, result = dna_pb2.SampleRequest(barcode=NUMBER), dna_pb2.NoMatchResult(barcode=NUMBER)
    learn(request, NUMBER, body(request, "our-case", "our-request", US), spool)
    assert learn_delivered(result, body(result, "our-case", "their-result", THEM), spool)
    assert not learn_delivered(result, body(result, "other-case", "other-result", OTHERS), spool)
    assert case_of(case_pb2.Closure(), spool) == "our-case"


def test_a_number_keeps_the_case_to_which_its_agency_gave_it_first(spool: Spool) -> None:
    request = dna_pb2.SampleRequest(barcode=NUMBER)
    assert learn_delivered(request, body(request, "first-case", "first"), spool)
    assert not learn_delivered(request, body(request, "second-case", "second"), spool)
    assert case_of(dna_pb2.StrProfile(barcode=NUMBER), spool) == "first-case"


def test_a_correction_of_a_case_supersedes_its_newest_record_and_not_its_closure_or_request(spool: Spool) -> None:
    request = dna_pb2.SampleRequest(barcode="SYN-BLD-1")
    for record, name in ((CASE, "the-case"), (CASE, "the-update"), (request, "request"), (case_pb2.Closure(), "end")):
        learn(record, NUMBER, body(record, "case", name, US), spool)
    assert corrected(spool) == "the-update"


def heard(
    word: Record, publisher: str, spool: Spool, *, case: str = "case", named: frozenset[str] = frozenset()
) -> str:
    return not_obeyed(word, VerifiedRecord(body(word, case, "word", publisher), b"", {}, (), named), spool)


def test_a_correction_counts_from_the_publisher_of_the_original_or_from_whom_the_directory_names(spool: Spool) -> None:
    word = case_pb2.Correction(target_record_id="their-record")
    assert heard(word, THEM, spool) == "ORIGINAL_UNKNOWN"
    spool.numbers.add_original("their-record", "CaseRecord", "case", THEM)
    assert heard(word, THEM, spool) == ""
    assert heard(word, OTHERS, spool) == "NOT_NAMED"
    assert heard(word, OTHERS, spool, named=frozenset({"PublicNotice"})) == "NOT_NAMED"
    assert heard(word, OTHERS, spool, named=frozenset({"CaseRecord"})) == ""


@pytest.mark.parametrize("record", [CASE, case_pb2.Correction(target_record_id="own-record")], ids=kind_of)
def test_a_record_that_supersedes_the_record_of_another_does_not_count(record: Record, spool: Spool) -> None:
    spool.numbers.add_original("their-record", "CaseRecord", "case", THEM)
    spool.numbers.add_original("own-record", "CaseRecord", "case", OTHERS)
    for superseded, expected in (("their-record", "NOT_NAMED"), ("own-record", ""), ("", "")):
        said = replace(body(record, "case", "word", OTHERS), supersedes=superseded)
        assert not_obeyed(record, VerifiedRecord(said, b"", {}, (), frozenset()), spool) == expected


def test_a_closure_counts_from_who_began_the_case_whoever_else_wrote_a_record_into_it(spool: Spool) -> None:
    assert heard(case_pb2.Closure(), THEM, spool) == "ORIGINAL_UNKNOWN"
    spool.numbers.add_original("word", "Closure", "case", OTHERS)
    spool.numbers.add_original("first", "CaseRecord", "case", THEM)
    spool.numbers.add_original("intruder", "CaseRecord", "case", OTHERS)
    assert heard(case_pb2.Closure(), THEM, spool) == ""
    assert heard(case_pb2.Closure(), OTHERS, spool) == "NOT_NAMED"
    assert heard(case_pb2.Closure(), OTHERS, spool, named=frozenset({"CaseRecord"})) == ""


@pytest.mark.parametrize(
    "word", [case_pb2.Closure(local_id=NUMBER), case_pb2.Correction(replacement=CASE)], ids=kind_of
)
def test_a_word_about_ones_own_case_with_the_number_of_another_case_does_not_count(word: Record, spool: Spool) -> None:
    learn_delivered(CASE, body(CASE, "their-case", "their-record", THEM), spool)
    spool.numbers.add_original("own", "CaseRecord", "own-case", OTHERS)
    if isinstance(word, case_pb2.Correction):
        word.target_record_id = "own"
    assert heard(word, OTHERS, spool, case="own-case") == "NUMBER_OF_ANOTHER_CASE"
    assert heard(case_pb2.Tip(), OTHERS, spool) == ""
