"""Workbooks from strangers: what is read, and what is refused before it is parsed."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from adapters.base import IssueList, Limits
from adapters.syntax import spreadsheet
from adapters.syntax.spreadsheet import Value, holds_any, is_rounded, read_sheets, serial_date, text_of, write_sheet

SHEET = "xl/worksheets/sheet1.xml"


def rows_of(
    content: bytes, limits: Limits | None = None
) -> tuple[list[list[tuple[int, tuple[Value, ...]]]], list[str]]:
    issues = IssueList()
    sheets = [
        [(row.number, row.cells) for row in sheet.rows] for sheet in read_sheets(content, limits or Limits(), issues)
    ]
    return sheets, [issue.code for issue in issues.items]


def with_part(content: bytes, name: str, data: bytes) -> bytes:
    """A copy of a workbook in which one part is another."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, data if part == name else old.read(part))
    return out.getvalue()


def sheet_of(inner: str) -> bytes:
    """A workbook whose only sheet has these rows, as XML."""
    ns = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return with_part(
        write_sheet("a", [["x"]]), SHEET, f'<worksheet xmlns="{ns}"><sheetData>{inner}</sheetData></worksheet>'.encode()
    )


def test_what_is_written_is_read_again_as_the_same_texts_and_the_same_rows_give_the_same_bytes() -> None:
    rows = [["案件编号", "XM"], ["SYN-1", "测试儿童甲𠮷"], ["=1+1", "0012"]]
    content = write_sheet("案件", rows)
    assert rows_of(content) == ([[(1, tuple(rows[0])), (2, tuple(rows[1])), (3, tuple(rows[2]))]], [])
    assert content == write_sheet("案件", rows)


@pytest.mark.parametrize("mark", ["\ufffe", "\uffff", "\0", "\x1f", "\ud800"])
def test_characters_that_no_workbook_can_hold_are_left_out(mark: str) -> None:
    assert rows_of(write_sheet("a", [[f"a{mark}b\t\u2028𠮷"]])) == ([[(1, ("ab\t\u2028𠮷",))]], [])


def test_a_text_that_looks_like_a_formula_is_written_as_a_text() -> None:
    with zipfile.ZipFile(io.BytesIO(write_sheet("a", [["=HYPERLINK(1)"]]))) as archive:
        assert b"<f>" not in archive.read(SHEET)


def test_dates_numbers_and_gaps_are_read_as_they_are_and_hidden_sheets_are_not() -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    sheet["B3"] = datetime(2026, 11, 10)  # noqa: DTZ001
    sheet["D3"] = 440308199901101512
    book.create_sheet("hidden").sheet_state = "hidden"
    out = io.BytesIO()
    book.save(out)
    ((row,),), codes = rows_of(out.getvalue())
    number, cells = row
    assert (number, codes) == (3, [])
    assert cells[:3] == (None, datetime(2026, 11, 10), None)  # noqa: DTZ001
    assert is_rounded(cells[3])


def test_values_become_text_without_anything_added() -> None:
    moment = datetime(2026, 11, 10, 8, 30)  # noqa: DTZ001
    found = [text_of(item) for item in (None, True, 3.0, 3.5, 7, " a ", moment, moment.replace(hour=0, minute=0))]
    assert found == ["", "TRUE", "3", "3.5", "7", "a", "2026-11-10T08:30:00", "2026-11-10"]


def test_a_serial_number_is_a_day_only_where_the_system_of_1900_is_sound() -> None:
    assert serial_date(46336) == date(2026, 11, 10)
    assert serial_date(61) == date(1900, 3, 1)
    assert serial_date(60) is None
    assert serial_date(2_958_466) is None
    assert serial_date(float("nan")) is None


def test_an_archive_that_unpacks_to_too_much_is_refused_whatever_it_says_of_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spreadsheet, "MAX_UNPACKED_BYTES", 1_000_000)
    bomb = with_part(write_sheet("a", [["x"]]), SHEET, bytes(2_000_000))
    assert rows_of(bomb) == ([], ["XLSX_UNPACKS_TOO_LARGE"])


def test_an_archive_of_too_much_markup_or_too_many_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_sheet("a", [["x"]] * 100)
    monkeypatch.setattr(spreadsheet, "MAX_MARKUP", 100)
    assert rows_of(content) == ([], ["XLSX_UNPACKS_TOO_LARGE"])
    monkeypatch.undo()
    monkeypatch.setattr(spreadsheet, "MAX_PARTS", 3)
    assert rows_of(content) == ([], ["XLSX_UNPACKS_TOO_LARGE"])


