"""The adapter ``codis-cmf``: a SPECIMEN of CODIS CMF is an StrProfile. Three versions are read, and 3.2 is written.

- 3.2, in XML; the lists of 2017 are read and written. Source: CODIS CMF 3.2 Interface Specification and its appendix B.
- Rapid Import, in XML with other headers (cmf_rapid.py).
- 1.0, in lines of text (cmf_text.py).

Read leniently, because real files break the XSD in harmless ways (kits written otherwise, laboratory codes too long,
a byte order mark): rejected is only what leaves the profile in doubt. Written strictly, in the XSD's order and within
its limits.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source
from adapters.hardened_xml import child_text, children, local_name, longest, namespace, parse_xml, where
from adapters.national_dna_database.cmf_input import NAME, read_specimens, repeated_field
from adapters.national_dna_database.cmf_output import write_file
from adapters.national_dna_database.cmf_rapid import RAPID_NAMESPACE, RAPID_ROOT, reshape_rapid
from adapters.national_dna_database.cmf_tables import NAMESPACE
from adapters.national_dna_database.cmf_text import is_cmf_text, read_text
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxml import etree

_ROOT: Final = "CODISImportFile"


class CodisCmf:
    """See the module."""

    name: Final = NAME
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"StrProfile"})
    encodes: Final = frozenset({"StrProfile"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        marks = (NAMESPACE, _ROOT, RAPID_NAMESPACE, RAPID_ROOT)
        return any(mark.encode() in content for mark in marks) or is_cmf_text(content)

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        digest = hashlib.sha256(source.content).digest()
        if is_cmf_text(source.content):
            records.extend(read_text(source.content, digest, limits, issues))
            return issues.decoded(records, source.content)
        root = parse_xml(source.content, limits, issues)
        if root is not None and _is_cmf(root, limits, issues):
            version = child_text(root, "HEADERVERSION")
            if local_name(root) == RAPID_ROOT:
                version = reshape_rapid(root)
            if _has_specimens(root, limits, issues):
                records.extend(read_specimens(root, version, digest, limits, issues))
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        if len(records) > limits.records:
            issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
        profiles: list[tuple[str, dna_pb2.StrProfile]] = []
        for place, record in enumerate(records[: limits.records]):
            if isinstance(record, dna_pb2.StrProfile):
                profiles.append((f"records[{place}]", record))
            else:
                issues.reject_record("KIND_NOT_CARRIED", f"records[{place}]", "the format carries profiles only")
        return issues.encoded(write_file(profiles, issues), {})


def _is_cmf(root: etree._Element, limits: Limits, issues: IssueList) -> bool:
    name = local_name(root)
    if name not in {_ROOT, RAPID_ROOT}:
        issues.reject_file("NOT_CMF", where(root), "the document is neither a CODISImportFile nor a Rapid one")
        return False
    if any(longest(child) > limits.field_characters for child in root if local_name(child) != "SPECIMEN"):
        issues.reject_file("FIELD_TOO_LONG", where(root), f"a field has more than {limits.field_characters} characters")
        return False
    if namespace(root) != (NAMESPACE if name == _ROOT else RAPID_NAMESPACE):
        issues.warn("NAMESPACE_MISSING", where(root), "the document is not in the CMF namespace")
    if name == _ROOT and child_text(root, "HEADERVERSION") != "3.2":
        issues.warn("CMF_VERSION", where(root), "the header does not state version 3.2")
    return True


def _has_specimens(root: etree._Element, limits: Limits, issues: IssueList) -> bool:
    before = len(issues.items)
    if child_text(root, "MESSAGETYPE") not in {"", "Import"}:
        issues.reject_file("NOT_IMPORT", where(root), "the message is of another type than Import")
    if repeated_field(root):
        issues.reject_file("FIELD_REPEATED", where(root), "a field of the header stands twice")
    specimens = children(root, "SPECIMEN")
    if not specimens:
        issues.reject_file("NO_SPECIMEN", where(root), "the file holds no specimen")
    if len(specimens) > limits.records:
        issues.reject_file("TOO_MANY_RECORDS", where(root), f"more than {limits.records} specimens")
    return len(issues.items) == before
