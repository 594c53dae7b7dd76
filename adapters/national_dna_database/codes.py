"""Names of CODIS CMF 3.2 and its lists of 2017 (facts from the published XSDs)."""

from __future__ import annotations

import re
from typing import Final

from adapters.values.alleles import AMELOGENIN, CODIS_20, Y_LOCI, canonical_locus
from caseexchange.records.v1 import dna_pb2

NAMESPACE: Final = "urn:CODISImportFile-schema"
SYSTEM: Final = "CODIS CMF 3.2"
"""The code table of a category."""
MAX_ALLELES: Final = 8
CONTROL: Final = re.compile(
    r"(?<![a-z])(allelic ladder|ladder|(negative|positive) control|reagent blank|proficiency)(?![a-z])", re.IGNORECASE
)
"""Ids and categories of what is run beside samples. Whole words only, because there are bladder samples too."""

_CHILD: Final = "Biological Child"
_OTHER: Final = "Other"
ROLE_OF_CATEGORY: Final = {
    _CHILD: dna_pb2.SAMPLE_ROLE_CHILD,
    "Biological Mother": dna_pb2.SAMPLE_ROLE_MOTHER,
    "Biological Father": dna_pb2.SAMPLE_ROLE_FATHER,
    "Biological Sibling": dna_pb2.SAMPLE_ROLE_SIBLING,
    "Alleged Mother": dna_pb2.SAMPLE_ROLE_MOTHER,
    "Alleged Father": dna_pb2.SAMPLE_ROLE_FATHER,
    "Maternal Relative": dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE,
    "Paternal Relative": dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE,
}
_CATEGORY_OF_ROLE: Final = {
    dna_pb2.SAMPLE_ROLE_CHILD: _CHILD,
    dna_pb2.SAMPLE_ROLE_MOTHER: "Biological Mother",
    dna_pb2.SAMPLE_ROLE_FATHER: "Biological Father",
    dna_pb2.SAMPLE_ROLE_SIBLING: "Biological Sibling",
}
CATEGORIES: Final = frozenset(ROLE_OF_CATEGORY) | {
    "Arrestee",
    "CO Duplicate",
    "Convicted Offender",
    "Deceased",
    "Deduced Missing Person",
    "Deduced Suspect",
    "Deduced Victim Known",
    "Detainee",
    "Elimination, Known",
    "Forensic Mixture",
    "Forensic Partial",
    "Forensic Targeted",
    "Forensic, Unknown",
    "Juvenile",
    "Legal",
    "Missing Person",
    "Multi-allelic Offender",
    _OTHER,
    "Population",
    "Proficiency",
    "Spouse",
    "Staff",
    "Suspect, Known",
    "Unidentified Person",
    "Unreviewed Offender",
    "Victim, Known",
    "Volunteer",
}
_NOT_OF_2017: Final = frozenset({"Deduced Victim Known"})
"""A category of 3.2 that is no longer in the list of 2017. It is read, but not written."""
KITS: Final = frozenset(
    {
        "AmpFLSTR NGM",
        "AmpFLSTR NGM SElect",
        "AmpFlSTR Yfiler Plus",
        "COfiler",
        "GlobalFiler",
        "GlobalFiler Express",
        "Identifiler",
        "Identifiler Direct",
        "Identifiler Plus",
        "Investigator 24plex GO! Kit",
        "Investigator 24plex QS Kit",
        "MiniFiler",
        "Monoplex CSF1PO",
        "Monoplex D13S317",
        "Monoplex D16S539",
        "Monoplex D5S818",
        "Monoplex D7S820",
        "Monoplex TH01",
        "Monoplex TPOX",
        "Monoplex vWA",
        "PowerPlex 1.1",
        "PowerPlex 1.2",
        "PowerPlex 16",
        "PowerPlex 16 HS",
        "PowerPlex 2.1",
        "PowerPlex ESI 16",
        "PowerPlex ESI 17 Pro",
        "PowerPlex ESX 16",
        "PowerPlex ESX 17",
        "PowerPlex Fusion",
        "PowerPlex Fusion 6C",
        "Powerplex Y",
        "Powerplex Y23",
        "Profiler Plus",
        "SGM Plus",
        "Y-PLEX 5",
        "Y-PLEX 6",
        "Yfiler",
    }
)

_SPELLED: Final = {"DYS389I": "DYS389 I", "DYS389II": "DYS389 II", "Y GATA H4": "YGATAH4"}
_LOCI: Final = frozenset(CODIS_20) | frozenset(Y_LOCI) | {AMELOGENIN, "Penta D", "Penta E", "SE33", "Yindel"}
_SPELLINGS: Final = frozenset({"AMEL", "THO1", "TP0X"})
"""Other spellings that are in the lists too."""


def cmf_locus(locus: str, reported: str) -> str | None:
    """The name of a locus in CMF, or None if its lists do not have the locus (such as D6S1043).

    The source's own spelling is kept if the lists have it too.
    """
    if reported in _SPELLINGS and canonical_locus(reported) == locus:
        return reported
    return _SPELLED.get(locus, locus) if locus in _LOCI else None


def cmf_category(category: str, role: dna_pb2.SampleRole.ValueType) -> str:
    """A category in CMF: the source's own if the list has it, or else the category that states the role."""
    if category in CATEGORIES - _NOT_OF_2017:
        return category
    return _CATEGORY_OF_ROLE.get(role, _OTHER)
