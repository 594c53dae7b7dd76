"""The table that Person Finder imports: one row a person and, maybe, a note. All data are synthetic."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Decoded, Limits, Severity, Source, kind_of
from adapters.ngo.pfif.adapter import ADAPTER as PFIF
from adapters.ngo.pfif.csv_adapter import ADAPTER
from caseexchange.records.v1 import case_pb2, common_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "ngo" / "samples" / "persons.csv"
LIMITS = Limits()
ID = "synthetic.example/1"
NOTE = {"note_record_id": "synthetic.example/n1", "text": "seen"}


def table(*rows: dict[str, str]) -> bytes:
    header = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def row(**cells: str) -> dict[str, str]:
    return {"person_record_id": ID, "full_name": "测试儿童甲", **cells}


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return ADAPTER.decode(Source(content), limits)


def kinds(found: Decoded) -> list[str]:
    return [kind_of(item.record) for item in found.records]


def codes(found: Decoded) -> list[str]:
    return sorted({issue.code for issue in found.issues})


def test_the_sample_is_read_whole_and_can_be_written_as_pfif() -> None:
    found = decode(SAMPLE.read_bytes())
    assert (kinds(found), found.issues) == (["CaseRecord", "Tip", "Tip", "CaseRecord"], ())
    child, tip, second, _ = (item.record for item in found.records)
    assert isinstance(child, case_pb2.CaseRecord)
    assert isinstance(tip, case_pb2.Tip)
    assert isinstance(second, case_pb2.Tip)
    assert [(name.kind, name.full) for name in child.names] == [
        (common_pb2.NAME_KIND_LEGAL, "测试儿童乙"),
        (common_pb2.NAME_KIND_ALIAS, "小乙"),
    ]
    assert (child.sex, child.age.least, child.household.text) == (common_pb2.SEX_FEMALE, 6, "虚构市")
    assert (tip.place.text, tip.reporter.name, second.reporter.name) == ("虚构市车站", "样例志愿者", "样例志愿者")
    written = PFIF.encode([item.record for item in found.records], LIMITS)
    assert not written.issues
    assert b"<author_made_contact>false</author_made_contact>" in written.content
    again = PFIF.decode(Source(written.content), LIMITS)
    assert sorted(kinds(again)) == sorted(kinds(found))
    assert not again.issues


def test_columns_have_the_names_of_any_version_and_unknown_ones_are_kept() -> None:
    found = decode(
        table(
            {"Person_Record_ID": ID, "first_name": "丁", "other": "description:\n    x", "found": "TRUE", "样例": "y"}
        )
    )
    (item, *_) = found.records
    assert isinstance(item.record, case_pb2.CaseRecord)
    assert (item.record.names[0].given, item.record.narrative) == ("丁", "x")
    assert ("样例", "y") in {(kept.path, kept.value) for kept in item.record.provenance.unmapped}
    assert codes(found) == ["FIELD_UNKNOWN", "RECORD_ID_MISSING"]


HEADER = "person_record_id,full_name,home_neighborhood,home_city,note_record_id,status,text"


def test_a_row_with_the_cell_of_a_street_that_the_header_does_not_name_is_read_with_it() -> None:
    found = decode(f"{HEADER}\n{ID},测试,街,区,市,synthetic.example/n1,believed_missing,seen\n".encode())
    child = found.records[0].record
    assert isinstance(child, case_pb2.CaseRecord)
    assert (kinds(found), codes(found), child.household.text) == (
        ["CaseRecord", "Tip"],
        ["COLUMN_MISSING"],
        "街, 区, 市",
    )


@pytest.mark.parametrize(
    "row",
    [
        f"{ID},测试,区,市,synthetic.example/n1,believed_missing,seen,more",
        f"{ID},测试,街,区,市,synthetic.example/n1,,seen",
        f"{ID},测试,街,区,市,synthetic.example/n1,believed_missing,seen,more",
    ],
)
def test_a_row_with_a_cell_too_many_is_refused_where_it_cannot_be_told_which(row: str) -> None:
    found = decode(f"{HEADER}\n{row}\n".encode())
    assert (found.records, codes(found)) == ((), ["ROW_MALFORMED"])


def test_a_row_without_a_note_is_a_person_alone() -> None:
    assert kinds(decode(table(row(note_record_id="", text="")))) == ["CaseRecord"]


def test_more_rows_of_a_person_are_more_notes_and_a_person_who_differs_is_refused() -> None:
    second = row(note_record_id="synthetic.example/n2", text="again")
    bare = {"person_record_id": ID, "note_record_id": "synthetic.example/n3", "text": "more"}
    other = row(full_name="测试儿童乙")
    found = decode(table(row(**NOTE), second, bare, other))
    assert kinds(found) == ["CaseRecord", "Tip", "Tip", "Tip"]
    assert [(issue.severity, issue.code, issue.locator) for issue in found.issues] == [
        (Severity.REJECT_RECORD, "RECORD_REPEATED", "row 5")
    ]


def test_a_person_and_a_note_may_have_one_number() -> None:
    found = decode(table(row(person_record_id="1", note_record_id="1", text="seen")))
    assert (kinds(found), codes(found)) == (["CaseRecord", "Tip"], ["RECORD_ID_FORM"])


@pytest.mark.parametrize(
    ("rows", "read", "code"),
    [
        ([row(person_record_id="")], 0, "RECORD_ID_MISSING"),
        ([row(text="seen")], 1, "RECORD_ID_MISSING"),
        ([row(note_record_id="synthetic.example/n1")], 1, "FIELD_MISSING"),
        ([row(**NOTE), row(**NOTE)], 2, "RECORD_REPEATED"),
        ([row(description="x" * 20_001)], 0, "FIELD_TOO_LONG"),
    ],
)
def test_a_row_in_doubt_is_refused_by_its_code_and_holds_back_no_other(
    rows: list[dict[str, str]], read: int, code: str
) -> None:
    found = decode(table(*rows, row(person_record_id="synthetic.example/other")))
    assert (len(found.records), codes(found)) == (read + 1, [code])


def test_an_expired_person_is_a_withdrawal_and_their_notes_are_refused() -> None:
    time = "1999-02-03T04:05:06Z"
    found = decode(table(row(expiry_date=time, source_date=time, full_name="SECRET", **NOTE)))
    (item,) = found.records
    assert isinstance(item.record, case_pb2.Correction)
    assert (item.record.kind, item.case_reference) == (case_pb2.CORRECTION_KIND_WITHDRAW, ID)
    assert b"SECRET" not in item.record.SerializeToString()
    assert codes(found) == ["PFIF_EXPIRED"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "HEADER_MISSING"),
        (b"full_name\r\nx\r\n", "HEADER_MISSING"),
        (b"person_record_id,other,description\r\n", "HEADER_MISSING"),
        (b"person_record_id\r\n\xff\r\n", "ENCODING_UNKNOWN"),
        (b"person_record_id\r\n\0\r\n", "NUL_BYTE"),
        (b'person_record_id\r\n"x', "CSV_MALFORMED"),
        (b"person_record_id" + b"," * 2_000_000, "CSV_MALFORMED"),
        (b"person_record_id\r\n" + b'"\n",' * 400_000, "CSV_MALFORMED"),
        (b'person_record_id\r\n"' + b"x" * 200_000 + b'"\r\n', "CSV_MALFORMED"),
    ],
    ids=["empty", "no id", "one field twice", "encoding", "nul", "quote", "wide", "wide over lines", "long"],
)
def test_a_file_that_is_no_such_table_is_refused_as_a_whole(content: bytes, code: str) -> None:
    found = decode(content)
    assert (found.rejected, codes(found)) == (True, [code])


def test_limits_hold_and_empty_and_uneven_rows_are_told() -> None:
    content = table(row(), row(person_record_id="synthetic.example/2"))
    assert codes(decode(content, replace(LIMITS, records=1))) == ["TOO_MANY_RECORDS"]
    assert codes(decode(content, replace(LIMITS, bytes=10))) == ["FILE_TOO_LARGE"]
    assert codes(decode(b"\xef\xbb\xbfperson_record_id,full_name\r\n\r\n")) == ["NO_RECORDS"]
    assert codes(decode(b"person_record_id,full_name\r\na/b,c,d\r\n")) == ["ROW_MALFORMED"]


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    decode(b"person_record_id,note_record_id,text,age,sex,date_of_birth\r\n" + text.encode(errors="replace"))


def test_no_issue_quotes_a_value() -> None:
    marked = dict.fromkeys(("sex", "age", "date_of_birth", "SECRETS", "expiry_date", "status", "source_date"), "SECRET")
    found = decode(table(row(person_record_id="SECRET", note_record_id="SECRET", text="x", **marked)))
    assert len(found.issues) > 5
    assert all("SECRET" not in f"{issue.locator} {issue.message}" for issue in found.issues)


def test_writing_is_refused_because_the_format_is_only_read() -> None:
    written = ADAPTER.encode([case_pb2.CaseRecord(), case_pb2.Tip()], LIMITS)
    assert (written.content, [issue.code for issue in written.issues]) == (b"", ["FORMAT_NOT_WRITTEN"])
    assert ADAPTER.encodes == frozenset()
