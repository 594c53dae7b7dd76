"""The adapter ``family-search-xlsx``: workbooks of searches for missing family, with the columns of the 宝贝回家 site.

A row is a CaseRecord. If a cell says more than its field, the text is kept with the record under the column's label. So
nothing of a row is lost, and a row is written again as it was.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, placed, provenance
from adapters.ngo.comparison import lost_paths
from adapters.ngo.family_search.columns import BY_LABEL, COLUMNS, HEADER, NUMBER, WARNINGS
from adapters.ngo.family_search.sheet import clean, has_table, read_tables
from adapters.records.validate import check_record
from adapters.registry import is_workbook
from adapters.syntax.spreadsheet import MEDIA_TYPE, SUFFIX, holds_any, write_sheet
from caseexchange.records.v1 import case_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.ngo.family_search.sheet import Cell, TableRow

_VERSION: Final = "1"
_SHEET: Final = "寻亲"
_OWN_LABELS: Final = (NUMBER, "宝贝回家编号", "寻亲者特征描述", "失踪者特征描述")

NAME: Final = "family-search-xlsx"


class FamilySearchXlsx:
    """See the module."""

    name: Final = NAME
    media_type: Final = MEDIA_TYPE
    suffix: Final = SUFFIX
    decodes: Final = frozenset({"CaseRecord"})
    encodes: Final = frozenset({"CaseRecord"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return is_workbook(content) and (holds_any(content, _OWN_LABELS) or has_table(content))

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        digest = hashlib.sha256(source.content).digest()
        records: list[DecodedRecord] = []
        seen: set[str] = set()
        for row in read_tables(source.content, limits, issues):
            if len(records) == limits.records:
                issues.reject_file("TOO_MANY_RECORDS", row.locator, f"more than {limits.records} records")
                break
            record = _record(row, digest, issues)
            number = record.local_id
            if number and number in seen:
                issues.reject_record("RECORD_REPEATED", row.locator, "an earlier row has the same number")
                continue
            seen.add(number)
            if check_record(record, row.locator, issues):
                records.append(DecodedRecord(record, number, row.locator))
        if not records and not issues.items:
            issues.info("NO_RECORDS", "file", "the tables have headers and no rows")
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        rows: list[dict[str, str]] = []
        seen: set[str] = set()
        for locator, record in placed(records, limits, issues):
            if not isinstance(record, case_pb2.CaseRecord) or record.kind == case_pb2.CASE_KIND_SEEKING_PARENT:
                issues.reject_record("KIND_NOT_CARRIED", locator, "a row must be about a missing or found person")
                continue
            cells = _written(record, locator, issues)
            if not cells.get(NUMBER) or cells[NUMBER] in seen:
                issues.reject_record("RECORD_REPEATED", locator, "the case has no number, or another row has the same")
            elif any(len(cell) > limits.field_characters for cell in cells.values()):
                issues.reject_record("FIELD_TOO_LONG", locator, f"more than {limits.field_characters} characters")
            else:
                seen.add(cells[NUMBER])
                rows.append(cells)
        extra = dict.fromkeys(label for cells in rows for label in cells if label not in HEADER)
        header = [*HEADER, *extra]
        content = write_sheet(_SHEET, [header, *([cells.get(label, "") for label in header] for cells in rows)])
        return issues.encoded(content, {})


def _record(row: TableRow, digest: bytes, issues: IssueList) -> case_pb2.CaseRecord:
    record = case_pb2.CaseRecord()
    read: set[str] = set()
    for cell in row.cells:
        column = BY_LABEL.get(cell.label)
        if column is None or column.label in read:
            record.provenance.unmapped.add(path=cell.label, value=cell.text)
            continue
        read.add(column.label)
        _read(record, cell, f"{row.locator}, column {cell.column}", issues)
    if not record.kind:
        record.kind = case_pb2.CASE_KIND_OTHER_SEARCH
        issues.warn("CATEGORY_NOT_STATED", row.locator, WARNINGS["CATEGORY_NOT_STATED"])
    record.provenance.MergeFrom(provenance(NAME, _VERSION, record.local_id, digest))
    return record


def _read(record: case_pb2.CaseRecord, cell: Cell, where: str, issues: IssueList) -> None:
    column = BY_LABEL[cell.label]
    code = column.read(record, cell.text)
    if code:
        issues.warn(code, where, WARNINGS[code])
    if column.write(record) != cell.text:
        record.provenance.unmapped.add(path=column.label, value=cell.text)


def _written(record: case_pb2.CaseRecord, locator: str, issues: IssueList) -> dict[str, str]:
    kept = _kept(record, locator, issues)
    cells = {column.label: column.write(record) for column in COLUMNS}
    for column in COLUMNS:
        # The source's own words, if they still agree with the record.
        words = kept.pop(column.label, "")
        if words and _means(column.label, words) == cells[column.label]:
            cells[column.label] = words
        elif words:
            issues.warn("FIELD_NOT_CARRIED", f"{locator}.provenance.unmapped", "the record no longer has these words")
    cells |= kept
    for label, text in cells.items():
        cells[label] = clean(text)
        if cells[label] != text:
            where = label if label in HEADER else "another column"
            issues.warn("VALUE_CUT", f"{locator}, {where}", "blanks around it, or control characters, are left out")
    _compare(record, cells, locator, issues)
    return cells


def _kept(record: case_pb2.CaseRecord, locator: str, issues: IssueList) -> dict[str, str]:
    """The unmapped texts of a row of this format. Those of other formats are not written: nobody checked them."""
    kept: dict[str, str] = {}
    for item in record.provenance.unmapped:
        if record.provenance.source_format == NAME and item.path not in kept:
            kept[item.path] = item.value
        else:
            issues.warn("FIELD_NOT_CARRIED", f"{locator}.provenance.unmapped", "unmapped fields of another source")
    return kept


def _means(label: str, words: str) -> str:
    again = case_pb2.CaseRecord()
    BY_LABEL[label].read(again, words)
    return BY_LABEL[label].write(again)


def _compare(record: case_pb2.CaseRecord, cells: Mapping[str, str], locator: str, issues: IssueList) -> None:
    """Warn of every field that would be read back different from the record."""
    again = case_pb2.CaseRecord()
    for column in COLUMNS:
        if cells[column.label]:
            column.read(again, cells[column.label])
    for path in lost_paths(record, again):
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.{path}", "the format has no column that holds this")


ADAPTER: Final = FamilySearchXlsx()
