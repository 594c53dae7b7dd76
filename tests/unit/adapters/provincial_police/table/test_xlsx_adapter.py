"""Workbooks of police stations: titles, merged headers, floats, serial dates, sheets. All data are synthetic."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openpyxl import Workbook

from adapters.base import Limits, Severity, Source
from adapters.provincial_police.table.xlsx_adapter import ADAPTER as XLSX
from adapters.syntax.spreadsheet import write_sheet
from caseexchange.records.v1 import case_pb2
from tests.support.police import issue_codes

if TYPE_CHECKING:
    from adapters.base import Decoded

SAMPLE = Path(__file__).parents[5] / "adapters" / "provincial_police" / "samples" / "missing-persons.xlsx"


def workbook(*sheets: list[Any]) -> bytes:
    book = Workbook()
    book.remove(book.worksheets[0])
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def decode(content: bytes, limits: Limits | None = None) -> Decoded:
    return XLSX.decode(Source(content), limits or Limits())


def cases(found: Decoded) -> list[case_pb2.CaseRecord]:
    return [item.record for item in found.records if isinstance(item.record, case_pb2.CaseRecord)]


def test_the_sample_is_read_with_all_that_a_spreadsheet_did_to_it() -> None:
    found = decode(SAMPLE.read_bytes())
    first, second, third = cases(found)
    assert [item.locator for item in found.records] == ["sheet 1, row 4", "sheet 1, row 5", "sheet 2, row 2"]
    assert (first.names[0].full, first.contacts[0].name) == ("测试儿童甲𠮷", "样例家属甲")
    assert (first.ethnicity.value, first.height.value) == ("01", 123)
    assert (first.birth.year, first.birth.month, first.birth.day) == (2018, 1, 2)
    assert (second.birth.year, second.birth.month, second.birth.day) == (2020, 1, 3)
    assert (third.age.least, third.kind) == (6, case_pb2.CASE_KIND_MISSING_CHILD)
    assert {(issue.code, issue.locator) for issue in found.issues} == {
        ("COLUMN_UNKNOWN", "sheet 1, column 14"),
        ("LEADING_ZERO_LOST", "sheet 1, row 4, column MZDM"),
        ("RESIDENT_ID_CHECKSUM", "sheet 1, row 4, column GMSFHM"),
        ("RESIDENT_ID_AREA", "sheet 1, row 4, column GMSFHM"),
        ("DATE_SERIAL", "sheet 1, row 5, column CSRQ"),
        ("DATE_SERIAL", "sheet 1, row 5, column SZSJ"),
        ("RESIDENT_ID_ROUNDED", "sheet 1, row 5, column GMSFHM"),
        ("SHEET_SKIPPED", "sheet 3"),
    }


@pytest.mark.parametrize("number", [999999202001021111, 9.99999202001021e17, 4.40308e17, "4.40308E+17"])
def test_a_rounded_identity_number_is_never_a_documents_number(number: float | str) -> None:
    found = decode(workbook([["案件编号", "案件类别", "公民身份号码"], ["SYN-1", 2, number]]))
    (record,) = cases(found)
    assert not record.documents
    assert [item.path for item in record.provenance.unmapped] == ["GMSFHM"]
    assert issue_codes(found) == {"RESIDENT_ID_ROUNDED"}


def test_an_identity_number_of_the_old_form_survives_as_a_number() -> None:
    (record,) = cases(decode(workbook([["案件编号", "案件类别", "公民身份号码"], ["SYN-1", 2, 440308990110151]])))
    assert record.documents[0].number == "440308990110151"


def test_any_other_rounded_number_is_kept_as_text_with_a_warning_and_a_case_number_is_refused() -> None:
    rows = [["案件编号", "案件类别", "样本条码", "联系电话"], ["SYN-1", 2, 1e16, 2e16], [1e17, 2, None, None]]
    found = decode(workbook(rows))
    assert len(found.records) == 1
    assert {(issue.severity, issue.code, issue.locator) for issue in found.issues} == {
        (Severity.WARN, "NUMBER_ROUNDED", "sheet 1, row 2, column LXDH"),
        (Severity.WARN, "NUMBER_ROUNDED", "sheet 1, row 2, column YBTM"),
        (Severity.REJECT_RECORD, "CASE_NUMBER_ROUNDED", "sheet 1, row 3, column AJBH"),
    }


def test_whole_numbers_dates_and_times_are_read_as_the_texts_that_they_mean() -> None:
    rows = [
        ["案件编号", "案件类别", "年龄", "身高", "失踪时间", "联系电话"],
        ["SYN-1", 2.0, 8.0, 1.23, datetime(2026, 11, 3, 14, 30), 10086],  # noqa: DTZ001 - a spreadsheet's has no zone
    ]
    (record,) = cases(decode(workbook(rows)))
    assert (record.age.least, record.height.value, record.contacts[0].phone) == (8, 123, "10086")
    assert (record.event_date.day, record.event_date.original_text) == (3, "2026-11-03T14:30:00")


def test_an_apostrophe_in_a_workbook_is_of_the_text_and_nothing_is_written_as_a_formula() -> None:
    (record,) = cases(decode(workbook([["案件编号", "案件类别", "姓名"], ["SYN-1", 2, "'+测试"]])))
    assert record.names[0].full == "'+测试"
    record.names[0].full = "=1+1"
    written = XLSX.encode([record], Limits())
    assert cases(decode(written.content))[0].names[0].full == "=1+1"
    with zipfile.ZipFile(io.BytesIO(written.content)) as archive:
        assert not any(b"<f>" in archive.read(part) for part in archive.namelist())


def test_a_row_with_a_value_beyond_the_header_is_refused_and_a_short_one_is_not() -> None:
    found = decode(workbook([["案件编号", "案件类别", "姓名"], ["SYN-1", 2, "甲", "多"], ["SYN-2", 2]]))
    assert [item.case_reference for item in found.records] == ["SYN-2"]
    assert issue_codes(found, Severity.REJECT_RECORD) == {"ROW_MALFORMED"}


def test_a_sheet_whose_header_names_a_column_twice_does_not_hold_up_the_others() -> None:
    good, bad = [["案件编号", "案件类别"], ["SYN-1", 2]], [["案件编号", "姓名", "XM"], ["SYN-2", "甲", "乙"]]
    found = decode(workbook(good, bad))
    assert len(found.records) == 1
    assert [(issue.severity, issue.code) for issue in found.issues] == [(Severity.REJECT_RECORD, "HEADER_REPEATED")]
    assert decode(workbook(bad)).rejected


def test_pictures_within_a_workbook_are_told_of() -> None:
    content = io.BytesIO(write_sheet("a", [["案件编号", "案件类别"], ["SYN-1", "2"]]))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("xl/media/image1.png", b"\x89PNG")
    found = decode(content.getvalue())
    assert len(found.records) == 1
    assert issue_codes(found, Severity.INFO) == {"PICTURES_NOT_READ"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"PK\x03\x04", "XLSX_MALFORMED"),
        (write_sheet("a", [["姓名"], ["甲"]]), "HEADER_MISSING"),
        (write_sheet("a", [["案件编号"], ["甲"]])[:-200], "XLSX_MALFORMED"),
    ],
)
def test_a_workbook_that_cannot_be_read_is_refused_by_a_code(content: bytes, code: str) -> None:
    found = decode(content)
    assert found.rejected
    assert issue_codes(found) == {code}


def test_limits_hold() -> None:
    rows = [["案件编号", "案件类别"], *([f"SYN-{number}", 2] for number in range(6))]
    assert issue_codes(decode(workbook(rows), Limits(records=5))) >= {"TOO_MANY_RECORDS"}
    assert decode(workbook(rows), Limits(records=5)).records == ()
    assert issue_codes(decode(workbook(rows), Limits(bytes=100))) == {"FILE_TOO_LARGE"}
    sheets = [rows[:1] + [[f"SYN-{sheet}-{number}", 2] for number in range(3)] for sheet in range(3)]
    assert decode(workbook(*sheets), Limits(records=5)).rejected


def test_a_workbook_is_known_by_what_is_in_it() -> None:
    content = SAMPLE.read_bytes()
    assert XLSX.sniff(content)
    assert not XLSX.sniff(write_sheet("a", [["寻亲编号", "姓名"], ["1", "甲"]]))
    assert not XLSX.sniff("案件编号,姓名\r\n".encode())


def test_a_workbook_that_is_cut_off_may_be_of_this_format() -> None:
    assert XLSX.sniff(SAMPLE.read_bytes()[:4096])
