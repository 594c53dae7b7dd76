"""Turns a case of NamUs's JSON into a record. What has no place in a record is kept by its JSON pointer."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapters.ngo.namus.tree import Tree
from adapters.values.chinese_dates import MESSAGES, read_date
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from adapters.base import IssueList

AGENCY: Final = "investigating agency"
ETHNICITY: Final = "NamUs"
KINDS: Final = {"MP": case_pb2.CASE_KIND_MISSING_CHILD, "UP": case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD}
SEXES: Final = {"male": common_pb2.SEX_MALE, "female": common_pb2.SEX_FEMALE, "other": common_pb2.SEX_OTHER}
ADDRESS: Final = (("street1",), ("street2",), ("city",), ("county", "name"), ("state", "name"))
_NUMBER: Final = re.compile("(MP|UP)([0-9]{1,15})")
_GREATEST_AGE: Final = 150
_ADULT: Final = 18
_IDENTIFICATION: Final = "subjectIdentification"
_DESCRIPTION: Final = "subjectDescription"


class Quantity(NamedTuple):
    """A quantity that the format states as a range: the field in both formats, the units, and the greatest possible."""

    field: str
    first: str
    last: str
    unit: str
    factor: float
    written_unit: str
    most: float


QUANTITIES: Final = (
    Quantity("height", "heightFrom", "heightTo", "cm", 2.54, "in", 300),
    Quantity("weight", "weightFrom", "weightTo", "kg", 0.45359237, "lb", 700),
)
"""The inch and the pound of 1959."""


def case_of(item: dict[str, Any], locator: str, issues: IssueList) -> case_pb2.CaseRecord:
    """The record of a case. The fields that are read are removed from ``item``."""
    tree = Tree(item, locator, issues)
    record = case_pb2.CaseRecord()
    _number(record, tree, locator, issues)
    resolved = tree.flag("caseIsResolved")
    if resolved is not None:
        record.status = case_pb2.CASE_STATUS_CLOSED if resolved else case_pb2.CASE_STATUS_OPEN
    _identification(record, tree, locator, issues)
    _description(record, tree, locator, issues)
    _sighting(*when_and_where(record), tree, locator, issues)
    record.narrative = tree.text("circumstances", "circumstancesOfDisappearance")
    _features(record, tree, locator, issues)
    _agencies(record, tree, locator, issues)
    rest = list(tree.rest())
    for pointer, value in rest:
        record.provenance.unmapped.add(path=pointer, value=value)
    if rest:
        issues.info("FIELD_UNKNOWN", locator, "a record has no place for some fields; they are kept as they are")
    return record


def when_and_where(record: case_pb2.CaseRecord) -> tuple[common_pb2.PartialDate, common_pb2.Place]:
    """Date and place from a record: where a person was last seen, or where an unidentified person was found."""
    if record.kind == case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD:
        return record.found_date, record.found_place
    return record.event_date, record.event_place


def number_parts(number: str) -> tuple[str, int] | None:
    """MP or UP, and the number after it."""
    match = _NUMBER.fullmatch(number)
    return None if match is None else (match[1], int(match[2]))


def quantity(measure: common_pb2.Measure, kind: Quantity, first: float, last: float | None) -> str:
    """Set a measure from the numbers of a range. Returns the code of a fault, or ""."""
    if last is not None and last < first:
        return "RANGE_REVERSED"
    value, greatest = (round(number * kind.factor, 2) for number in (first, first if last is None else last))
    if not 0 < value <= greatest < kind.most:
        return f"{kind.field.upper()}_NOT_READ"
    measure.value, measure.value_max, measure.unit = value, greatest if greatest != value else 0, kind.unit
    span = "" if last is None or last == first else f"-{last:.10g}"
    measure.original_text = f"{first:.10g}{span} {kind.written_unit}"
    return ""


def _number(record: case_pb2.CaseRecord, tree: Tree, locator: str, issues: IssueList) -> None:
    number, plain = tree.text("idFormatted"), tree.text("id")
    record.local_id = number or plain
    parts = number_parts(number)
    record.kind = KINDS[parts[0]] if parts else case_pb2.CASE_KIND_OTHER_SEARCH
    if parts is None:
        issues.warn("NUMBER_FORM", locator, "the case's number is not MP or UP; it is read as another search")
    elif plain and plain != str(parts[1]):
        issues.warn("NUMBER_CONTRADICTION", locator, "id and idFormatted differ; idFormatted counts")
        record.provenance.unmapped.add(path="/id", value=json.dumps(plain))


def _identification(record: case_pb2.CaseRecord, tree: Tree, locator: str, issues: IssueList) -> None:
    first, middle, last = (tree.text(_IDENTIFICATION, name) for name in ("firstName", "middleName", "lastName"))
    if first or middle or last:
        record.names.add(kind=common_pb2.NAME_KIND_LEGAL, given=f"{first} {middle}".strip(), family=last)
    if middle:
        # This keeps where the given name ends and the middle name begins.
        record.provenance.unmapped.add(path=f"/{_IDENTIFICATION}/middleName", value=json.dumps(middle))
    for name in tree.items(_IDENTIFICATION, "nicknames"):
        text = Tree({"name": name}, locator, issues).text("name")
        if text:
            record.names.add(kind=common_pb2.NAME_KIND_ALIAS, full=text)
    tree.drop(_IDENTIFICATION, "nicknames")
    names = ("computedMissingMinAge", "computedMissingMaxAge")
    least, greatest = (tree.number(_IDENTIFICATION, name) for name in names)
    if least is None and greatest is None:
        return
    if least is None or greatest is None or least % 1 or greatest % 1 or not 0 <= least <= greatest <= _GREATEST_AGE:
        issues.warn("AGE_NOT_READ", f"{locator}, age", "not a span of years with both ends; it is kept as it is")
        return
    record.age.least, record.age.greatest = int(least), int(greatest)
    for name in names:
        tree.drop(_IDENTIFICATION, name)
    if least >= _ADULT:
        issues.warn("AGE_OF_ADULT", f"{locator}, age", "read as a child's case, but the person is an adult")


def _description(record: case_pb2.CaseRecord, tree: Tree, locator: str, issues: IssueList) -> None:
    sex = tree.named(_DESCRIPTION, "sex")
    if sex:
        record.sex = SEXES.get(sex.lower(), common_pb2.SEX_UNSPECIFIED)
        if not record.sex:
            issues.warn("SEX_UNKNOWN", f"{locator}, sex", "not Male, Female or Other; its text is kept")
            record.provenance.unmapped.add(path=f"/{_DESCRIPTION}/sex/name", value=json.dumps(sex))
    ethnicity = tree.named(_DESCRIPTION, "primaryEthnicity")
    if ethnicity:
        record.ethnicity.system, record.ethnicity.value = ETHNICITY, ethnicity
    for kind in QUANTITIES:
        first, last = tree.number(_DESCRIPTION, kind.first), tree.number(_DESCRIPTION, kind.last)
        if first is None and last is None:
            continue
        code = "RANGE_HALF_STATED" if first is None else quantity(getattr(record, kind.field), kind, first, last)
        if code:
            record.ClearField(kind.field)  # type: ignore[arg-type] # one of its own
            issues.warn(code, f"{locator}, {kind.field}", "not a measure of a person; its numbers are kept as they are")
            continue
        tree.drop(_DESCRIPTION, kind.first)
        tree.drop(_DESCRIPTION, kind.last)


def _sighting(
    date: common_pb2.PartialDate, place: common_pb2.Place, tree: Tree, locator: str, issues: IssueList
) -> None:
    text = tree.text("sighting", "date")
    if text:
        read, code = read_date(text)
        date.CopyFrom(read)
        if code:
            issues.warn(code, f"{locator}, sighting.date", MESSAGES[code])
    address = ("sighting", "address")
    if tree.fields(*address):
        parts = [tree.text(*address, *names) for names in ADDRESS]
        where, code = ", ".join(part for part in parts if part), tree.text(*address, "zipCode")
    else:
        where, code = tree.text(*address), ""
    where = where or tree.text("sighting", "publicGeolocation", "formattedAddress")
    if where:
        place.text = where
    if code:
        place.postal_code = code


def _features(record: case_pb2.CaseRecord, tree: Tree, locator: str, issues: IssueList) -> None:
    for name in tree.fields("physicalDescription"):
        text = tree.named("physicalDescription", name)
        if text:
            label = re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower().encode(errors="ignore").decode()
            record.features.add(kind=common_pb2.FEATURE_KIND_BODY, text=f"{label}: {text}")
    for field, what, kind in (
        ("physicalFeatureDescriptions", "physicalFeature", common_pb2.FEATURE_KIND_BODY),
        ("clothingAndAccessoriesArticles", "article", common_pb2.FEATURE_KIND_BELONGINGS),
    ):
        for number, item in enumerate(tree.items(field)):
            inner = Tree(item if isinstance(item, dict) else {"description": item}, locator, issues)
            text = ": ".join(part for part in (inner.named(what), inner.text("description")) if part)
            if text:
                record.features.add(kind=kind, text=text)
            _keep(record, inner, f"/{field}/{number}")
        tree.drop(field)


def _agencies(record: case_pb2.CaseRecord, tree: Tree, locator: str, issues: IssueList) -> None:
    for number, item in enumerate(tree.items("investigatingAgencies")):
        inner = Tree(item if isinstance(item, dict) else {"name": item}, locator, issues)
        name, phone = inner.text("name"), inner.text("phone")
        if name or phone:
            record.contacts.add(organisation=name, phone=phone, relation=AGENCY)
        _keep(record, inner, f"/investigatingAgencies/{number}")
    tree.drop("investigatingAgencies")


def _keep(record: case_pb2.CaseRecord, inner: Tree, pointer: str) -> None:
    for path, value in inner.rest():
        record.provenance.unmapped.add(path=f"{pointer}{path}", value=value)
