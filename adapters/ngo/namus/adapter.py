"""The adapter ``namus-json``: missing and unidentified persons in JSON with the fields of NamUs (namus.gov).

A file is a list of cases, an object with such a list as ``results``, or one case. A case is a CaseRecord.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, placed, provenance
from adapters.ngo.namus.read import case_of
from adapters.ngo.namus.tree import longest
from adapters.ngo.namus.write import written_case
from adapters.records.validate import check_record
from adapters.syntax.hardened_json import read_json
from caseexchange.records.v1 import case_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME: Final = "namus-json"
_VERSION: Final = "1"
_OWN_FIELDS: Final = (b'"idFormatted"', b'"subjectIdentification"')


class NamusJson:
    """See the module."""

    name: Final = NAME
    media_type: Final = "application/json"
    suffix: Final = ".json"
    decodes: Final = frozenset({"CaseRecord"})
    encodes: Final = frozenset({"CaseRecord"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        start = content.removeprefix(b"\xef\xbb\xbf").lstrip()
        return start.startswith((b"[", b"{")) and any(field in content for field in _OWN_FIELDS)

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        digest = hashlib.sha256(source.content).digest()
        seen: set[str] = set()
        for number, item in enumerate(_cases(source.content, limits, issues), start=1):
            locator = f"case {number}"
            record = _record(item, locator, limits, issues)
            if record is not None and record.local_id in seen:
                issues.reject_record("RECORD_REPEATED", locator, "an earlier case has the same number")
            elif record is not None:
                seen.add(record.local_id)
                record.provenance.MergeFrom(provenance(NAME, _VERSION, record.local_id, digest))
                records.append(DecodedRecord(record, record.local_id, locator))
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        cases: list[dict[str, Any]] = []
        seen: set[str] = set()
        for locator, record in placed(records, limits, issues):
            if not isinstance(record, case_pb2.CaseRecord) or record.kind == case_pb2.CASE_KIND_SEEKING_PARENT:
                issues.reject_record("KIND_NOT_CARRIED", locator, "a case must be about a missing or found person")
            elif not record.local_id or record.local_id in seen:
                issues.reject_record("RECORD_REPEATED", locator, "the case has no number, or another case has the same")
            else:
                seen.add(record.local_id)
                cases.append(written_case(record, locator, issues, own=record.provenance.source_format == NAME))
        content = json.dumps(cases, ensure_ascii=False, indent=1).encode(errors="replace") + b"\n"
        return issues.encoded(content, {})


def _cases(content: bytes, limits: Limits, issues: IssueList) -> list[Any]:
    document = read_json(content, limits, issues)
    if issues.refuses_file:
        return []
    if isinstance(document, dict):
        document = document.get("results", [document])
    if not isinstance(document, list) or not any(_is_case(item) for item in document):
        issues.reject_file("NOT_NAMUS", "file", "not a case or a list of cases, with idFormatted or id")
        return []
    if len(document) > limits.records:
        issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
        return []
    return document


def _is_case(item: Any) -> bool:
    return isinstance(item, dict) and not item.keys().isdisjoint({"idFormatted", "subjectIdentification"})


def _record(item: Any, locator: str, limits: Limits, issues: IssueList) -> case_pb2.CaseRecord | None:
    if not _is_case(item):
        issues.reject_record("RECORD_MALFORMED", locator, "not an object with the fields of a case")
        return None
    if longest(item) > limits.field_characters:
        issues.reject_record("FIELD_TOO_LONG", locator, f"a field has more than {limits.field_characters} characters")
        return None
    record = case_of(item, locator, issues)
    return record if check_record(record, locator, issues) else None


ADAPTER: Final = NamusJson()
