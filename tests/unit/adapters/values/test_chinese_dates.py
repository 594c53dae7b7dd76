"""Dates as people write them: what is set, what is only kept, and that nothing is filled in or converted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.values.chinese_dates import MESSAGES, date_words, read_date
from caseexchange.records.v1 import common_pb2

UNSTATED, GREGORIAN, LUNAR = (
    common_pb2.CALENDAR_UNSPECIFIED,
    common_pb2.CALENDAR_GREGORIAN,
    common_pb2.CALENDAR_LUNAR,
)


def numbers(date: common_pb2.PartialDate) -> tuple[int, int, int]:
    return date.year, date.month, date.day


@pytest.mark.parametrize(
    ("text", "expected", "calendar"),
    [
        ("1988-1-2", (1988, 1, 2), GREGORIAN),
        ("1988/1/2", (1988, 1, 2), GREGORIAN),
        ("1988.01.02", (1988, 1, 2), GREGORIAN),
        ("1988、1、2", (1988, 1, 2), GREGORIAN),
        ("19880102", (1988, 1, 2), GREGORIAN),
        ("198801", (1988, 1, 0), GREGORIAN),
        ("1988-01", (1988, 1, 0), GREGORIAN),
        ("1988", (1988, 0, 0), GREGORIAN),
        ("1988年", (1988, 0, 0), GREGORIAN),
        ("1988年1月", (1988, 1, 0), GREGORIAN),
        ("1988年1月2日", (1988, 1, 2), GREGORIAN),
        ("1988年1月2号", (1988, 1, 2), GREGORIAN),
        ("1988年元月2日", (1988, 1, 2), GREGORIAN),
        (" 1988 年 1 月 2 日 ", (1988, 1, 2), GREGORIAN),
        ("１９８８年０１月０２日", (1988, 1, 2), GREGORIAN),
        ("１９８８—１—２", (1988, 1, 2), GREGORIAN),
        ("一九八八年", (1988, 0, 0), GREGORIAN),
        ("二〇〇八年", (2008, 0, 0), GREGORIAN),
        ("公历1988年八月十五", (1988, 8, 15), GREGORIAN),
        ("阳历1988年8月15日", (1988, 8, 15), GREGORIAN),
        ("1988-01-02T00:00:00", (1988, 1, 2), GREGORIAN),
        ("2月29日", (0, 2, 29), GREGORIAN),
        ("农历1988年8月15日", (1988, 8, 15), LUNAR),
        ("古历1988年8月15日", (1988, 8, 15), LUNAR),
        ("阴历八月十五", (0, 8, 15), LUNAR),
        ("1988年8月15日（农历）", (1988, 8, 15), LUNAR),
        ("農曆1988年2月30日", (1988, 2, 30), LUNAR),
        ("1992年腊月", (1992, 12, 0), LUNAR),
        ("1992年冬月廿三", (1992, 11, 23), LUNAR),
        ("1988年正月", (1988, 1, 0), LUNAR),
        ("正月初八", (0, 1, 8), LUNAR),
        ("一九八八年三月初八日", (1988, 3, 8), LUNAR),
        ("1988年八月卅", (1988, 8, 30), LUNAR),
    ],
)
def test_a_date_is_read_in_the_calendar_that_it_is_written_in(
    text: str, expected: tuple[int, int, int], calendar: common_pb2.Calendar.ValueType
) -> None:
    date, code = read_date(text)
    assert (numbers(date), date.calendar, code) == (expected, calendar, "")
    assert (date.original_text, date.approximate, date.HasField("end")) == (text, False, False)


@pytest.mark.parametrize(
    "text",
    [
        "约1988年1月",
        "大约在1988年1月",
        "大概1988年1月",
        "1988年1月左右",
        "1988年1月(不准确)",
        "可能是1988年1月",
        "1988年1月前后",
    ],
)
def test_what_is_called_approximate_is_marked_so(text: str) -> None:
    date, code = read_date(text)
    assert (numbers(date), date.approximate, code) == ((1988, 1, 0), True, "")


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1988年或1989年", (1988, 0, 0), (1989, 0, 0)),
        ("1988或1989年", (1988, 0, 0), (1989, 0, 0)),
        ("1988、1989年", (1988, 0, 0), (1989, 0, 0)),
        ("1988、1989、1990年", (1988, 0, 0), (1990, 0, 0)),
        ("1988~1990", (1988, 0, 0), (1990, 0, 0)),
        ("1988～1990年", (1988, 0, 0), (1990, 0, 0)),
        ("1988-1990", (1988, 0, 0), (1990, 0, 0)),
        ("1988年—1990年", (1988, 0, 0), (1990, 0, 0)),
        ("1988年1月到3月", (1988, 1, 0), (1988, 3, 0)),
        ("1988年1-2月", (1988, 1, 0), (1988, 2, 0)),
        ("1988年1、2月", (1988, 1, 0), (1988, 2, 0)),
        ("1988年1月2或3日", (1988, 1, 2), (1988, 1, 3)),
        ("1988年1月2日至1989年2月3日", (1988, 1, 2), (1989, 2, 3)),
        ("19880102-19890203", (1988, 1, 2), (1989, 2, 3)),
        ("1988.1-1988.3", (1988, 1, 0), (1988, 3, 0)),
        ("1988-01-02至1989-02-03", (1988, 1, 2), (1989, 2, 3)),
        ("农历1988年正月初八到十五", (1988, 1, 8), (1988, 1, 15)),
        # The end is told less exactly than the beginning, or like it: neither lies before it.
        ("1988年3月到1988年", (1988, 3, 0), (1988, 0, 0)),
        ("1988年3月5日到1988年3月", (1988, 3, 5), (1988, 3, 0)),
        ("1988年3月5日到1988年3月5日", (1988, 3, 5), (1988, 3, 5)),
        # Without a year, the later month may be of the next one.
        ("12月到1月", (0, 12, 0), (0, 1, 0)),
    ],
)
def test_a_span_has_both_of_its_ends(text: str, first: tuple[int, int, int], last: tuple[int, int, int]) -> None:
    date, code = read_date(text)
    assert (numbers(date), numbers(date.end), code) == (first, last, "")
    assert date.end.calendar == date.calendar != UNSTATED
    assert (date.original_text, date.end.original_text) == (text, "")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2019-02-30", "DATE_IMPOSSIBLE"),
        ("1987年2月29日", "DATE_IMPOSSIBLE"),
        ("1988年13月", "DATE_IMPOSSIBLE"),
        ("农历1988年2月31日", "DATE_IMPOSSIBLE"),
        ("1234-56-78", "DATE_IMPOSSIBLE"),
        ("1990年到1988年", "DATE_IMPOSSIBLE"),
        ("1988年12月到1月", "DATE_IMPOSSIBLE"),
        ("1988年1月到13月", "DATE_IMPOSSIBLE"),
        ("88年", "DATE_CENTURY_UNSTATED"),
        ("88年3月", "DATE_CENTURY_UNSTATED"),
        ("87、88年", "DATE_CENTURY_UNSTATED"),
        ("农历八月十五（公历1988年9月25日）", "DATE_CALENDAR_MIXED"),
        ("公历1988年正月初八", "DATE_CALENDAR_MIXED"),
        ("1988年腊月到1989年2月", "DATE_CALENDAR_MIXED"),
        ("初八", "DATE_NOT_READ"),
        ("1988年十五", "DATE_NOT_READ"),
        ("闰四月", "DATE_NOT_READ"),
        ("很久以前", "DATE_NOT_READ"),
        ("1988年出生", "DATE_NOT_READ"),
        ("1988年或很久以前", "DATE_NOT_READ"),
        ("31990", "DATE_NOT_READ"),
    ],
)
def test_what_is_no_certain_date_stays_text_with_a_code(text: str, code: str) -> None:
    assert read_date(text) == (common_pb2.PartialDate(original_text=text), code)


@pytest.mark.parametrize(
    ("text", "expected", "calendar", "code"),
    [
        ("1988年八月十五", (1988, 8, 15), UNSTATED, "DATE_CALENDAR_UNSTATED"),
        ("一九八八年二月三十日", (1988, 2, 30), UNSTATED, "DATE_CALENDAR_UNSTATED"),
        ("1988年夏天", (1988, 0, 0), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988年冬天", (1988, 0, 0), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988年底", (1988, 0, 0), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988年1月2日下午3点", (1988, 1, 2), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988年1月2日下午3:20", (1988, 1, 2), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988年1月2日10点11点", (1988, 1, 2), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988年1月2日 10:30", (1988, 1, 2), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988年1月2日10：30", (1988, 1, 2), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988-1-2 10:30:00", (1988, 1, 2), GREGORIAN, "DATE_PARTLY_READ"),
        ("1988年闰四月初三", (1988, 0, 0), LUNAR, "DATE_PARTLY_READ"),
    ],
)
def test_what_a_date_has_no_place_for_is_said_by_a_code(
    text: str, expected: tuple[int, int, int], calendar: common_pb2.Calendar.ValueType, code: str
) -> None:
    date, found = read_date(text)
    assert (numbers(date), date.calendar, found, date.original_text) == (expected, calendar, code, text)


@pytest.mark.parametrize("text", ["", "不详", "未知", "记不清楚", "-"])
def test_a_date_that_is_said_to_be_unknown_has_no_numbers_and_no_code(text: str) -> None:
    date, code = read_date(text)
    assert (numbers(date), date.original_text, code) == ((0, 0, 0), text, "")


@pytest.mark.parametrize("piece", ["时11", "时111", "点1分1", "半夜", "早上半年", "年初"])
def test_a_long_text_of_hours_is_read_in_time_that_grows_with_it(piece: str) -> None:
    # Two ways to read each piece would take longer than the sun lasts.
    assert read_date(f"1988年1月2日1{piece * 5000}x").code == "DATE_NOT_READ"


_DATES = st.text("0123456789年月日号农历公正腊冬闰初廿十一二三八〇零-/.~、到或约左右 T:()", max_size=24)


@given(st.one_of(_DATES, st.text(max_size=40)))
def test_no_text_raises_every_text_is_kept_and_every_code_has_words(text: str) -> None:
    date, code = read_date(text)
    assert date.original_text == text
    assert not code or MESSAGES[code]
    assert bool(date.year or date.month) or not date.HasField("end")


@st.composite
def dates(draw: st.DrawFn) -> common_pb2.PartialDate:
    def part(year: int) -> common_pb2.PartialDate:
        month = draw(st.integers(0, 12))
        day = draw(st.integers(0, 28)) if month else 0
        return common_pb2.PartialDate(year=year, month=month, day=day, calendar=calendar)

    calendar = draw(st.sampled_from([GREGORIAN, LUNAR]))
    year = draw(st.integers(1900, 2050))
    date = part(year)
    date.approximate = draw(st.booleans())
    if draw(st.booleans()):
        date.end.CopyFrom(part(year + draw(st.integers(1, 50))))
    return date


@given(dates())
def test_a_date_without_a_text_is_written_in_words_that_read_as_the_same(date: common_pb2.PartialDate) -> None:
    words = date_words(date)
    date.original_text = words
    assert read_date(words) == (date, "")
    assert date_words(date) == words
