"""What of a profile is in doubt: whose it is, and which of its loci.

A format that cannot say so would make a doubtful locus a sure one, or a stain of several people a person. So writers
leave such a locus out with a warning, and refuse such a profile; and nothing is computed with either.
"""

from __future__ import annotations

from typing import Final

from caseexchange.records.v1 import dna_pb2

SINGLE_SOURCES: Final = frozenset(
    {dna_pb2.PROFILE_SOURCE_UNSPECIFIED, dna_pb2.PROFILE_SOURCE_PERSON, dna_pb2.PROFILE_SOURCE_SINGLE}
)
"""Sources of profiles that are one person's, or not said to be anything else."""
AMBIGUOUS: Final = frozenset({dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE, dna_pb2.LOCUS_QUALITY_SILENT_ALLELE})
"""Qualities of loci whose alleles may be others than they seem."""
DOUBTED: Final = AMBIGUOUS | {dna_pb2.LOCUS_QUALITY_PARTIAL}
"""These, and that of loci which may have more alleles than they show."""
