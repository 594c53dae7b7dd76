"""The national DNA database: STR profiles as CODIS CMF, as tables of GeneMapper and databases, and as NIEM has them.

Of ANSI/NIST-ITL packages it reads DNA records and INTERPOL's replies.
"""

from __future__ import annotations

from adapters.national_dna_database.cmf.adapter import CodisCmf
from adapters.national_dna_database.genotypes.adapter import DATABASE_CSV, GENEMAPPER, GENOTYPE_CSV
from adapters.national_dna_database.itl.interpol import InterpolReply
from adapters.national_dna_database.itl.type18 import NistType18
from adapters.national_dna_database.niem.adapter import NiemDna

__all__ = ["ADAPTER", "DATABASE_CSV", "GENEMAPPER", "GENOTYPE_CSV", "INTERPOL_REPLY", "NIEM_DNA", "NIST_TYPE18"]

ADAPTER = CodisCmf()
INTERPOL_REPLY = InterpolReply()
NIEM_DNA = NiemDna()
NIST_TYPE18 = NistType18()
