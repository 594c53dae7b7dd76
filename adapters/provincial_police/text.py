"""What a police export's bytes and cells may look like: encodings, full-width characters, dates, spreadsheet formulas.

The encoding is found in a strict order, never guessed: a byte order mark, then strict UTF-8, then strict GB18030 (which
holds every character, those of four bytes included). GB18030 that could be read as UTF-8 is written with its own mark.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from datetime import date
from typing import Final, NamedTuple

from caseexchange.records.v1 import common_pb2

_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FORMULA: Final = "=+-@\t\r＝＋－＠"
_BOM_GB18030: Final = "\ufeff".encode("gb18030")
_DATES: Final = (
    re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})"),
    re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})"),
    re.compile(r"([0-9]{4})年([0-9]{1,2})月([0-9]{1,2})日"),
    re.compile(r"([0-9]{4})([0-9]{2})"),
    re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})"),
    re.compile(r"([0-9]{4})年([0-9]{1,2})月"),
    re.compile(r"([0-9]{4})年?"),
)
_APPROXIMATE: Final = ("约", "左右", "前后")
_LUNAR: Final = ("农历", "阴历")


class Text(NamedTuple):
    """A file's text and the encoding that it was in."""

    text: str
    encoding: str


def decode_text(content: bytes) -> Text | str:
    """Decode a file, or say by a code why it cannot be."""
    if content.startswith(_UTF16):
        return "ENCODING_UNSUPPORTED"
    if b"\0" in content:
        return "NUL_BYTE"
    if content.startswith(_BOM_GB18030):
        content = content.removeprefix(_BOM_GB18030)
        encodings = ["gb18030"]
    elif content.startswith(codecs.BOM_UTF8):
        encodings = ["utf-8-sig"]
    else:
        encodings = ["utf-8", "gb18030"]
    for encoding in encodings:
        try:
            return Text(content.decode(encoding), encoding)
        except UnicodeDecodeError:
            continue
    return "ENCODING_UNKNOWN"


def encode_text(text: str) -> bytes:
    """A file's text in GB18030, which ``decode_text`` reads back as it was."""
    content = text.encode("gb18030")
    decoded = decode_text(content)
    return content if isinstance(decoded, Text) and decoded.text == text else _BOM_GB18030 + content


def narrow(text: str) -> str:
    """Codes and numbers without full-width characters and blanks: １２３Ｘ is 123X."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def parse_date(text: str) -> common_pb2.PartialDate:
    """A date as well as it can be read; its text is always kept. Lunar dates are marked, never converted."""
    found = common_pb2.PartialDate(original_text=text)
    plain = narrow(text)
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
    return found


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


def guard_formula(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; ``unguard_formula`` undoes it."""
    return f"'{text}" if text[:1] in {*_FORMULA, "'"} and text else text


def unguard_formula(text: str) -> str:
    """A cell without the apostrophe that ``guard_formula`` put before it."""
    return text[1:] if text[:1] == "'" and text[1:2] in {*_FORMULA, "'"} and text[1:] else text


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
