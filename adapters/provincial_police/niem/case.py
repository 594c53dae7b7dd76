"""Turns a missing person of NIEM into a CaseRecord. What is not read here is kept as unmapped (read.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.provincial_police.niem.contact import contact_of, place_of
from adapters.provincial_police.niem.features import add_features
from adapters.provincial_police.niem.names import (
    EVENT_OF,
    IDENTIFICATIONS,
    NAME_CATEGORY,
    NAME_KIND_OF,
    NCIC_KEYS,
    NIEM,
    RESIDENT_ID,
    SEX_OF,
    STATUS_OF,
)
from adapters.provincial_police.niem.photos import add_photos
from adapters.provincial_police.niem.values import age_range, ncic_name, read_age, read_date
from adapters.values.measures import Reading, parse_height, parse_weight
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapters.provincial_police.niem.person import PersonView
    from adapters.provincial_police.niem.tree import Node

DATES: Final = (
    "nc:Date",
    "nc:DateTime",
    "nc:ZuluDateTime",
    "nc:YearMonthDate",
    "nc:YearDate",
    "nc:YearMonth",
    "nc:Year",
)
VALUES: Final = (
    "nc:MeasureValueText",
    "nc:MeasureDecimalValue",
    "nc:MeasureIntegerValue",
    "nc:MeasureUnsignedIntegerValue",
    "nc:MeasureDoubleValue",
    "nc:MeasurePointValue",
)
RANGES: Final = ("nc:MeasureIntegerRange", "nc:MeasureUnsignedIntegerRange", "nc:MeasureRangeValue")
_CODES: Final = ("LengthUnitCode", "WeightUnitCode", "MassUnitCode", "TimeUnitCode")
UNITS: Final = ("nc:MeasureUnitText", *(f"{family}:{name}" for name in _CODES for family in ("nc", "unece")))
CATEGORIES: Final = ("j:MissingPersonDisappearanceCategoryText", "j:MissingPersonDisappearanceCategoryCode")
CIRCUMSTANCES: Final = ("j:MissingPersonCircumstanceText", "j:MissingPersonCircumstanceCode")
WITNESS: Final = "witness"
_VICTIM: Final = "HumanTraffickingVictim"
_ADULT: Final = 18
_DATE_DOUBTS: Final = {
    "DATE_AMBIGUOUS": "it is unclear which number is the month; the text is kept",
    "DATE_NOT_READ": "not a date, or an impossible one; the text is kept",
}


def case_of(view: PersonView, attachments: Mapping[str, bytes]) -> case_pb2.CaseRecord:
    """The record of a person, without its provenance. Its number is empty if the person has none."""
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD)
    _numbers(record, view)
    _names(record, view)
    _sex(record, view)
    _dates_and_places(record, view)
    _age(record, view)
    _measures(record, view)
    _event(record, view)
    _status(record, view)
    _notes(view)
    add_features(record, view)
    for node in view.all("j:MissingPersonDeclarationPerson", "j:MissingPersonLastSeenWitness"):
        contact = contact_of(view, node)
        if node.name == "MissingPersonLastSeenWitness":
            contact.relation = WITNESS
        record.contacts.append(contact)
    add_photos(record, view, attachments)
    return record


def _numbers(record: case_pb2.CaseRecord, view: PersonView) -> None:
    for key in IDENTIFICATIONS:
        for node in view.all(key):
            number = view.text(view.first_within(node, "nc:IdentificationID")) or view.text(node)
            if not number:
                continue
            category = next(
                iter(view.within(node, "nc:IdentificationCategoryDescriptionText", "nc:IdentificationCategoryText")),
                None,
            )
            document = record.documents.add(number=number)
            document.type.system, document.type.value = NIEM, node.name
            if category is not None and (category.text == RESIDENT_ID or node.name == "PersonOtherIdentification"):
                document.type.system, document.type.value = view.text(category), ""
    own = view.first("j:MissingPersonIdentification")
    if own is not None:
        record.local_id = view.text(view.first_within(own, "nc:IdentificationID")) or view.text(own)
    ncic = [item.number for item in record.documents if item.type.value == "PersonNCICIdentification"]
    record.local_id = record.local_id or (ncic[0] if ncic else "")


def _names(record: case_pb2.CaseRecord, view: PersonView) -> None:
    for place, node in enumerate(view.all("nc:PersonName", "nc:PersonAlternateName")):
        category = view.first_within(node, *NAME_CATEGORY)
        kind = NAME_KIND_OF.get(category.text.lower()) if category else None
        if kind is not None:
            view.text(category)
        elif node.name == "PersonAlternateName":
            kind = common_pb2.NAME_KIND_ALIAS
        elif place == 0 and category is None:
            kind = common_pb2.NAME_KIND_LEGAL
        name = common_pb2.PersonName(full=view.text(view.first_within(node, "nc:PersonFullName")) or view.text(node))
        parts = [view.text(item) for item in view.within(node, "nc:PersonGivenName")]
        parts += [view.text(item) for item in view.within(node, "nc:PersonMiddleName")]
        name.given = " ".join(filter(None, parts))
        name.family = " ".join(filter(None, (view.text(item) for item in view.within(node, "nc:PersonSurName"))))
        if not name.given and not name.family:
            name.family, name.given = ncic_name(name.full)
        if name.full or name.given or name.family:
            name.kind = kind or common_pb2.NAME_KIND_UNSPECIFIED
            record.names.append(name)


def _sex(record: case_pb2.CaseRecord, view: PersonView) -> None:
    nodes = view.all("nc:PersonSexText", "nc:PersonSexCode", "j:PersonSexCode")
    known = {node.text.lower(): SEX_OF.get(node.text.lower()) for node in nodes}
    if None in known.values():
        view.issues.warn("SEX_UNKNOWN", view.where, "the sex is not known here; its text is kept")
    elif len(set(known.values())) > 1:
        view.issues.warn("SEX_CONTRADICTION", view.where, "the person has two sexes; neither is used, both are kept")
    elif nodes:
        record.sex = known[nodes[0].text.lower()] or common_pb2.SEX_UNSPECIFIED
        if record.sex:
            for node in nodes:
                view.text(node)


def _dates_and_places(record: case_pb2.CaseRecord, view: PersonView) -> None:
    for key, date in (
        ("nc:PersonBirthDate", record.birth),
        ("j:MissingPersonLastSeenDate", record.event_date),
        ("j:MissingPersonFoundDate", record.found_date),
    ):
        node = view.first(key)
        text = date_text(view, node) if node is not None else ""
        if text:
            found = read_date(text)
            date.CopyFrom(found.date)
            if found.code:
                view.issues.warn(found.code, f"{view.where}, {key.partition(':')[2]}", _DATE_DOUBTS[found.code])
    for key, place in (
        ("j:MissingPersonLastSeenLocation", record.event_place),
        ("j:MissingPersonFoundLocation", record.found_place),
        ("nc:PersonResidenceAddress", record.household),
    ):
        node = view.first(key)
        found_place = place_of(view, node) if node is not None else common_pb2.Place()
        if found_place.ListFields():
            place.CopyFrom(found_place)


def date_text(view: PersonView, node: Node) -> str:
    """The text of an element of NIEM's DateType, or of a plain element."""
    return view.text(next(iter(view.within(node, *DATES)), None)) or view.text(node)


