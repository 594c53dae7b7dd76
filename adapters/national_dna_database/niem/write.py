"""Writes a NIEM DNA transaction, release 5.1: in the schema's order, every profile whole or refused.

A locus that the format cannot state (off the ladder, a wild card, an unknown microvariant) is left out with a warning.
A pedigree for each case number states the roles.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lxml import etree

from adapters.base import Severity, populated
from adapters.national_dna_database.niem import codes as names
from adapters.national_dna_database.niem.elements import add, add_identification
from adapters.national_dna_database.niem.family import write_pedigrees
from adapters.records.validate import check_record
from adapters.syntax.hardened_xml import serialise, writable
from adapters.values.alleles import Y_LOCI, canonical_locus
from caseexchange.records.v1 import common_pb2, dna_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.base import IssueList

_NOT_CARRIED: Final = ("laboratory", "destination", "submitted_by", "submitted_at", "provenance.unmapped")
_TIME: Final = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_SOURCES: Final = {code: text for text, code in names.SOURCES.items()}
_QUALITIES: Final = {code: text for text, code in names.QUALITIES.items()}
_OPERATORS: Final = {code: text for text, code in names.OPERATORS.items()} | {
    dna_pb2.ALLELE_OPERATOR_SEQUENCE: names.EQUAL
}
_KNOWN: Final = {"Yes": "true", "No": "false"}


def write_transaction(records: Sequence[tuple[str, dna_pb2.StrProfile]], issues: IssueList) -> bytes:
    """Write profiles, each with the locator of its record, into one transaction."""
    seen: set[str] = set()
    profiles = [item for item in records if _is_carried(*item, seen, issues)]
    if not profiles:
        issues.reject_file("NO_RECORDS", "file", "a transaction must have at least one record")
        return b""
    spaces = {"smpl": names.TRANSACTION, "biom": names.BIOMETRICS, "nc": names.CORE, "structures": names.STRUCTURES}
    root = etree.Element(etree.QName(names.TRANSACTION, names.ROOT), nsmap=spaces)
    for where, profile in profiles:
        _Record(where, profile, issues).write(root)
    write_pedigrees(root, profiles, issues)
    return serialise(root)


def _is_carried(where: str, profile: dna_pb2.StrProfile, seen: set[str], issues: IssueList) -> bool:
    before = len(issues.items)
    check_record(profile, where, issues)
    if profile.barcode in seen:
        issues.reject_record("SPECIMEN_REPEATED", where, "two records have the same specimen id")
    if writable(profile.barcode).strip() != profile.barcode:
        issues.reject_record("SPECIMEN_ID_NOT_CARRIED", where, "the format would change the specimen id")
    if not any(map(_holds, profile.loci)):
        issues.reject_record("NO_LOCUS_CARRIED", where, "the format can state none of the profile's loci")
    carried = all(issue.severity is not Severity.REJECT_RECORD for issue in issues.items[before:])
    if carried:
        seen.add(profile.barcode)
    return carried


def _holds(call: dna_pb2.LocusCall) -> bool:
    return bool(call.locus) and all(allele.operator in _OPERATORS for allele in call.alleles)


class _Record:
    """One DNARecord."""

    def __init__(self, where: str, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
        self._where = where
        self._profile = profile
        self._issues = issues

    def write(self, root: etree._Element) -> None:
        profile = self._profile
        record = add(root, "DNARecord")
        self._category(record)
        case_number = self._text(profile.case_number, "case_number")
        if case_number:
            add_identification(record, "DNADataIdentification", case_number, names.CASE)
        for place, number in enumerate(profile.other_numbers):
            self._number(record, number, f"other_numbers[{place}]")
        encoding = add(record, "DNAEncoding")
        add(encoding, "DNATypingTechnologyCode", "STR")
        self._source(encoding)
        self._str_data(encoding)
        comment = self._text(profile.comment, "comment")
        if comment:
            add(encoding, "DNACommentText", comment)
        for path in sorted(populated(profile) & set(_NOT_CARRIED)):
            self._not_carried(path, "the format has no place for it, or needs more with it than the record has")

    def _category(self, record: etree._Element) -> None:
        category = self._profile.category
        if category.value in names.CATEGORIES:
            add(record, "DNACategoryCode", category.value)
        elif category.value:
            self._not_carried("category.value", "the domain's list has no such category")
        if category.display or category.system not in {"", names.SYSTEM}:
            self._not_carried("category", "the format has only the code of its own list")

    def _number(self, record: etree._Element, number: common_pb2.Code, path: str) -> None:
        value, system = self._text(number.value, path), self._text(number.system, path)
        if not value or not system or system.lower() in {names.CASE.lower(), names.SAMPLE.lower()}:
            self._not_carried(path, "the format needs a number, and a kind other than case and sample")
            return
        if number.display:
            self._not_carried(f"{path}.display", "the format has only the number")
        add_identification(record, "DNADataIdentification", value, system)

    def _source(self, encoding: etree._Element) -> None:
        profile = self._profile
        source = add(encoding, "DNASource")
        add_identification(source, "DNASourceIdentification", profile.barcode, names.SAMPLE, described=False)
        if profile.source:
            add(source, "DNASourceCategoryCode", _SOURCES[profile.source])
        if profile.source_id in _KNOWN:
            add(source, "DNASourceKnownIndicator", _KNOWN[profile.source_id])
        elif profile.source_id:
            self._not_carried("source_id", "the format has only true and false")

    def _str_data(self, encoding: etree._Element) -> None:
        profile = self._profile
        data = add(encoding, "DNASTRData")
        self._kit(data, profile.kit, profile.batch, "")
        add(data, "DNASTRProfilePartialIndicator", "true" if profile.partial else "false")
        for place, call in enumerate(profile.loci):
            if _holds(call):
                self._locus(data, call, f"loci[{place}]")
            else:
                message = "the format cannot state this allele or this locus"
                self._issues.warn("LOCUS_NOT_CARRIED", f"{self._where}.loci[{place}]", message)

    def _kit(self, parent: etree._Element, kit: str, batch: str, path: str) -> None:
        kit, batch = self._text(kit, f"{path}kit"), self._text(batch, f"{path}batch")
        if kit:
            add(add(parent, "DNAKit"), "DNAKitName", kit)
        if batch:
            add(parent, "DNABatchID", batch)

    def _locus(self, data: etree._Element, call: dna_pb2.LocusCall, path: str) -> None:
        locus = add(data, "DNALocus")
        spelled = canonical_locus(call.reported_locus) == call.locus
        if call.reported_locus and not spelled:
            self._not_carried(f"{path}.reported_locus", "the name is not one of this locus")
        add(locus, "DNALocusName", writable(call.reported_locus).strip() if spelled else call.locus)
        add(locus, "DNALocusCategoryCode", _locus_category(call.locus))
        self._kit(locus, call.kit, call.batch, f"{path}.")
        if _TIME.fullmatch(call.read_at):
            add(locus, "ProcessUTCDate", call.read_at)
        elif call.read_at:
            self._not_carried(f"{path}.read_at", "not a time with its zone")
        read_by = self._text(call.read_by, f"{path}.read_by")
        if read_by:
            person = add(add(locus, "DNAAnalysisProcessingEntity"), "EntityPerson", space=names.CORE)
            add_identification(person, "PersonOtherIdentification", read_by, names.USER, described=False)
        if not call.quality:
            message = "the format needs a quality, and the record has none: normal is written"
            self._issues.warn("DEFAULT_WRITTEN", f"{self._where}.{path}.quality", message)
        add(locus, "DNALocusQualityStatusCode", _QUALITIES.get(call.quality, "Normal"))
        for place, allele in enumerate(call.alleles):
            self._allele(locus, allele, f"{path}.alleles[{place}]")

    def _allele(self, locus: etree._Element, allele: dna_pb2.Allele, path: str) -> None:
        element = add(locus, "DNAAllele")
        add(element, "DNAAlleleOperatorCode", _OPERATORS[allele.operator])
        add(element, "DNAAlleleCall1Text", allele.value)
        if allele.value_to:
            add(element, "DNAAlleleCall2Text", allele.value_to)
        if allele.peak_height:
            add(element, "DNAAllelePeakHeightValue", str(allele.peak_height))
        if allele.required:
            add(element, "DNAAlleleRequiredIndicator", "true")
        if allele.reported not in {"", allele.value}:
            self._not_carried(f"{path}.reported", "the allele is written in its canonical form")

    def _text(self, text: str, path: str) -> str:
        """The text if it comes back unchanged, or else an empty text."""
        if writable(text).strip() != text:
            self._not_carried(path, "the format would change the text")
            return ""
        return text

    def _not_carried(self, path: str, message: str) -> None:
        self._issues.warn("FIELD_NOT_CARRIED", f"{self._where}.{path}", message)


def _locus_category(locus: str) -> str:
    if locus in Y_LOCI:
        return names.Y_STR
    return names.OTHER if locus in names.SEX_LOCI else names.AUTOSOMAL
