"""The adapter ``codis-cmf``: a SPECIMEN of CODIS CMF 3.2 XML is an StrProfile.

Read leniently, because real files break the XSD in harmless ways (kits written otherwise, laboratory codes too long,
a byte order mark): rejected is only what leaves the profile in doubt. Written strictly, in the XSD's order. Source:
CODIS CMF 3.2 Interface Specification and its appendix B; the kits and loci of the lists of 2017 are read too.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from adapters.alleles import canonical_locus, parse_allele
from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, provenance
from adapters.hardened_xml import child_text, children, local_name, namespace, parse_xml, where
from adapters.national_dna_database.cmf_output import write_file
from adapters.national_dna_database.cmf_tables import (
    CATEGORIES,
    CONTROL_MARKS,
    MAX_ALLELES,
    NAMESPACE,
    ROLE_OF_CATEGORY,
)
from adapters.validate import validate
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxml import etree

_RAPID: Final = "urn:CODISRapidImportFile-schema"
_HEADER_FIELDS: Final = (
    ("DESTINATIONORI", "destination"),
    ("SOURCELAB", "laboratory"),
    ("SUBMITBYUSERID", "submitted_by"),
    ("SUBMITDATETIME", "submitted_at"),
    ("BATCHID", "batch"),
    ("KIT", "kit"),
)
_TRUE: Final = frozenset({"true", "1"})


class CodisCmf:
    """See the module."""

    name: Final = "codis-cmf"
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"StrProfile"})
    encodes: Final = frozenset({"StrProfile"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return NAMESPACE.encode() in content or b"CODISImportFile" in content or _RAPID.encode() in content

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        if source.content[:1].isalnum():
            issues.reject_file("CMF_TEXT", "line 1", "not XML; the line-oriented text of CMF 1.0 is not read")
            return issues.decoded(records, source.content)
        root = parse_xml(source.content, limits, issues)
        if root is not None and _is_cmf(root, issues):
            digest = hashlib.sha256(source.content).digest()
            specimens = children(root, "SPECIMEN")
            if not specimens:
                issues.reject_file("NO_SPECIMEN", where(root), "the file holds no specimen")
            if len(specimens) > limits.records:
                issues.reject_file("TOO_MANY_RECORDS", where(root), f"more than {limits.records} specimens")
                specimens = []
            seen: set[str] = set()
            for specimen in specimens:
                record = _specimen(specimen, root, seen, digest, issues)
                if record is not None:
                    records.append(DecodedRecord(record, record.barcode, where(specimen)))
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


def _is_cmf(root: etree._Element, issues: IssueList) -> bool:
    if namespace(root) == _RAPID or local_name(root) == "CODISRapidImportFile":
        # Its categories are arrestees and convicts only: no child and no parent is in such a file.
        issues.reject_file("CMF_RAPID", where(root), "a Rapid CMF holds no specimens of this exchange's categories")
        return False
    if local_name(root) != "CODISImportFile":
        issues.reject_file("NOT_CMF", where(root), "the document is not a CODISImportFile")
        return False
    if namespace(root) != NAMESPACE:
        issues.warn("NAMESPACE_MISSING", where(root), "the document is not in the CMF namespace")
    if child_text(root, "HEADERVERSION") != "3.2":
        issues.warn("CMF_VERSION", where(root), "the header does not state version 3.2")
    return True


def _specimen(
    specimen: etree._Element, root: etree._Element, seen: set[str], digest: bytes, issues: IssueList
) -> dna_pb2.StrProfile | None:
    barcode = child_text(specimen, "SPECIMENID")
    locator = where(specimen)
    category = child_text(specimen, "SPECIMENCATEGORY")
    if any(mark in f"{barcode} {category}".lower() for mark in CONTROL_MARKS):
        issues.info("CONTROL_SKIPPED", locator, "a ladder or control is nobody's profile")
        return None
    if barcode in seen:
        issues.reject_record("SPECIMEN_REPEATED", locator, "the specimen id stands twice in the file")
        return None
    seen.add(barcode)
    profile = dna_pb2.StrProfile(
        barcode=barcode,
        case_number=specimen.get("CASEID", ""),
        source_id=specimen.get("SOURCEID", ""),
        partial=specimen.get("PARTIAL", "").lower() in _TRUE,
        comment=child_text(specimen, "SPECIMENCOMMENT"),
        role=ROLE_OF_CATEGORY.get(category, dna_pb2.SAMPLE_ROLE_UNSPECIFIED),
    )
    for element, field in _HEADER_FIELDS:
        setattr(profile, field, child_text(root, element))
    profile.category.system, profile.category.value = "CODIS CMF 3.2", category
    if category not in CATEGORIES:
        issues.warn("CATEGORY_UNKNOWN", locator, "the category is not one of the lists of 3.2 and 2017")
    before = len(issues.items)
    for locus in children(specimen, "LOCUS"):
        _locus(locus, profile, issues)
    profile.provenance.CopyFrom(provenance(CodisCmf.name, child_text(root, "HEADERVERSION"), barcode, digest))
    issues.items.extend(issue._replace(locator=f"{locator}, {issue.locator}") for issue in validate(profile))
    # One locus in doubt leaves the whole profile in doubt.
    rejected = any(issue.severity.value == "reject_record" for issue in issues.items[before:])
    return None if rejected else profile


def _locus(locus: etree._Element, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    reported = child_text(locus, "LOCUSNAME")
    name = canonical_locus(reported)
    if name is None:
        issues.reject_record("LOCUS_UNKNOWN", where(locus), "the locus is none that is known here")
        return
    call = profile.loci.add(
        locus=name,
        reported_locus=reported,
        kit=locus.get("KIT", ""),
        batch=locus.get("BATCHID", ""),
        read_by=child_text(locus, "READINGBY"),
        read_at=child_text(locus, "READINGDATETIME"),
    )
    alleles = children(locus, "ALLELE")
    if len(alleles) > MAX_ALLELES:
        issues.reject_record("ALLELES_TOO_MANY", where(locus), f"a locus has at most {MAX_ALLELES} alleles")
        return
    for allele in alleles:
        text = child_text(allele, "ALLELEVALUE")
        parsed = parse_allele(name, text)
        if parsed is None:
            issues.reject_record("ALLELE_INVALID", where(allele), "not an allele of this locus")
            return
        required = allele.get("ALLELEREQUIRED", "").lower() in _TRUE
        call.alleles.add(value=parsed.value, operator=parsed.operator, required=required, reported=text)
