"""Turns a record into a case of NamUs's JSON. Reading it back shows what the format has no place for."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from adapters.base import IssueList
from adapters.ngo.comparison import lost_paths
from adapters.ngo.namus.read import (
    AGENCY,
    ETHNICITY,
    QUANTITIES,
    SEXES,
    Quantity,
    case_of,
    number_parts,
    quantity,
    when_and_where,
)
from adapters.ngo.namus.tree import put
from broker.core.strict import NotStrict, parse_json
from caseexchange.records.v1 import case_pb2, common_pb2

_SPAN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:-([0-9]+(?:\.[0-9]+)?))? (?:in|lb)")
_ISO: Final = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}(T.*)?")
_SEX_NAMES: Final = {sex: name.capitalize() for name, sex in SEXES.items()}


def written_case(record: case_pb2.CaseRecord, locator: str, issues: IssueList, *, own: bool) -> dict[str, Any]:
    """The case as an object."""
    parts = number_parts(record.local_id)
    date, place = when_and_where(record)
    features = {
        kind: [{"description": item.text} for item in record.features if item.kind == kind]
        for kind in (common_pb2.FEATURE_KIND_BODY, common_pb2.FEATURE_KIND_BELONGINGS)
    }
    case: dict[str, Any] = {
        "id": parts[1] if parts else None,
        "idFormatted": record.local_id,
        "caseIsResolved": {case_pb2.CASE_STATUS_CLOSED: True, case_pb2.CASE_STATUS_OPEN: False}.get(record.status),
        "subjectIdentification": _identification(record, locator, issues, own=own),
        "subjectDescription": {
            "sex": _named(_SEX_NAMES.get(record.sex, "")),
            "primaryEthnicity": _named(record.ethnicity.value if record.ethnicity.system == ETHNICITY else ""),
            **_quantities(record),
        },
        "sighting": {
            "date": _date(date) or None,
            "address": {"street1": place.text or None, "zipCode": place.postal_code or None},
        },
        "circumstances": {"circumstancesOfDisappearance": record.narrative or None},
        "physicalFeatureDescriptions": features[common_pb2.FEATURE_KIND_BODY],
        "clothingAndAccessoriesArticles": features[common_pb2.FEATURE_KIND_BELONGINGS],
        "investigatingAgencies": [
            {"name": contact.organisation or None, "phone": contact.phone or None}
            for contact in record.contacts
            if contact.organisation or contact.relation == AGENCY
        ],
    }
    _put_back(record, case, locator, issues, own=own)
    again = case_of(json.loads(json.dumps(case)), locator, IssueList())
    for path in lost_paths(record, again):
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.{path}", "the format has no place for this")
    return case


def _identification(record: case_pb2.CaseRecord, locator: str, issues: IssueList, *, own: bool) -> dict[str, Any]:
    name = next((name for name in record.names if name.kind == common_pb2.NAME_KIND_LEGAL), common_pb2.PersonName())
    given = name.given
    if name.full and not name.given and not name.family:
        issues.warn("NAME_NOT_DIVIDED", f"{locator}.names", "the format has parts of names; all is in the first one")
        given = name.full
    middle = _middle(record) if own else ""
    if middle and given.endswith(middle):
        given = given.removesuffix(middle).strip()
    else:
        middle = ""
    nicknames = [item.full for item in record.names if item.kind == common_pb2.NAME_KIND_ALIAS]
    has_age = record.HasField("age")
    return {
        "firstName": given or None,
        "middleName": middle or None,
        "lastName": name.family or None,
        "nicknames": nicknames if len(nicknames) > 1 else next(iter(nicknames), None),
        "computedMissingMinAge": record.age.least if has_age else None,
        "computedMissingMaxAge": record.age.greatest if has_age else None,
    }


def _middle(record: case_pb2.CaseRecord) -> str:
    path = "/subjectIdentification/middleName"
    kept = next((item.value for item in record.provenance.unmapped if item.path == path), '""')
    try:
        found = parse_json(kept.encode())
    except NotStrict:
        return ""
    return found if isinstance(found, str) else ""


def _named(name: str) -> dict[str, str] | None:
    return {"name": name} if name else None


def _quantities(record: case_pb2.CaseRecord) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for kind in QUANTITIES:
        measure = getattr(record, kind.field)
        known = measure.unit == kind.unit and measure.value > 0
        first, last = _range(measure, kind) if known else (None, None)
        found |= {kind.first: first, kind.last: last}
    return found


def _range(measure: common_pb2.Measure, kind: Quantity) -> tuple[float, float | None]:
    """The numbers of the source's own text if the record still has them; otherwise they are computed."""
    match = _SPAN.fullmatch(measure.original_text)
    if match:
        first, last = _plain(float(match[1])), None if match[2] is None else _plain(float(match[2]))
        again = common_pb2.Measure()
        if not quantity(again, kind, first, last) and again == measure:
            return first, last
    greatest = _plain(round(measure.value_max / kind.factor, 4)) if measure.value_max else None
    return _plain(round(measure.value / kind.factor, 4)), greatest


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number


def _date(date: common_pb2.PartialDate) -> str:
    # The beginning of a span, or the numbers of another calendar, would be read as a day.
    if date.calendar != common_pb2.CALENDAR_GREGORIAN or date.HasField("end") or not date.year:
        return ""
    if _ISO.fullmatch(date.original_text):
        return date.original_text
    return f"{date.year:04}" + (f"-{date.month:02}" if date.month else "") + (f"-{date.day:02}" if date.day else "")


def _put_back(record: case_pb2.CaseRecord, case: dict[str, Any], locator: str, issues: IssueList, *, own: bool) -> None:
    """Put back the unmapped fields of this format. Those of other formats are not written: nobody has checked them."""
    for item in record.provenance.unmapped:
        written = item.path == "/subjectIdentification/middleName" and case["subjectIdentification"]["middleName"]
        if not (own and (written or put(case, item.path, item.value))):
            issues.warn("FIELD_NOT_CARRIED", f"{locator}.provenance.unmapped", "unmapped fields are not written")
