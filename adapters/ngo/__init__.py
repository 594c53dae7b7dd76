"""Non-governmental organisations: missing persons as PFIF, and workbooks of searches for missing kin."""

from __future__ import annotations

from adapters.ngo.family_search import FamilySearchXlsx
from adapters.ngo.pfif import Pfif

ADAPTER = Pfif()
FAMILY_SEARCH_XLSX = FamilySearchXlsx()
