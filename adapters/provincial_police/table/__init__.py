"""The missing-person table of a case system, as CSV and as a workbook."""
