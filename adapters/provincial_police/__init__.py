"""Provincial police: the missing-person table of a case system, as CSV and as a workbook; NIEM in XML and JSON."""

from __future__ import annotations

from adapters.provincial_police.niem.adapter import NiemJson, NiemMissingPerson
from adapters.provincial_police.table.csv_adapter import PoliceCsv
from adapters.provincial_police.table.xlsx_adapter import PoliceXlsx

ADAPTER = PoliceCsv()
"""The adapter ``provincial-police-csv``: a row is a CaseRecord, and a SampleRequest where it has a sample's barcode."""

XLSX = PoliceXlsx()
"""The adapter ``provincial-police-xlsx``: the same table in a workbook."""

NIEM_MISSING_PERSON = NiemMissingPerson()
"""The adapter ``niem-missing-person``: a missing person of NIEM, or of an AMBER alert in it, is a CaseRecord."""

NIEM_JSON = NiemJson()
"""The adapter ``niem-json``: the same in NIEM's JSON."""
