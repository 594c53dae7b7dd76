"""The adapter ``niem-dna``: a DNARecord of a NIEM biometrics DNA transaction is an StrProfile.

Read: releases 5.0 to 6.0 of the biometrics domain. Written: 5.1. Sources: the domain's biom.xsd, and the schema of the
sample transactions that NIEM's biometrics community publishes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, provenance
from adapters.national_dna_database.niem.codes import FAMILY, ROOT, VERSIONS
from adapters.national_dna_database.niem.pedigree import read_roles
from adapters.national_dna_database.niem.read import read_records
from adapters.national_dna_database.niem.write import write_transaction
from adapters.national_dna_database.profiles import profiles_of
from adapters.national_dna_database.xml_fields import drop_binaries
from adapters.syntax.hardened_xml import children, local_name, namespace, parse_xml, where
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxml import etree

NAME: Final = "niem-dna"


class NiemDna:
    """See the module."""

    name: Final = NAME
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"StrProfile"})
    encodes: Final = frozenset({"StrProfile"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return ROOT.encode() in content

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        root = parse_xml(source.content, limits, issues)
        if root is not None and _is_transaction(root, limits, issues):
            drop_binaries(root, issues)
            digest = hashlib.sha256(source.content).digest()
            origin = provenance(NAME, _version(root, issues), "", digest)
            records.extend(read_records(root, origin, limits, issues))
            profiles = [item.record for item in records if isinstance(item.record, dna_pb2.StrProfile)]
            read_roles(root, profiles, issues)
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        profiles = profiles_of(records, limits, issues)
        return issues.encoded(write_transaction(profiles, issues), {})


def _is_transaction(root: etree._Element, limits: Limits, issues: IssueList) -> bool:
    if local_name(root) != ROOT:
        issues.reject_file("NOT_NIEM_DNA", where(root), "the document is not a DNA data transaction")
        return False
    found = children(root, "DNARecord")
    if not found:
        issues.reject_file("NO_RECORDS", where(root), "the transaction has no DNA record")
    if len(found) > limits.records:
        issues.reject_file("TOO_MANY_RECORDS", where(root), f"more than {limits.records} records")
    return 0 < len(found) <= limits.records


def _version(root: etree._Element, issues: IssueList) -> str:
    match = FAMILY.fullmatch(namespace(children(root, "DNARecord")[0]))
    if match is None:
        issues.warn("NAMESPACE_UNKNOWN", where(root), "the records do not have the namespace of the biometrics domain")
        return ""
    if match[1] not in VERSIONS:
        issues.warn("NIEM_VERSION", where(root), "this release of the biometrics domain is not known here")
    return match[1]


ADAPTER: Final = NiemDna()
