"""Non-governmental organisations: missing persons as PFIF and NamUs's JSON; workbooks of searches for kin."""

from __future__ import annotations

from adapters.ngo.family_search.adapter import FamilySearchXlsx
from adapters.ngo.namus.adapter import NamusJson
from adapters.ngo.pfif.adapter import Pfif
from adapters.ngo.pfif.csv_adapter import PfifCsv

ADAPTER = Pfif()
FAMILY_SEARCH_XLSX = FamilySearchXlsx()
NAMUS_JSON = NamusJson()
PFIF_CSV = PfifCsv()
