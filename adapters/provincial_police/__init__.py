"""Provincial police: the missing-person export of a case system as CSV in GB18030 or UTF-8; NIEM in XML and JSON."""

from __future__ import annotations

from adapters.provincial_police.adapter import PoliceCsv
from adapters.provincial_police.niem_adapter import NiemJson, NiemMissingPerson

ADAPTER = PoliceCsv()
NIEM_MISSING_PERSON = NiemMissingPerson()
NIEM_JSON = NiemJson()
