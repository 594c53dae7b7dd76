"""Small police exports, and the result of an adapter for them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from adapters.base import Limits, Source
from adapters.provincial_police.table.csv_adapter import ADAPTER
from caseexchange.records.v1 import case_pb2

if TYPE_CHECKING:
    from adapters.base import Decoded, Severity


def table(*rows: dict[str, str], encoding: str = "gb18030") -> bytes:
    """A CSV of these cells, under the headings of all of them."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


def only_case(content: bytes) -> case_pb2.CaseRecord:
    """The one case of a CSV."""
    (item,) = ADAPTER.decode(Source(content), Limits()).records
    assert isinstance(item.record, case_pb2.CaseRecord)
    return item.record


def issue_codes(found: Decoded, *severities: Severity) -> set[str]:
    """The codes of a file's issues, of these severities or of all."""
    return {issue.code for issue in found.issues if not severities or issue.severity in severities}
