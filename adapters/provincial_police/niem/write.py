"""Turns a CaseRecord into a ``j:MissingPerson`` of NIEM 6.0: elements in the order of PersonType and MissingPersonType.

The result is read back at once. Every field that would come back different is reported by FIELD_NOT_CARRIED.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from adapters.base import IssueList, populated
from adapters.provincial_police.niem.case import WITNESS, case_of
from adapters.provincial_police.niem.contact import write_address, write_contact, write_place
from adapters.provincial_police.niem.features import (
    write_clothing,
    write_described,
    write_labelled,
    write_physical,
)
from adapters.provincial_police.niem.names import (
    EVENT_TEXT,
    IDENTIFICATIONS,
    KEPT,
    NAME_KIND_TEXT,
    NIEM,
    RESIDENT_ID,
    SEX_TEXT,
    STATUS_TEXT,
)
from adapters.provincial_police.niem.person import PersonView
from adapters.provincial_police.niem.photos import write_photos
from adapters.provincial_police.niem.tree import Document, Node
from adapters.provincial_police.niem.values import date_element
from adapters.values.measures import Reading, measure_text, number_text, parse_height, parse_weight
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.message import Message

_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,5})(\.[0-9]{1,4})?")
_UNORDERED: Final = frozenset({"features", "documents", "contacts"})
"""Fields with an order that means nothing, because NIEM sorts them by element."""


def write_case(root: Node, record: case_pb2.CaseRecord, names: Iterable[str], locator: str, issues: IssueList) -> None:
    """Append a record to a message. ``names``: the formats with unmapped fields that this format can write."""
    node = root.add("j:MissingPerson")
    kept = _kept(record, names, locator, issues)
    _write_body(node, record)
    _write_middle(node, record, kept)
    _write_augmentation(node, record)
    _write_missing(node, record, kept)
    view = PersonView(Document(node, 0), node, IssueList())
    for path in differences(record, case_of(view, {})):
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.{path}", "the format cannot carry the field unchanged")


def differences(record: case_pb2.CaseRecord, again: case_pb2.CaseRecord) -> list[str]:
    """Paths of the fields in which a record and its copy differ. A text added to a bare number does not count."""
    paths = sorted(populated(record) | populated(again))
    return [
        path
        for path in paths
        if not path.startswith("provenance")
        and _value(record, path) != _value(again, path)
        and not (path.endswith("original_text") and not _value(record, path))
    ]


def _value(record: Message, path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = getattr(value, name)
    if path in _UNORDERED:
        return sorted(item.SerializeToString(deterministic=True) for item in value)
    return value


def _kept(record: case_pb2.CaseRecord, names: Iterable[str], locator: str, issues: IssueList) -> dict[str, list[str]]:
    """The unmapped fields that this format has elements for. Those of other formats are not written."""
    kept: dict[str, list[str]] = {}
    unmapped = record.provenance.unmapped if record.provenance.source_format in names else ()
    for item in unmapped:
        if item.path in KEPT:
            kept.setdefault(KEPT[item.path], []).append(item.value)
    if len(record.provenance.unmapped) > sum(map(len, kept.values())):
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.provenance.unmapped", "unmapped fields are not written")
    return kept


def _write_body(node: Node, record: case_pb2.CaseRecord) -> None:
    """PersonType, from the age to the length of hair."""
    _write_age(node, record)
    _write_date(node, "nc:PersonBirthDate", record.birth)
    node.add_text("nc:PersonBloodTypeText", record.blood_group)
    for key in ("nc:PersonBuildText", "nc:PersonComplexionText"):
        write_labelled(node, record.features, key)
    write_described(node, record.features, common_pb2.FEATURE_KIND_UNSPECIFIED, "nc:PersonDescriptionText")
    write_photos(node, record.photos)
    node.add_text("nc:PersonEthnicityText", record.ethnicity.display)
    for key in (
        "nc:PersonEyeColorText",
        "nc:PersonEyewearText",
        "nc:PersonFacialHairText",
        "nc:PersonHairColorText",
        "nc:PersonHairLengthText",
        "nc:PersonHairStyleText",
    ):
        write_labelled(node, record.features, key)


def _write_middle(node: Node, record: case_pb2.CaseRecord, kept: dict[str, list[str]]) -> None:
    """PersonType, from the height to its end."""
    _write_measure(node, "nc:PersonHeightMeasure", record.height, _height)
    write_described(node, record.features, common_pb2.FEATURE_KIND_HEALTH, "nc:PersonMedicalDescriptionText")
    for name in record.names:
        _write_name(node, name)
    documents = ("nc:PersonNationalIdentification", "nc:PersonOtherIdentification", "nc:PersonPassportIdentification")
    for key in documents:
        _write_documents(node, record, key)
    write_physical(node, record.features)
    _write_kept(node, kept, "nc:PersonRaceText")
    if record.HasField("household"):
        write_address(node.add("nc:PersonResidenceAddress"), record.household)
    node.add_text("nc:PersonSexText", SEX_TEXT.get(record.sex, ""))
    write_labelled(node, record.features, "nc:PersonSkinToneText")
    write_described(node, record.features, common_pb2.FEATURE_KIND_SPEECH, "nc:PersonSpeechDescriptionText")
    for key in ("nc:PersonSSNIdentification", "nc:PersonStateIdentification"):
        _write_documents(node, record, key)
    _write_measure(node, "nc:PersonWeightMeasure", record.weight, parse_weight)


def _write_augmentation(node: Node, record: case_pb2.CaseRecord) -> None:
    augmentation = Node("j", "PersonAugmentation")
    write_clothing(augmentation, record.features)
    for key in IDENTIFICATIONS:
        if key.startswith("j:"):
            _write_documents(augmentation, record, key)
    if augmentation.children:
        node.children.append(augmentation)


def _write_missing(node: Node, record: case_pb2.CaseRecord, kept: dict[str, list[str]]) -> None:
    """MissingPersonType's own elements."""
    node.add_text("j:MissingPersonCircumstanceText", record.narrative)
    for contact in record.contacts:
        if contact.relation != WITNESS:
            write_contact(node.add("j:MissingPersonDeclarationPerson"), contact)
    node.add_text("j:MissingPersonDisappearanceCategoryText", EVENT_TEXT.get(record.event, ""))
    _write_kept(node, kept, "j:MissingPersonDisappearanceCategoryText")
    _write_date(node, "j:MissingPersonFoundDate", record.found_date)
    _write_kept(node, kept, "j:MissingPersonFoundIndicator")
    _write_place(node, "j:MissingPersonFoundLocation", record.found_place)
    identification = node.add("j:MissingPersonIdentification")
    identification.add_text("nc:IdentificationID", record.local_id)
    _write_kept(node, kept, "j:MissingPersonInterestIndicator")
    _write_date(node, "j:MissingPersonLastSeenDate", record.event_date)
    _write_place(node, "j:MissingPersonLastSeenLocation", record.event_place)
    for contact in record.contacts:
        if contact.relation == WITNESS:
            write_contact(node.add("j:MissingPersonLastSeenWitness"), contact)
    if record.status in STATUS_TEXT:
        node.add("j:MissingPersonStatus").add("nc:StatusDescriptionText", STATUS_TEXT[record.status])


