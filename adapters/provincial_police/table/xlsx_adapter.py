"""The adapter ``provincial-police-xlsx``: the same table in a workbook. It handles what spreadsheets do to cells.

A number with more than 15 digits has lost its last digits: it is kept as text, and is never a document's number. A day
may be stored as a number. A header may be below titles, in two rows with merged cells, and on several sheets.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source
from adapters.provincial_police.table.header import (
    HEADERS,
    MALFORMED,
    MAX_ROWS,
    Header,
    find_header,
    report_unknown,
    texts,
)
from adapters.provincial_police.table.mapping import STANDARD, ColumnMapping, parse_mapping
from adapters.provincial_police.table.rows import RowReader, Table, source_of
from adapters.provincial_police.table.write import TableWriter
from adapters.registry import is_workbook
from adapters.syntax.spreadsheet import MEDIA_TYPE, SUFFIX, holdable, is_rounded, read_sheets, text_of, write_sheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from adapters.syntax.spreadsheet import Row

_TITLE: Final = "失踪人员"
_PICTURES: Final = "xl/media/"

NAME: Final = "provincial-police-xlsx"


class PoliceXlsx:
    """See the module; ``MappableAdapter``."""

    name: Final = NAME
    media_type: Final = MEDIA_TYPE
    suffix: Final = SUFFIX
    decodes: Final = frozenset({"CaseRecord", "SampleRequest"})
    encodes: Final = frozenset({"CaseRecord", "SampleRequest"})

    def __init__(self, mapping: ColumnMapping = STANDARD) -> None:
        self._mapping = mapping

    def with_mapping(self, text: str) -> PoliceXlsx:
        """See ``MappableAdapter``."""
        return PoliceXlsx(parse_mapping(text))

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``. Only a whole workbook shows its format. One that is cut off may have this format."""
        if not is_workbook(content):
            return False
        issues = IssueList()
        found = any(
            isinstance(self._header(list(islice(sheet.rows, MAX_ROWS + 1))), Header)
            for sheet in read_sheets(content, Limits(), issues)
        )
        return found or not zipfile.is_zipfile(io.BytesIO(content))

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        digest = hashlib.sha256(source.content).digest()
        records: list[DecodedRecord] = []
        failed: list[tuple[int, str]] = []
        sheets = 0
        for number, sheet in enumerate(read_sheets(source.content, limits, issues), start=1):
            first = list(islice(sheet.rows, MAX_ROWS + 1))
            header = self._header(first)
            if isinstance(header, str):
                failed += [(number, header)] if first else []
                continue
            sheets += 1
            where = f"sheet {number}, "
            report_unknown(header, where, issues)
            origin, constants = source_of(self.name, digest), self._mapping.constants
            table = Table(header, constants, guarded=False, odd=True, source=origin, attachments=source.attachments)
            rows = chain(first[header.rows :], sheet.rows)
            records += chain.from_iterable(_read(rows, RowReader(table, issues), where, issues))
        _tell_sheets(failed, sheets, issues)
        if len({item.locator for item in records}) > limits.records:
            issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
        if not records and not issues.items:
            issues.info("NO_RECORDS", "file", "the file has a header and no rows")
        if sheets and _has_pictures(source.content):
            issues.info(
                "PICTURES_NOT_READ", "file", "pictures in a workbook are not read: send them as files beside it"
            )
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``. Every cell is text, so no program takes a cell for a formula, a number or a date."""
        issues = IssueList()
        table = TableWriter(holdable, issues)
        table.add(records, limits)
        return issues.encoded(write_sheet(_TITLE, table.rows()), table.attachments)

    def _header(self, first: Sequence[Row]) -> Header | str:
        return find_header(texts([text_of(cell) for cell in row.cells] for row in first), self._mapping.known)


def _read(rows: Iterable[Row], reader: RowReader, where: str, issues: IssueList) -> Iterator[list[DecodedRecord]]:
    width = reader.width
    for row in rows:
        locator = f"{where}row {row.number}"
        cells = [text_of(cell) for cell in row.cells]
        if any(cells[width:]):
            issues.reject_record("ROW_MALFORMED", locator, MALFORMED)
        elif any(cells):
            lost = frozenset(place for place, cell in enumerate(row.cells) if is_rounded(cell))
            yield reader.read([*cells[:width], *[""] * (width - len(cells))], locator, lost)


def _tell_sheets(failed: Sequence[tuple[int, str]], sheets: int, issues: IssueList) -> None:
    for number, code in failed:
        where = f"sheet {number}"
        if not sheets:
            issues.reject_file(code, where, HEADERS[code])
            return
        if code == "HEADER_MISSING":
            issues.warn("SHEET_SKIPPED", where, HEADERS[code])
        else:
            issues.reject_record(code, where, HEADERS[code])


def _has_pictures(content: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return any(name.startswith(_PICTURES) for name in archive.namelist())


ADAPTER: Final = PoliceXlsx()
