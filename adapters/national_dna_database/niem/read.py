"""Reads a NIEM DNA transaction: a DNARecord is a profile.

Reading is lenient: namespaces by family, fields by local names. Faults that make a profile uncertain are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.base import DecodedRecord, IssueList, Limits
from adapters.national_dna_database.codes import CONTROL
from adapters.national_dna_database.niem import codes as names
from adapters.national_dna_database.xml_fields import Fields
from adapters.records.validate import check_record
from adapters.syntax.hardened_xml import children, longest, where
from adapters.values.alleles import Y_LOCI, canonical_locus, parse_range, parse_sequenced_allele
from caseexchange.records.v1 import common_pb2, dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

_CONTROLS: Final = frozenset(name.casefold() for name in names.CONTROLS)
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}
_MAX_ENCODINGS: Final = 32
"""For one record. Each is compared with the others, so the time grows with the square."""
_MAX_ALLELES: Final = 32
"""For one locus. Mixtures have many."""
_MAX_HEIGHT: Final = 2**31 - 1
_BEYOND: Final = frozenset({dna_pb2.ALLELE_OPERATOR_ABOVE, dna_pb2.ALLELE_OPERATOR_BELOW})
_ORGANISATION: Final = (
    "DNAAnalysisProcessingEntity",
    "EntityOrganization",
    "OrganizationIdentification",
    "IdentificationID",
)
_PERSON: Final = ("DNAAnalysisProcessingEntity", "EntityPerson", "PersonOtherIdentification", "IdentificationID")


def read_records(
    root: etree._Element, origin: common_pb2.Provenance, limits: Limits, issues: IssueList
) -> list[DecodedRecord]:
    """The profile of each record that can be accepted, without the roles from the pedigrees."""
    found: list[DecodedRecord] = []
    seen: set[str] = set()
    for element in children(root, "DNARecord"):
        if longest(element) > limits.field_characters:
            message = f"a field has more than {limits.field_characters} characters"
            issues.reject_record("FIELD_TOO_LONG", where(element), message)
            continue
        for item in _profiles(element, origin, issues):
            if item.case_reference in seen:
                issues.reject_record("SPECIMEN_REPEATED", item.locator, "the sample's number is in the file twice")
                continue
            seen.add(item.case_reference)
            found.append(item)
    return found


def _profiles(element: etree._Element, origin: common_pb2.Provenance, issues: IssueList) -> Iterator[DecodedRecord]:
    encodings = children(element, "DNAEncoding")
    typed = [encoding for encoding in encodings if children(encoding, "DNASTRData")]
    if len(typed) < len(encodings):
        issues.warn("ENCODING_NOT_READ", where(element), "an encoding without STR data is kept as unmapped")
    if not typed:
        issues.reject_record("PROFILE_EMPTY", where(element), "the record has no STR data")
    if len(typed) > _MAX_ENCODINGS:
        issues.reject_record(
            "ENCODINGS_TOO_MANY", where(element), f"a record has at most {_MAX_ENCODINGS} STR profiles"
        )
        return
    for encoding in typed:
        own = IssueList()
        profile = _profile(Fields(element), encoding, own)
        issues.items.extend(own.items)
        if profile is None or own.refuses:
            continue
        profile.provenance.MergeFrom(origin)
        profile.provenance.source_record_id = profile.barcode
        yield DecodedRecord(profile, profile.barcode, where(encoding))


def _profile(fields: Fields, encoding: etree._Element, issues: IssueList) -> dna_pb2.StrProfile | None:
    locator = where(fields.element)
    profile = dna_pb2.StrProfile()
    _category(fields, profile, issues)
    _numbers(fields, encoding, profile)
    category = profile.category.value
    if category.casefold() in _CONTROLS or CONTROL.search(category) or CONTROL.search(profile.barcode):
        issues.info("CONTROL_SKIPPED", locator, "a control or a training sample is skipped")
        return None
    _source(fields, encoding, profile, issues)
    _str_data(fields, encoding, profile, issues)
    if fields.repeated:
        issues.reject_record("FIELD_REPEATED", locator, "a field is there twice that may be there once")
    for other in fields.elements("DNAEncoding"):
        if other is not encoding and children(other, "DNASTRData"):
            fields.leave(other)
    for path, value in fields.rest():
        profile.provenance.unmapped.add(path=path, value=value)
    if profile.provenance.unmapped:
        issues.info("FIELD_UNMAPPED", locator, "a profile has no such fields; they are kept as unmapped")
    if not issues.refuses:
        check_record(profile, locator, issues)
    return profile


def _category(fields: Fields, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    code = fields.text("DNACategoryCode")
    category = code or fields.text("DNACategoryText")
    if not category:
        return
    profile.category.system, profile.category.value = names.SYSTEM if code else names.TEXT_SYSTEM, category
    if category == names.UNACCOMPANIED_MINOR:
        profile.role = dna_pb2.SAMPLE_ROLE_CHILD
    if code and code not in names.CATEGORIES | names.CONTROLS:
        issues.warn("CATEGORY_UNKNOWN", where(fields.element), "the domain's list does not have this category")


def _numbers(fields: Fields, encoding: etree._Element, profile: dna_pb2.StrProfile) -> None:
    """The sample's number is the barcode. Without a sample's number, the profile's number is."""
    for element in fields.elements("DNADataIdentification"):
        number, kind = read_identification(fields, element)
        if kind.lower() == names.CASE.lower() and not profile.case_number:
            profile.case_number = number
        elif number:
            profile.other_numbers.add(system=kind, value=number)
    for element in fields.elements("DNASource", "DNASourceIdentification", within=encoding):
        number, kind = read_identification(fields, element)
        if kind.lower() in {names.SAMPLE.lower(), ""} and not profile.barcode:
            profile.barcode = number
        elif number:
            profile.other_numbers.add(system=kind, value=number)
    if not profile.barcode:
        profile.barcode = next((code.value for code in profile.other_numbers if code.system == names.PROFILE), "")


