"""Provincial police: the missing-person export of a case system as CSV in GB18030 or UTF-8."""

from __future__ import annotations

from adapters.provincial_police.adapter import PoliceCsv

ADAPTER = PoliceCsv()
