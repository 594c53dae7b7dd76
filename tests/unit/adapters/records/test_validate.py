"""What the exchange demands of a record, whichever format it came in: fields, dates, measures, ages, photos."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import pytest

from adapters.base import RECORD_TYPES
from adapters.records.sections import SECTIONS
from adapters.records.validate import MAX_PHOTO_BYTES, MAX_PHOTOS, validate
from caseexchange.records.v1 import case_pb2, common_pb2, notice_pb2, readdress_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.base import Record

JPEG = b"\xff\xd8\xff synthetic"


def codes(**fields: object) -> list[tuple[str, str]]:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1")
    for name, value in fields.items():
        getattr(record, name).CopyFrom(value)
    return [(issue.code, issue.locator) for issue in validate(record)]


def span(*, first: common_pb2.PartialDate, last: common_pb2.PartialDate) -> common_pb2.PartialDate:
    date = common_pb2.PartialDate()
    date.CopyFrom(first)
    date.end.CopyFrom(last)
    return date


@pytest.mark.parametrize(
    ("kind", "names"),
    {
        "CaseRecord": ["kind", "local_id"],
        "Tip": ["text"],
        "Closure": ["outcome"],
        "Correction": ["kind"],
        "SampleRequest": ["barcode", "role"],
        "StrProfile": ["barcode", "loci"],
        "NoMatchResult": ["barcode", "reason"],
        "PublicNotice": ["notice_id", "action"],
        "ReaddressRequest": ["record_ids"],
    }.items(),
)
def test_a_record_of_each_kind_needs_what_makes_it_one(kind: str, names: list[str]) -> None:
    found = validate(RECORD_TYPES[kind]())
    assert [(issue.code, issue.locator, issue.refuses) for issue in found] == [
        ("FIELD_MISSING", name, True) for name in names
    ]


RECORD_ID = "01990000-0000-7000-8000-0000000000ab"


@pytest.mark.parametrize(
    ("record_ids", "lost_key_id", "faults"),
    [
        ([RECORD_ID], "", []),
        ([RECORD_ID] * 1000, "0f" * 32, []),
        ([RECORD_ID] * 1001, "", ["record_ids"]),
        ([RECORD_ID, "Wang Xiaoming (synthetic)"], "", ["record_ids"]),
        ([RECORD_ID.upper()], "0F" * 32, ["record_ids", "lost_key_id"]),
        ([RECORD_ID], "0f" * 31, ["lost_key_id"]),
    ],
)
def test_a_request_to_readdress_holds_ids_and_nothing_else(
    record_ids: list[str], lost_key_id: str, faults: list[str]
) -> None:
    request = readdress_pb2.ReaddressRequest(record_ids=record_ids, lost_key_id=lost_key_id)
    found = validate(request)
    assert [(issue.code, issue.locator, issue.refuses) for issue in found] == [
        ("RECORD_ID_INVALID" if fault == "record_ids" else "KEY_ID_INVALID", fault, True) for fault in faults
    ]


@pytest.mark.parametrize("kind", sorted(RECORD_TYPES))
def test_what_a_withheld_section_would_hold_is_not_missed_and_the_rest_is(kind: str) -> None:
    whole = validate(RECORD_TYPES[kind]())
    for section in SECTIONS[kind]:
        missed = validate(RECORD_TYPES[kind](), {section})
        # Only the first section of each kind has what a record needs.
        assert missed == ([] if section == next(iter(SECTIONS[kind])) else whole)
    assert validate(RECORD_TYPES[kind](), {"unknown"}) == whole
    assert whole


@pytest.mark.parametrize(("month", "day"), [(0, 0), (1, 0), (1, 1), (12, 31)])
def test_a_date_is_told_as_far_as_it_is_known(month: int, day: int) -> None:
    assert codes(birth=common_pb2.PartialDate(year=1988, month=month, day=day)) == []


@pytest.mark.parametrize(("month", "day"), [(-1, 0), (13, 0), (1, -1), (1, 32), (0, 1)])
def test_a_date_that_is_none_is_refused_wherever_it_stands(month: int, day: int) -> None:
    date = common_pb2.PartialDate(year=1988, month=month, day=day)
    names = ("event_date", "found_date", "birth")
    assert codes(**dict.fromkeys(names, date)) == [("DATE_INVALID", name) for name in names]


def test_a_day_without_a_year_is_one_only_beside_the_text_that_says_so() -> None:
    assert codes(birth=common_pb2.PartialDate(month=2, day=29)) == [("DATE_INVALID", "birth")]
    assert codes(birth=common_pb2.PartialDate(month=2, day=29, original_text="2月29日")) == []


def test_a_span_of_dates_is_a_date() -> None:
    ends = common_pb2.PartialDate(year=1988, month=1), common_pb2.PartialDate(year=1990)
    assert codes(birth=span(first=ends[0], last=ends[1])) == []


@pytest.mark.parametrize(
    "last",
    [
        common_pb2.PartialDate(year=1990, month=13),
        common_pb2.PartialDate(year=1990, day=3),
        common_pb2.PartialDate(month=3),
        common_pb2.PartialDate(year=1990, end=common_pb2.PartialDate(year=1991)),
    ],
    ids=["impossible", "a gap", "no year and no text", "an end of an end"],
)
def test_the_end_of_a_span_is_held_to_what_a_date_is(last: common_pb2.PartialDate) -> None:
    date = span(first=common_pb2.PartialDate(year=1988), last=last)
    assert codes(event_date=date) == [("DATE_INVALID", "event_date")]


def test_a_measure_and_a_range_of_one_are_measures() -> None:
    assert codes(height=common_pb2.Measure(value=110, unit="cm"), weight=common_pb2.Measure(value=1, value_max=2)) == []
    assert codes(height=common_pb2.Measure(original_text="到大人肩膀")) == []


@pytest.mark.parametrize(
    ("value", "value_max"), [(-1, 0), (120, 110), (math.nan, 0), (math.inf, 0), (1, math.inf), (1, math.nan)]
)
def test_a_measure_that_is_none_is_refused(value: float, value_max: float) -> None:
    measure = common_pb2.Measure(value=value, value_max=value_max)
    assert codes(height=measure, weight=measure) == [("MEASURE_INVALID", "height"), ("MEASURE_INVALID", "weight")]


@pytest.mark.parametrize(("least", "greatest"), [(0, 0), (0, 1), (7, 7), (0, 150), (150, 150)])
def test_an_age_is_a_span_of_years_and_may_be_nought(least: int, greatest: int) -> None:
    assert codes(age=common_pb2.AgeRange(least=least, greatest=greatest)) == []


@pytest.mark.parametrize(("least", "greatest"), [(-1, 0), (7, 5), (0, 151), (151, 151)])
def test_an_age_that_is_none_is_refused(least: int, greatest: int) -> None:
    assert codes(age=common_pb2.AgeRange(least=least, greatest=greatest)) == [("AGE_INVALID", "age")]


def picture(content: bytes = JPEG, media_type: str = "image/jpeg", digest: bytes = b"") -> common_pb2.Photo:
    sha256 = digest or hashlib.sha256(content).digest()
    return common_pb2.Photo(content=content, media_type=media_type, sha256=sha256)


ELSEWHERE = common_pb2.Photo(url="https://synthetic.invalid/1.jpg")


def with_photos(*photos: common_pb2.Photo) -> Sequence[tuple[str, Record]]:
    """A record of every kind that has photos, and where they stand in it."""
    case = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1", photos=photos)
    return (
        ("photos", case),
        ("replacement.photos", case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_AMEND, replacement=case)),
        ("photos", case_pb2.Tip(text="synthetic", photos=photos)),
        ("photos", notice_pb2.PublicNotice(notice_id="N", action=notice_pb2.NOTICE_ACTION_PUBLISH, photos=photos)),
    )


def refusals(record: Record) -> list[tuple[str, str]]:
    return [(issue.code, issue.locator) for issue in validate(record) if issue.refuses]


def test_photos_of_known_types_and_addresses_of_others_are_taken_up_to_the_limits() -> None:
    large = picture(JPEG.ljust(MAX_PHOTO_BYTES, b"\0"))
    for _, record in with_photos(ELSEWHERE, large, *[picture()] * (MAX_PHOTOS - 2)):
        assert refusals(record) == []


@pytest.mark.parametrize(
    ("photo", "code"),
    [
        (common_pb2.Photo(media_type="image/jpeg"), "PHOTO_EMPTY"),
        (picture(JPEG.ljust(MAX_PHOTO_BYTES + 1, b"\0")), "PHOTO_TOO_LARGE"),
        (picture(digest=bytes(32)), "PHOTO_DIGEST"),
        (picture(media_type="image/png"), "PHOTO_TYPE"),
        (picture(media_type="image/svg+xml"), "PHOTO_TYPE"),
        (picture(b"<svg/>"), "PHOTO_TYPE"),
    ],
    ids=["empty", "too large", "another digest", "another type", "a type that is not taken", "other bytes"],
)
def test_a_photo_that_is_none_is_refused_wherever_it_stands(photo: common_pb2.Photo, code: str) -> None:
    for path, record in with_photos(ELSEWHERE, picture(), photo):
        assert refusals(record) == [(code, f"{path}[2]")]


def test_more_photos_than_a_record_may_carry_are_refused() -> None:
    for path, record in with_photos(*[ELSEWHERE] * (MAX_PHOTOS + 1)):
        assert refusals(record) == [("PHOTOS_TOO_MANY", path)]


def test_what_replaces_a_case_is_held_to_what_a_case_is() -> None:
    record = case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_AMEND)
    record.replacement.birth.month = 13
    record.replacement.age.least = 7
    record.replacement.height.value = -1
    assert refusals(record) == [
        ("DATE_INVALID", "replacement.birth"),
        ("AGE_INVALID", "replacement.age"),
        ("MEASURE_INVALID", "replacement.height"),
    ]
