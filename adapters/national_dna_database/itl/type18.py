"""The adapter ``nist-type18``: DNA records (Type-18) of an ANSI/NIST-ITL 1-2011 package in XML. Read only.

A record is a profile. If it states what the search found, it is a result too. Sources: NIST Special Publication
500-290, Type-18, and the codes of the NIEM biometrics domain, which are the same. Records of other types are not read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, not_written, provenance
from adapters.national_dna_database.itl.package import (
    HEADER,
    INT_I,
    NOT_WRITTEN,
    ROOT,
    edition,
    identification,
    read_package,
)
from adapters.national_dna_database.itl.type18_read import Origin, read_record
from adapters.national_dna_database.xml_fields import Fields, drop_binaries
from adapters.syntax.hardened_xml import children, local_name, longest, where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxml import etree

NAME: Final = "nist-type18"
_RECORD: Final = "PackageDNARecord"


class NistType18:
    """See the module."""

    name: Final = NAME
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"StrProfile", "MatchNotification", "NoMatchResult"})
    encodes: Final[frozenset[str]] = frozenset()

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return ROOT.encode() in content and INT_I.encode() not in content

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        root = read_package(source.content, limits, issues)
        if root is not None and _has_records(root, limits, issues):
            transaction = identification(Fields(root), *HEADER, "TransactionControlIdentification")
            digest = hashlib.sha256(source.content).digest()
            origin = Origin(provenance(NAME, edition(root), "", digest), transaction)
            for element in children(root, _RECORD):
                drop_binaries(element, issues)
                if longest(element) > limits.field_characters:
                    message = f"a field has more than {limits.field_characters} characters"
                    issues.reject_record("FIELD_TOO_LONG", where(element), message)
                else:
                    records.extend(read_record(element, origin, issues))
        return issues.decoded(_each_once(records, issues), source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:  # noqa: ARG002 - of the protocol
        """Refuse: see adapters/national_dna_database/itl/package.py."""
        return not_written(NOT_WRITTEN)


def _has_records(root: etree._Element, limits: Limits, issues: IssueList) -> bool:
    found = children(root, _RECORD)
    if not found:
        issues.reject_file("NO_RECORDS", where(root), "the package has no Type-18 record")
    if len(found) > limits.records:
        issues.reject_file("TOO_MANY_RECORDS", where(root), f"more than {limits.records} records")
    if any(local_name(child) not in {_RECORD, HEADER[0]} for child in root):
        issues.info("OTHER_TYPES_NOT_READ", where(root), "the package has records of other types")
    return 0 < len(found) <= limits.records


def _each_once(records: list[DecodedRecord], issues: IssueList) -> list[DecodedRecord]:
    seen: set[tuple[str, str]] = set()
    found: list[DecodedRecord] = []
    for item in records:
        key = (item.record.DESCRIPTOR.name, item.case_reference)
        if key in seen:
            issues.reject_record("SPECIMEN_REPEATED", item.locator, "the profile's number is in the file twice")
            continue
        seen.add(key)
        found.append(item)
    return found


ADAPTER: Final = NistType18()
