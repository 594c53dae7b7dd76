"""Dates as people write them in Chinese: 约1988年, 农历1988年正月初八, 1992年腊月, 一九八八年, 1988年1月到3月.

The text is always kept. A number is set only if the text states it, in the calendar of the text. A lunar date is never
converted, and a century is never added. A span has both ends, or no numbers.

Calendars: a date in digits, without a word about its calendar, is Gregorian, the calendar of law and forms. A month or
day such as 腊月, 初八, 廿三 is lunar. Other months and days in Chinese numerals, such as 八月十五, may be either, so
their calendar stays unspecified.

Codes, for a warning by the caller. With these, only the text is kept: DATE_NOT_READ (the text cannot be read as a
date), DATE_IMPOSSIBLE (the calendar has no such day, or a span ends before it begins), DATE_CALENDAR_MIXED (two
calendars in one text), DATE_CENTURY_UNSTATED (88年). With these, there are numbers: DATE_PARTLY_READ (an hour, a
season, a leap month: a date cannot hold it), DATE_CALENDAR_UNSTATED.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final, NamedTuple

from adapters.values.chinese_days import CALENDAR_UNSTATED, NOT_READ, PARTLY_READ, Day, Unread, read_day
from caseexchange.records.v1 import common_pb2

MESSAGES: Final = {
    NOT_READ: "the text cannot be read as a date; it is kept",
    "DATE_IMPOSSIBLE": "not a possible date, or a span that ends before it begins; the text is kept",
    "DATE_CALENDAR_MIXED": "the text names two calendars; it is kept, without numbers",
    "DATE_CENTURY_UNSTATED": "the year has two digits; the text is kept, without numbers",
    PARTLY_READ: "a date cannot hold a part of the text; the text is kept",
    CALENDAR_UNSTATED: "the text does not say in which calendar its month and day are",
}
"""The message of a warning, by its code."""

_TRADITIONAL: Final = str.maketrans("農曆陰陽歷舊國臘閏號許約", "农历阴阳历旧国腊闰号许约")
_LUNAR: Final = re.compile("农历|阴历|古历|旧历|夏历|老历")
_GREGORIAN: Final = re.compile("公历|阳历|新历|国历|西历|公元")
_APPROXIMATE: Final = re.compile(
    "大约|大概|约|左右|前后|上下|不太?准确?|不太?确定|不一定|记不清楚?|估计|可能|好像|应该|大致|具体不详"
)
_NOTHING: Final = re.compile("不详|未知|不知道?|不清楚?|不明|无|没有|-*")
_BRACKETS: Final = re.compile(r"[()\[\]{}【】〔〕<>《》\"“”'‘’,,。;;!?*]|(?<![0-9]):|:(?![0-9])")
_CLOCK: Final = re.compile(
    r"(?:(?<=[日号]) *|(?<=[0-9])[T ]+)([0-9]{1,2}):([0-9]{2})(:[0-9]{2})?(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
)
_DASHES: Final = re.compile("[‐‑‒–—―−─]+")
_LIST: Final = re.compile(r"([0-9]{4})、([0-9]{1,2})、([0-9]{1,2})")
_SPANS: Final = (
    (re.compile(r"^([0-9]{4})年?-([0-9]{4})年?$"), r"\1年~\2年"),
    (re.compile(r"^([0-9]{8}|[0-9]{4}[./][0-9]{1,2}(?:[./][0-9]{1,2})?)-(?=[0-9]{4})"), r"\1~"),
    (re.compile(r"(?<=[年月日号份])-+"), "~"),
    (re.compile(r"([年月][0-9]{1,2})-(?=[0-9]{1,2}[月日号])"), r"\1~"),
    (re.compile(r"--+"), "~"),
)
"""A hyphen like this separates two dates. A hyphen between year, month and day does not."""
_BETWEEN: Final = re.compile("或者是?|或是?|还是|到|至|~|、")
_BARE: Final = re.compile("[0-9〇零一二三四五六七八九十]$")
_UNIT: Final = re.compile("[年月日号]")


class ReadDate(NamedTuple):
    """A date, and the code of a warning about it, or ""."""

    date: common_pb2.PartialDate
    code: str


def read_date(text: str) -> ReadDate:
    """Read a date, as much of it as possible; the module explains how. Never raises."""
    date = common_pb2.PartialDate(original_text=text)
    plain, clock = _plain(text)
    calendar = _calendar(plain)
    plain = _GREGORIAN.sub("", _LUNAR.sub("", plain))
    date.approximate = _APPROXIMATE.search(plain) is not None
    plain = _APPROXIMATE.sub("", plain).lstrip("是在于")
    if _NOTHING.fullmatch(plain):
        # The text says only that the date is unknown. That needs no warning.
        return ReadDate(date, "")
    if calendar is None:
        return ReadDate(date, "DATE_CALENDAR_MIXED")
    days = _days(plain, calendar)
    if isinstance(days, Unread):
        return ReadDate(date, days.code)
    first, last = days[0], days[-1]
    _set(date, first)
    if len(days) > 1:
        _set(date.end, last)
    codes = [day.code for day in days if day.code] + [PARTLY_READ] * clock
    return ReadDate(date, codes[0] if codes else "")


def date_words(date: common_pb2.PartialDate) -> str:
    """A date's own text, or its numbers in words that ``read_date`` reads as the same date."""
    if date.original_text or not (date.year or date.month):
        return date.original_text
    mark = {common_pb2.CALENDAR_LUNAR: "农历", common_pb2.CALENDAR_GREGORIAN: "公历"}.get(date.calendar, "")
    last = "到" + _numbers(date.end) if date.HasField("end") else ""
    return mark + _numbers(date) + last + ("左右" if date.approximate else "")


