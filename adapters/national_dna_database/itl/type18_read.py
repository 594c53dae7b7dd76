"""Reads a Type-18 record: a profile, and the result of its search if the record states one.

In this format a locus is a number from a table, which is not in the standard's text. The table was not available, and a
guessed number would mean another locus. So such loci keep their number (LOCUS_NUMBER_UNKNOWN) and are not compared,
until somebody has the table. Field numbers are those of ANSI/NIST-ITL 1-2011.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.base import DecodedRecord, IssueList, Record
from adapters.national_dna_database.codes import CONTROL
from adapters.national_dna_database.itl.package import identification
from adapters.national_dna_database.itl.type18_result import read_result
from adapters.national_dna_database.xml_fields import Fields
from adapters.records.validate import check_record
from adapters.syntax.hardened_xml import where
from adapters.values.alleles import UNNAMED, canonical_locus, parse_allele
from caseexchange.records.v1 import common_pb2, dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

SYSTEM: Final = "ANSI/NIST-ITL 18.006 DSD"
"""The code table of a donor's category."""
_SUBJECT: Final = "0"
_DONORS: Final = {_SUBJECT: "subject", "1": "relative", "2": "unknown"}
_ROLES: Final = {
    "1": dna_pb2.SAMPLE_ROLE_CHILD,
    "2": dna_pb2.SAMPLE_ROLE_FATHER,
    "3": dna_pb2.SAMPLE_ROLE_MOTHER,
    "4": dna_pb2.SAMPLE_ROLE_SIBLING,
    "5": dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE,
    "6": dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE,
    "7": dna_pb2.SAMPLE_ROLE_UNSPECIFIED,
}
"""Relationships of 18.007 and 18.008."""
_SOURCES: Final = {"0": dna_pb2.PROFILE_SOURCE_PERSON, "1": dna_pb2.PROFILE_SOURCE_SINGLE_OR_MIXTURE}
"""Kinds of profile of 18.015 PTP. A stain may be of several people, and the record does not say of how many."""
_TRUE: Final = frozenset({"true", "1"})
_CALLS: Final = ("DNAAlleleCall1Text", "DNAAlleleCall2Text", "DNAAlleleCall3Text")


class Origin(NamedTuple):
    """Where a record comes from.

    Attributes:
        file: format, version and digest.
        transaction: number of the package (1.009).
    """

    file: common_pb2.Provenance
    transaction: str


def read_record(element: etree._Element, origin: Origin, issues: IssueList) -> Iterator[DecodedRecord]:
    """The profile and the result of a record, if it has them and they can be accepted."""
    fields, locator = Fields(element), where(element)
    own = IssueList()
    profile = _profile(fields, own)
    number = identification(fields, "ImageReferenceIdentification")
    result = read_result(fields, profile, f"{origin.transaction or profile.barcode}/{number}", own)
    if fields.repeated:
        own.reject_record("FIELD_REPEATED", locator, "a field is there twice that may be there once")
    found: list[Record] = [] if result is None else [result]
    if profile.loci:
        found.insert(0, profile)
    elif result is not None:
        own.warn("PROFILE_EMPTY", locator, "the record has a result, but no allele at any locus")
    elif not own.refuses:
        own.reject_record("PROFILE_EMPTY", locator, "no allele at any locus")
    _keep_rest(fields, profile.barcode, found, origin, own)
    issues.items.extend(own.items)
    if own.refuses:
        return
    if CONTROL.search(profile.barcode):
        issues.info("CONTROL_SKIPPED", locator, "a ladder or control is skipped")
        return
    for record in found:
        if check_record(record, locator, issues):
            yield DecodedRecord(record, profile.barcode, locator)


def _keep_rest(fields: Fields, barcode: str, found: list[Record], origin: Origin, issues: IssueList) -> None:
    rest = list(fields.rest())
    for record in found:
        record.provenance.CopyFrom(origin.file)
        record.provenance.source_record_id = barcode
    # What describes the donor goes with the profile, which stays in the laboratory. It never goes with a result.
    if found and isinstance(found[0], dna_pb2.StrProfile):
        for path, value in rest:
            found[0].provenance.unmapped.add(path=path, value=value)
    if rest:
        issues.info("FIELD_UNMAPPED", where(fields.element), "a profile has no such fields; they are kept as unmapped")


