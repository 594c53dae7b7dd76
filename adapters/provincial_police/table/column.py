"""How the cells of one column become a field of a CaseRecord, and how the field becomes a cell again.

``read`` gets a cell without blanks around it, never an empty one, and returns a doubt about it, or None. ``write``
returns "" if the record has nothing for the column.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from adapters.base import Severity
from adapters.provincial_police.table.codes import DIVISION, ORGAN, Doubt
from adapters.provincial_police.table.dates import date_text, read_date
from adapters.provincial_police.table.divisions import division_of
from adapters.provincial_police.table.text import code_text, one_dot, parts_of
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    Read: TypeAlias = Callable[[case_pb2.CaseRecord, str], Doubt | None]
    Write: TypeAlias = Callable[[case_pb2.CaseRecord], str]

DIVISION_UNKNOWN: Final = Doubt("DIVISION_UNKNOWN", "no revision of GB/T 2260 from 1980 to 2019 has this code")
ORGAN_UNKNOWN: Final = Doubt("ORGAN_UNKNOWN", "not an organ's code of GA/T 380: 12 digits, the first 6 a division")
NAME_DOT: Final = Doubt("NAME_DOT", "the name had another dot than U+00B7; it was replaced", severity=Severity.INFO)
_LIST_MARK: Final = "、"
_REMEMBERED: Final = 4096
_ORGAN_DIGITS: Final = 12


class Column(NamedTuple):
    """One column.

    Attributes:
        name: pinyin initials, as police systems name columns (GA/T 543.1).
        label: the heading in Chinese.
        english: the heading in English.
        also: other accepted headings.
        read: see the module. None for a column that is kept as unmapped under its name.
        write: see the module.
        table: the code table of its cells, a key of ``codes.TABLES``.
    """

    name: str
    label: str
    english: str
    also: tuple[str, ...]
    read: Read | None
    write: Write
    table: str = ""


def text(name: str, label: str, english: str, field: str, *also: str) -> Column:
    """A column for a text field."""

    def read(record: case_pb2.CaseRecord, cell: str) -> None:
        setattr(record, field, cell)

    return Column(name, label, english, also, read, lambda record: str(getattr(record, field)))


def kept(name: str, label: str, english: str, *also: str) -> Column:
    """A column of the standard that has no field. It is kept as unmapped, and written from there."""

    def write(record: case_pb2.CaseRecord) -> str:
        return next((item.value for item in record.provenance.unmapped if item.path == name), "")

    return Column(name, label, english, also, None, write)


def outside(name: str, label: str, english: str, *also: str, table: str = "") -> Column:
    """A column that is not part of the case: it is about the sample, or about photos in files of their own."""
    return Column(name, label, english, also, None, lambda _: "", table)


def date(name: str, label: str, english: str, field: str, *also: str) -> Column:
    """A column with a date."""

    def read(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
        found = read_date(cell)
        getattr(record, field).CopyFrom(found.date)
        return found.doubt

    return Column(name, label, english, also, read, lambda record: date_text(getattr(record, field)))


def place(name: str, label: str, english: str, field: str, *also: str) -> Column:
    """A column with an address, or a description of a place."""

    def read(record: case_pb2.CaseRecord, cell: str) -> None:
        getattr(record, field).text = cell

    return Column(name, label, english, also, read, lambda record: str(getattr(record, field).text))


def division(name: str, label: str, english: str, field: str, *also: str) -> Column:
    """A column with a code of GB/T 2260."""

    def read(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
        code, doubt = _division(cell)
        getattr(record, field).division.CopyFrom(code)
        return doubt

    def write(record: case_pb2.CaseRecord) -> str:
        found = getattr(record, field).division
        return str(found.value) if found.system == DIVISION else ""

    return Column(name, label, english, also, read, write)


def named(name: str, label: str, english: str, kind: common_pb2.NameKind.ValueType, *also: str) -> Column:
    """A column with one name of this kind."""

    def read(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
        item = record.names.add()
        item.kind = kind
        item.full = full = one_dot(cell)
        return None if full == cell else NAME_DOT

    def write(record: case_pb2.CaseRecord) -> str:
        return next((item.full for item in record.names if item.kind == kind), "")

    return Column(name, label, english, also, read, write)


def names(
    name: str, label: str, english: str, kind: common_pb2.NameKind.ValueType, *also: str, written: bool
) -> Column:
    """A column with a list of names of this kind. If several columns have this kind, one is written."""

    def read(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
        full = one_dot(cell)
        for part in parts_of(full):
            item = record.names.add()
            item.kind = kind
            item.full = part
        return None if full == cell else NAME_DOT

    def write(record: case_pb2.CaseRecord) -> str:
        return _LIST_MARK.join(item.full for item in record.names if item.kind == kind) if written else ""

    return Column(name, label, english, also, read, write)


def feature(
    name: str, label: str, english: str, kind: common_pb2.FeatureKind.ValueType, *also: str, number: int = 0
) -> Column:
    """A column with the first feature of this kind, or with the feature of this number."""

    def read(record: case_pb2.CaseRecord, cell: str) -> None:
        item = record.features.add()
        item.kind = kind
        item.text = cell

    def write(record: case_pb2.CaseRecord) -> str:
        texts = [item.text for item in record.features if item.kind == kind]
        return texts[number] if number < len(texts) else ""

    return Column(name, label, english, also, read, write)


def contact(
    name: str, label: str, english: str, role: common_pb2.ContactRole.ValueType, field: str, *also: str
) -> Column:
    """A column with one part of the contact in this role."""

    def read(record: case_pb2.CaseRecord, cell: str) -> None:
        found = _contact(record, role)
        if field == "address":
            found.address.text = cell
        else:
            setattr(found, field, cell)

    def write(record: case_pb2.CaseRecord) -> str:
        for item in record.contacts:
            if item.role == role:
                return str(item.address.text if field == "address" else getattr(item, field))
        return ""

    return Column(name, label, english, also, read, write)


def _contact(record: case_pb2.CaseRecord, role: common_pb2.ContactRole.ValueType) -> common_pb2.Contact:
    for item in record.contacts:
        if item.role == role:
            return item
    return record.contacts.add(role=role)


def read_organ(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """The code of the police organ that handles the case, GA/T 380."""
    code = code_text(cell)
    record.handling_organ.system, record.handling_organ.value = ORGAN, code
    whole = len(code) == _ORGAN_DIGITS and code.isascii() and code.isalnum()
    return None if whole and division_of(code[:6]) else ORGAN_UNKNOWN


@lru_cache(_REMEMBERED)
def _division(cell: str) -> tuple[common_pb2.Code, Doubt | None]:
    value = code_text(cell)
    code, found = common_pb2.Code(system=DIVISION, value=value), division_of(value)
    if found is None:
        return code, DIVISION_UNKNOWN
    code.display = found.name
    if found.abolished:
        words = f"an abolished division; the last revision of GB/T 2260 that has it is {found.last_revision}"
        return code, Doubt("DIVISION_ABOLISHED", words, severity=Severity.INFO)
    return code, None
