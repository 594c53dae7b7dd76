"""The columns of the export: pinyin initials, as police systems name them (GA/T 543.1), and their place in a record.

Each column reads its cell into a CaseRecord and writes it back. Columns that are not listed are kept as unmapped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.provincial_police.codes import DIVISION, ETHNICITY, KIND_OF, RESIDENT_ID, SEX_OF
from adapters.provincial_police.text import date_text, narrow, parse_date
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

CASE_NUMBER: Final = "AJBH"
PHOTO: Final = "XP"
BARCODE: Final = "YBTM"
ROLE: Final = "YBJS"
COLLECTED: Final = "YBCJSJ"
OUTSIDE_OF_CASE: Final = (PHOTO, BARCODE, ROLE, COLLECTED)
"""Columns that do not become a field of the CaseRecord cell by cell."""
_AGE: Final = re.compile(r"[0-9]{1,3}")
_NUMBER: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,2})?")


class Column(NamedTuple):
    """One column. ``read`` returns a warning's code, or an empty text; ``fields`` are the paths that it carries."""

    name: str
    fields: tuple[str, ...]
    read: Callable[[case_pb2.CaseRecord, str], str]
    write: Callable[[case_pb2.CaseRecord], str]


def _text(name: str, field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        setattr(record, field, cell)
        return ""

    return Column(name, (field,), read, lambda record: str(getattr(record, field)))


def _date(name: str, field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        date = parse_date(cell)
        getattr(record, field).CopyFrom(date)
        return "" if date.year else "DATE_NOT_READ"

    paths = tuple(f"{field}.{part}" for part in ("year", "month", "day", "calendar", "approximate", "original_text"))
    return Column(name, paths, read, lambda record: date_text(getattr(record, field)))


def _place(name: str, field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        getattr(record, field).text = cell
        return ""

    return Column(name, (f"{field}.text",), read, lambda record: str(getattr(record, field).text))


def _division(name: str, field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        division = getattr(record, field).division
        division.system, division.value = DIVISION, narrow(cell)
        return ""

    def write(record: case_pb2.CaseRecord) -> str:
        division = getattr(record, field).division
        return str(division.value) if division.system == DIVISION else ""

    return Column(name, (f"{field}.division.system", f"{field}.division.value"), read, write)


def _name(name: str, kind: common_pb2.NameKind.ValueType) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        record.names.add(kind=kind, full=cell)
        return ""

    def write(record: case_pb2.CaseRecord) -> str:
        return next((item.full for item in record.names if item.kind == kind), "")

    return Column(name, ("names",), read, write)


def _feature(name: str, kind: common_pb2.FeatureKind.ValueType) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        record.features.add(kind=kind, text=cell)
        return ""

    def write(record: case_pb2.CaseRecord) -> str:
        return next((item.text for item in record.features if item.kind == kind), "")

    return Column(name, ("features",), read, write)


def _contact(name: str, field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        contact = record.contacts[0] if record.contacts else record.contacts.add()
        setattr(contact, field, cell)
        return ""

    def write(record: case_pb2.CaseRecord) -> str:
        return str(getattr(record.contacts[0], field)) if record.contacts else ""

    return Column(name, ("contacts",), read, write)


def _read_kind(record: case_pb2.CaseRecord, cell: str) -> str:
    kind = KIND_OF.get(narrow(cell))
    record.kind = kind or case_pb2.CASE_KIND_UNSPECIFIED
    return "" if kind else "CASE_KIND_UNKNOWN"


def _read_sex(record: case_pb2.CaseRecord, cell: str) -> str:
    sex = SEX_OF.get(narrow(cell))
    record.sex = sex or common_pb2.SEX_UNSPECIFIED
    return "" if sex is not None else "SEX_UNKNOWN"


def _write_sex(record: case_pb2.CaseRecord) -> str:
    return next((code for code, sex in SEX_OF.items() if sex == record.sex), "") if record.sex else ""


def _read_age(record: case_pb2.CaseRecord, cell: str) -> str:
    least, _, greatest = narrow(cell).partition("-")
    if not _AGE.fullmatch(least) or not _AGE.fullmatch(greatest or least):
        return "AGE_NOT_READ"
    record.age.least, record.age.greatest = int(least), int(greatest or least)
    return ""


def _write_age(record: case_pb2.CaseRecord) -> str:
    age = record.age
    if not record.HasField("age"):
        return ""
    return str(age.least) if age.least == age.greatest else f"{age.least}-{age.greatest}"


def _read_ethnicity(record: case_pb2.CaseRecord, cell: str) -> str:
    record.ethnicity.system, record.ethnicity.value = ETHNICITY, narrow(cell)
    return ""


def _read_resident_id(record: case_pb2.CaseRecord, cell: str) -> str:
    number = narrow(cell).upper()
    document = record.documents.add(number=number)
    document.type.system = RESIDENT_ID
    # A spreadsheet has turned the number into a float: its last digits are lost.
    return "RESIDENT_ID_FLOAT" if "E+" in number else ""


def _read_height(record: case_pb2.CaseRecord, cell: str) -> str:
    record.height.original_text = cell
    plain = narrow(cell).lower().removesuffix("厘米").removesuffix("cm")
    if not _NUMBER.fullmatch(plain):
        return "HEIGHT_NOT_READ"
    value = float(plain)
    # Metres are told from centimetres by size; nobody is 3 m or 3 cm tall.
    record.height.value, record.height.unit = (value * 100 if 0 < value < 3 else value), "cm"  # noqa: PLR2004
    return "" if 0 < record.height.value < 300 else "HEIGHT_NOT_READ"  # noqa: PLR2004


def _write_height(record: case_pb2.CaseRecord) -> str:
    height = record.height
    greatest = f"-{height.value_max:g}" if height.value_max else ""
    return height.original_text or (f"{height.value:g}{greatest}" if height.value else "")


COLUMNS: Final = (
    _text(CASE_NUMBER, "local_id"),
    Column("AJLB", ("kind",), _read_kind, lambda record: next((c for c, k in KIND_OF.items() if k == record.kind), "")),
    _name("XM", common_pb2.NAME_KIND_LEGAL),
    _name("CYM", common_pb2.NAME_KIND_FORMER),
    _name("BM", common_pb2.NAME_KIND_ALIAS),
    Column("XBDM", ("sex",), _read_sex, _write_sex),
    _date("CSRQ", "birth"),
    Column("NL", ("age.least", "age.greatest", "age"), _read_age, _write_age),
    Column(
        "MZDM",
        ("ethnicity.system", "ethnicity.value"),
        _read_ethnicity,
        lambda record: record.ethnicity.value if record.ethnicity.system == ETHNICITY else "",
    ),
    Column(
        "GMSFHM",
        ("documents",),
        _read_resident_id,
        lambda record: next((item.number for item in record.documents if item.type.system == RESIDENT_ID), ""),
    ),
    _place("HJDXZ", "household"),
    _division("HJDQH", "household"),
    Column("SG", ("height.value", "height.unit", "height.original_text"), _read_height, _write_height),
    _text("XX", "blood_group"),
    _feature("TMTZ", common_pb2.FEATURE_KIND_BODY),
    _feature("YZTZ", common_pb2.FEATURE_KIND_BELONGINGS),
    _feature("KY", common_pb2.FEATURE_KIND_SPEECH),
    _feature("JKZK", common_pb2.FEATURE_KIND_HEALTH),
    _date("SZSJ", "event_date"),
    _place("SZDD", "event_place"),
    _division("SZDQH", "event_place"),
    _date("FXSJ", "found_date"),
    _place("FXDD", "found_place"),
    _division("FXDQH", "found_place"),
    _text("JYAQ", "narrative"),
    _contact("LXR", "name"),
    _contact("LXRGX", "relation"),
    _contact("LXDH", "phone"),
    _contact("LXDW", "organisation"),
)
BY_NAME: Final = {column.name: column for column in COLUMNS}
HEADER: Final = (*BY_NAME, *OUTSIDE_OF_CASE)
