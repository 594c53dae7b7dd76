"""Workbooks from strangers (.xlsx, ECMA-376), read with openpyxl. Limits are checked before anything is parsed.

A workbook is a zip archive of XML. The sizes that an archive states can be false. So every part is first unpacked in
pieces, which are counted and thrown away; only then does openpyxl get the workbook. defusedxml refuses XML with
entities; openpyxl uses it if it is installed. No formula is computed: a cell with a formula has the value that the
program which wrote the file has stored with it.
"""

from __future__ import annotations

import html
import io
import re
import struct
import zipfile
import zlib
from datetime import date, datetime, time, timedelta
from typing import IO, TYPE_CHECKING, Final, NamedTuple, TypeAlias

from defusedxml.common import DefusedXmlException
from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.xml.constants import ARC_CORE
from openpyxl.xml.functions import tostring

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

    from adapters.base import IssueList, Limits

MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SUFFIX: Final = ".xlsx"
_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
MAX_UNPACKED_BYTES: Final = 128 * 1024 * 1024
"""The limit for all parts of a workbook together."""
MAX_MARKUP: Final = 10_000_000
"""The most ``<`` in all parts together. A cell has four, so 80,000 rows of 30 cells are allowed."""
MAX_OTHER_MARKUP: Final = 500_000
"""The most of these that are not cells or texts of cells. For each such element (a style, a merged area, a relation)
openpyxl makes an object, which takes a kilobyte and ten microseconds."""
MAX_PARTS: Final = 2_000
MAX_COLUMNS: Final = 256
MAX_SHEETS: Final = 64
EXACT: Final = 10**15
"""From here on spreadsheets round numbers. An identity number of 18 digits, stored as a number, loses digits."""

Value: TypeAlias = str | int | float | bool | date | time | timedelta | None
"""The value of a cell. A number that is formatted as a date is a ``datetime``, ``time`` or ``timedelta``."""

_MAGIC: Final = b"PK\x03\x04"
_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
"""A part's local header (APPNOTE.TXT 4.3.7). The fourth field is the method; sizes and lengths of names follow."""
_OF_CELLS: Final = re.compile(rb"<(?:/|(?:\w{1,20}:)?(?:c|v|f|t|is|si|row|phoneticPr)[\s/>])")
_SHEET: Final = re.compile(rb"<(?:[^\s<>/:]+:)?sheet[\s/>]")
_TAG_BYTES: Final = 100
_CELLS: Final = re.compile(r"/?xl/(?:worksheets/[^/]+|sharedStrings)\.xml")
"""The parts that openpyxl reads element by element."""
_HEAD_BYTES: Final = 1 << 20
_CHUNK: Final = 1 << 16
_BLANK_ROWS: Final = 10_000
"""After this many rows without a value the sheet ends, because a file can state any row number."""
_EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001  a spreadsheet's dates have no zone
_FIRST_SERIAL: Final = 61
"""1 March 1900. Serial numbers before it are off by one, because the first spreadsheets took 1900 for a leap year."""
_LAST_SERIAL: Final = 2_958_465
"""31 December 9999."""
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    DefusedXmlException,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
)
"""The errors of openpyxl and zipfile for archives that are damaged, encrypted or not workbooks. Neither has an error
type of its own for this. ``ParseError`` of an XML part is a SyntaxError."""


class Row(NamedTuple):
    """A row with a value: its number, from 1, and its cells from column A on."""

    number: int
    cells: tuple[Value, ...]


class Sheet(NamedTuple):
    """A sheet's name and its rows. The rows are read while the caller iterates, once."""

    name: str
    rows: Iterator[Row]


def holds_any(content: bytes, words: Iterable[str]) -> bool:
    """Whether a workbook with this beginning contains one of these words in the part that can be unpacked.

    Fast and bounded, so that a column's label can show which agency a workbook is from. It may not find the texts of a
    workbook that keeps them far from the beginning (in xl/sharedStrings.xml).
    """
    text = "".join(_head_parts(content[:_CHUNK]))
    return any(word in text for word in words)


def _head_parts(content: bytes) -> Iterator[str]:
    at, left = 0, _HEAD_BYTES
    while content.startswith(_MAGIC, at) and len(content) >= at + _LOCAL.size and left > 0:
        *_, method, _, _, _, packed, _, name, extra = _LOCAL.unpack_from(content, at)
        start = at + _LOCAL.size + name + extra
        if method != zipfile.ZIP_DEFLATED:
            at = start + packed
            continue
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            piece = stream.decompress(content[start:], left)
        except zlib.error:
            return
        left -= len(piece)
        # A character may be written as a number: &#32534;
        yield html.unescape(piece.decode(errors="replace"))
        # If a part does not end here, there is no next part. A descriptor may come between two parts.
        at = content.find(_MAGIC, len(content) - len(stream.unused_data)) if stream.eof else len(content)


def read_sheets(content: bytes, limits: Limits, issues: IssueList) -> Iterator[Sheet]:
    """The visible sheets of a workbook, in order. If it is refused, the sheets end and an issue says why. Never raises.

    Codes: FILE_TOO_LARGE, XLSX_UNPACKS_TOO_LARGE, XLSX_MALFORMED, TOO_MANY_SHEETS, TOO_MANY_RECORDS, ROW_TOO_WIDE,
    FIELD_TOO_LONG.
    """
    if len(content) > limits.bytes:
        issues.reject_file("FILE_TOO_LARGE", "file", f"larger than {limits.bytes} bytes")
        return
    try:
        if not _unpacks(content, issues):
            return
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        # One part for many sheets would be read many times.
        if len({vars(sheet)["_worksheet_path"] for sheet in sheets}) != len(sheets):
            sheets = []
    except _BROKEN:
        sheets = []
    if not sheets:
        _malformed(issues)
    if len(sheets) > MAX_SHEETS:
        issues.reject_file("TOO_MANY_SHEETS", "file", f"more than {MAX_SHEETS} sheets")
        return
    for sheet in sheets:
        yield Sheet(sheet.title, _rows(sheet, limits, issues))


