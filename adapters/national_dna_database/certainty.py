"""What is uncertain in a profile: whether it is one person's, and which of its loci.

Some formats cannot state this. Written in them, an uncertain locus would look certain, and a stain of several people
would look like one person. So writers leave such a locus out with a warning, and refuse such a profile. Neither is used
in a computation.
"""

from __future__ import annotations

from typing import Final

from caseexchange.records.v1 import dna_pb2

SINGLE_SOURCES: Final = frozenset(
    {dna_pb2.PROFILE_SOURCE_UNSPECIFIED, dna_pb2.PROFILE_SOURCE_PERSON, dna_pb2.PROFILE_SOURCE_SINGLE}
)
"""Sources of profiles that are one person's, or have no stated source."""
UNCERTAIN_ALLELES: Final = frozenset({dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE, dna_pb2.LOCUS_QUALITY_SILENT_ALLELE})
"""Qualities of loci with alleles that may be wrong."""
UNCERTAIN_LOCI: Final = UNCERTAIN_ALLELES | {dna_pb2.LOCUS_QUALITY_PARTIAL}
"""These, and the quality of loci that may have more alleles than they show."""
