"""Writes CODIS CMF 3.2: strictly in the XSD's order, within its limits and with the lists of 2017.

A profile is written whole or refused. What would change it (a shorter specimen id, fewer alleles) is never written.
Loci that CMF does not have are left out, each with a warning, because a profile with fewer loci is still true.

A file has one header. If profiles differ, the first profile's header is written, and each difference is a warning.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from adapters.base import Severity, populated
from adapters.national_dna_database.certainty import SINGLE_SOURCES, UNCERTAIN_LOCI
from adapters.national_dna_database.codes import (
    KITS,
    MAX_ALLELES,
    NAMESPACE,
    ROLE_OF_CATEGORY,
    SYSTEM,
    cmf_category,
    cmf_locus,
)
from adapters.records.validate import check_record
from adapters.syntax.hardened_xml import add, new_root, serialise, writable
from adapters.values.alleles import allele_text
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxml import etree

    from adapters.base import IssueList

_HEADER: Final = (
    ("DESTINATIONORI", "destination", 10),
    ("SOURCELAB", "laboratory", 10),
    ("SUBMITBYUSERID", "submitted_by", 20),
)
_SHARED: Final = ("destination", "laboratory", "submitted_by", "submitted_at")
_MAX_ID: Final = 24
_MAX_CASE: Final = 32
_MAX_BATCH: Final = 32
_MAX_COMMENT: Final = 255
_MAX_USER: Final = 20
_DATETIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_EARLIEST: Final = "1900-01-01T00:00:00"
_LATEST: Final = "2079-06-06T00:00:00"
_UNKNOWN: Final = "UNKNOWN"
_UNKNOWN_TIME: Final = "1900-01-02T00:00:00"
"""The XSD excludes the first of January itself."""
_SOURCES: Final = SINGLE_SOURCES | {dna_pb2.PROFILE_SOURCE_MIXTURE}
_MIXTURE: Final = "Forensic Mixture"
_SOURCE_IDS: Final = frozenset({"Yes", "No", "N/A"})

_NOT_OF_CMF: Final = frozenset(
    {
        dna_pb2.ALLELE_OPERATOR_SEQUENCE,
        dna_pb2.ALLELE_OPERATOR_RANGE,
        dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT,
    }
)


def write_file(records: Sequence[tuple[str, dna_pb2.StrProfile]], issues: IssueList) -> bytes:
    """Write profiles, each with the locator of its record, into one file."""
    seen: set[str] = set()
    profiles = [item for item in records if _carried(*item, seen, issues)]
    if not profiles:
        issues.reject_file("NO_SPECIMEN", "file", "a file must have at least one specimen")
        return b""
    root = new_root(NAMESPACE, "CODISImportFile")
    locator, first = profiles[0]
    shared = {field for field in ("batch", "kit") if len({getattr(profile, field) for _, profile in profiles}) == 1}
    out = _Writer(issues, shared)
    add(root, "HEADERVERSION", "3.2")
    add(root, "MESSAGETYPE", "Import")
    for element, field, limit in _HEADER:
        add(root, element, out.demanded(getattr(first, field), limit, f"{locator}.{field}"))
    add(root, "SUBMITDATETIME", out.time(first.submitted_at, f"{locator}.submitted_at"))
    batch = out.number(first.batch, _MAX_BATCH, f"{locator}.batch") if "batch" in shared else ""
    if batch:
        add(root, "BATCHID", batch)
    if "kit" in shared and out.kit(first.kit, f"{locator}.kit"):
        add(root, "KIT", first.kit)
    for where, profile in profiles:
        for field in _SHARED:
            if getattr(profile, field) != getattr(first, field):
                out.not_carried(f"{where}.{field}", "a file has one header: that of its first profile")
        out.specimen(root, profile, where)
    return serialise(root)


def _carried(where: str, profile: dna_pb2.StrProfile, seen: set[str], issues: IssueList) -> bool:
    before = len(issues.items)
    check_record(profile, where, issues)
    if profile.barcode in seen:
        issues.reject_record("SPECIMEN_REPEATED", where, "two records have the same specimen id")
    if len(profile.barcode) > _MAX_ID or writable(profile.barcode).strip() != profile.barcode:
        issues.reject_record("SPECIMEN_ID_NOT_CARRIED", where, f"a specimen id has at most {_MAX_ID} characters")
    if any(len(call.alleles) > MAX_ALLELES for call in profile.loci):
        issues.reject_record("ALLELES_TOO_MANY", where, f"a locus has at most {MAX_ALLELES} alleles")
    if profile.source not in _SOURCES:
        issues.reject_record("SOURCE_NOT_CARRIED", where, "CMF cannot state that a profile may be several people's")
    if not any(map(_locus_name, profile.loci)):
        issues.reject_record("NO_LOCUS_CARRIED", where, "CMF has none of the profile's loci")
    carried = all(issue.severity is not Severity.REJECT_RECORD for issue in issues.items[before:])
    if carried:
        seen.add(profile.barcode)
    return carried


class _Writer:
    def __init__(self, issues: IssueList, shared: set[str]) -> None:
        self._issues = issues
        self._shared = shared

    def specimen(self, root: etree._Element, profile: dna_pb2.StrProfile, where: str) -> None:
        element = add(root, "SPECIMEN")
        if profile.source_id in _SOURCE_IDS:
            element.set("SOURCEID", profile.source_id)
        elif profile.source_id:
            self.not_carried(f"{where}.source_id", "the format has only Yes, No and N/A")
        case_number = self.number(profile.case_number, _MAX_CASE, f"{where}.case_number")
        if case_number:
            element.set("CASEID", case_number)
        if profile.partial:
            element.set("PARTIAL", "true")
        add(element, "SPECIMENID", profile.barcode)
        add(element, "SPECIMENCATEGORY", self._category(profile, where))
        comment = self.text(profile.comment, _MAX_COMMENT, f"{where}.comment")
        if comment:
            add(element, "SPECIMENCOMMENT", comment)
        self._losses(profile, where)
        for number, call in enumerate(profile.loci):
            self._locus(element, call, profile, f"{where}.loci[{number}]")

    def _losses(self, profile: dna_pb2.StrProfile, where: str) -> None:
        if profile.source:
            self.not_carried(f"{where}.source", "the format can state only a mixture, by a category")
        for field in sorted({"other_numbers", "provenance.unmapped"} & populated(profile)):
            self.not_carried(f"{where}.{field}", "the format has no place for it")
        for field in sorted({"batch", "kit"} - self._shared):
            if getattr(profile, field):
                self.not_carried(f"{where}.{field}", "it differs between profiles, so it is written at each locus")

    def _category(self, profile: dna_pb2.StrProfile, where: str) -> str:
        category = cmf_category(profile.category.value, profile.role)
        if profile.source == dna_pb2.PROFILE_SOURCE_MIXTURE:
            category = _MIXTURE
        if not profile.category.value:
            self._default(f"{where}.category")
        elif category != profile.category.value:
            self.not_carried(f"{where}.category", "the format's list has no such category")
        if profile.category.display or profile.category.system not in {"", SYSTEM}:
            self.not_carried(f"{where}.category", "the format has only the code")
        if ROLE_OF_CATEGORY.get(category, dna_pb2.SAMPLE_ROLE_UNSPECIFIED) != profile.role:
            self.not_carried(f"{where}.role", "the category does not state this role")
        return category

    def _locus(
        self, specimen: etree._Element, call: dna_pb2.LocusCall, profile: dna_pb2.StrProfile, where: str
    ) -> None:
        name = _locus_name(call)
        if name is None:
            self._issues.warn("LOCUS_NOT_CARRIED", where, "CMF cannot state this locus, its alleles, or its quality")
            return
        if any(allele.peak_height for allele in call.alleles):
            self.not_carried(f"{where}.alleles.peak_height", "the format has no place for it")
        if call.quality:
            self.not_carried(f"{where}.quality", "the format has no place for it")
        if call.reported_locus not in {"", name}:
            self.not_carried(f"{where}.reported_locus", "the format has another spelling")
        element = add(specimen, "LOCUS")
        batch = call.batch or ("" if "batch" in self._shared else profile.batch)
        batch = self.number(batch, _MAX_BATCH, f"{where}.batch")
        if batch:
            element.set("BATCHID", batch)
        kit = call.kit or ("" if "kit" in self._shared else profile.kit)
        if self.kit(kit, f"{where}.kit"):
            element.set("KIT", kit)
        add(element, "LOCUSNAME", name)
        add(element, "READINGBY", self.demanded(call.read_by, _MAX_USER, f"{where}.read_by"))
        add(element, "READINGDATETIME", self.time(call.read_at, f"{where}.read_at"))
        for place, allele in enumerate(call.alleles):
            self._allele(element, allele, f"{where}.alleles[{place}]")

    def _allele(self, locus: etree._Element, allele: dna_pb2.Allele, where: str) -> None:
        element = add(locus, "ALLELE")
        if allele.required:
            element.set("ALLELEREQUIRED", "true")
        text = allele_text(allele)
        if allele.reported not in {"", text}:
            self.not_carried(f"{where}.reported", "the allele is written in its canonical form")
        add(element, "ALLELEVALUE", text)

    def not_carried(self, where: str, message: str) -> None:
        self._issues.warn("FIELD_NOT_CARRIED", where, message)

    def kit(self, kit: str, where: str) -> bool:
        if kit and kit not in KITS:
            self._issues.warn("KIT_NOT_CARRIED", where, "CMF's list has no such kit")
        return kit in KITS

    def number(self, text: str, limit: int, where: str) -> str:
        """The identifier, or "" if it is too long: a part of it would be another identifier."""
        if len(text) > limit or writable(text).strip() != text:
            self.not_carried(where, f"at most {limit} characters, and a part of a number is another number")
            return ""
        return text

    def text(self, text: str, limit: int, where: str) -> str:
        kept = writable(text)[:limit].strip()
        if kept != text:
            self._issues.warn("VALUE_CUT", where, f"at most {limit} characters, and not every character")
        return kept

    def demanded(self, text: str, limit: int, where: str) -> str:
        kept = self.text(text, limit, where)
        if not kept:
            self._default(where)
        return kept or _UNKNOWN

    def time(self, text: str, where: str) -> str:
        if _DATETIME.fullmatch(text) and _EARLIEST < text < _LATEST and _exists(text):
            return text
        if text:
            self.not_carried(where, "not a time between 1900 and 2079 without a zone")
        self._default(where)
        return _UNKNOWN_TIME

    def _default(self, where: str) -> None:
        self._issues.warn("DEFAULT_WRITTEN", where, "the format needs this field, and the record does not have it")


def _locus_name(call: dna_pb2.LocusCall) -> str | None:
    if call.quality in UNCERTAIN_LOCI or any(allele.operator in _NOT_OF_CMF for allele in call.alleles):
        return None
    return cmf_locus(call.locus, call.reported_locus)


def _exists(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
