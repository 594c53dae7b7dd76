"""Resident identity numbers, GB 11643: 18 digits, or 15 in the old form, which has no century and no check digit.

A doubt about a number is a warning: a rescued child's papers may be forged, and divisions are abolished.
"""

from __future__ import annotations

import re
from operator import mul
from typing import TYPE_CHECKING, Final

from adapters.provincial_police.table.codes import Doubt
from adapters.provincial_police.table.divisions import is_area
from adapters.provincial_police.table.text import narrow
from caseexchange.records.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS: Final = "10X98765432"
_ASCII_ZEROS: Final = ord("0") * sum(_WEIGHTS)
_ID_18: Final = re.compile(r"[0-9]{17}[0-9X]")
_ID_15: Final = re.compile(r"[0-9]{15}")
_FLOAT: Final = re.compile(r"[0-9](\.[0-9]+)?E\+1[0-9]")
_LOST: Final = "000"

OLD_FORM: Final = Doubt("RESIDENT_ID_OLD_FORM", "the identity number has the old form with 15 digits")
FORM: Final = Doubt("RESIDENT_ID_FORM", "the identity number has neither 18 nor 15 digits")
CHECKSUM: Final = Doubt("RESIDENT_ID_CHECKSUM", "the identity number's check digit is wrong")
AREA: Final = Doubt("RESIDENT_ID_AREA", "no revision of GB/T 2260 has the identity number's division")
BIRTH_DATE: Final = Doubt("RESIDENT_ID_BIRTH_DATE", "the identity number's birth date differs from the stated one")
SEX: Final = Doubt("RESIDENT_ID_SEX", "the identity number's sex differs from the stated one")
ROUNDED: Final = Doubt(
    "RESIDENT_ID_ROUNDED",
    "a spreadsheet has rounded the identity number: it is kept as text, not as a document",
    unread=True,
)


def is_rounded_id(number: str) -> bool:
    """Whether a spreadsheet probably stored it as a number: it keeps 15 digits, and writes 4.40308E+17 to a CSV."""
    if is_float(number):
        return True
    return number.endswith(_LOST) and _ID_18.fullmatch(number) is not None and not has_check_digit(number)


def is_float(text: str) -> bool:
    """Whether a text looks like a number of 11 to 20 digits as a spreadsheet writes it: 4.40308E+17."""
    return not text.isalnum() and _FLOAT.fullmatch(narrow(text).upper()) is not None


def has_check_digit(number: str) -> bool:
    """Whether the check digit of a number of 18 digits is right (ISO 7064, MOD 11-2)."""
    total = sum(map(mul, number[:17].encode(), _WEIGHTS)) - _ASCII_ZEROS
    return _CHECK_DIGITS[total % 11] == number[17]


def resident_id_doubts(number: str, birth: common_pb2.PartialDate, sex: common_pb2.Sex.ValueType) -> Iterator[Doubt]:
    """The doubts about a number. None: it is plausible."""
    if _ID_18.fullmatch(number):
        if not has_check_digit(number):
            yield CHECKSUM
        born, order = number[6:14], number[16]
    elif _ID_15.fullmatch(number):
        yield OLD_FORM
        born, order = "19" + number[6:12], number[14]
    else:
        yield FORM
        return
    if not is_area(number[:6]):
        yield AREA
    vague = birth.approximate or birth.HasField("end")
    if birth.year and birth.calendar == common_pb2.CALENDAR_GREGORIAN and not vague:
        stated = f"{birth.year:04}" + (f"{birth.month:02}" if birth.month else "")
        if not born.startswith(stated + (f"{birth.day:02}" if birth.day else "")):
            yield BIRTH_DATE
    if sex and sex != common_pb2.SEX_OTHER:
        of_number = common_pb2.SEX_MALE if int(order) % 2 else common_pb2.SEX_FEMALE
        if sex != of_number:
            yield SEX
