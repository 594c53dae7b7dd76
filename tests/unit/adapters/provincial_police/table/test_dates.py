"""Dates of police exports: read as well as they are known."""

from __future__ import annotations

import pytest

from adapters.provincial_police.table.dates import date_text, read_date
from caseexchange.records.v1 import common_pb2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20180102", (2018, 1, 2)),
        ("2018-1-2", (2018, 1, 2)),
        ("2018年1月2日", (2018, 1, 2)),
        ("2018年1月2日14：30", (2018, 1, 2)),
        ("2018年1月2日14时30分", (2018, 1, 2)),
        ("2018-01-02T14:30:00", (2018, 1, 2)),
        ("2018-01-02 14:30", (2018, 1, 2)),
        # Without the blank between them, the hour's first digit would be the day's second.
        ("2018/1/2 14:30", (2018, 1, 2)),
        ("2018/1/2 1:30:05", (2018, 1, 2)),
        ("2018-1-2 0:00:00", (2018, 1, 2)),
        ("201801021430", (2018, 1, 2)),
        ("20180102143000", (2018, 1, 2)),
        ("２０１８－０１－０２", (2018, 1, 2)),
        ("201801", (2018, 1, 0)),
        ("2018年", (2018, 0, 0)),
        ("约2018年", (2018, 0, 0)),
        ("20180230", (0, 0, 0)),
        ("18", (0, 0, 0)),
        ("٢٠١٨", (0, 0, 0)),
    ],
)
def test_dates_are_read_as_well_as_they_are_known(text: str, expected: tuple[int, int, int]) -> None:
    date, doubt = read_date(text)
    assert (date.year, date.month, date.day) == expected
    assert date.original_text == date_text(date) == text
    assert (doubt is None) is (expected != (0, 0, 0))


@pytest.mark.parametrize("text", ["43102", "43102.604", "４３１０２"])
def test_a_spreadsheets_number_of_a_day_is_that_day_and_its_text_stays(text: str) -> None:
    date, doubt = read_date(text)
    assert (date.year, date.month, date.day, doubt and doubt.code) == (2018, 1, 2, "DATE_SERIAL")
    assert date.original_text == text


@pytest.mark.parametrize("text", ["99999", "00001", "1234"])
def test_a_number_that_is_no_day_of_anybody_alive_is_no_serial_date(text: str) -> None:
    doubt = read_date(text).doubt
    assert doubt is None or doubt.code != "DATE_SERIAL"


def test_a_lunar_date_is_marked_and_never_converted() -> None:
    date = read_date("农历2018年2月30日").date
    assert (date.calendar, date.month, date.day) == (common_pb2.CALENDAR_LUNAR, 2, 30)


@pytest.mark.parametrize(
    ("text", "expected", "code"),
    [
        ("农历2018年正月初八", (2018, 1, 8), ""),
        ("20180230", (0, 0, 0), "DATE_IMPOSSIBLE"),
        ("18年1月", (0, 0, 0), "DATE_CENTURY_UNSTATED"),
        ("公历2018年正月初八", (0, 0, 0), "DATE_CALENDAR_MIXED"),
        ("2018年八月十五", (2018, 8, 15), "DATE_CALENDAR_UNSTATED"),
        ("2018年夏天", (2018, 0, 0), "DATE_PARTLY_READ"),
        ("不详", (0, 0, 0), "DATE_NOT_READ"),
    ],
)
def test_dates_as_people_write_them_are_read_and_doubted_as_elsewhere(
    text: str, expected: tuple[int, int, int], code: str
) -> None:
    date, doubt = read_date(text)
    assert ((date.year, date.month, date.day), doubt.code if doubt else "") == (expected, code)


@pytest.mark.parametrize("calendar", [common_pb2.CALENDAR_GREGORIAN, common_pb2.CALENDAR_LUNAR])
@pytest.mark.parametrize(("month", "day"), [(0, 0), (3, 0), (3, 8)])
@pytest.mark.parametrize("approximate", [False, True])
def test_a_span_without_a_text_is_written_as_it_is_read(
    calendar: common_pb2.Calendar.ValueType, month: int, day: int, *, approximate: bool
) -> None:
    date = common_pb2.PartialDate(year=1988, month=month, day=day, calendar=calendar, approximate=approximate)
    date.end.CopyFrom(common_pb2.PartialDate(year=1990, month=month, day=day, calendar=calendar))
    text = date_text(date)
    date.original_text = text
    assert read_date(text) == (date, None)
