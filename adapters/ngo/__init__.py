"""Non-governmental organisations: missing persons as PFIF and NamUs's JSON; workbooks of searches for kin."""

from __future__ import annotations

from adapters.ngo.family_search import FamilySearchXlsx
from adapters.ngo.namus import NamusJson
from adapters.ngo.pfif import Pfif
from adapters.ngo.pfif_csv import PfifCsv

ADAPTER = Pfif()
FAMILY_SEARCH_XLSX = FamilySearchXlsx()
NAMUS_JSON = NamusJson()
PFIF_CSV = PfifCsv()
