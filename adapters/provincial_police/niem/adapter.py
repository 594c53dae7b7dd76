"""The adapters ``niem-missing-person`` and ``niem-json``: NIEM missing persons and AMBER alerts, in XML and in JSON.

Both read NIEM 2.0 to 6.0 and write 6.0. They share the mapping. Each has its own syntax.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, placed
from adapters.provincial_police.niem.json_syntax import read_json, write_json
from adapters.provincial_police.niem.read import DocumentReader
from adapters.provincial_police.niem.tree import Document, Node, new_message
from adapters.provincial_police.niem.write import write_case
from adapters.provincial_police.niem.xml_syntax import read_xml, write_xml
from caseexchange.records.v1 import case_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

XML_NAME: Final = "niem-missing-person"
JSON_NAME: Final = "niem-json"
_NAMES: Final = (XML_NAME, JSON_NAME)
_JUSTICE: Final = re.compile(rb"/domains/(?:jxdm|justice)/|nlets-amber-alert/")
_LABORATORY: Final = (b"DNARecord", b"DNADataTransaction")
_PREFIXED: Final = re.compile(rb'"(?:nc|j):[A-Z]')


class NiemMissingPerson:
    """See the module: XML."""

    name: Final = XML_NAME
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"CaseRecord"})
    encodes: Final = frozenset({"CaseRecord"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return _opens_with(content, b"<") and _is_justice(content)

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        return _decode(self.name, read_xml, source, limits)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        return _encode(write_xml, records, limits)


class NiemJson:
    """See the module: JSON."""

    name: Final = JSON_NAME
    media_type: Final = "application/json"
    suffix: Final = ".json"
    decodes: Final = frozenset({"CaseRecord"})
    encodes: Final = frozenset({"CaseRecord"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        niem = _is_justice(content) or _PREFIXED.search(content) is not None
        return _opens_with(content, b"{") and niem and not any(mark in content for mark in _LABORATORY)

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        return _decode(self.name, read_json, source, limits)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        return _encode(write_json, records, limits)


def _opens_with(content: bytes, mark: bytes) -> bool:
    return content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(mark)


def _is_justice(content: bytes) -> bool:
    return _JUSTICE.search(content) is not None and not any(mark in content for mark in _LABORATORY)


def _decode(
    name: str,
    parse: Callable[[bytes, Limits, IssueList], Document | None],
    source: Source,
    limits: Limits,
) -> Decoded:
    issues = IssueList()
    records: list[DecodedRecord] = []
    document = parse(source.content, limits, issues)
    if document is not None:
        records = DocumentReader(name, document, source, limits).read(issues)
    return issues.decoded(records, source.content)


def _encode(write: Callable[[Node], bytes], records: Sequence[Record], limits: Limits) -> Encoded:
    issues = IssueList()
    root = new_message()
    seen: set[str] = set()
    for locator, record in placed(records, limits, issues):
        if not isinstance(record, case_pb2.CaseRecord):
            issues.reject_record("KIND_NOT_CARRIED", locator, "the format carries no records of this kind")
        elif not record.local_id or record.local_id in seen:
            issues.reject_record(
                "RECORD_REPEATED", locator, "the case has no number, or the number of another case in the file"
            )
        else:
            seen.add(record.local_id)
            write_case(root, record, _NAMES, locator, issues)
    return issues.encoded(write(root), {})


NIEM_MISSING_PERSON: Final = NiemMissingPerson()
NIEM_JSON: Final = NiemJson()