def _numbers(date: common_pb2.PartialDate) -> str:
    parts = ((date.year, "年"), (date.month, "月"), (date.day, "日"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def _set(date: common_pb2.PartialDate, day: Day) -> None:
    date.year, date.month, date.day, date.calendar = day.year, day.month, day.day, day.calendar


def _plain(text: str) -> tuple[str, bool]:
    """The text without brackets, blanks and full-width forms, and whether a time of day other than zero was removed."""
    plain = unicodedata.normalize("NFKC", text).translate(_TRADITIONAL)
    clock = _CLOCK.search(plain.strip())
    has_hour = clock is not None and bool(f"{clock[1]}{clock[2]}".strip("0"))
    plain = _DASHES.sub("-", _BRACKETS.sub("", _CLOCK.sub("", plain.strip())))
    return "".join(plain.split()), has_hour


def _calendar(plain: str) -> common_pb2.Calendar.ValueType | None:
    """The calendar that the text names. Unspecified if it names none, None if it names two."""
    lunar, gregorian = _LUNAR.search(plain), _GREGORIAN.search(plain)
    if lunar and gregorian:
        return None
    if lunar:
        return common_pb2.CALENDAR_LUNAR
    return common_pb2.CALENDAR_GREGORIAN if gregorian else common_pb2.CALENDAR_UNSPECIFIED


def _days(plain: str, calendar: common_pb2.Calendar.ValueType) -> list[Day] | Unread:
    """The one day of a text, or the first and the last of a span."""
    plain = _LIST.sub(r"\1-\2-\3", plain)
    for pattern, replacement in _SPANS:
        plain = pattern.sub(replacement, plain)
    parts = _BETWEEN.split(plain)
    # 1988或1989年, 1988年1、2月: the unit is written once, after the last number.
    for place in range(len(parts) - 2, -1, -1):
        unit = _UNIT.search(parts[place + 1])
        if unit and _BARE.search(parts[place]) and not re.fullmatch("[0-9]{5,8}|.*[-./].*", parts[place]):
            parts[place] += unit[0]
    days: list[Day] = []
    for part in parts:
        day = read_day(part, calendar, days[-1] if days else None)
        if isinstance(day, Unread):
            return day
        days.append(day)
    return days if len(days) == 1 else _span(days)


def _span(days: list[Day]) -> list[Day] | Unread:
    if len({day.calendar for day in days}) > 1:
        return Unread("DATE_CALENDAR_MIXED")
    if any(_before(later, earlier) for earlier, later in pairwise(days)):
        return Unread("DATE_IMPOSSIBLE")
    return days


def _before(one: Day, other: Day) -> bool:
    """Whether a day is before another. Compares only the parts that both have."""
    for mine, its in zip((one.year, one.month, one.day), (other.year, other.month, other.day), strict=True):
        if not mine or not its or mine != its:
            return 0 < mine < its
    return False