def write_sheet(title: str, rows: Iterable[Sequence[str]]) -> bytes:
    """A workbook of one sheet. Every cell is text, so no program takes a cell for a formula, number or date.

    The same rows give the same bytes.
    """
    book = Workbook(write_only=True)
    sheet = book.create_sheet(title)
    for row in rows:
        cells = []
        for text in row:
            cell = WriteOnlyCell(sheet, holdable(text))
            cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    written, content = io.BytesIO(), io.BytesIO()
    book.save(written)
    # openpyxl writes the current time into the archive and into this part. Both get a fixed time instead.
    book.properties.created = book.properties.modified = _EPOCH
    properties = tostring(book.properties.to_tree())
    with zipfile.ZipFile(written) as archive, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as again:
        for part in archive.namelist():
            content_of = properties if part == ARC_CORE else archive.read(part)
            again.writestr(zipfile.ZipInfo(part), content_of, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def holdable(text: str) -> str:
    """The text without the characters that no XML file can hold, and so no workbook."""
    return _NOT_XML.sub("", text)


def text_of(value: Value) -> str:
    """A cell's value as text: a whole number without ``.0``; a date as 2026-11-10, with its time if it has one."""
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float() if value.is_integer() and abs(value) < EXACT:
            return str(int(value))
        case datetime():
            whole = value.time() == time.min
            return value.date().isoformat() if whole else value.isoformat(timespec="seconds")
        case date() | time():
            return value.isoformat()
        case _:
            return str(value).strip()


def is_rounded(value: Value) -> bool:
    """Whether a number has more digits than a spreadsheet keeps, so that its last digits are lost."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= EXACT


def serial_date(number: float) -> date | None:
    """The day of a spreadsheet's serial number (the system of 1900), or None if the number cannot be a day.

    For a number in a column of dates, if its cell is not formatted as a date. Source: ECMA-376, part 1, 18.17.4.1.
    """
    if not _FIRST_SERIAL <= number <= _LAST_SERIAL:
        return None
    return (_EPOCH + timedelta(days=int(number))).date()


def _unpacks(content: bytes, issues: IssueList) -> bool:
    left, markup, other, sheets = MAX_UNPACKED_BYTES, MAX_MARKUP, MAX_OTHER_MARKUP, MAX_SHEETS + 1
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        if len(parts) <= MAX_PARTS:
            for part in parts:
                cells = _CELLS.fullmatch(part.filename) is not None
                with archive.open(part) as stream:
                    for piece in _whole_tags(stream):
                        tags = piece.count(b"<")
                        left -= len(piece)
                        markup -= tags
                        other -= tags - len(_OF_CELLS.findall(piece)) if cells else tags
                        sheets -= len(_SHEET.findall(piece))
                        if min(left, markup, other, sheets) <= 0:
                            break
        if sheets <= 0:
            issues.reject_file("TOO_MANY_SHEETS", "file", f"more than {MAX_SHEETS} sheets, with the hidden ones")
            return False
        if min(left, markup, other) <= 0 or len(parts) > MAX_PARTS:
            what = f"more than {MAX_PARTS} parts, or more than {MAX_UNPACKED_BYTES} bytes or {MAX_MARKUP} tags in them"
            issues.reject_file("XLSX_UNPACKS_TOO_LARGE", "file", what)
            return False
    return True


def _whole_tags(stream: IO[bytes]) -> Iterator[bytes]:
    """A part in pieces that end between two tags. If a tag is longer than a piece, a part of it is left out."""
    begun = b""
    while piece := stream.read(_CHUNK):
        text = begun + piece
        at = text.rfind(b"<")
        if at < 0 or text.find(b">", at) >= 0:
            at = len(text)
        begun = text[at : at + _TAG_BYTES]
        yield text[:at] + bytes(max(0, len(text) - at - _TAG_BYTES))
    yield begun


def _rows(sheet: ReadOnlyWorksheet, limits: Limits, issues: IssueList) -> Iterator[Row]:
    sheet.reset_dimensions()  # the dimensions in the file can be false too
    found = blank = 0
    try:
        # The stubs give the type of a sheet that is read whole. Its cells can hold more than values.
        rows: Iterator[tuple[Value, ...]] = sheet.iter_rows(values_only=True)  # type: ignore[misc,assignment]
        for number, cells in enumerate(rows, start=1):
            if all(cell is None or cell == "" for cell in cells):
                blank += 1
                if blank > _BLANK_ROWS:
                    return
                continue
            found, blank = found + 1, 0
            where = f"sheet {sheet.parent.index(sheet) + 1}, row {number}"
            if found > limits.records:
                issues.reject_file("TOO_MANY_RECORDS", where, f"more than {limits.records} rows")
                return
            if len(cells) > MAX_COLUMNS:
                issues.reject_file("ROW_TOO_WIDE", where, f"more than {MAX_COLUMNS} columns")
                return
            if any(isinstance(cell, str) and len(cell) > limits.field_characters for cell in cells):
                issues.reject_record(
                    "FIELD_TOO_LONG", where, f"a cell has more than {limits.field_characters} characters"
                )
            else:
                yield Row(number, cells)
    except _BROKEN:
        _malformed(issues)


def _malformed(issues: IssueList) -> None:
    issues.reject_file("XLSX_MALFORMED", "file", "not a workbook in the format .xlsx, or damaged, encrypted or empty")
