"""Values in NIEM files: dates in different orders, ages in words, names in NCIC's order.

A date with an unclear order stays text. Sources: NIEM 6.0 niem-core (DateType, MeasureType), ISO 8601; NCIC names
(surname, a comma, given names).
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final, NamedTuple

from caseexchange.records.v1 import common_pb2

_YEAR_FIRST: Final = re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})|([0-9]{4})([0-9]{2})([0-9]{2})")
_YEAR_LAST: Final = re.compile(r"([0-9]{1,2})[-/.]([0-9]{1,2})[-/.]([0-9]{4})")
_PARTIAL: Final = re.compile(r"([0-9]{4})(?:[-/.]([0-9]{1,2}))?")
_DAY_MONTH: Final = re.compile(r"([0-9]{1,2})[- ]([a-z]{3,9})\.?[- ,]+([0-9]{4})")
_MONTH_DAY: Final = re.compile(r"([a-z]{3,9})\.?[- ]([0-9]{1,2}),?[- ]+([0-9]{4})")
_TIME: Final = re.compile(r"[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?")
_XML_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_XML_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LEAST_YEAR: Final = 1850
_GREATEST_YEAR: Final = 2200

_SPAN: Final = re.compile(
    r"(?:age |aged )?([0-9]{1,3})(?: ?(?:-|to|–) ?([0-9]{1,3}))? ?(years?|yrs?|months?|mos?)?\.?(?: old| of age)?"
)
_MONTHS_A_YEAR: Final = 12
_OLDEST: Final = 150
_TIME_UNITS: Final = {"": 1, "ann": 1, "year": 1, "years": 1, "yr": 1, "yrs": 1, "mon": 12, "month": 12, "months": 12}
"""How many of a unit make a year. ANN and MON are UN/ECE's codes."""


class DateReading(NamedTuple):
    """A date. If it is not read, also the reason: DATE_AMBIGUOUS or DATE_NOT_READ."""

    date: common_pb2.PartialDate
    code: str


def read_date(text: str) -> DateReading:
    """Read a date, as much of it as possible. Its text is always kept.

    It reads ISO dates and times, years and months alone, 20180102, 02-JAN-2018 and Jan 2, 2018. It also reads
    01/25/2018, because only one of the numbers can be the month; 01/02/2018 stays text. The date of a time is the
    written date, in any time zone.
    """
    found = common_pb2.PartialDate(original_text=text)
    parts = _date_parts(_TIME.sub("", text.strip(), count=1).removesuffix("Z").lower())
    if parts is None:
        return DateReading(found, "DATE_AMBIGUOUS")
    if not _possible(*parts):
        return DateReading(found, "DATE_NOT_READ")
    found.year, found.month, found.day = parts
    found.calendar = common_pb2.CALENDAR_GREGORIAN
    return DateReading(found, "")


def date_element(value: common_pb2.PartialDate) -> tuple[str, str] | None:
    """The element of NIEM for a date, and its text. None if the date cannot be written as an element."""
    if not value.year or value.calendar == common_pb2.CALENDAR_LUNAR:
        return None
    own = value.original_text
    if _XML_DATE_TIME.fullmatch(own):
        return "nc:DateTime", own
    if _XML_DATE.fullmatch(own):
        return "nc:Date", own
    if not value.month:
        return "nc:YearDate", f"{value.year:04}"
    if not value.day:
        return "nc:YearMonthDate", f"{value.year:04}-{value.month:02}"
    return "nc:Date", f"{value.year:04}-{value.month:02}-{value.day:02}"


def read_age(text: str) -> common_pb2.AgeRange | None:
    """An age in whole years, or a span of them: ``7``, ``7 years old``, ``7-9 yrs``, ``18 months``. Otherwise None."""
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None:
        return None
    months = (found[3] or "").startswith("mo")
    return age_range(found[1], found[2] or found[1], "mon" if months else "")


def age_range(least: str, greatest: str, unit: str) -> common_pb2.AgeRange | None:
    """An age in completed years, from numbers in a unit (years if none is stated). None if it is not an age."""
    share = _TIME_UNITS.get(unit.strip().lower())
    if share is None or not (least.isdecimal() and greatest.isdecimal() and (least + greatest).isascii()):
        return None
    if len(least) > 4 or len(greatest) > 4:  # noqa: PLR2004 - digits; more is no age, and not worth a conversion
        return None
    found = common_pb2.AgeRange(least=int(least) // share, greatest=int(greatest) // share)
    return found if found.least <= found.greatest <= _OLDEST else None


def ncic_name(full: str) -> tuple[str, str]:
    """Family and given names of a full name in NCIC's order: ``DOE,JOHN Q``. Both are empty if it has another order."""
    family, comma, given = full.partition(",")
    if not comma or "," in given or not family.strip() or not given.strip():
        return "", ""
    return family.strip(), given.strip()


def _date_parts(text: str) -> tuple[int, int, int] | None:
    """Year, month and day, with zeros for what is missing or not read. None if their order is unclear."""
    if found := _YEAR_FIRST.fullmatch(text):
        return _numbers(*(part for part in found.groups() if part))
    if found := _YEAR_LAST.fullmatch(text):
        return _in_order(*(int(part) for part in found.groups()))
    if found := _PARTIAL.fullmatch(text):
        return _numbers(found[1], found[2] or "0", "0")
    if found := _DAY_MONTH.fullmatch(text):
        return _numbers(found[3], _month(found[2]), found[1])
    found = _MONTH_DAY.fullmatch(text)
    return _numbers(found[3], _month(found[1]), found[2]) if found else (0, 0, 0)


def _in_order(first: int, second: int, year: int) -> tuple[int, int, int] | None:
    """A date with the year last. Its order is clear if only one number can be a month, or if both are the same."""
    if first != second and max(first, second) <= len(_MONTHS):
        return None
    return (year, second, first) if first > len(_MONTHS) else (year, first, second)


def _numbers(year: str, month: str, day: str) -> tuple[int, int, int]:
    return int(year), int(month), int(day)


def _month(word: str) -> str:
    return str(_MONTHS.index(word[:3]) + 1) if word[:3] in _MONTHS else "99"


def _possible(year: int, month: int, day: int) -> bool:
    if not _LEAST_YEAR <= year <= _GREATEST_YEAR or (day and not month):
        return False
    try:
        date(year, month or 1, day or 1)
    except ValueError:
        return False
    return True
