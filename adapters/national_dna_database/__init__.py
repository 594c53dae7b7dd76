"""The national DNA database: STR profiles as CODIS CMF 3.2."""

from __future__ import annotations

from adapters.national_dna_database.cmf import CodisCmf

ADAPTER = CodisCmf()
