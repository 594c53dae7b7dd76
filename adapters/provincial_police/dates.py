"""Dates of police exports: read as well as they are known, never completed, never converted."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

from adapters.provincial_police.text import narrow
from adapters.spreadsheet import serial_date
from caseexchange.records.v1 import common_pb2

_TIME: Final = r"(?:T?[0-9]{1,2}[:：时点][0-9]{0,2}[:：分]?[0-9]{0,2}秒?)?"
_DATES: Final = (
    re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:[0-9]{4}|[0-9]{6})?"),
    re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})" + _TIME),
    re.compile(r"([0-9]{4})年([0-9]{1,2})月([0-9]{1,2})[日号]" + _TIME),
    re.compile(r"([0-9]{4})([0-9]{2})"),
    re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})"),
    re.compile(r"([0-9]{4})年([0-9]{1,2})月"),
    re.compile(r"([0-9]{4})年?"),
)
_SERIAL: Final = re.compile(r"([1-7][0-9]{4})(?:\.[0-9]+)?")
_APPROXIMATE: Final = ("约", "左右", "前后")
_LUNAR: Final = ("农历", "阴历")
_REMEMBERED: Final = 4096
"""Dates that were read last: a file has few, and they come again."""


class ReadDate(NamedTuple):
    """A date, and whether it was a spreadsheet's serial number. Never changed: it may be given out again."""

    date: common_pb2.PartialDate
    serial: bool


@lru_cache(_REMEMBERED)
def read_date(text: str) -> ReadDate:
    """A date as well as it can be read; its text is always kept. Lunar dates are marked.

    A number of five digits is the number of a day in a spreadsheet: no date is written so. A time is left in the text.
    """
    found = common_pb2.PartialDate(original_text=text)
    plain = narrow(text)
    serial = _SERIAL.fullmatch(plain)
    day = serial_date(int(serial[1])) if serial else None
    if day is not None:
        found.year, found.month, found.day = day.year, day.month, day.day
        found.calendar = common_pb2.CALENDAR_GREGORIAN
        return ReadDate(found, serial=True)
    for mark in _APPROXIMATE:
        if mark in plain:
            found.approximate = True
            plain = plain.replace(mark, "")
    if plain.startswith(_LUNAR):
        found.calendar = common_pb2.CALENDAR_LUNAR
        plain = plain[2:]
    for pattern in _DATES:
        match = pattern.fullmatch(plain)
        if match is None:
            continue
        numbers = [int(number) for number in match.groups()]
        if _possible(*numbers, lunar=found.calendar == common_pb2.CALENDAR_LUNAR):
            found.year, found.month, found.day = (*numbers, 0, 0)[:3]
            found.calendar = found.calendar or common_pb2.CALENDAR_GREGORIAN
        break
    return ReadDate(found, serial=False)


def date_text(value: common_pb2.PartialDate) -> str:
    """A date's own text, or its numbers where it has none; both ends of a span, which is not read back as one."""
    if value.original_text or not value.year:
        return value.original_text
    if value.HasField("end"):
        first, last = common_pb2.PartialDate(), value.end
        first.CopyFrom(value)
        first.ClearField("end")
        return f"{date_text(first)}至{date_text(last)}"
    parts = f"{value.year:04}" + (f"{value.month:02}" if value.month else "") + (f"{value.day:02}" if value.day else "")
    lunar = "农历" if value.calendar == common_pb2.CALENDAR_LUNAR else ""
    return lunar + parts + ("左右" if value.approximate else "")


def _possible(year: int, month: int = 0, day: int = 0, *, lunar: bool) -> bool:
    if not 1900 <= year <= 2100 or not 0 <= month <= 12:  # noqa: PLR2004 - a person alive now, and the months
        return False
    if not day:
        return True
    if lunar:
        return day <= 30  # noqa: PLR2004 - the longest lunar month
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
