"""The national DNA database: STR profiles as CODIS CMF, as tables of GeneMapper and databases, and as NIEM has them.

Of ANSI/NIST-ITL packages it reads DNA records and INTERPOL's replies.
"""

from __future__ import annotations

from adapters.national_dna_database.cmf import CodisCmf
from adapters.national_dna_database.interpol import InterpolReply
from adapters.national_dna_database.niem import NiemDna
from adapters.national_dna_database.tables import DATABASE_CSV, GENEMAPPER, GENOTYPE_CSV
from adapters.national_dna_database.type18 import NistType18

__all__ = ["ADAPTER", "DATABASE_CSV", "GENEMAPPER", "GENOTYPE_CSV", "INTERPOL_REPLY", "NIEM_DNA", "NIST_TYPE18"]

ADAPTER = CodisCmf()
INTERPOL_REPLY = InterpolReply()
NIEM_DNA = NiemDna()
NIST_TYPE18 = NistType18()
