"""The police CSV: encodings, codes, doubts, partial acceptance, and the way back. All data are synthetic."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Decoded, Limits, Severity, Source
from adapters.provincial_police.table.csv_adapter import ADAPTER
from adapters.records.validate import MAX_PHOTOS
from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2

PNG = (Path(__file__).parents[5] / "deploy" / "demo" / "input" / "synthetic-child.png").read_bytes()


def table(*rows: dict[str, str], encoding: str = "gb18030") -> bytes:
    header = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


def row(**cells: str) -> dict[str, str]:
    return {"AJBH": "SYN-1", "AJLB": "1", **cells}


def decode(content: bytes, **attachments: bytes) -> Decoded:
    return ADAPTER.decode(
        Source(content, {name.replace("_", "."): data for name, data in attachments.items()}), Limits()
    )


def one(content: bytes) -> case_pb2.CaseRecord:
    (item,) = decode(content).records
    assert isinstance(item.record, case_pb2.CaseRecord)
    return item.record


def codes(found: Decoded, *severities: Severity) -> set[str]:
    return {issue.code for issue in found.issues if not severities or issue.severity in severities}


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8", "utf-8-sig"])
def test_characters_of_every_width_are_read_in_every_encoding(encoding: str) -> None:
    names = "测试𠮷㛃𬮿·甲"
    record = one(table(row(XM=names), encoding=encoding))
    assert record.names[0].full == names


def test_full_width_digits_are_read_as_digits() -> None:
    record = one(table(row(CSRQ="２０１８０１０２", XBDM="１", SG="１２３")))
    assert (record.birth.year, record.birth.month, record.birth.day) == (2018, 1, 2)
    assert record.birth.original_text == "２０１８０１０２"
    assert (record.sex, record.height.value) == (common_pb2.SEX_MALE, 123)


def test_a_number_that_contradicts_the_row_is_a_warning_without_its_value() -> None:
    found = decode(table(row(GMSFHM="440308199901101512", CSRQ="20000101", XBDM="2")))
    assert {"RESIDENT_ID_BIRTH_DATE", "RESIDENT_ID_SEX"} <= codes(found, Severity.WARN)
    assert len(found.records) == 1
    assert not any("4403" in issue.message + issue.locator for issue in found.issues)


def test_a_sample_barcode_makes_a_sample_request_of_the_same_case() -> None:
    case, sample = decode(table(row(YBTM="SYN-BLD-1", YBJS="1"))).records
    assert case.case_reference == sample.case_reference == "SYN-1"
    assert isinstance(sample.record, dna_pb2.SampleRequest)
    assert (sample.record.barcode, sample.record.role) == ("SYN-BLD-1", dna_pb2.SAMPLE_ROLE_CHILD)


def test_a_parent_whose_sample_has_no_role_is_not_taken_for_a_child() -> None:
    found = decode(table(row(AJLB="5", YBTM="SYN-BLD-1")))
    sample = found.records[1].record
    assert isinstance(sample, dna_pb2.SampleRequest)
    assert sample.role == dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE
    assert "SAMPLE_ROLE_UNKNOWN" in codes(found)


def test_a_barcode_that_a_spreadsheet_has_rounded_makes_no_sample_and_a_case_number_no_case() -> None:
    found = decode(table(row(YBTM="1.2E+12"), row(AJBH="1.40106E+17"), row(AJBH="140106202600001000")))
    assert [(item.case_reference, type(item.record).__name__) for item in found.records] == [
        ("SYN-1", "CaseRecord"),
        ("140106202600001000", "CaseRecord"),
    ]
    assert [(issue.code, issue.locator) for issue in found.issues] == [
        ("NUMBER_ROUNDED", "row 2, column YBTM"),
        ("CASE_NUMBER_ROUNDED", "row 3, column AJBH"),
    ]
    assert [item.path for item in found.records[0].record.provenance.unmapped] == ["YBTM"]


def test_a_photo_comes_along_under_an_opaque_name() -> None:
    (item,) = decode(table(row(XP="测试儿童.png")), 测试儿童_png=PNG).records
    assert isinstance(item.record, case_pb2.CaseRecord)
    (photo,) = item.record.photos
    assert photo.content == PNG
    assert "测试" not in photo.reference


def test_a_photo_is_written_under_the_digest_of_its_bytes_whatever_its_record_says() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1")
    record.photos.add(content=PNG, media_type="image/png", sha256=bytes(32))
    written = ADAPTER.encode([record], Limits()).attachments
    assert written == {f"{hashlib.sha256(PNG).hexdigest()[:32]}.png": PNG}


def test_a_photo_that_is_missing_or_no_picture_is_a_warning() -> None:
    assert "PHOTO_MISSING" in codes(decode(table(row(XP="../etc/passwd"))))
    assert "PHOTO_TYPE" in codes(decode(table(row(XP="a.png")), a_png=b"GIF89a"))


class _Counted(dict[str, bytes]):
    """Files that know how often one was asked for."""

    asked = 0

    def get(self, key: str, default: bytes | None = None) -> bytes | None:  # type: ignore[override] # narrower
        self.asked += 1
        return super().get(key, default)


def test_a_cell_that_names_a_photo_thousands_of_times_costs_no_more_than_the_photos_of_a_record() -> None:
    files = _Counted({"a.png": PNG})
    found = ADAPTER.decode(Source(table(row(XP=";".join(["a.png"] * 3000))), files), Limits())
    assert [issue.code for issue in found.issues] == ["PHOTOS_TOO_MANY"]
    assert (found.records, files.asked) == ((), MAX_PHOTOS + 1)


def test_one_bad_row_does_not_hold_up_the_others() -> None:
    content = table(row(AJBH="A"), row(AJBH="B", AJLB="99"), row(AJBH="C"))
    found = decode(content)
    assert [item.case_reference for item in found.records] == ["A", "C"]
    assert ("FIELD_MISSING", "row 3, kind") in {(issue.code, issue.locator) for issue in found.issues}


def test_unknown_columns_are_kept_and_come_back() -> None:
    record = one(table(row(QTBZ="其他")))
    assert [(item.path, item.value) for item in record.provenance.unmapped] == [("QTBZ", "其他")]
    again = one(ADAPTER.encode([record], Limits()).content)
    assert again.provenance.unmapped == record.provenance.unmapped


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "HEADER_MISSING"),
        (b"XM,XB\r\na,b\r\n", "HEADER_MISSING"),
        (b"AJBH,AJBH\r\n1,2\r\n", "HEADER_REPEATED"),
        ("AJBH,案件编号\r\n1,2\r\n".encode(), "HEADER_REPEATED"),
        (b"AJBH\0\r\n", "NUL_BYTE"),
        (b"\xff\xfeA\x00", "ENCODING_UNSUPPORTED"),
        (b"AJBH\r\n\xff\xff\xff", "ENCODING_UNKNOWN"),
        (b'AJBH\r\n"unclosed', "CSV_MALFORMED"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_a_code(content: bytes, code: str) -> None:
    found = decode(content)
    assert found.rejected
    assert codes(found) == {code}
    assert found.records == ()


def test_limits_hold() -> None:
    many = table(*(row(AJBH=str(number)) for number in range(5)))
    assert codes(ADAPTER.decode(Source(many), Limits(records=4))) == {"TOO_MANY_RECORDS"}
    assert codes(ADAPTER.decode(Source(many), Limits(bytes=10))) == {"FILE_TOO_LARGE"}
    assert "ROW_MALFORMED" in codes(ADAPTER.decode(Source(many), Limits(field_characters=0)))


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(content: bytes) -> None:
    for start in (b"", b"AJBH,AJLB,XM\r\n"):
        decode(start + content)


def test_what_the_format_cannot_carry_is_a_coded_warning() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_RESCUED_CHILD, local_id="SYN-1", blood_sampled=True)
    record.status = case_pb2.CASE_STATUS_OPEN
    record.profile_urls.append("https://example.invalid/1")
    record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full="甲")
    record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full="乙")
    found = ADAPTER.encode([record], Limits())
    assert {issue.locator for issue in found.issues if issue.code == "FIELD_NOT_CARRIED"} == {
        "records[0].status",
        "records[0].profile_urls",
        "records[0].names",
        "records[0].blood_sampled",
    }


def test_two_records_of_one_number_are_not_mixed() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_RESCUED_CHILD, local_id="SYN-1")
    found = ADAPTER.encode([record, record], Limits())
    assert [issue.code for issue in found.issues] == ["RECORD_REPEATED"]


def test_gb18030_that_could_be_read_as_utf_8_is_written_with_its_mark() -> None:
    # The two bytes of this character in GB18030 are one character of UTF-8.
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_RESCUED_CHILD, local_id="SYN-1", narrative="模")
    assert one(ADAPTER.encode([record], Limits()).content).narrative == "模"


def test_the_end_of_a_span_and_of_a_range_is_never_cut_off_silently() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_OTHER_SEARCH, local_id="SYN-1")
    record.birth.year, record.birth.end.year, record.birth.calendar = 1988, 1990, common_pb2.CALENDAR_GREGORIAN
    record.height.value, record.height.value_max, record.height.unit = 110, 120, "cm"
    written = ADAPTER.encode([record], Limits())
    named = {issue.locator for issue in written.issues if issue.code == "FIELD_NOT_CARRIED"}
    assert "records[0].height.value_max" in named
    assert not any("birth" in locator for locator in named)
    found = one(written.content)
    assert (found.kind, found.birth.year, found.birth.end.year, found.height.value) == (record.kind, 1988, 1990, 0)
    assert (found.birth.original_text, found.height.original_text) == ("1988至1990", "110-120")
