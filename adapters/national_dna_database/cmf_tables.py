"""Names of CODIS CMF 3.2 and its lists of 2017 (facts from the published XSDs)."""

from __future__ import annotations

from typing import Final

from adapters.alleles import AMELOGENIN, CODIS_20
from caseexchange.records.v1 import dna_pb2

NAMESPACE: Final = "urn:CODISImportFile-schema"
MAX_ALLELES: Final = 8
MAX_LOCI: Final = 32
CONTROL_MARKS: Final = ("ladder", "negative control", "positive control", "reagent blank")

ROLE_OF_CATEGORY: Final = {
    "Biological Child": dna_pb2.SAMPLE_ROLE_CHILD,
    "Biological Mother": dna_pb2.SAMPLE_ROLE_MOTHER,
    "Biological Father": dna_pb2.SAMPLE_ROLE_FATHER,
    "Biological Sibling": dna_pb2.SAMPLE_ROLE_SIBLING,
    "Alleged Mother": dna_pb2.SAMPLE_ROLE_MOTHER,
    "Alleged Father": dna_pb2.SAMPLE_ROLE_FATHER,
    "Maternal Relative": dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE,
    "Paternal Relative": dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE,
}
CATEGORY_OF_ROLE: Final = {
    dna_pb2.SAMPLE_ROLE_CHILD: "Biological Child",
    dna_pb2.SAMPLE_ROLE_MOTHER: "Biological Mother",
    dna_pb2.SAMPLE_ROLE_FATHER: "Biological Father",
    dna_pb2.SAMPLE_ROLE_SIBLING: "Biological Sibling",
    dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE: "Other",
    dna_pb2.SAMPLE_ROLE_UNSPECIFIED: "Unidentified Person",
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
    "Other",
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
KITS: Final = frozenset(
    {
        "AmpFLSTR NGM",
        "AmpFLSTR NGM SElect",
        "COfiler",
        "GlobalFiler",
        "GlobalFiler Express",
        "Identifiler",
        "Identifiler Direct",
        "Identifiler Plus",
        "Investigator 24plex GO! Kit",
        "Investigator 24plex QS Kit",
        "MiniFiler",
        "PowerPlex 1.1",
        "PowerPlex 1.2",
        "PowerPlex 16",
        "PowerPlex 16 HS",
        "PowerPlex 2.1",
        "PowerPlex Fusion",
        "PowerPlex Fusion 6C",
        "Profiler Plus",
        "SGM Plus",
    }
)
"""Kits for autosomal loci."""

_LOCI: Final = frozenset(CODIS_20) | {AMELOGENIN, "Penta D", "Penta E", "SE33", "Yindel"}


_SPELLINGS: Final = frozenset({"AMEL", "THO1", "TP0X"})
"""Other spellings that the lists themselves have."""


def cmf_locus(locus: str, reported: str) -> str | None:
    """How CMF writes a locus, or None where its lists do not have it (D6S1043, for one).

    The source's own spelling is kept where the lists have it too.
    """
    if reported in _SPELLINGS:
        return reported
    return locus if locus in _LOCI else None
