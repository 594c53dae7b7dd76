"""One date in Chinese, without the words about its calendar and certainty: a part of chinese_dates.py."""

from __future__ import annotations

import re
from datetime import date
from typing import Final, NamedTuple

from caseexchange.records.v1 import common_pb2

NOT_READ: Final = "DATE_NOT_READ"
PARTLY_READ: Final = "DATE_PARTLY_READ"
CALENDAR_UNSTATED: Final = "DATE_CALENDAR_UNSTATED"

_DIGIT: Final = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "○": 0, "两": 2}
_MONTH_NAMES: Final = {"正": 1, "冬": 11, "腊": 12}
_SEPARATED: Final = (
    re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})"),
    re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})[日号]?"),
    re.compile(r"([0-9]{4})([0-9]{2})"),
    re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})月?"),
)
_NUMERAL: Final = "[一二三四五六七八九十]"
_WORDS: Final = re.compile(
    r"(?:(?P<year>[0-9]{4}|[〇○零一二三四五六七八九]{4})(?:年|$))?"
    rf"(?:(?P<leap>闰)?(?P<month>[0-9]{{1,2}}|[正元冬腊]|{_NUMERAL}{{1,2}})月份?)?"
    rf"(?:(?P<day>[0-9]{{1,2}}|初{_NUMERAL}|[廿卅]{_NUMERAL}?|{_NUMERAL}{{1,3}})[日号]?)?"
)
_SHORT_YEAR: Final = re.compile(
    "(?:[0-9]{2}|[〇○零一二三四五六七八九]{2})年[0-9一二三四五六七八九十正元冬腊闰初廿卅月日号]*"
)
_OVER: Final = re.compile(
    r"[的]?(?:年?初|年?底|年?末|年中|上半年|下半年|月初|月中|月底|月末|上旬|中旬|下旬|[春夏秋冬](?:天|季)?|暑假|寒假|期?间"
    r"|清?早上?|早晨|上午|中午|下午|晚上?|傍晚|夜里?|半夜|凌晨"
    r"|[0-9]{1,2}(?:时|点|:)(?:[0-9]{1,2}分?(?![0-9时点:]))?半?|钟|许|多|几)++"
)
"""What may follow a date but is not a part of it: parts of a year, a month, a day.

The pattern reads it in one way only. If it could try digits both as this hour and as the next, the number of tries
would double each time.
"""
_YEARS: Final = (1900, 2100)
_LEAP_YEAR: Final = 2000
_LUNAR_DAYS: Final = 30
_MONTHS: Final = 12


class Day(NamedTuple):
    """Year, month and day, 0 if the text does not state it; the calendar; the code of a warning, or ""."""

    year: int
    month: int
    day: int
    calendar: common_pb2.Calendar.ValueType
    code: str = ""


class Unread(NamedTuple):
    """The code that says why a text is not a date."""

    code: str


def read_day(text: str, calendar: common_pb2.Calendar.ValueType, before: Day | None) -> Day | Unread:
    """Read one date.

    Args:
        text: without blanks.
        calendar: the calendar that the text names, or unspecified.
        before: the date before it in a span. If its year and month are the same, this one need not repeat them.
    """
    for pattern in _SEPARATED:
        match = pattern.fullmatch(text)
        if match:
            year, month, day = (*(int(number) for number in match.groups()), 0)[:3]
            return _checked(Day(year, month, day, calendar or common_pb2.CALENDAR_GREGORIAN))
    found = _WORDS.match(text)
    rest = text[found.end() :] if found else text
    if found is None or not found[0] or (rest and not _OVER.fullmatch(rest)):
        return Unread("DATE_CENTURY_UNSTATED" if _SHORT_YEAR.fullmatch(text) else NOT_READ)
    read = _of_words(found, calendar, before)
    return read._replace(code=PARTLY_READ) if isinstance(read, Day) and rest else read


def _of_words(found: re.Match[str], calendar: common_pb2.Calendar.ValueType, before: Day | None) -> Day | Unread:
    named = _calendar_of_words(found["month"] or "", found["day"] or "", leap=bool(found["leap"]))
    if named == common_pb2.CALENDAR_LUNAR and calendar == common_pb2.CALENDAR_GREGORIAN:
        return Unread("DATE_CALENDAR_MIXED")
    year = _year(found["year"] or "")
    month, day = _number(found["month"] or ""), _number(found["day"] or "")
    if before is not None and not year:
        year = before.year
        month = month or before.month
        # 农历正月初八到十五: the calendar of the first applies to the second too.
        named = named or before.calendar
    if not (year or month) or (day and not month):
        return Unread(NOT_READ)
    found_day = _checked(Day(year, month, day, calendar or named))
    if isinstance(found_day, Unread):
        return found_day
    if found["leap"]:
        # A leap month has the number of the month before it, but it is another month.
        return found_day._replace(month=0, day=0, code=PARTLY_READ) if year else Unread(NOT_READ)
    return found_day._replace(code="" if found_day.calendar else CALENDAR_UNSTATED)


def _calendar_of_words(month: str, day: str, *, leap: bool) -> common_pb2.Calendar.ValueType:
    if leap or month in _MONTH_NAMES or day[:1] in ("初", "廿", "卅"):
        return common_pb2.CALENDAR_LUNAR
    spelt = [part for part in (month, day) if part and not part.isdigit() and part != "元"]
    return common_pb2.CALENDAR_UNSPECIFIED if spelt else common_pb2.CALENDAR_GREGORIAN


def _checked(day: Day) -> Day | Unread:
    lunar_possible = day.calendar != common_pb2.CALENDAR_GREGORIAN and day.day <= _LUNAR_DAYS
    if day.year and not _YEARS[0] <= day.year <= _YEARS[1]:
        return Unread("DATE_IMPOSSIBLE")
    if not 0 <= day.month <= _MONTHS:
        return Unread("DATE_IMPOSSIBLE")
    if not day.day or lunar_possible:
        return day
    if day.calendar == common_pb2.CALENDAR_LUNAR:
        return Unread("DATE_IMPOSSIBLE")
    try:
        date(day.year or _LEAP_YEAR, day.month, day.day)
    except ValueError:
        return Unread("DATE_IMPOSSIBLE")
    return day


def _year(text: str) -> int:
    return int("".join(str(_DIGIT.get(character, character)) for character in text) or 0)


def _number(text: str) -> int:
    """A number below 40, in digits or as 正, 初八, 十二, 廿三, 三十."""
    if not text:
        return 0
    if text.isascii():
        return int(text)
    if text == "元":
        return 1
    if text in _MONTH_NAMES:
        return _MONTH_NAMES[text]
    text = text.removeprefix("初").replace("廿", "二十").replace("卅", "三十")
    tens, ten, ones = text.partition("十")
    if not ten:
        return _DIGIT.get(text, 99)
    return (_DIGIT.get(tens, 99) if tens else 1) * 10 + (_DIGIT.get(ones, 99) if ones else 0)
