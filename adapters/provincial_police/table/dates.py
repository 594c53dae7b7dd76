"""Dates of police exports: as people write them in Chinese, and as spreadsheets write them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from adapters.provincial_police.table.codes import Doubt
from adapters.provincial_police.table.text import narrow
from adapters.syntax.spreadsheet import serial_date
from adapters.values import chinese_dates
from adapters.values.chinese_days import NOT_READ, PARTLY_READ
from caseexchange.records.v1 import common_pb2

_STAMP: Final = re.compile(r"([0-9]{8})[0-9]{4}(?:[0-9]{2})?")
"""A date and a time with nothing between them."""
_SERIAL: Final = re.compile(r"([1-7][0-9]{4})(?:\.[0-9]+)?")
_DOUBTS: Final = {code: Doubt(code, message) for code, message in chinese_dates.MESSAGES.items()}
_SERIAL_READ: Final = Doubt("DATE_SERIAL", "a spreadsheet's number of a day was read as the date")
_REMEMBERED: Final = 4096
"""The most dates that are remembered. A file has few different ones."""


class ReadDate(NamedTuple):
    """A date, and a doubt about it, if any. It must not be changed, because it may be returned again."""

    date: common_pb2.PartialDate
    doubt: Doubt | None


@lru_cache(_REMEMBERED)
def read_date(text: str) -> ReadDate:
    """Read a date, as much of it as possible. Its text is always kept. Lunar dates are never converted.

    A number of five digits is the number of a day in a spreadsheet, because nobody writes a date so. If a date has a
    time, the time stays in the text. That is no doubt: in a column of times, every cell has one.
    """
    plain = narrow(text)
    serial = _SERIAL.fullmatch(plain)
    day = serial_date(int(serial[1])) if serial else None
    if day is not None:
        found = common_pb2.PartialDate(year=day.year, month=day.month, day=day.day, original_text=text)
        found.calendar = common_pb2.CALENDAR_GREGORIAN
        return ReadDate(found, _SERIAL_READ)
    stamp = _STAMP.fullmatch(plain)
    found, code = chinese_dates.read_date(stamp[1] if stamp else text)
    found.original_text = text
    if code == PARTLY_READ and found.day:
        code = ""
    elif not code and not (found.year or found.month):
        code = NOT_READ
    return ReadDate(found, _DOUBTS.get(code))


def date_text(value: common_pb2.PartialDate) -> str:
    """A date's own text, or its numbers if it has no text. A span has both ends."""
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
