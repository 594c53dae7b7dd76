"""The national DNA database: STR profiles as CODIS CMF, and as the tables of GeneMapper and of databases."""

from __future__ import annotations

from adapters.national_dna_database.cmf import CodisCmf
from adapters.national_dna_database.tables import DATABASE_CSV, GENEMAPPER, GENOTYPE_CSV

__all__ = ["ADAPTER", "DATABASE_CSV", "GENEMAPPER", "GENOTYPE_CSV"]

ADAPTER = CodisCmf()