def _write_age(node: Node, record: case_pb2.CaseRecord) -> None:
    if not record.HasField("age"):
        return
    age = record.age
    measure = node.add("nc:PersonAgeMeasure")
    if age.least == age.greatest:
        measure.add("nc:MeasureIntegerValue", str(age.least))
    else:
        span = measure.add("nc:MeasureIntegerRange")
        span.add("nc:RangeMaximumIntegerValue", str(age.greatest))
        span.add("nc:RangeMinimumIntegerValue", str(age.least))
    measure.add("nc:MeasureUnitText", "years")
    if age.apparent:
        measure.add("nc:MeasureEstimatedIndicator", "true")


def _write_date(node: Node, key: str, date: common_pb2.PartialDate) -> None:
    element = date_element(date)
    if element is not None:
        node.add(key).add(*element)


def _write_place(node: Node, key: str, place: common_pb2.Place) -> None:
    if place.ListFields():
        write_place(node.add(key), place)


def _height(text: str, unit: str = "") -> Reading:
    return parse_height(text, unit, ncic=True)


def _write_measure(node: Node, key: str, measure: common_pb2.Measure, parse: Callable[..., Reading]) -> None:
    """Write a measure by its own text if that says the same, or else by its number in the exchange's unit.

    The unit is a text, because in NIEM 6.0 the codes of units are in a namespace of another model.
    """
    own = measure_text(measure)
    number, _, unit = own.rpartition(" ")
    if _DECIMAL.fullmatch(number) and _says(parse(number, unit), measure):
        element = node.add(key)
        element.add("nc:MeasureDecimalValue", number)
        element.add("nc:MeasureUnitText", unit)
    elif own and _says(parse(own), measure):
        node.add(key).add("nc:MeasureValueText", own)
    elif measure.unit:
        element = node.add(key)
        element.add("nc:MeasureDecimalValue", number_text(measure.value))
        element.add("nc:MeasureUnitText", measure.unit)


def _says(reading: Reading, measure: common_pb2.Measure) -> bool:
    """Whether reading gives this measure. If the measure has no text, any text will do."""
    found = reading.measure
    same = (found.value, found.unit) == (measure.value, measure.unit)
    return same and measure.original_text in {"", found.original_text}


def _write_name(node: Node, name: common_pb2.PersonName) -> None:
    element = node.add("nc:PersonName")
    element.add_text("nc:PersonGivenName", name.given)
    element.add_text("nc:PersonSurName", name.family)
    element.add_text("nc:PersonFullName", name.full)
    element.add_text("nc:PersonNameCategoryText", NAME_KIND_TEXT.get(name.kind, ""))


def _write_documents(node: Node, record: case_pb2.CaseRecord, key: str) -> None:
    """Write the documents that this element is for."""
    for document in record.documents:
        if document_key(document.type) == key and document.number:
            element = node.add(key)
            element.add("nc:IdentificationID", document.number)
            if document.type.system != NIEM:
                element.add_text("nc:IdentificationCategoryDescriptionText", document.type.system)


def document_key(code: common_pb2.Code) -> str:
    """The element for a type of document."""
    if code.system == RESIDENT_ID:
        return "nc:PersonNationalIdentification"
    own = [key for key in IDENTIFICATIONS if code.system == NIEM and key.partition(":")[2] == code.value]
    return own[0] if own else "nc:PersonOtherIdentification"


def _write_kept(node: Node, kept: dict[str, list[str]], key: str) -> None:
    for value in kept.get(key, []):
        node.add_text(key, value)
