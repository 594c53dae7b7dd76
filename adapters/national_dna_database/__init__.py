"""The national DNA database: STR profiles as CODIS CMF, as tables of GeneMapper and databases, and as NIEM has them."""

from __future__ import annotations

from adapters.national_dna_database.cmf import CodisCmf
from adapters.national_dna_database.niem import NiemDna
from adapters.national_dna_database.tables import DATABASE_CSV, GENEMAPPER, GENOTYPE_CSV

__all__ = ["ADAPTER", "DATABASE_CSV", "GENEMAPPER", "GENOTYPE_CSV", "NIEM_DNA"]

ADAPTER = CodisCmf()
NIEM_DNA = NiemDna()
