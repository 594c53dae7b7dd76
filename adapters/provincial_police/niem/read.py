"""Turns a NIEM document into CaseRecords, one for each ``j:MissingPerson``, with what is beside the persons.

In an AMBER alert the subject and the vehicle are beside the child. They become no field of the record, because a
suspect must never be taken for the child. They are kept as unmapped, like all that has no place in a record.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapters.base import DecodedRecord, provenance
from adapters.provincial_police.niem.case import case_of
from adapters.provincial_police.niem.contact import contact_of
from adapters.provincial_police.niem.names import ALERT, BASE64, MISSING_PERSON, STATUS_OF, SUSPECTS
from adapters.provincial_police.niem.person import PersonView
from adapters.provincial_police.niem.tree import Budget, Node
from adapters.records.validate import check_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapters.base import IssueList, Limits, Source
    from adapters.provincial_police.niem.tree import Document
    from caseexchange.records.v1 import case_pb2

_COLOURS: Final = "black|white|silver|gray|grey|red|blue|green|yellow|orange|brown|gold|tan|beige|purple|maroon"
_COLOUR_FIELDS: Final = frozenset({"ConveyanceColorPrimaryText", "ConveyanceColorSecondaryText", "VehicleColorText"})
_MAKES: Final = frozenset({"ItemMakeName", "VehicleMakeText"})


@dataclass(slots=True)
class _Alert:
    """An alert, or the document around all alerts, and what was found in it.

    Attributes:
        node: the alert's element. None: the part of the document that is in no alert.
        numbered: how many of its persons have no number of their own and got the alert's.
        beside: each text beside the persons, with the path of its parent.
    """

    node: Node | None
    numbered: int = 0
    beside: list[tuple[Node, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Found:
    node: Node
    alert: _Alert


class DocumentReader:
    """Reads the missing persons of one document."""

    def __init__(self, name: str, document: Document, source: Source, limits: Limits) -> None:
        self._name = name
        self._document = document
        self._source = source
        self._limits = limits
        self._digest = hashlib.sha256(source.content).digest()
        self._version = ", ".join(sorted(document.versions))
        self._around = _Alert(None)
        self._alerts = [self._around]
        self._budget = Budget(document.size)

    def read(self, issues: IssueList) -> list[DecodedRecord]:
        """The records. Codes are listed in docs/niem.md."""
        persons = self._persons()
        if not any(node.family for node in self._document.root.below()):
            issues.reject_file("NOT_NIEM", self._document.root.where, "no element has a namespace of NIEM")
        elif not persons:
            issues.reject_file("NO_RECORDS", self._document.root.where, "the document has no missing person")
        if len(persons) > self._limits.records:
            issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {self._limits.records} records")
            return []
        views: list[PersonView] = []
        records: list[tuple[_Found, PersonView, DecodedRecord]] = []
        seen: set[str] = set()
        for found in persons:
            view = PersonView(self._document, found.node, issues)
            views.append(view)
            record = self._record(found, view, seen, issues)
            if record is not None:
                records.append((found, view, record))
        self._keep_beside(records, views, issues)
        for alert in self._alerts[1:]:
            _compare_vehicle(alert, issues)
        return [record for _, _, record in records]

    def _persons(self) -> list[_Found]:
        """The missing persons, each once, with their alerts."""
        persons: list[_Found] = []
        every = (node for node in self._document.root.below() if node.key == MISSING_PERSON)
        mentioned = {node.identity for node in every if not node.reference}
        stack = [(self._document.root, self._around)]
        while stack:
            node, alert = stack.pop()
            if node.name == ALERT:
                alert = _Alert(node)
                self._alerts.append(alert)
            if node.key == MISSING_PERSON:
                if not node.reference or node.reference not in mentioned:
                    persons.append(_Found(node, alert))
                mentioned.add(node.reference)
                continue
            stack.extend((child, alert) for child in reversed(node.children))
        return persons

    def _record(self, found: _Found, view: PersonView, seen: set[str], issues: IssueList) -> DecodedRecord | None:
        locator = found.node.where
        refusal = self._refusal(view)
        if refusal:
            issues.reject_record(refusal[0], locator, refusal[1])
            return None
        record = case_of(view, self._source.attachments)
        if found.alert.node is not None:
            _add_alert(record, found.alert, view)
        self._keep(record, view.unread(), locator, issues)
        # Again, because the links have been followed now.
        refusal = self._refusal(view)
        if record.local_id and record.local_id in seen:
            refusal = ("RECORD_REPEATED", "another case in the file has the same number")
        if refusal:
            issues.reject_record(refusal[0], locator, refusal[1])
            return None
        seen.add(record.local_id)
        roles = ((f"{found.node.name}/@role", Node("", "@role", role)) for role in sorted(view.other_roles()))
        self._keep(record, roles, locator, issues)
        record.provenance.MergeFrom(provenance(self._name, self._version, record.local_id, self._digest))
        return DecodedRecord(record, record.local_id, locator) if check_record(record, locator, issues) else None

    def _refusal(self, view: PersonView) -> tuple[str, str] | None:
        if view.other_roles() & SUSPECTS:
            return "PERSON_IN_TWO_ROLES", "the person is also a subject in this file: it is unclear who is missing"
        if self._document.budget.exhausted:
            return "REFERENCES_TOO_LARGE", "the file's references repeat too much: many times its own size"
        if view.longest() > self._limits.field_characters:
            return "FIELD_TOO_LONG", f"a field has more than {self._limits.field_characters} characters"
        return None

    def _keep_beside(
        self,
        records: Iterable[tuple[_Found, PersonView, DecodedRecord]],
        views: Iterable[PersonView],
        issues: IssueList,
    ) -> None:
        """Keep with each record what is beside it."""
        self._find_beside(set().union(*(view.entered() for view in views)))
        for found, view, item in records:
            record: case_pb2.CaseRecord = item.record  # type: ignore[assignment] # _record makes no others
            for scope in [self._around] if found.alert is self._around else [self._around, found.alert]:
                items = ((f"{above}/{node.name}".lstrip("/"), node) for node, above in scope.beside)
                unread = ((path, node) for path, node in items if not view.was_read(node))
                self._keep(record, unread, item.locator, issues)

    def _find_beside(self, used: set[int]) -> None:
        alerts = {id(alert.node): alert for alert in self._alerts}
        stack = [(self._document.root, "", self._around)]
        while stack:
            node, above, alert = stack.pop()
            if id(node) in used:
                continue
            here = alerts.get(id(node), alert)
            if node.text or (node.reference and not node.children):
                here.beside.append((node, above))
            path = f"{above}/{node.name}".lstrip("/")
            stack.extend((child, path, here) for child in reversed(node.children))

    def _keep(
        self, record: case_pb2.CaseRecord, items: Iterable[tuple[str, Node]], locator: str, issues: IssueList
    ) -> None:
        """Keep what was not read as unmapped, up to the budget."""
        for path, node in items:
            value = node.text or node.reference
            if node.name in BASE64:
                issues.warn("PICTURE_NOT_KEPT", node.where, "a picture of something else than the person is left out")
            elif len(value) <= self._limits.field_characters and self._budget.spend(1, len(path) + len(value)):
                record.provenance.unmapped.add(path=path, value=value)
            else:
                issues.warn("UNMAPPED_NOT_KEPT", locator, "what was not read is too large to be kept with every record")
                return


def _add_alert(record: case_pb2.CaseRecord, alert: _Alert, view: PersonView) -> None:
    """Use what an alert says about the child's case: its number, whether it runs, and the contact for reports."""
    node = alert.node
    if node is None:
        return
    number = next((child for child in node.children if child.name == "AmberAlertID"), None)
    if number is not None and number.text and not record.local_id:
        alert.numbered += 1
        record.local_id = number.text if alert.numbered == 1 else f"{number.text}#{alert.numbered}"
        view.issues.info("ALERT_NUMBER_TAKEN", view.where, "the person has no number; the alert's number is used")
    status = next((child for child in node.children if child.name == "AmberAlertStatusText"), None)
    if status is not None and not record.status:
        record.status = STATUS_OF.get(status.text.lower(), record.status)
        if record.status:
            view.text(status)
        else:
            view.issues.warn("STATUS_UNKNOWN", status.where, "the status is not known here; its text is kept")
    for information in view.within(node, "nc:ContactInformation"):
        contact = contact_of(view, information)
        if contact.ListFields():
            record.contacts.append(contact)


def _compare_vehicle(alert: _Alert, issues: IssueList) -> None:
    """Warn if a message gives the one vehicle of an alert a colour that differs from its fields.

    Only the colour right before the vehicle's make counts, because other things in a message have colours too.
    """
    nodes = [] if alert.node is None else list(alert.node.below())
    vehicles = [node for node in nodes if node.key == "nc:Vehicle"]
    if len(vehicles) != 1:
        return
    parts = list(vehicles[0].below())
    colours = {node.text.lower() for node in parts if node.name in _COLOUR_FIELDS and node.text}
    makes = [re.escape(node.text.lower()) for node in parts if node.name in _MAKES and node.text]
    if not colours or len(makes) != 1:
        return
    pattern = re.compile(rf"\b({_COLOURS})\s+{makes[0]}\b")
    for message in (node for node in nodes if node.key == "nc:MessageText"):
        if any(found[1] not in colours for found in pattern.finditer(message.text.lower())):
            issues.warn(
                "VEHICLE_COLOR_CONTRADICTION",
                message.where,
                "the colour in the text differs from the field; both are kept",
            )
