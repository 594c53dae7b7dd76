"""The columns that are not a plain text: codes, ages, measures and documents, read and written.

column.py says what reading and writing guarantee.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapters.base import Severity
from adapters.provincial_police.table.codes import (
    DOCUMENT,
    DRIVING_LICENCE,
    ETHNIC_GROUPS,
    ETHNICITY,
    EVENT_OF,
    KIND_OF,
    RESIDENT_ID,
    SEX_OF,
    Doubt,
    code_in,
)
from adapters.provincial_police.table.resident_id import ROUNDED, is_rounded_id
from adapters.provincial_police.table.text import code_text, narrow
from adapters.values.measures import Reading, number_text, parse_height, parse_weight
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

SEX_TABLE: Final = "GB/T 2261.1"
_AGE: Final = re.compile(r"([0-9]{1,3})(?:[-~至到]([0-9]{1,3}))?(?:周?岁)?")

KIND_UNKNOWN: Final = Doubt("CASE_KIND_UNKNOWN", "the column has no such class of case", unread=True)
SEX_UNKNOWN: Final = Doubt("SEX_UNKNOWN", "GB/T 2261.1 has no such code", unread=True)
AGE_NOT_READ: Final = Doubt("AGE_NOT_READ", "not an age in years, or a span of ages", unread=True)
ETHNICITY_UNKNOWN: Final = Doubt("ETHNICITY_UNKNOWN", "GB/T 3304 has no such code or name")
ZERO_LOST: Final = Doubt("LEADING_ZERO_LOST", "the code had lost its first digit, a zero; it was put back")
EVENT_UNKNOWN: Final = Doubt("EVENT_KIND_UNKNOWN", "the column has no such event", unread=True, severity=Severity.INFO)


def read_kind(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """The class of case, by its number or name."""
    kind = KIND_OF.get(code_in("AJLB", code_text(cell)))
    if kind is None:
        return KIND_UNKNOWN
    record.kind = kind
    return None


def read_organ_name(record: case_pb2.CaseRecord, cell: str) -> None:
    """The name of the police organ that handles the case."""
    record.handling_organ.display = cell


def read_sex(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """Sex, GB/T 2261.1, by its code or in words."""
    sex = SEX_OF.get(code_in(SEX_TABLE, code_text(cell)))
    if sex is None:
        return SEX_UNKNOWN
    record.sex = sex
    return None


def write_sex(record: case_pb2.CaseRecord) -> str:
    """The code of the sex."""
    return next((code for code, sex in SEX_OF.items() if sex == record.sex), "") if record.sex else ""


def read_event(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """What happened, by its number or in words."""
    event = EVENT_OF.get(code_in("SZYY", code_text(cell)))
    if event is None:
        return EVENT_UNKNOWN
    record.event = event
    return None


def read_age(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """An age in years, or a span of ages."""
    match = _AGE.fullmatch(code_text(cell))
    if match is None:
        return AGE_NOT_READ
    least, greatest = int(match[1]), int(match[2] or match[1])
    if not least <= greatest <= 150:  # noqa: PLR2004 - years, as adapters/records/validate.py has it
        return AGE_NOT_READ
    age = record.age
    age.least, age.greatest = least, greatest
    return None


def write_age(record: case_pb2.CaseRecord) -> str:
    """An age as a number or a span."""
    age = record.age
    if not record.HasField("age"):
        return ""
    return str(age.least) if age.least == age.greatest else f"{age.least}-{age.greatest}"


def read_ethnicity(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """An ethnic group, GB/T 3304, by its code or name. Codes have two digits, so one digit has lost its zero."""
    code = code_in(ETHNICITY, code_text(cell))
    doubt = None
    if len(code) == 1 and code.isdecimal() and f"0{code}" in ETHNIC_GROUPS:
        code, doubt = f"0{code}", ZERO_LOST
    ethnicity = record.ethnicity
    ethnicity.system, ethnicity.value = ETHNICITY, code
    name = ETHNIC_GROUPS.get(code)
    if name is None:
        return ETHNICITY_UNKNOWN
    ethnicity.display = name
    return doubt


def read_resident_id(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """A resident identity number. If a spreadsheet has rounded it, it is not a document."""
    number = code_text(cell).upper()
    if is_rounded_id(number):
        return ROUNDED
    document = record.documents.add()
    document.type.system, document.number = RESIDENT_ID, number
    return None


def _other_document(record: case_pb2.CaseRecord) -> common_pb2.IdDocument:
    for item in record.documents:
        # The column JSZH has complete licence numbers. ZJLX may state a licence too, and then ZJHM has its number.
        if item.type.system == DOCUMENT and not (item.type.value == DRIVING_LICENCE and item.number):
            return item
    return record.documents.add(type=common_pb2.Code(system=DOCUMENT))


def read_document_type(record: case_pb2.CaseRecord, cell: str) -> None:
    """The kind of another document, GA/T 517."""
    _other_document(record).type.value = narrow(cell)


def read_document(record: case_pb2.CaseRecord, cell: str) -> None:
    """The number of another document."""
    _other_document(record).number = cell


def read_licence(record: case_pb2.CaseRecord, cell: str) -> None:
    """A driving licence's number."""
    record.documents.add(type=common_pb2.Code(system=DOCUMENT, value=DRIVING_LICENCE), number=cell)


def document_of(record: case_pb2.CaseRecord, system: str, *, licence: bool = False) -> common_pb2.IdDocument:
    """The first document of this system, or an empty one."""
    found = (
        item
        for item in record.documents
        if item.type.system == system and (item.type.value == DRIVING_LICENCE) == licence
    )
    return next(found, common_pb2.IdDocument())


def read_height(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """A height in any unit that the cell names. A bare number is in centimetres, or in metres."""
    # The column is in centimetres, but 1.23 cannot be a person's height in centimetres.
    return _measured(record.height, cell, parse_height, "cm", "m")


def read_weight(record: case_pb2.CaseRecord, cell: str) -> Doubt | None:
    """A weight in any unit that the cell names. A bare number is in kilograms."""
    return _measured(record.weight, cell, parse_weight, "kg")


def _measured(
    measure: common_pb2.Measure, cell: str, parse: Callable[[str, str], Reading], *units: str
) -> Doubt | None:
    """Read a measure. If the cell names no unit, use the first of these units that gives a possible measure."""
    reading = parse(cell, "")
    if reading.code.endswith("_UNIT_MISSING"):
        found = [parse(cell, unit) for unit in units]
        reading = next((item for item in found if item.read), found[0])
    measure.CopyFrom(reading.measure)
    measure.original_text = cell
    return None if reading.read else Doubt(reading.code, reading.message)


def measure_text(value: common_pb2.Measure) -> str:
    """A measure's own text, or its number. A range gets both ends; it is not read back as a range."""
    greatest = f"-{number_text(value.value_max)}" if value.value_max else ""
    return value.original_text or (f"{number_text(value.value)}{greatest}" if value.value else "")