def _age(record: case_pb2.CaseRecord, view: PersonView) -> None:
    found = _measured_age(view)
    words = view.first("nc:PersonAgeDescriptionText")
    stated = read_age(words.text) if words is not None else None
    if words is not None and stated is None:
        view.issues.warn("AGE_NOT_READ", words.where, "not an age in years or months; its text is kept")
    if found is None and stated is not None:
        # Months and other words of the text stay with the record. A plain number says no more than the age.
        if words is not None and words.text.isdecimal():
            view.text(words)
        found = stated
    if found is None:
        return
    record.age.CopyFrom(found)
    if found.least >= _ADULT:
        view.issues.warn("AGE_OF_ADULT", view.where, "read as a child's case, but the person is an adult")


def _measured_age(view: PersonView) -> common_pb2.AgeRange | None:
    node = view.first("nc:PersonAgeMeasure")
    if node is None:
        return None
    unit = view.first_within(node, *UNITS)
    span = view.first_within(node, *RANGES)
    if span is not None:
        ends = [
            view.first_within(span, *(f"nc:Range{end}{kind}Value" for kind in ("Integer", "UnsignedInteger", "")))
            for end in ("Minimum", "Maximum")
        ]
    else:
        ends = [view.first_within(node, *VALUES)] * 2
    if any(end is None for end in ends) and node.text:
        ends = [node, node]
    least, greatest = (end.text if end else "" for end in ends)
    found = age_range(least, greatest, unit.text if unit else "")
    if found is None:
        view.issues.warn("AGE_NOT_READ", node.where, "not an age in years or months; its text is kept")
        return None
    for item in (unit, *ends):
        view.text(item)
    estimated = view.first_within(node, "nc:MeasureEstimatedIndicator")
    found.apparent = view.text(estimated).lower() in {"true", "1"}
    return found


