"""Provincial police: the missing-person table of a case system, as CSV in GB18030 or UTF-8 and as a workbook."""

from __future__ import annotations

from adapters.provincial_police.table_csv import PoliceCsv
from adapters.provincial_police.workbook import PoliceXlsx

ADAPTER = PoliceCsv()
"""The adapter ``provincial-police-csv``: a row is a CaseRecord, and a SampleRequest where it has a sample's barcode."""

XLSX = PoliceXlsx()
"""The adapter ``provincial-police-xlsx``: the same table in a workbook."""
