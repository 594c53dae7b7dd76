"""Dates of police exports: read as well as they are known."""

from __future__ import annotations

import pytest

from adapters.provincial_police.dates import date_text, read_date
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
    date, serial = read_date(text)
    assert (date.year, date.month, date.day) == expected
    assert date.original_text == date_text(date) == text
    assert not serial


@pytest.mark.parametrize("text", ["43102", "43102.604", "４３１０２"])
def test_a_spreadsheets_number_of_a_day_is_that_day_and_its_text_stays(text: str) -> None:
    date, serial = read_date(text)
    assert (date.year, date.month, date.day, serial) == (2018, 1, 2, True)
    assert date.original_text == text


@pytest.mark.parametrize("text", ["99999", "00001", "1234"])
def test_a_number_that_is_no_day_of_anybody_alive_is_no_serial_date(text: str) -> None:
    assert not read_date(text).serial


def test_a_lunar_date_is_marked_and_never_converted() -> None:
    date = read_date("农历2018年2月30日").date
    assert (date.calendar, date.month, date.day) == (common_pb2.CALENDAR_LUNAR, 2, 30)
