"""Records of every kind as JSON: for agencies that use JSON themselves, for tests, and for people to read.

One document: ``{"records": [{"kind": "Closure", "caseReference": "...", "record": {...}}]}``. ``record`` is protobuf's
JSON mapping of the message of that kind.
"""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from adapters.base import (
    RECORD_TYPES,
    Decoded,
    DecodedRecord,
    Encoded,
    IssueList,
    Limits,
    Record,
    Source,
    kind_of,
    placed,
)
from adapters.records.validate import check_record
from adapters.syntax.hardened_json import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS: Final = frozenset(RECORD_TYPES)
_KEYS: Final = frozenset({"kind", "caseReference", "record"})

NAME: Final = "record-json"


class RecordJson:
    """The adapter ``record-json``."""

    name: Final = NAME
    media_type: Final = "application/json"
    suffix: Final = ".json"
    decodes: Final = _KINDS
    encodes: Final = _KINDS

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return content.lstrip().startswith(b"{") and b'"record' in content

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        for number, item in enumerate(_items(source.content, limits, issues)):
            record = _record(item, f"records[{number}]", limits, issues)
            if record is not None:
                records.append(record)
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        items = [
            {"kind": kind_of(record), "caseReference": "", "record": json_format.MessageToDict(record)}
            for _, record in placed(records, limits, issues)
        ]
        content = json.dumps({"records": items}, ensure_ascii=False, indent=1).encode() + b"\n"
        return issues.encoded(content, MappingProxyType({}))


def _items(content: bytes, limits: Limits, issues: IssueList) -> list[Any]:
    document = read_json(content, limits, issues)
    if issues.items:
        return []
    items = document.get("records") if isinstance(document, dict) else None
    if not isinstance(items, list):
        issues.reject_file("JSON_MALFORMED", "file", "not a JSON document with a list of records")
        return []
    if len(items) > limits.records:
        issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
        return []
    return items


def _record(item: Any, locator: str, limits: Limits, issues: IssueList) -> DecodedRecord | None:
    kind = item.get("kind") if isinstance(item, dict) else None
    if not isinstance(kind, str) or item.keys() - _KEYS or kind not in _KINDS:
        issues.reject_record("KIND_UNKNOWN", locator, "not an object with a known kind, a caseReference and a record")
        return None
    record = RECORD_TYPES[kind]()
    reference = item.get("caseReference", "")
    try:
        # The library raises errors of other types for lone surrogates.
        json.dumps(item, ensure_ascii=False, allow_nan=False).encode()
        json_format.ParseDict(item.get("record", {}), record, max_recursion_depth=limits.depth)
    except (json_format.ParseError, TypeError, ValueError, RecursionError):
        # The library's message may quote the bad value.
        issues.reject_record("RECORD_MALFORMED", locator, f"the record is not protobuf JSON of a {kind}")
        return None
    if not isinstance(reference, str):
        issues.reject_record("REFERENCE_MALFORMED", locator, "the caseReference is not a text")
        return None
    if not check_record(record, locator, issues):
        return None
    if not record.HasField("provenance"):
        digest = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).digest()
        record.provenance.source_format = NAME
        record.provenance.source_sha256 = digest
    return DecodedRecord(record, reference, locator)


ADAPTER: Final = RecordJson()