def _profile(fields: Fields, issues: IssueList) -> dna_pb2.StrProfile:
    for name in ("RecordCategoryCode", "Type2CrossReferenceIdentification"):
        fields.text(name)
    profile = dna_pb2.StrProfile(
        barcode=identification(fields, "DNASample", "DNAProfile", "DNAProfileIdentification"),
        laboratory=fields.text("DNASample", "DNALaboratory", "OrganizationName"),
        case_number=identification(fields, "DNASample", "DNAPedigree", "DNAPedigreeIdentification"),
        comment=fields.text("DNASample", "DNACommentText"),
    )
    sample = identification(fields, "DNASample", "DNAPedigree", "DNAPedigreeSampleIdentification")
    if sample:
        profile.other_numbers.add(system="Sample ID", value=sample)
    _donor(fields, profile, issues)
    _source(fields, profile, issues)
    numbered = False
    for locus in fields.elements("DNASample", "DNASTRProfile"):
        numbered |= _locus(fields, locus, profile, issues)
    if numbered:
        message = "loci have only numbers of an unknown table, and are not compared"
        issues.warn("LOCUS_NUMBER_UNKNOWN", where(fields.element), message)
    return profile


def _donor(fields: Fields, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    locator = where(fields.element)
    donor = fields.text("DNASample", "DNADonor", "DNADonorCategoryCode")
    if donor:
        profile.category.system, profile.category.value = SYSTEM, donor
        profile.category.display = _DONORS.get(donor, "")
    if donor and donor not in _DONORS:
        issues.warn("CATEGORY_UNKNOWN", locator, "the standard does not have the donor's category")
    claimed, validated = (fields.text("DNASample", f"DNA{name}RelationshipCode") for name in ("Claimed", "Validated"))
    for code in (claimed, validated):
        if code and code not in _ROLES:
            issues.warn("RELATIONSHIP_UNKNOWN", locator, "the standard does not have this relationship")
    if claimed and validated and claimed != validated:
        issues.warn("ROLE_CONTRADICTION", locator, "the validated relationship is used; the claimed one differs")
    relationship = validated or claimed
    if relationship and donor == _SUBJECT:
        issues.warn("DONOR_CONTRADICTION", locator, "the subject is not a relative, so the relationship is left out")
        return
    profile.role = _ROLES.get(relationship, dna_pb2.SAMPLE_ROLE_UNSPECIFIED)


def _source(fields: Fields, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    kind = fields.text("DNASample", "DNAProfile", "DNAProfileCategoryCode")
    profile.source = _SOURCES.get(kind, dna_pb2.PROFILE_SOURCE_OTHER)
    if kind not in _SOURCES:
        issues.warn("SOURCE_UNKNOWN", where(fields.element), "the standard does not have this kind of profile")
    if fields.elements("DNASample", "DNAGenotypeAllelePair"):
        # Weighted pairs (18.021) are computed from a mixture.
        profile.source = dna_pb2.PROFILE_SOURCE_DECONVOLUTED
        message = (
            "pairs of alleles with weights are kept as unmapped, and the profile counts as computed from a mixture"
        )
        issues.warn("GENOTYPES_WEIGHTED", where(fields.element), message)


def _locus(fields: Fields, locus: etree._Element, profile: dna_pb2.StrProfile, issues: IssueList) -> bool:
    """Read one locus. Returns whether it is known only by its number."""
    locator = where(locus)
    kind = fields.text("DNASTRProfileCategoryCode", within=locus)
    number = identification(fields, "DNALocusIdentification", within=locus)
    name = canonical_locus(number) or UNNAMED
    reported = number if name else f"DST {kind} DLR {number}"
    texts = [fields.text(call, within=locus) for call in _CALLS]
    flags = {
        flag: fields.text(flag, within=locus).lower() in _TRUE
        for flag in ("DNAAlleleIndicator", "DNALocusAnalysisIndicator", "DNAPreciseCallIndicator")
    }
    batch = identification(fields, "DNABatchIdentification", within=locus)
    kit = fields.text("DNAKit", "DNAKitName", within=locus)
    if not any(texts):
        issues.warn("ALLELE_EMPTY", locator, "a locus without an allele is left out")
        return False
    if not number:
        issues.reject_record("LOCUS_UNKNOWN", locator, "the locus has neither number nor name")
        return False
    call = profile.loci.add(locus=name, reported_locus=reported, batch=batch, kit=kit)
    if not all(flags.values()):
        # No allele indicated, not analysed or not precise: in all these cases the locus is uncertain.
        call.quality = dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE
        issues.warn("LOCUS_DOUBTFUL", locator, "the locus is not stated as analysed, with precise alleles")
    _alleles(texts, call, locator, issues)
    return not name


def _alleles(texts: list[str], call: dna_pb2.LocusCall, locator: str, issues: IssueList) -> None:
    present = [text for text in texts if text]
    if present != texts[: len(present)]:
        issues.reject_record("ALLELE_INVALID", locator, "an allele comes after one that is missing")
    for text in present:
        parsed = parse_allele(call.locus, text)
        if parsed is None:
            issues.reject_record("ALLELE_INVALID", locator, "not an allele of this locus")
            return
        call.alleles.add(value=parsed.value, operator=parsed.operator, reported=text)
