"""Workbooks from strangers (.xlsx, ECMA-376), read through openpyxl: bounded before anything of them is parsed.

A workbook is a zip archive of XML. openpyxl is given it only after every part was unpacked once, in pieces that are
counted and thrown away: what an archive says of its sizes can be a lie. XML with entities is refused by defusedxml,
which openpyxl uses where it is installed. No formula is computed; where a cell holds one, what counts is the value that
the program which wrote the file has stored with it.
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
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.xml.constants import ARC_CORE
from openpyxl.xml.functions import tostring

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

    from adapters.base import IssueList, Limits

MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SUFFIX: Final = ".xlsx"
MAX_UNPACKED_BYTES: Final = 128 * 1024 * 1024
"""Of all parts of a workbook together."""
MAX_MARKUP: Final = 10_000_000
"""How often ``<`` may stand in all parts together: four times for a cell, so that 80,000 rows of 30 cells pass."""
MAX_OTHER_MARKUP: Final = 500_000
"""How much of that may be other than cells and their texts. openpyxl makes an object of each such element (a style, a
merged area, a relation), which takes a kilobyte and ten microseconds."""
MAX_PARTS: Final = 2_000
MAX_COLUMNS: Final = 256
MAX_SHEETS: Final = 64
EXACT: Final = 10**15
"""From here on a spreadsheet's numbers are rounded: an identity number of 18 digits that became one is lost."""

Value: TypeAlias = str | int | float | bool | date | time | timedelta | None
"""What a cell holds. A number that is formatted as a date is a ``datetime``, ``time`` or ``timedelta``."""

_MAGIC: Final = b"PK\x03\x04"
_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
"""A part's local header (APPNOTE.TXT 4.3.7): its fourth field is the method, then come sizes and lengths of names."""
_OF_CELLS: Final = re.compile(rb"<(?:/|(?:\w{1,20}:)?(?:c|v|f|t|is|si|row|phoneticPr)[\s/>])")
_SHEET: Final = re.compile(rb"<(?:[^\s<>/:]+:)?sheet[\s/>]")
_TAG_BYTES: Final = 100
_CELLS: Final = re.compile(r"/?xl/(?:worksheets/[^/]+|sharedStrings)\.xml")
"""The parts that are read element by element."""
_HEAD_BYTES: Final = 1 << 20
_CHUNK: Final = 1 << 16
_BLANK_ROWS: Final = 10_000
"""So many rows without a value, one after the other, are the end of a sheet: a file can claim a row number at will."""
_EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001  a spreadsheet's dates have no zone
_FIRST_SERIAL: Final = 61
"""1 March 1900. The serial numbers before it are off by one: the first spreadsheets held 1900 for a leap year."""
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
"""What openpyxl and zipfile raise on archives that are damaged, encrypted or no workbooks; they have no error of their
own. ``ParseError`` of an XML part is a SyntaxError."""


class Row(NamedTuple):
    """A row of a sheet that holds something: its number, from 1, and its cells from column A on."""

    number: int
    cells: tuple[Value, ...]


class Sheet(NamedTuple):
    """A sheet's name and its rows. They are read while they are asked for, once."""

    name: str
    rows: Iterator[Row]


def holds_any(content: bytes, words: Iterable[str]) -> bool:
    """Whether a workbook that begins like this holds one of these words, as far as its beginning can be unpacked.

    Cheap and bounded, so that one agency's workbook is told from another's by a label of its columns. A workbook that
    keeps its texts far behind (in xl/sharedStrings.xml) may not show them.
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
        # Characters may stand as numbers: &#32534;
        yield html.unescape(piece.decode(errors="replace"))
        # Where a part is not yet at its end, there is no next one; a descriptor may stand between two.
        at = content.find(_MAGIC, len(content) - len(stream.unused_data)) if stream.eof else len(content)


def read_sheets(content: bytes, limits: Limits, issues: IssueList) -> Iterator[Sheet]:
    """The visible sheets of a workbook, in order. Ends early with the reason among the issues; never raises.

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
    """A workbook of one sheet, every cell a text: no program that opens it takes one for a formula, number or date.

    The same rows give the same bytes.
    """
    book = Workbook(write_only=True)
    sheet = book.create_sheet(title)
    for row in rows:
        cells = []
        for text in row:
            cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", text))
            cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    written, content = io.BytesIO(), io.BytesIO()
    book.save(written)
    # Under fixed times; openpyxl writes the clock's, into the archive and into this part.
    book.properties.created = book.properties.modified = _EPOCH
    properties = tostring(book.properties.to_tree())
    with zipfile.ZipFile(written) as archive, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as again:
        for part in archive.namelist():
            content_of = properties if part == ARC_CORE else archive.read(part)
            again.writestr(zipfile.ZipInfo(part), content_of, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def text_of(value: Value) -> str:
    """A cell's value as text: a whole number without ``.0``, a date as 2026-11-10, with its time where it has one."""
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
    """Whether a number has more digits than a spreadsheet keeps, so that its last ones are lost."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= EXACT


def serial_date(number: float) -> date | None:
    """The day that a spreadsheet's serial number stands for (the system of 1900), or None if it may be none.

    Source: ECMA-376, part 1, 18.17.4.1. For a number in a column of dates whose cell is not formatted as one.
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
            issues.reject_file("TOO_MANY_SHEETS", "file", f"more than {MAX_SHEETS} sheets, hidden ones included")
            return False
        if min(left, markup, other) <= 0 or len(parts) > MAX_PARTS:
            what = f"more than {MAX_PARTS} parts, or more than {MAX_UNPACKED_BYTES} bytes or {MAX_MARKUP} tags in them"
            issues.reject_file("XLSX_UNPACKS_TOO_LARGE", "file", what)
            return False
    return True


def _whole_tags(stream: IO[bytes]) -> Iterator[bytes]:
    """A part in pieces that end between two tags; of a tag that is longer than a piece, something is left out."""
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
    sheet.reset_dimensions()  # what a file says of its size can be a lie too
    found = blank = 0
    try:
        # The stubs give it the type of a sheet that is read whole, whose cells can hold more than values.
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
    issues.reject_file(
        "XLSX_MALFORMED", "file", "no workbook in the format .xlsx, or a damaged, encrypted or empty one"
    )
