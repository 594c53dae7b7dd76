"""The tables of a family-search workbook: where each begins, its columns, and its cells as clean texts.

A table begins with the row that names its columns, below any title rows. Each visible sheet may have one table.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.base import IssueList, Limits
from adapters.ngo.family_search.columns import BY_LABEL, NUMBER, REGISTERED
from adapters.syntax.spreadsheet import is_rounded, read_sheets, serial_date, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapters.syntax.spreadsheet import Row, Sheet, Value

_TITLE_ROWS: Final = 30
_LEAST_COLUMNS: Final = 3
_ESCAPE: Final = re.compile("_x00([0-1][0-9A-Fa-f])_")
"""A control character as workbooks write it (ECMA-376, part 1, 22.9.2.19)."""
_LINE_BREAKS: Final = re.compile("\r\n?")
_SERIAL: Final = re.compile(r"([1-7][0-9]{4})(\.[0-9]+)?")


class Cell(NamedTuple):
    """A cell with a value: the label above it, its text, and the number of its column from 1."""

    label: str
    text: str
    column: int


class TableRow(NamedTuple):
    """A row of a table, and its place."""

    cells: tuple[Cell, ...]
    locator: str


def read_tables(content: bytes, limits: Limits, issues: IssueList) -> Iterator[TableRow]:
    """The rows of every table. Never raises. If no sheet has a table, the file is refused."""
    tables = 0
    for number, sheet in enumerate(read_sheets(content, limits, issues), start=1):
        found = False
        for row in _rows(sheet, f"sheet {number}", issues):
            found = True
            if row.cells:
                yield row
        tables += found
        if not found:
            issues.info("SHEET_WITHOUT_TABLE", f"sheet {number}", "no row names the columns; the sheet is not read")
    if not tables and not issues.refuses_file:
        issues.reject_file("HEADER_MISSING", "file", f"no sheet has a row that names its columns, {NUMBER} among them")


def has_table(content: bytes) -> bool:
    """Whether any sheet of a whole workbook has a row that names the columns."""
    sheets = read_sheets(content, Limits(), IssueList())
    return any(next(_rows(sheet, "", IssueList()), None) is not None for sheet in sheets)


def clean(text: str) -> str:
    """A text without control characters and without blanks around it. Line breaks stay."""
    text = _LINE_BREAKS.sub("\n", _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))
    kept = (character for character in text if character in "\n\t" or unicodedata.category(character) != "Cc")
    return "".join(kept).strip()


def _rows(sheet: Sheet, where: str, issues: IssueList) -> Iterator[TableRow]:
    header: tuple[str, ...] | None = None
    for place, row in enumerate(sheet.rows):
        locator = f"{where}, row {row.number}"
        labels = tuple(_label(cell) for cell in row.cells)
        if header is None:
            if _is_header(labels):
                header = labels
                _unknown(header, locator, issues)
                yield TableRow((), locator)
            elif place >= _TITLE_ROWS:
                return
        elif not _is_header(labels):
            # A table that was printed page by page repeats the names of its columns.
            cells = tuple(_cells(row, header, locator, issues))
            if cells:
                yield TableRow(cells, locator)


def _label(value: Value) -> str:
    text = unicodedata.normalize("NFKC", clean(text_of(value)))
    return "".join(text.split()).rstrip(":*")


def _is_header(labels: Sequence[str]) -> bool:
    known = {BY_LABEL[label].label for label in labels if label in BY_LABEL}
    return NUMBER in known and len(known) >= _LEAST_COLUMNS


def _unknown(header: Sequence[str], locator: str, issues: IssueList) -> None:
    seen: set[str] = set()
    for number, label in enumerate(header, start=1):
        column = BY_LABEL.get(label)
        if column is not None and column.label in seen:
            issues.info("COLUMN_REPEATED", f"{locator}, column {number}", "the first one with a value counts")
        elif column is not None:
            seen.add(column.label)
        elif label and label != REGISTERED:
            issues.info("COLUMN_UNKNOWN", f"{locator}, column {number}", "the column is kept as it is")


def _cells(row: Row, header: Sequence[str], locator: str, issues: IssueList) -> Iterator[Cell]:
    for number, value in enumerate(row.cells, start=1):
        raw = text_of(value)
        text = clean(raw)
        where = f"{locator}, column {number}"
        if text != _LINE_BREAKS.sub("\n", raw).strip():
            issues.warn("CONTROL_CHARACTER", where, "control characters are left out")
        label = header[number - 1] if number <= len(header) else ""
        column = BY_LABEL.get(label)
        if is_rounded(value):
            issues.warn("NUMBER_ROUNDED", where, "a spreadsheet has rounded the number: its last digits are lost")
            # A row is identified by its number. A wrong number would be another row's.
            text = "" if column is not None and column.label == NUMBER else text
        if column is not None and column.is_date:
            text = _date_text(text, where, issues)
        if text:
            yield Cell(label or f"column{number}", text, number)


def _date_text(text: str, where: str, issues: IssueList) -> str:
    """The day, if the text is a spreadsheet's serial number for it."""
    match = _SERIAL.fullmatch(text)
    day = serial_date(float(text)) if match else None
    if day is None:
        return text
    issues.warn("DATE_FROM_SERIAL", where, "a spreadsheet's number of a day was read as the date")
    return day.isoformat()