def _measures(record: case_pb2.CaseRecord, view: PersonView) -> None:
    def height(text: str, unit: str) -> Reading:
        return parse_height(text, unit, ncic=True)

    for target, keys, parse in (
        (record.height, ("nc:PersonHeightMeasure", "nc:PersonHeightDescriptionText"), height),
        (record.weight, ("nc:PersonWeightMeasure", "nc:PersonWeightDescriptionText"), parse_weight),
    ):
        for node in view.all(*keys)[:1]:
            found = _reading(view, node, parse)
            if found is None:
                view.issues.warn("MEASURE_NOT_READ", node.where, "a measure without a single value; it is kept")
                continue
            target.CopyFrom(found.measure)
            if found.code and found.read:
                view.issues.info(found.code, node.where, found.message)
            elif found.code:
                view.issues.warn(found.code, node.where, found.message)


def _reading(view: PersonView, node: Node, parse: Callable[[str, str], Reading]) -> Reading | None:
    value = next(iter(view.within(node, *VALUES)), None) or (node if node.text else None)
    if value is None or not value.text:
        return None
    unit = next(iter(view.within(node, *UNITS)), None)
    return parse(view.text(value), view.text(unit))


def _event(record: case_pb2.CaseRecord, view: PersonView) -> None:
    texts: list[str] = []
    events: set[case_pb2.EventKind.ValueType] = set()
    nodes: list[Node] = []
    for node in view.all(*CIRCUMSTANCES, *CATEGORIES):
        event = EVENT_OF.get(node.text.lower())
        if event is not None:
            events.add(event)
            nodes.append(node)
        elif node.key == CIRCUMSTANCES[0]:
            texts.append(view.text(node))
        elif ncic_key(node.text) not in NCIC_KEYS:
            view.issues.warn("CIRCUMSTANCE_UNKNOWN", node.where, "a code or category that is not known here is kept")
    record.narrative = "\n".join(texts)
    if len(events) > 1:
        view.issues.warn("EVENT_CONTRADICTION", view.where, "two reports of what happened; neither is used")
        return
    for node in nodes:
        view.text(node)
        record.event = EVENT_OF[node.text.lower()]


def _notes(view: PersonView) -> None:
    """Report what has no place in a record but should be looked at."""
    for node in view.all("nlets:NCICMessageKeyUsedText"):
        if ncic_key(node.text) not in NCIC_KEYS:
            view.issues.warn("NCIC_KEY_UNKNOWN", node.where, "not a message key of a missing person; it is kept")
    if view.all(f"hs:{_VICTIM}") or _VICTIM in view.other_roles():
        view.issues.info("CATEGORY_OF_CARE", view.where, "a category that needs care is kept as it is")
    for key, code, message in (
        ("j:AmberAlertIssuedIndicator", "AMBER_ALERT_ISSUED", "an AMBER alert was issued for the person"),
        ("j:MissingPersonFoundIndicator", "PERSON_FOUND", "the person was found; the status is not set from that"),
    ):
        for node in view.all(key):
            if node.text.lower() in {"true", "1"}:
                view.issues.info(code, node.where, message)


def ncic_key(text: str) -> str:
    """A message key without its dash and without words after it: ``EM-J`` and ``EMJ - Juvenile`` are EMJ."""
    return text.upper().replace("EM-", "EM", 1).partition(" ")[0]


def _status(record: case_pb2.CaseRecord, view: PersonView) -> None:
    node = view.first("j:MissingPersonStatus")
    if node is not None:
        words = next(iter(view.within(node, "nc:StatusDescriptionText", "nc:StatusText")), node)
        record.status = STATUS_OF.get(words.text.lower(), case_pb2.CASE_STATUS_UNSPECIFIED)
        if record.status:
            view.text(words)
        else:
            view.issues.warn("STATUS_UNKNOWN", words.where, "the status is not known here; its text is kept")
