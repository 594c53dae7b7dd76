"""Code tables of police exports, as far as they are checked here.

Sources: GB 11643 (resident identity number), GB/T 2261.1 (sex), GB/T 3304 (ethnic groups), GB/T 2260 (divisions).
A doubtful code is a warning, never a rejection: a rescued child's papers may be forged, and divisions are abolished.
"""

from __future__ import annotations

import re
from typing import Final

from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2

RESIDENT_ID: Final = "GB 11643"
ETHNICITY: Final = "GB/T 3304"
DIVISION: Final = "GB/T 2260"

SEX_OF: Final = {
    "0": common_pb2.SEX_UNSPECIFIED,
    "1": common_pb2.SEX_MALE,
    "2": common_pb2.SEX_FEMALE,
    "9": common_pb2.SEX_OTHER,
}
KIND_OF: Final = {
    "1": case_pb2.CASE_KIND_RESCUED_CHILD,
    "2": case_pb2.CASE_KIND_MISSING_CHILD,
    "3": case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD,
    "4": case_pb2.CASE_KIND_VAGRANT_CHILD,
    "5": case_pb2.CASE_KIND_SEEKING_PARENT,
    "9": case_pb2.CASE_KIND_OTHER_SEARCH,
}
"""The column AJLB: this exchange's own numbers for the classes that are to be sampled (MPS, 2009), and 9 for others."""

ROLE_OF: Final = {
    "1": dna_pb2.SAMPLE_ROLE_CHILD,
    "2": dna_pb2.SAMPLE_ROLE_MOTHER,
    "3": dna_pb2.SAMPLE_ROLE_FATHER,
    "4": dna_pb2.SAMPLE_ROLE_SIBLING,
    "9": dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE,
}
"""The column YBJS: this exchange's own numbers."""

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS: Final = "10X98765432"
_ID_18: Final = re.compile(r"[0-9]{17}[0-9X]")
_ID_15: Final = re.compile(r"[0-9]{15}")
_ETHNIC_GROUPS: Final = frozenset({f"{number:02}" for number in range(1, 57)} | {"97", "98"})
_PROVINCE: Final = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12]")
_DIVISION: Final = re.compile(r"[0-9]{6}([0-9]{6})?")


def resident_id_doubts(number: str, birth: common_pb2.PartialDate, sex: common_pb2.Sex.ValueType) -> list[str]:
    """Codes of what is doubtful about a resident identity number. Empty: it is plausible."""
    if _ID_15.fullmatch(number):
        return ["RESIDENT_ID_OLD_FORM"]
    if not _ID_18.fullmatch(number):
        return ["RESIDENT_ID_FORM"]
    doubts: list[str] = []
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    if _CHECK_DIGITS[total % 11] != number[17]:
        doubts.append("RESIDENT_ID_CHECKSUM")
    stated = f"{birth.year:04}{birth.month:02}{birth.day:02}"
    if birth.year and birth.month and birth.day and number[6:14] != stated:
        doubts.append("RESIDENT_ID_BIRTH_DATE")
    of_number = common_pb2.SEX_MALE if int(number[16]) % 2 else common_pb2.SEX_FEMALE
    if sex in {common_pb2.SEX_MALE, common_pb2.SEX_FEMALE} and sex != of_number:
        doubts.append("RESIDENT_ID_SEX")
    return doubts


def is_ethnic_group(code: str) -> bool:
    """Whether GB/T 3304 has this code."""
    return code in _ETHNIC_GROUPS


def may_be_division(code: str) -> bool:
    """Whether this can be a division of GB/T 2260, in force or abolished, or an organ of GA/T 380 within one."""
    return _DIVISION.fullmatch(code) is not None and _PROVINCE.match(code) is not None
