"""Reads CODIS CMF in XML. Faults that make a profile uncertain are refused. What has no place is kept as unmapped."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from adapters.base import DecodedRecord, IssueList, Limits
from adapters.national_dna_database.codes import CATEGORIES, CONTROL, MAX_ALLELES, ROLE_OF_CATEGORY, SYSTEM
from adapters.records.validate import check_record
from adapters.syntax.hardened_xml import by_name, child_text, longer_than, text_of, unread, where
from adapters.values.alleles import canonical_locus, parse_allele
from caseexchange.records.v1 import common_pb2, dna_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lxml import etree

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
"""The known attributes and child elements of each element. Others are kept as unmapped."""
_ONCE: Final = {name: known - _MANY for name, known in _KNOWN.items()}
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


def read_header(root: etree._Element, origin: common_pb2.Provenance, issues: IssueList) -> dna_pb2.StrProfile:
    """The header of a file, as the beginning of every profile."""
    header = dna_pb2.StrProfile(provenance=origin)
    for element, field in HEADER:
        setattr(header, field, child_text(root, element))
    _keep_unread(root, "CODISImportFile", by_name(root), header, issues)
    return header


class SpecimenReader:
    """Reads the specimens of one file, one after the other, each with the file's header in it."""

    def __init__(self, header: dna_pb2.StrProfile, limits: Limits, issues: IssueList) -> None:
        self._header = header
        self._limits = limits
        self._issues = issues

    def read(self, specimen: etree._Element, seen: set[bytes]) -> DecodedRecord | None:
        """The profile of a specimen, or None if it is not accepted.

        Args:
            specimen: in the form of 3.2.
            seen: digests of the ids that were accepted before. This specimen's is added.
        """
        found = IssueList()
        profile = _specimen(specimen, self._header, self._limits, found)
        digest = b"" if profile is None else hashlib.blake2b(profile.barcode.encode(), digest_size=16).digest()
        if digest in seen:
            found.reject_record("SPECIMEN_REPEATED", where(specimen), "the specimen id is in the file twice")
        self._issues.items.extend(found.items)
        if profile is None or found.refuses:
            return None
        seen.add(digest)
        return DecodedRecord(profile, profile.barcode, where(specimen))


def set_category(profile: dna_pb2.StrProfile, category: str, locator: str, issues: IssueList) -> None:
    """Put a specimen's category into its profile, and the role that it states."""
    profile.category.system, profile.category.value = SYSTEM, category
    profile.role = ROLE_OF_CATEGORY.get(category, dna_pb2.SAMPLE_ROLE_UNSPECIFIED)
    if category not in CATEGORIES:
        issues.warn("CATEGORY_UNKNOWN", locator, "the category is not in the lists of 3.2 and 2017")


def repeated_field(name: str, parts: Mapping[str, Sequence[etree._Element]]) -> bool:
    """Whether a child that may occur once occurs twice. Two readers could then read different things."""
    for child, found in parts.items():  # noqa: SIM110 - asked for every allele, and any() takes thrice the time
        if len(found) > 1 and child in _ONCE[name]:
            return True
    return False


def _specimen(
    specimen: etree._Element, header: dna_pb2.StrProfile, limits: Limits, issues: IssueList
) -> dna_pb2.StrProfile | None:
    parts = by_name(specimen)
    barcode, category = _text(parts, "SPECIMENID"), _text(parts, "SPECIMENCATEGORY")
    locator = where(specimen)
    if CONTROL.search(barcode) or CONTROL.search(category):
        issues.info("CONTROL_SKIPPED", locator, "a ladder, control or proficiency test is skipped")
        return None
    if longer_than(specimen, limits.field_characters):
        issues.reject_record("FIELD_TOO_LONG", locator, f"a field has more than {limits.field_characters} characters")
        return None
    if repeated_field("SPECIMEN", parts):
        issues.reject_record("FIELD_REPEATED", locator, "a field is there twice")
    profile = dna_pb2.StrProfile(
        barcode=barcode,
        case_number=specimen.get("CASEID", "").strip(),
        source_id=specimen.get("SOURCEID", "").strip(),
        partial=_flag(specimen, "PARTIAL", issues),
        comment=_text(parts, "SPECIMENCOMMENT"),
    )
    profile.MergeFrom(header)
    profile.provenance.source_record_id = barcode
    set_category(profile, category, locator, issues)
    _keep_unread(specimen, "SPECIMEN", parts, profile, issues)
    for locus in parts.get("LOCUS", ()):
        _locus(locus, profile, issues)
    # One bad locus makes the whole profile uncertain, so the others need not be checked.
    if not issues.refuses:
        check_record(profile, locator, issues)
    return profile


def _locus(locus: etree._Element, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    parts = by_name(locus)
    reported = _text(parts, "LOCUSNAME")
    name = canonical_locus(reported)
    if name is None:
        issues.reject_record("LOCUS_UNKNOWN", where(locus), "the locus is not known here")
        return
    call = profile.loci.add(
        locus=name,
        reported_locus=reported,
        kit=locus.get("KIT", "").strip(),
        batch=locus.get("BATCHID", "").strip(),
        read_by=_text(parts, "READINGBY"),
        read_at=_text(parts, "READINGDATETIME"),
    )
    alleles = [(allele, by_name(allele)) for allele in parts.get("ALLELE", ())]
    again = [inner for allele, inner in alleles if len(inner) < len(allele)]
    if repeated_field("LOCUS", parts) or any(repeated_field("ALLELE", inner) for inner in again):
        issues.reject_record("FIELD_REPEATED", where(locus), "a field is there twice")
    if len(alleles) > MAX_ALLELES:
        issues.reject_record("ALLELES_TOO_MANY", where(locus), f"a locus has at most {MAX_ALLELES} alleles")
        return
    _keep_unread(locus, "LOCUS", parts, profile, issues)
    for allele, inner in alleles:
        _allele(allele, _text(inner, "ALLELEVALUE"), call, issues)
        _keep_unread(allele, "ALLELE", inner, profile, issues)


def _allele(allele: etree._Element, text: str, call: dna_pb2.LocusCall, issues: IssueList) -> None:
    parsed = parse_allele(call.locus, text)
    if parsed is None:
        issues.reject_record("ALLELE_INVALID", where(allele), "not an allele of this locus")
        return
    required = _flag(allele, "ALLELEREQUIRED", issues)
    call.alleles.add(value=parsed.value, operator=parsed.operator, required=required, reported=text)


def _text(parts: Mapping[str, Sequence[etree._Element]], name: str) -> str:
    found = parts.get(name)
    return text_of(found[0]) if found else ""


def _flag(element: etree._Element, name: str, issues: IssueList) -> bool:
    text = element.get(name)
    if text is None:
        return False
    text = text.strip().lower()
    if text not in _FLAGS:
        issues.warn("FLAG_NOT_READ", where(element), f"{name} is not true or false, and counts as false")
    return _FLAGS.get(text, False)


def _keep_unread(
    element: etree._Element,
    name: str,
    parts: Mapping[str, Sequence[etree._Element]],
    profile: dna_pb2.StrProfile,
    issues: IssueList,
) -> None:
    known = _KNOWN[name]
    if known.issuperset(parts) and known.issuperset(element.keys()):
        return
    for path, value in unread(element, known):
        profile.provenance.unmapped.add(path=path, value=value)
        issues.info("FIELD_UNKNOWN", where(element), "a profile has no such field; it is kept as unmapped")
