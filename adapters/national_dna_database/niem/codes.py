"""Names of the NIEM biometrics domain, DNA part.

These are facts from biom.xsd of the NIEM model (domains/biometrics 5.1 and 6.0), and from the transaction's own schema,
which the sample messages of NIEM's biometrics community use.
"""

from __future__ import annotations

import re
from typing import Final

from adapters.values.alleles import AMELOGENIN
from caseexchange.records.v1 import dna_pb2

SYSTEM: Final = "NIEM DNACategoryCode"
"""The code table of a category."""
TEXT_SYSTEM: Final = "NIEM DNACategoryText"
"""The code table of a category in words, which is allowed from 5.2 on."""
ROOT: Final = "DNADataTransaction"
TRANSACTION: Final = "http://www.sna-intl.com/DNA/Sample/NIEM/5.1/2021"
BIOMETRICS: Final = "http://release.niem.gov/niem/domains/biometrics/5.1/"
CORE: Final = "http://release.niem.gov/niem/niem-core/5.0/"
STRUCTURES: Final = "http://release.niem.gov/niem/structures/5.0/"
"""Namespaces that are written. All are of release 5.1."""
FAMILY: Final = re.compile(
    r"(?:http://release\.niem\.gov/niem|https://docs\.oasis-open\.org/niemopen/ns/model)"
    r"/domains/biometrics/([0-9]+\.[0-9]+)/"
)
VERSIONS: Final = frozenset({"5.0", "5.1", "5.2", "6.0"})
"""Releases of the domain that have these elements."""

CASE: Final = "Case ID"
PROFILE: Final = "DNA Profile ID"
SAMPLE: Final = "Sample ID"
USER: Final = "User ID"
CONTROLS: Final = frozenset({"Control", "Training"})
"""Categories of samples that belong to no case."""
UNACCOMPANIED_MINOR: Final = "Unaccompanied Minor"
CATEGORIES: Final = frozenset(
    {
        "Arrestee",
        "Asylee",
        "Consensual Sex Partner",
        "Convicted Offender",
        "Deportee",
        "Detainee",
        "Elimination",
        "Family Relative",
        "Forensic",
        "Immigration Applicant",
        "Immigration Sponsor",
        "Juvenile",
        "Known Suspected Terrorist",
        "Legal",
        "Missing Person",
        "Other",
        "Population",
        "Refugee",
        "Spouse",
        "Staff",
        "Suspect",
        UNACCOMPANIED_MINOR,
        "Unidentified Person",
        "Unspecified",
        "Victim",
        "Volunteer",
    }
)
"""Categories of people and stains. The list has ``CONTROLS`` too."""
SOURCES: Final = {
    "Person": dna_pb2.PROFILE_SOURCE_PERSON,
    "Evidentiary, Single Source": dna_pb2.PROFILE_SOURCE_SINGLE,
    "Evidentiary, Mixture Source": dna_pb2.PROFILE_SOURCE_MIXTURE,
    "Evidentiary, Unknown Single or Mixture": dna_pb2.PROFILE_SOURCE_SINGLE_OR_MIXTURE,
    "Evidentiary, Differential Extraction": dna_pb2.PROFILE_SOURCE_DIFFERENTIAL_EXTRACTION,
    "Evidentiary, Deconvoluted": dna_pb2.PROFILE_SOURCE_DECONVOLUTED,
    "Other": dna_pb2.PROFILE_SOURCE_OTHER,
}
QUALITIES: Final = {
    "Normal": dna_pb2.LOCUS_QUALITY_NORMAL,
    "Not Definitive": dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE,
    "Partial": dna_pb2.LOCUS_QUALITY_PARTIAL,
    "Silent Allele": dna_pb2.LOCUS_QUALITY_SILENT_ALLELE,
}
EQUAL: Final = "Equal"
RANGE: Final = "Range"
OPERATORS: Final = {
    "AboveUpperLimit": dna_pb2.ALLELE_OPERATOR_ABOVE,
    "BelowLowerLimit": dna_pb2.ALLELE_OPERATOR_BELOW,
    EQUAL: dna_pb2.ALLELE_OPERATOR_EQUAL,
    RANGE: dna_pb2.ALLELE_OPERATOR_RANGE,
}
KNOWN: Final = {"true": "Yes", "1": "Yes", "false": "No", "0": "No", "": ""}
"""Whether the source is known, as written in a record."""
SEX_LOCI: Final = frozenset({AMELOGENIN, "Yindel"})
"""Loci that show the sex. The published samples call Amelogenin autosomal, and the insertion a Y-STR."""
AUTOSOMAL: Final = "Autosomal"
Y_STR: Final = "Y-STR"
OTHER: Final = "Other"
