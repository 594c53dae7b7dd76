"""The adapter ``pfif``: People Finder Interchange Format 1.1 to 1.4 read, 1.4 written.

A person is the CaseRecord of a missing child, a note is a Tip. ``photo_url`` is kept and never fetched. An expired
person (only ids and dates are left, PFIF 1.3) is a withdrawal: read, it is refused as a record by its own code, because
there is nothing to publish; a Correction that withdraws or erases is written as one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, provenance
from adapters.hardened_xml import local_name, namespace, parse_xml, text_of, where
from adapters.ngo.pfif_fields import NAMESPACE_STEM, NOTE, PERSON, RENAMED, VERSIONS
from adapters.ngo.pfif_input import case_of, tip_of
from adapters.ngo.pfif_output import write_file
from adapters.validate import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lxml import etree

_PLACEHOLDER: Final = frozenset({"person_record_id", "entry_date", "expiry_date", "source_date"})


class Pfif:
    """See the module."""

    name: Final = "pfif"
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"CaseRecord", "Tip"})
    encodes: Final = frozenset({"CaseRecord", "Tip", "PublicNotice", "Closure", "Correction"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return NAMESPACE_STEM.encode() in content

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        root = parse_xml(source.content, limits, issues)
        version = None if root is None else _version(root, issues)
        if root is not None and version is not None:
            digest = hashlib.sha256(source.content).digest()
            found = list(_elements(root))
            if not found:
                issues.reject_file("NO_RECORDS", where(root), "the document holds neither persons nor notes")
            if len(found) > limits.records:
                issues.reject_file("TOO_MANY_RECORDS", where(root), f"more than {limits.records} records")
                found = []
            seen: set[str] = set()
            for element, person_id in found:
                record = _record(element, person_id, version, seen, digest=digest, issues=issues)
                if record is not None:
                    records.append(record)
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        if len(records) > limits.records:
            issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
        attachments: dict[str, bytes] = {}
        content = write_file(records[: limits.records], attachments, issues)
        return issues.encoded(content, attachments)


def _version(root: etree._Element, issues: IssueList) -> str | None:
    if local_name(root) != "pfif" or not namespace(root).startswith(NAMESPACE_STEM):
        issues.reject_file("NOT_PFIF", where(root), "the document is not a pfif element in a PFIF namespace")
        return None
    version = namespace(root).removeprefix(NAMESPACE_STEM)
    if version not in VERSIONS:
        issues.reject_file("PFIF_VERSION", where(root), f"PFIF is read in the versions {', '.join(VERSIONS)}")
        return None
    return version


def _elements(root: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    """Persons and notes, each note with the id of the person around it, if there is one."""
    for element in root:
        if local_name(element) not in {"person", "note"}:
            continue
        yield element, ""
        person_id = next((text_of(child) for child in element if local_name(child) == "person_record_id"), "")
        for child in element:
            if local_name(child) == "note":
                yield child, person_id


def _record(
    element: etree._Element, person_id: str, version: str, seen: set[str], *, digest: bytes, issues: IssueList
) -> DecodedRecord | None:
    is_person = local_name(element) == "person"
    fields = _fields(element, PERSON if is_person else NOTE, issues)
    record_id = fields.get("person_record_id" if is_person else "note_record_id", "")
    locator = where(element)
    if not record_id:
        issues.reject_record("RECORD_ID_MISSING", locator, "the record has no id")
        return None
    if record_id in seen:
        issues.reject_record("RECORD_REPEATED", locator, "the record id stands twice in the file")
        return None
    seen.add(record_id)
    if is_person and "expiry_date" in fields and fields.keys() <= _PLACEHOLDER:
        issues.reject_record("PFIF_EXPIRED", locator, "the person has expired: only ids and dates are left")
        return None
    person_id = record_id if is_person else fields.get("person_record_id", "") or person_id
    record = case_of(fields, locator, issues) if is_person else tip_of(fields, person_id, locator, issues)
    record.provenance.MergeFrom(provenance(Pfif.name, version, record_id, digest))
    found = [issue._replace(locator=f"{locator}, {issue.locator}") for issue in validate(record)]
    issues.items.extend(found)
    return None if found else DecodedRecord(record, person_id, locator)


def _fields(element: etree._Element, known: tuple[str, ...], issues: IssueList) -> dict[str, str]:
    """The element's fields by the names of 1.4, without empty ones; ``?name`` holds those that are unknown."""
    fields: dict[str, str] = {}
    for child in element:
        raw = local_name(child)
        if raw == "note":
            continue
        name = RENAMED.get(raw, raw)
        key = name if name in known else f"?{raw}"
        text = text_of(child)
        if key in fields:
            issues.warn("FIELD_REPEATED", where(child), "the field stands twice; the first counts")
        elif text:
            fields[key] = text
    return fields
