"""Reading CODIS CMF in XML. Rejected is what leaves a profile in doubt; what has no place is kept as unmapped."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from adapters.alleles import canonical_locus, parse_allele
from adapters.base import DecodedRecord, IssueList, Limits, Severity, provenance
from adapters.hardened_xml import child_text, children, local_name, longest, unread, where
from adapters.national_dna_database.cmf_tables import CATEGORIES, CONTROL, MAX_ALLELES, ROLE_OF_CATEGORY, SYSTEM
from adapters.validate import validate
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

NAME: Final = "codis-cmf"
HEADER: Final = (
    ("DESTINATIONORI", "destination"),
    ("SOURCELAB", "laboratory"),
    ("SUBMITBYUSERID", "submitted_by"),
    ("SUBMITDATETIME", "submitted_at"),
    ("BATCHID", "batch"),
    ("KIT", "kit"),
)
_MANY: Final = frozenset({"SPECIMEN", "LOCUS", "ALLELE"})
_KNOWN: Final = {
    "CODISImportFile": frozenset(
        {"HEADERVERSION", "MESSAGETYPE", "schemaLocation", "SPECIMEN", *(element for element, _ in HEADER)}
    ),
    "SPECIMEN": frozenset(
        {"SOURCEID", "CASEID", "PARTIAL", "SPECIMENID", "SPECIMENCATEGORY", "SPECIMENCOMMENT", "LOCUS"}
    ),
    "LOCUS": frozenset({"BATCHID", "KIT", "LOCUSNAME", "READINGBY", "READINGDATETIME", "ALLELE"}),
    "ALLELE": frozenset({"ALLELEREQUIRED", "ALLELEVALUE"}),
}
"""Attributes and child elements of each element; others are kept as unmapped."""
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


def read_specimens(
    root: etree._Element, version: str, digest: bytes, limits: Limits, issues: IssueList
) -> Iterator[DecodedRecord]:
    """The profile of each specimen that can be accepted, with the file's header in it."""
    header = dna_pb2.StrProfile(provenance=provenance(NAME, version, "", digest))
    for element, field in HEADER:
        setattr(header, field, child_text(root, element))
    _keep_unread(root, header, issues)
    seen: set[str] = set()
    for specimen in children(root, "SPECIMEN"):
        found = IssueList()
        profile = _specimen(specimen, header, limits, found)
        if profile is not None and profile.barcode in seen:
            found.reject_record("SPECIMEN_REPEATED", where(specimen), "the specimen id stands twice in the file")
        issues.items.extend(found.items)
        if profile is not None and not rejects(found):
            seen.add(profile.barcode)
            yield DecodedRecord(profile, profile.barcode, where(specimen))


def set_category(profile: dna_pb2.StrProfile, category: str, locator: str, issues: IssueList) -> None:
    """Put a specimen's category into its profile, and the role that it says."""
    profile.category.system, profile.category.value = SYSTEM, category
    profile.role = ROLE_OF_CATEGORY.get(category, dna_pb2.SAMPLE_ROLE_UNSPECIFIED)
    if category not in CATEGORIES:
        issues.warn("CATEGORY_UNKNOWN", locator, "the category is not one of the lists of 3.2 and 2017")


def repeated_field(element: etree._Element) -> bool:
    """Whether a child stands twice that may stand once: two readers could read two things."""
    counts = Counter(local_name(child) for child in element)
    return any(count > 1 for name, count in counts.items() if name in _KNOWN[local_name(element)] - _MANY)


def rejects(issues: IssueList) -> bool:
    """Whether a record was refused."""
    return any(issue.severity is Severity.REJECT_RECORD for issue in issues.items)


def _specimen(
    specimen: etree._Element, header: dna_pb2.StrProfile, limits: Limits, issues: IssueList
) -> dna_pb2.StrProfile | None:
    barcode, category = child_text(specimen, "SPECIMENID"), child_text(specimen, "SPECIMENCATEGORY")
    locator = where(specimen)
    if CONTROL.search(barcode) or CONTROL.search(category):
        issues.info("CONTROL_SKIPPED", locator, "a ladder, control or proficiency test is nobody's profile")
        return None
    if longest(specimen) > limits.field_characters:
        issues.reject_record("FIELD_TOO_LONG", locator, f"a field has more than {limits.field_characters} characters")
        return None
    if repeated_field(specimen):
        issues.reject_record("FIELD_REPEATED", locator, "a field stands twice")
    profile = dna_pb2.StrProfile(
        barcode=barcode,
        case_number=specimen.get("CASEID", "").strip(),
        source_id=specimen.get("SOURCEID", "").strip(),
        partial=_flag(specimen, "PARTIAL", issues),
        comment=child_text(specimen, "SPECIMENCOMMENT"),
    )
    profile.MergeFrom(header)
    profile.provenance.source_record_id = barcode
    set_category(profile, category, locator, issues)
    _keep_unread(specimen, profile, issues)
    for locus in children(specimen, "LOCUS"):
        _locus(locus, profile, issues)
    # One locus in doubt leaves the whole profile in doubt, and what is left of it need not be judged.
    if not rejects(issues):
        issues.items.extend(issue._replace(locator=f"{locator}, {issue.locator}") for issue in validate(profile))
    return profile


def _locus(locus: etree._Element, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    reported, locator = child_text(locus, "LOCUSNAME"), where(locus)
    name = canonical_locus(reported)
    if name is None:
        issues.reject_record("LOCUS_UNKNOWN", locator, "the locus is none that is known here")
        return
    call = profile.loci.add(
        locus=name,
        reported_locus=reported,
        kit=locus.get("KIT", "").strip(),
        batch=locus.get("BATCHID", "").strip(),
        read_by=child_text(locus, "READINGBY"),
        read_at=child_text(locus, "READINGDATETIME"),
    )
    alleles = children(locus, "ALLELE")
    if repeated_field(locus) or any(repeated_field(allele) for allele in alleles):
        issues.reject_record("FIELD_REPEATED", locator, "a field stands twice")
    if len(alleles) > MAX_ALLELES:
        issues.reject_record("ALLELES_TOO_MANY", locator, f"a locus has at most {MAX_ALLELES} alleles")
        return
    _keep_unread(locus, profile, issues)
    for allele in alleles:
        _allele(allele, call, issues)
        _keep_unread(allele, profile, issues)


def _allele(allele: etree._Element, call: dna_pb2.LocusCall, issues: IssueList) -> None:
    text = child_text(allele, "ALLELEVALUE")
    parsed = parse_allele(call.locus, text)
    if parsed is None:
        issues.reject_record("ALLELE_INVALID", where(allele), "not an allele of this locus")
        return
    required = _flag(allele, "ALLELEREQUIRED", issues)
    call.alleles.add(value=parsed.value, operator=parsed.operator, required=required, reported=text)


def _flag(element: etree._Element, name: str, issues: IssueList) -> bool:
    text = element.get(name, "").strip().lower()
    if text not in _FLAGS:
        issues.warn("FLAG_NOT_READ", where(element), f"{name} is neither true nor false, and counts as false")
    return _FLAGS.get(text, False)


def _keep_unread(element: etree._Element, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    for path, value in unread(element, _KNOWN[local_name(element)]):
        profile.provenance.unmapped.add(path=path, value=value)
        issues.info("FIELD_UNKNOWN", where(element), "a field without a place in a profile is kept as unmapped")