def read_identification(fields: Fields, element: etree._Element) -> tuple[str, str]:
    """A number and its kind."""
    kinds = ("IdentificationCategoryDescriptionText", "IdentificationCategoryText")
    texts = [fields.text(kind, within=element) for kind in kinds]
    return fields.text("IdentificationID", within=element), next(filter(None, texts), "")


def _source(fields: Fields, encoding: etree._Element, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    locator = where(encoding)
    source = fields.text("DNASource", "DNASourceCategoryCode", within=encoding)
    if source:
        # An unknown kind of source may be several people, so it counts as not one person's.
        profile.source = names.SOURCES.get(source, dna_pb2.PROFILE_SOURCE_OTHER)
    if source and source not in names.SOURCES:
        issues.warn("SOURCE_UNKNOWN", locator, "the domain's list does not have this source; it counts as Other")
    known = fields.text("DNASource", "DNASourceKnownIndicator", within=encoding).lower()
    profile.source_id = names.KNOWN.get(known, "")
    if known not in names.KNOWN:
        issues.warn("FLAG_NOT_READ", locator, "the flag for a known source is not true or false")
    for process in ("DNAInstrumentProcess", "DNAAnalysisProcess"):
        organisations = fields.elements("DNAProcess", process, *_ORGANISATION, within=encoding)
        if organisations and not profile.laboratory:
            profile.laboratory = fields.take(organisations[0])
    comments = fields.elements("DNACommentText", within=encoding)
    if comments:
        profile.comment = fields.take(comments[0])


def _str_data(fields: Fields, encoding: etree._Element, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    fields.text("DNATypingTechnologyCode", within=encoding)
    blocks = children(encoding, "DNASTRData")
    if len(blocks) > 1:
        issues.reject_record("FIELD_REPEATED", where(encoding), "an encoding has one set of STR data")
    data = blocks[0]
    profile.kit = fields.text("DNAKit", "DNAKitName", within=data)
    profile.batch = fields.text("DNABatchID", within=data)
    of_data = _flag(fields, "DNASTRProfilePartialIndicator", data, issues)
    profile.partial = _flag(fields, "DNAProfilePartialIndicator", encoding, issues) or of_data
    for locus in children(data, "DNALocus"):
        _locus(fields, locus, profile, issues)


def _locus(fields: Fields, locus: etree._Element, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    reported, locator = fields.text("DNALocusName", within=locus), where(locus)
    name = canonical_locus(reported)
    if name is None:
        issues.reject_record("LOCUS_UNKNOWN", locator, "the locus is not known here")
        return
    category = fields.text("DNALocusCategoryCode", within=locus)
    compared = name not in names.SEX_LOCI and category not in {"", names.OTHER}
    if compared and (category == names.Y_STR) != (name in Y_LOCI):
        issues.warn("LOCUS_CATEGORY_CONTRADICTION", locator, "the locus does not belong to the stated category")
    time = fields.text("ProcessUTCDate", within=locus) or fields.text("ProcessUTCDate", "DateTime", within=locus)
    call = profile.loci.add(
        locus=name,
        reported_locus=reported,
        kit=fields.text("DNAKit", "DNAKitName", within=locus),
        batch=fields.text("DNABatchID", within=locus),
        read_at=time,
        read_by=fields.text(*_PERSON, within=locus),
        quality=_quality(fields, locus, issues),
    )
    fields.text(*_PERSON[:-1], "IdentificationCategoryText", within=locus)
    alleles = children(locus, "DNAAllele")
    if len(alleles) > _MAX_ALLELES:
        issues.reject_record("ALLELES_TOO_MANY", locator, f"a locus has at most {_MAX_ALLELES} alleles")
        return
    for allele in alleles:
        _allele(fields, allele, call, issues)


def _quality(fields: Fields, locus: etree._Element, issues: IssueList) -> dna_pb2.LocusQuality.ValueType:
    quality = fields.text("DNALocusQualityStatusCode", within=locus)
    if not quality:
        issues.warn("QUALITY_MISSING", where(locus), "the locus does not state its quality")
        return dna_pb2.LOCUS_QUALITY_UNSPECIFIED
    if quality not in names.QUALITIES:
        issues.warn("QUALITY_UNKNOWN", where(locus), "a quality that is not known here counts as not definitive")
    return names.QUALITIES.get(quality, dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE)


def _allele(fields: Fields, element: etree._Element, call: dna_pb2.LocusCall, issues: IssueList) -> None:
    operator = fields.text("DNAAlleleOperatorCode", within=element)
    first, second = (fields.text(f"DNAAlleleCall{number}Text", within=element) for number in (1, 2))
    allele = parse_call(call.locus, operator, first, second)
    if allele is None:
        issues.reject_record("ALLELE_INVALID", where(element), "not an allele of this locus, or not by this operator")
        return
    allele.required = _flag(fields, "DNAAlleleRequiredIndicator", element, issues)
    height = fields.text("DNAAllelePeakHeightValue", within=element)
    whole = height.partition(".")[0]
    if height and whole.isascii() and whole.isdigit() and int(whole[:11]) <= _MAX_HEIGHT:
        allele.peak_height = int(whole)
    elif height:
        issues.warn("PEAK_HEIGHT_NOT_READ", where(element), "the height of the peak is not a number")
    call.alleles.append(allele)


def parse_call(locus: str, operator: str, first: str, second: str) -> dna_pb2.Allele | None:
    """An allele from NIEM's operator and its one or two calls, or None if they are not an allele."""
    if operator == names.RANGE:
        ends = parse_range(locus, first, second)
        return ends and dna_pb2.Allele(
            value=ends[0], value_to=ends[1], operator=dna_pb2.ALLELE_OPERATOR_RANGE, reported=first
        )
    parsed = parse_sequenced_allele(locus, first)
    if parsed is None or second or operator not in {"", *names.OPERATORS}:
        return None
    meant = parsed.operator
    if operator not in {"", names.EQUAL}:
        meant = names.OPERATORS[operator]
        if parsed.operator != dna_pb2.ALLELE_OPERATOR_EQUAL:
            return None
    elif operator and parsed.operator in _BEYOND:
        # A writer of ">15" may leave out the operator, but cannot mean an allele that equals 15.
        return None
    return dna_pb2.Allele(value=parsed.value, operator=meant, reported=first)


def _flag(fields: Fields, name: str, within: etree._Element, issues: IssueList) -> bool:
    text = fields.text(name, within=within).lower()
    if text not in _FLAGS:
        issues.warn("FLAG_NOT_READ", where(within), f"{name} is not true or false, and counts as false")
    return _FLAGS.get(text, False)
