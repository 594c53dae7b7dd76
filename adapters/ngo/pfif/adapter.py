"""The adapter ``pfif``: reads People Finder Interchange Format 1.1 to 1.4, and writes 1.4.

A person is the CaseRecord of a missing child, a note is a Tip. ``photo_url`` is kept and never fetched. An expired
person (only ids and dates are left, PFIF 1.3, "Data expiry") is a Correction that withdraws. Such a Correction is
written as an expired person.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, placed, provenance
from adapters.ngo.pfif.fields import NAMESPACE_STEM, NOTE, PERSON, RECORD_ID, RENAMED, VERSIONS, plain_other
from adapters.ngo.pfif.read import case_of, has_expired, tip_of, withdrawal_of
from adapters.ngo.pfif.write import write_file
from adapters.records.validate import check_record
from adapters.syntax.hardened_xml import child_text, local_name, longest, namespace, parse_xml, text_of, where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lxml import etree

    from caseexchange.records.v1 import case_pb2

NAME: Final = "pfif"


class Pfif:
    """See the module."""

    name: Final = NAME
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"CaseRecord", "Tip", "Correction"})
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
            found = list(_elements(root))
            if not found:
                issues.reject_file("NO_RECORDS", where(root), "the document has no persons and no notes")
            if len(found) > limits.records:
                issues.reject_file("TOO_MANY_RECORDS", where(root), f"more than {limits.records} records")
                found = []
            reader = _Reader(version, hashlib.sha256(source.content).digest(), limits)
            records = reader.read(found, issues)
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        attachments: dict[str, bytes] = {}
        content = write_file(placed(records, limits, issues), attachments, issues)
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


class _Element(NamedTuple):
    """A person, or a note with the id of the person around it, if there is one."""

    element: etree._Element
    person_id: str

    @property
    def is_person(self) -> bool:
        return local_name(self.element) == "person"


def _elements(root: etree._Element) -> Iterator[_Element]:
    for element in root:
        if local_name(element) not in {"person", "note"}:
            continue
        yield _Element(element, "")
        for child in element:
            if local_name(child) == "note":
                yield _Element(child, child_text(element, "person_record_id"))


class _Reader:
    """Reads the persons and notes of one document."""

    def __init__(self, version: str, digest: bytes, limits: Limits) -> None:
        self._version = version
        self._digest = digest
        self._limits = limits

    def read(self, found: Sequence[_Element], issues: IssueList) -> list[DecodedRecord]:
        fields = [_fields(item.element, PERSON if item.is_person else NOTE, issues) for item in found]
        # A note may come before its person, so expired persons are found first.
        expired = {
            field.get("person_record_id", "")
            for item, field in zip(found, fields, strict=True)
            if item.is_person and has_expired(field)
        }
        _domains(found, fields, issues)
        seen: set[str] = set()
        records = (self._record(*pair, seen, expired, issues) for pair in zip(found, fields, strict=True))
        return [record for record in records if record is not None]

    def _record(
        self, item: _Element, fields: dict[str, str], seen: set[str], expired: set[str], issues: IssueList
    ) -> DecodedRecord | None:
        locator = where(item.element)
        record_id = fields.get("person_record_id" if item.is_person else "note_record_id", "")
        # A note at top level names its person. A note in a person need not.
        stated = fields.get("person_record_id", "")
        person_id = stated or item.person_id
        refusal = self._refusal(item, record_id, person_id, seen)
        if not refusal and not item.is_person and person_id in expired:
            refusal = ("PFIF_EXPIRED", "the note is about a person who has expired")
        if refusal:
            issues.reject_record(refusal[0], locator, refusal[1])
            return None
        seen.add(record_id)
        if not RECORD_ID.fullmatch(record_id):
            issues.warn("RECORD_ID_FORM", locator, "the record id is not a domain, a slash and a name")
        record: case_pb2.CaseRecord | case_pb2.Tip | case_pb2.Correction
        if not item.is_person:
            record = tip_of(fields, person_id, locator, issues)
        elif record_id in expired:
            issues.info("PFIF_EXPIRED", locator, "the person has expired: read as a withdrawal, without any data")
            record = withdrawal_of(fields, locator, issues)
        else:
            record = case_of(fields, locator, issues)
        record.provenance.MergeFrom(provenance(NAME, self._version, record_id, self._digest))
        return DecodedRecord(record, person_id, locator) if check_record(record, locator, issues) else None

    def _refusal(self, item: _Element, record_id: str, person_id: str, seen: set[str]) -> tuple[str, str] | None:
        """Code and message if an element cannot be a record, or None."""
        if not record_id:
            return "RECORD_ID_MISSING", "the record has no id"
        if record_id in seen:
            return "RECORD_REPEATED", "the record id is in the file twice"
        own = [child for child in item.element if local_name(child) != "note"]
        if any(longest(child) > self._limits.field_characters for child in own):
            return "FIELD_TOO_LONG", f"a field has more than {self._limits.field_characters} characters"
        if not person_id:
            return "PERSON_UNKNOWN", "the note does not name its person"
        if item.person_id and person_id != item.person_id:
            return "PERSON_CONTRADICTION", "the note is in one person, but names another"
        return None


def _domains(found: Sequence[_Element], fields: Sequence[Mapping[str, str]], issues: IssueList) -> None:
    """Warn of records from other domains than most. A repository also passes on records that it did not make."""
    ids = [
        field.get("person_record_id" if item.is_person else "note_record_id", "")
        for item, field in zip(found, fields, strict=True)
    ]
    counted = Counter(record_id.partition("/")[0] for record_id in ids if "/" in record_id)
    most = counted.most_common(1)[0][0] if counted else ""
    for item, record_id in zip(found, ids, strict=True):
        if "/" in record_id and record_id.partition("/")[0] != most:
            issues.warn("DOMAIN_FOREIGN", where(item.element), "the id has another domain than most in the file")


def _fields(element: etree._Element, known: tuple[str, ...], issues: IssueList) -> dict[str, str]:
    """The element's fields by the names of 1.4, without empty fields. Unknown fields have the key ``?name``."""
    fields: dict[str, str] = {}
    for child in element:
        raw = local_name(child)
        if raw == "note":
            continue
        name = RENAMED.get(raw, raw)
        key = name if name in known else f"?{raw}"
        text = plain_other(text_of(child)) if raw == "other" else text_of(child)
        if key in fields:
            issues.warn("FIELD_REPEATED", where(child), "the field is there twice; the first counts")
        elif text:
            fields[key] = text
    return fields


ADAPTER: Final = Pfif()
