"""Writing CODIS CMF 3.2: strictly in the XSD's order, and within its limits.

One file has one header. Profiles that differ in what a header holds keep their loci; the first profile's header counts,
and each difference is a warning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapters.alleles import allele_text
from adapters.hardened_xml import add, new_root, serialise
from adapters.national_dna_database.cmf_tables import (
    CATEGORIES,
    CATEGORY_OF_ROLE,
    KITS,
    MAX_ALLELES,
    MAX_LOCI,
    NAMESPACE,
    cmf_locus,
)
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
_MAX_ID: Final = 24
_MAX_CASE: Final = 32
_MAX_BATCH: Final = 32
_MAX_COMMENT: Final = 255
_MAX_USER: Final = 20
_MAX_ALLELE: Final = 10
_DATETIME: Final = re.compile(r"(19|20)\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d")
_UNKNOWN: Final = "UNKNOWN"
_UNKNOWN_TIME: Final = "1900-01-01T00:00:00"
_SOURCE_IDS: Final = frozenset({"Yes", "No", "N/A"})


def write_file(profiles: Sequence[tuple[str, dna_pb2.StrProfile]], issues: IssueList) -> bytes:
    """Write profiles, each with the locator of its record, into one file."""
    root = new_root(NAMESPACE, "CODISImportFile")
    locator, first = profiles[0] if profiles else ("file", dna_pb2.StrProfile())
    if not profiles:
        issues.reject_file("NO_SPECIMEN", "file", "a file holds at least one specimen")
    out = _Writer(issues)
    add(root, "HEADERVERSION", "3.2")
    add(root, "MESSAGETYPE", "Import")
    for element, field, limit in _HEADER:
        add(root, element, out.bounded(getattr(first, field) or _UNKNOWN, limit, f"{locator}.{field}"))
    add(root, "SUBMITDATETIME", out.time(first.submitted_at, f"{locator}.submitted_at"))
    if first.batch:
        add(root, "BATCHID", out.bounded(first.batch, _MAX_BATCH, f"{locator}.batch"))
    if out.kit(first.kit, f"{locator}.kit"):
        add(root, "KIT", first.kit)
    for where, profile in profiles:
        for field in ("destination", "laboratory", "submitted_by", "submitted_at"):
            if getattr(profile, field) != getattr(first, field):
                issues.warn(
                    "FIELD_NOT_CARRIED", f"{where}.{field}", "the file has one header, that of its first profile"
                )
        out.specimen(root, profile, first, where)
    return serialise(root)


class _Writer:
    def __init__(self, issues: IssueList) -> None:
        self._issues = issues

    def specimen(
        self, root: etree._Element, profile: dna_pb2.StrProfile, first: dna_pb2.StrProfile, where: str
    ) -> None:
        element = add(root, "SPECIMEN", "")
        element.text = None
        if profile.source_id in _SOURCE_IDS:
            element.set("SOURCEID", profile.source_id)
        if profile.case_number:
            element.set("CASEID", self.bounded(profile.case_number, _MAX_CASE, f"{where}.case_number"))
        if profile.partial:
            element.set("PARTIAL", "true")
        add(element, "SPECIMENID", self.bounded(profile.barcode, _MAX_ID, f"{where}.barcode"))
        category = profile.category.value
        if category not in CATEGORIES:
            category = CATEGORY_OF_ROLE[profile.role]
        elif profile.category.display:
            self._issues.warn("FIELD_NOT_CARRIED", f"{where}.category.display", "the format has no place for it")
        add(element, "SPECIMENCATEGORY", category)
        if profile.comment:
            add(element, "SPECIMENCOMMENT", self.bounded(profile.comment, _MAX_COMMENT, f"{where}.comment"))
        if profile.provenance.unmapped:
            self._issues.warn("FIELD_NOT_CARRIED", f"{where}.provenance.unmapped", "the format has no place for it")
        carried = 0
        for number, call in enumerate(profile.loci):
            carried += self._locus(element, call, profile, first, f"{where}.loci[{number}]")
        if not 0 < carried <= MAX_LOCI:
            self._issues.warn("LOCI_COUNT", where, f"a specimen has 1 to {MAX_LOCI} loci")

    def _locus(
        self,
        specimen: etree._Element,
        call: dna_pb2.LocusCall,
        profile: dna_pb2.StrProfile,
        first: dna_pb2.StrProfile,
        where: str,
    ) -> bool:
        name = cmf_locus(call.locus, call.reported_locus)
        if name is None:
            self._issues.warn("LOCUS_NOT_CARRIED", where, "CMF has no such locus")
            return False
        element = add(specimen, "LOCUS", "")
        element.text = None
        batch = call.batch or (profile.batch if profile.batch != first.batch else "")
        if batch:
            element.set("BATCHID", self.bounded(batch, _MAX_BATCH, f"{where}.batch"))
        kit = call.kit or (profile.kit if profile.kit != first.kit else "")
        if self.kit(kit, f"{where}.kit"):
            element.set("KIT", kit)
        add(element, "LOCUSNAME", name)
        add(element, "READINGBY", self.bounded(call.read_by or _UNKNOWN, _MAX_USER, f"{where}.read_by"))
        add(element, "READINGDATETIME", self.time(call.read_at, f"{where}.read_at"))
        if len(call.alleles) > MAX_ALLELES:
            self._issues.warn("ALLELES_TOO_MANY", where, f"a locus has at most {MAX_ALLELES} alleles")
        for allele in call.alleles[:MAX_ALLELES]:
            item = add(element, "ALLELE", "")
            item.text = None
            if allele.required:
                item.set("ALLELEREQUIRED", "true")
            add(item, "ALLELEVALUE", allele_text(allele)[:_MAX_ALLELE])
        return True

    def kit(self, kit: str, where: str) -> bool:
        if kit and kit not in KITS:
            self._issues.warn("KIT_NOT_CARRIED", where, "CMF's list has no such kit")
        return kit in KITS

    def bounded(self, text: str, limit: int, where: str) -> str:
        if text == _UNKNOWN:
            self._issues.warn("DEFAULT_WRITTEN", where, "the format demands this field, and the record has none")
        if len(text) > limit:
            self._issues.warn("VALUE_CUT", where, f"the format holds {limit} characters")
        return text[:limit]

    def time(self, text: str, where: str) -> str:
        if _DATETIME.fullmatch(text):
            return text
        self._issues.warn("DEFAULT_WRITTEN", where, "the format demands a time, and the record has none in its form")
        return _UNKNOWN_TIME
