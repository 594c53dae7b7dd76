"""What the exchange demands of dates and measures, whichever format they came in."""

from __future__ import annotations

import math

import pytest

from adapters.records.validate import validate
from caseexchange.records.v1 import case_pb2, common_pb2


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
