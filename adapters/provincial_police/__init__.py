"""Provincial police: the missing-person table of a case system, as CSV and as a workbook; NIEM in XML and JSON."""