@pytest.mark.parametrize(
    ("part", "markup"),
    [
        ("xl/styles.xml", b"<styleSheet><cellStyleXfs>" + b"<xf/>" * 600_000 + b"</cellStyleXfs></styleSheet>"),
        ("xl/_rels/workbook.xml.rels", b"<Relationships>" + b"<Relationship/>" * 600_000 + b"</Relationships>"),
        ("xl/workbook.xml", b"<workbook>" + b"<c/>" * 600_000 + b"</workbook>"),
        (SHEET, b"<worksheet><mergeCells>" + b"<mergeCell/>" * 600_000 + b"</mergeCells></worksheet>"),
        (SHEET, b"<x:worksheet><x:cols>" + b"<x:col/>" * 600_000 + b"</x:cols></x:worksheet>"),
    ],
    ids=["styles", "relations", "no sheet", "merged cells", "columns"],
)
def test_markup_of_which_the_library_makes_objects_is_bounded_apart_from_cells(part: str, markup: bytes) -> None:
    assert rows_of(with_part(write_sheet("a", [["x"]]), part, markup)) == ([], ["XLSX_UNPACKS_TOO_LARGE"])


def workbook_of(sheets: int, state: str) -> bytes:
    """A workbook in which so many sheets share the one part."""
    content = write_sheet("a", [["x"]])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        part = archive.read("xl/workbook.xml")
    (sheet,) = re.findall(rb"<sheet .*?/>", part)
    more = sheet.replace(b'state="visible"', b'state="%s"' % state.encode())
    return with_part(content, "xl/workbook.xml", part.replace(sheet, sheet + more * (sheets - 1)))


def test_sheets_are_counted_before_the_library_opens_each() -> None:
    assert rows_of(workbook_of(65, "hidden")) == ([], ["TOO_MANY_SHEETS"])
    assert rows_of(workbook_of(100_000, "visible")) == ([], ["TOO_MANY_SHEETS"])


def test_one_part_is_not_read_for_many_sheets() -> None:
    assert rows_of(workbook_of(64, "visible")) == ([], ["XLSX_MALFORMED"])
    assert rows_of(workbook_of(64, "hidden"))[1] == []


def test_many_cells_are_no_such_markup() -> None:
    rows = [[str(number)] * 10 for number in range(30_000)]
    assert rows_of(write_sheet("a", rows))[1] == []


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 and nothing more",
        write_sheet("a", [["x"]])[:-40],
        with_part(write_sheet("a", [["x"]]), SHEET, b'<!DOCTYPE a [<!ENTITY b "c">]><worksheet>&b;</worksheet>'),
        with_part(write_sheet("a", [["x"]]), SHEET, b"<worksheet><sheetData><row>"),
        with_part(write_sheet("a", [["x"]]), "xl/workbook.xml", b"<workbook/>"),
        with_part(write_sheet("a", [["x"]]), "[Content_Types].xml", b""),
        sheet_of('<row r="x"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row>'),
        sheet_of('<row r="1"><c r="A1" t="s"><v>99</v></c></row>'),
    ],
)
def test_a_damaged_workbook_is_refused_and_nothing_raises(content: bytes) -> None:
    sheets, codes = rows_of(content)
    assert not any(sheets)
    assert codes == ["XLSX_MALFORMED"]


def test_a_claimed_row_number_does_not_make_a_sheet_long() -> None:
    far = sheet_of('<row r="1"><c r="A1"><v>1</v></c></row><row r="99999999999"><c r="A99999999999"><v>1</v></c></row>')
    assert rows_of(far) == ([[(1, (1,))]], [])


def test_a_workbook_holds_no_time_of_its_writing() -> None:
    with zipfile.ZipFile(io.BytesIO(write_sheet("a", [["x"]]))) as archive:
        properties = archive.read("docProps/core.xml").decode()
        assert {part.date_time[0] for part in archive.infolist()} == {1980}
    assert set(re.findall(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", properties)) == {"1899-12-30"}


def test_limits_on_rows_columns_and_cells_hold() -> None:
    assert rows_of(write_sheet("a", [["x"]] * 3), Limits(records=2))[1] == ["TOO_MANY_RECORDS"]
    assert rows_of(write_sheet("a", [["x"] * 257]))[1] == ["ROW_TOO_WIDE"]
    assert rows_of(write_sheet("a", [["x" * 9], ["y"]]), Limits(field_characters=8)) == (
        [[(2, ("y",))]],
        ["FIELD_TOO_LONG"],
    )
    assert rows_of(write_sheet("a", [["x"]]), Limits(bytes=10))[1] == ["FILE_TOO_LARGE"]


def test_a_workbook_is_told_by_a_word_near_its_beginning() -> None:
    content = write_sheet("案件", [["寻亲编号"]])
    for kept in (content, content[:4096]):
        assert holds_any(kept, ["寻亲编号", "another"])
        assert not holds_any(kept, ["another"])
    assert not holds_any(content[:600], ["寻亲编号"])


@given(st.binary(max_size=200))
def test_the_beginning_of_a_damaged_workbook_is_looked_at_without_raising(data: bytes) -> None:
    content = write_sheet("a", [["x"]])
    for damaged in (data, b"PK\x03\x04" + data, content[:100] + data, content[:30] + data + content[100:2500]):
        assert not holds_any(damaged, ["寻亲编号"])
