"""Workbooks of searches for missing kin: labels, free texts, damaged cells, the way back. All data are synthetic."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from adapters.base import Decoded, Encoded, Limits, Record, Severity, Source
from adapters.ngo.family_search.adapter import ADAPTER
from adapters.ngo.family_search.columns import BY_LABEL, COLUMNS, HEADER, WARNINGS
from adapters.ngo.family_search.sheet import clean
from adapters.syntax.spreadsheet import write_sheet
from caseexchange.records.v1 import case_pb2, common_pb2, notice_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "ngo" / "samples" / "family-search.xlsx"
LIMITS = Limits()
NUMBER = "SYN-10001"
SHEET = "xl/worksheets/sheet1.xml"


def book(*sheets: list[list[object]]) -> bytes:
    """A workbook with cells of their own types."""
    found = Workbook()
    found.remove(found.worksheets[0])
    for rows in sheets:
        sheet = found.create_sheet()
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    found.save(out)
    return out.getvalue()


def row(**cells: object) -> dict[str, object]:
    return {"寻亲类别": "家寻宝贝", "寻亲编号": NUMBER, "姓名": "测试儿童甲", **cells}


def table(*rows: dict[str, object]) -> list[list[object]]:
    header = list(dict.fromkeys(label for cells in rows for label in cells))
    return [[*header], *([cells.get(label) for label in header] for cells in rows)]


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return ADAPTER.decode(Source(content), limits)


def encode(*records: Record) -> Encoded:
    return ADAPTER.encode(records, LIMITS)


def cases(found: Decoded) -> list[case_pb2.CaseRecord]:
    return [item.record for item in found.records if isinstance(item.record, case_pb2.CaseRecord)]


def one(**cells: object) -> case_pb2.CaseRecord:
    (record,) = cases(decode(book(table(row(**cells)))))
    return record


def codes(found: Decoded | Encoded) -> list[str]:
    return sorted({issue.code for issue in found.issues})


def codes_of(**cells: object) -> list[str]:
    return codes(decode(book(table(row(**cells)))))


def kept(record: case_pb2.CaseRecord) -> dict[str, str]:
    return {item.path: item.value for item in record.provenance.unmapped}


def essence(record: case_pb2.CaseRecord) -> case_pb2.CaseRecord:
    copy = case_pb2.CaseRecord()
    copy.CopyFrom(record)
    copy.ClearField("provenance")
    return copy


def with_sheet(content: bytes, change: bytes, into: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            data = old.read(part)
            assert part != SHEET or change in data
            new.writestr(part, data.replace(change, into) if part == SHEET else data)
    return out.getvalue()


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_sample_is_read_whole_and_comes_back_without_a_loss() -> None:
    found = decode(SAMPLE.read_bytes())
    assert [item.locator for item in found.records] == ["sheet 1, row 4", "sheet 1, row 5", "sheet 1, row 6"]
    assert codes(found) == ["BLOOD_NOT_READ", "DATE_PARTLY_READ", "HEIGHT_NOT_READ"]
    written = encode(*cases(found))
    assert not written.issues
    again = decode(written.content)
    assert [essence(record) for record in cases(again)] == [essence(record) for record in cases(found)]
    assert [kept(record) for record in cases(again)] == [kept(record) for record in cases(found)]
    assert encode(*cases(again)).content == written.content


@pytest.mark.parametrize("label", [label for column in COLUMNS for label in (column.label, *column.variants)])
def test_every_label_of_a_column_is_read_as_that_column(label: str) -> None:
    texts = {"寻亲类别": "宝贝寻家", "性别": "女", "失踪类型": "走失", "采血情况": "已采血", "失踪时身高": "90cm"}
    column = BY_LABEL[label]
    text = texts.get(column.label, "1988年" if column.is_date else "合成文字")
    cells = {key: value for key, value in row().items() if key != column.label} | {label: text}
    (record,) = cases(decode(book(table(cells))))
    assert column.write(record) == text
    assert label not in kept(record)


def test_labels_are_known_with_blanks_colons_and_full_width_forms() -> None:
    content = book(
        [[" 寻亲 编号：", "类别", "姓名*", "其他情况／共同经历资料"], [NUMBER, "家寻宝贝", "测试儿童甲", "合成"]]
    )
    (record,) = cases(decode(content))
    assert (record.local_id, record.narrative, kept(record)) == (NUMBER, "合成", {})


@pytest.mark.parametrize(
    ("category", "kind", "event"),
    [
        ("家寻宝贝", case_pb2.CASE_KIND_MISSING_CHILD, 0),
        ("宝贝寻家", case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD, 0),
        ("流浪乞讨", case_pb2.CASE_KIND_VAGRANT_CHILD, 0),
        ("海外寻亲", case_pb2.CASE_KIND_OTHER_SEARCH, 0),
        ("其他寻人", case_pb2.CASE_KIND_OTHER_SEARCH, 0),
        ("家寻宝贝（被拐）", case_pb2.CASE_KIND_MISSING_CHILD, case_pb2.EVENT_KIND_ABDUCTED),
        ("家寻宝贝-离家出走", case_pb2.CASE_KIND_MISSING_CHILD, case_pb2.EVENT_KIND_RAN_AWAY),
    ],
)
def test_a_category_says_who_is_sought_and_its_text_is_kept_where_it_says_more(
    category: str, kind: case_pb2.CaseKind.ValueType, event: int
) -> None:
    found = decode(book(table(row(寻亲类别=category))))
    (record,) = cases(found)
    assert (record.kind, record.event, found.issues) == (kind, event, ())
    assert kept(record).get("寻亲类别", category) == category


@pytest.mark.parametrize(
    ("category", "code"), [("被拐", "CATEGORY_NOT_STATED"), ("样例", "CATEGORY_UNKNOWN"), (None, "CATEGORY_NOT_STATED")]
)
def test_a_row_that_does_not_say_who_seeks_whom_is_no_missing_child(category: str | None, code: str) -> None:
    found = decode(book(table(row(寻亲类别=category))))
    (record,) = cases(found)
    assert (record.kind, codes(found)) == (case_pb2.CASE_KIND_OTHER_SEARCH, [code])
    assert kept(record) == ({"寻亲类别": category} if category else {})


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("被拐", case_pb2.EVENT_KIND_ABDUCTED),
        ("走失", case_pb2.EVENT_KIND_STRAYED),
        ("遗弃", case_pb2.EVENT_KIND_ABANDONED),
        ("送养", case_pb2.EVENT_KIND_GIVEN_AWAY),
        ("离家出走", case_pb2.EVENT_KIND_RAN_AWAY),
    ],
)
def test_what_happened_is_read_from_a_whole_cell(text: str, event: case_pb2.EventKind.ValueType) -> None:
    assert one(失踪类型=text).event == event
    doubtful = one(失踪类型=f"{text}或其他")
    assert (doubtful.event, kept(doubtful)) == (case_pb2.EVENT_KIND_UNSPECIFIED, {"失踪类型": f"{text}或其他"})


def test_an_event_that_contradicts_the_category_is_said_and_both_texts_are_kept() -> None:
    found = decode(book(table(row(寻亲类别="家寻宝贝（被拐）", 失踪类型="走失"))))
    (record,) = cases(found)
    assert (record.event, codes(found)) == (case_pb2.EVENT_KIND_STRAYED, ["EVENT_CONTRADICTION"])
    assert kept(record)["寻亲类别"] == "家寻宝贝（被拐）"


@pytest.mark.parametrize(
    ("text", "sampled", "warned"),
    [
        ("已采血", True, []),
        ("已入库", True, []),
        ("未采血", False, []),
        ("母亲已采血", False, ["BLOOD_NOT_READ"]),
        ("不是已采血", False, ["BLOOD_NOT_READ"]),
    ],
)
def test_whether_blood_was_taken_is_never_guessed_from_a_part_of_the_text(
    text: str, *, sampled: bool, warned: list[str]
) -> None:
    record = one(采血情况=text)
    assert (record.blood_sampled, codes_of(采血情况=text)) == (sampled, warned)
    assert kept(record).get("采血情况", "已采血") in {text, "已采血"}
    assert sampled or kept(record)["采血情况"] == text


@pytest.mark.parametrize(
    ("text", "value", "warned"),
    [
        ("110cm", 110, []),
        ("110 厘米", 110, []),
        ("１１０公分", 110, []),
        ("1.1米", 110, []),
        ("110", 0, ["HEIGHT_UNIT_MISSING"]),
        ("一米二左右", 0, ["HEIGHT_NOT_READ"]),
        ("到大人肩膀", 0, ["HEIGHT_NOT_READ"]),
        ("900cm", 0, ["HEIGHT_IMPLAUSIBLE"]),
        ("1米2", 120, []),
        ("约110厘米", 110, ["HEIGHT_APPROXIMATE"]),
    ],
)
def test_a_height_in_words_keeps_its_words_and_no_unit_is_guessed(text: str, value: float, warned: list[str]) -> None:
    record = one(失踪时身高=text)
    assert (record.height.value, record.height.original_text) == (value, text)
    assert codes_of(失踪时身高=text) == warned


def test_free_text_dates_keep_text_calendar_and_what_they_say() -> None:
    record = one(出生日期="农历1988年正月初八", 失踪时间="1992年腊月或1993年正月")
    assert record.birth == common_pb2.PartialDate(
        year=1988, month=1, day=8, calendar=common_pb2.CALENDAR_LUNAR, original_text="农历1988年正月初八"
    )
    assert (record.event_date.month, record.event_date.end.month) == (12, 1)
    assert codes_of(失踪时间="1988年2月30日") == ["DATE_IMPOSSIBLE"]


@pytest.mark.parametrize(
    ("value", "text", "numbers", "warned"),
    [
        (datetime(1988, 1, 2), "1988-01-02", (1988, 1, 2), []),  # noqa: DTZ001
        (datetime(1988, 1, 2, 10, 30), "1988-01-02T10:30:00", (1988, 1, 2), ["DATE_PARTLY_READ"]),  # noqa: DTZ001
        (32144, "1988-01-02", (1988, 1, 2), ["DATE_FROM_SERIAL"]),
        (32144.5, "1988-01-02", (1988, 1, 2), ["DATE_FROM_SERIAL"]),
        ("32144", "1988-01-02", (1988, 1, 2), ["DATE_FROM_SERIAL"]),
        (1988, "1988", (1988, 0, 0), []),
        (19880102, "19880102", (1988, 1, 2), []),
        ("1988-1-2", "1988-1-2", (1988, 1, 2), []),
        (True, "TRUE", (0, 0, 0), ["DATE_NOT_READ"]),
    ],
)
def test_a_date_may_be_a_date_a_serial_number_or_a_text(
    value: object, text: str, numbers: tuple[int, int, int], warned: list[str]
) -> None:
    birth = one(出生日期=value).birth
    assert (birth.original_text, (birth.year, birth.month, birth.day)) == (text, numbers)
    assert codes_of(出生日期=value) == warned


def test_the_second_row_of_a_number_is_refused_on_another_sheet_too() -> None:
    found = decode(book(table(row(), row(寻亲编号="SYN-2")), table(row(姓名="测试儿童乙"))))
    assert [item.case_reference for item in found.records] == [NUMBER, "SYN-2"]
    assert [(issue.severity, issue.code, issue.locator) for issue in found.issues] == [
        (Severity.REJECT_RECORD, "RECORD_REPEATED", "sheet 2, row 2")
    ]


def test_a_row_without_a_number_is_refused_and_holds_back_no_other() -> None:
    found = decode(book(table(row(寻亲编号=None), row())))
    assert ([item.locator for item in found.records], codes(found)) == (["sheet 1, row 3"], ["FIELD_MISSING"])


def test_a_number_that_a_spreadsheet_has_rounded_is_nobodys() -> None:
    assert codes(decode(book(table(row(寻亲编号=440308199901101512))))) == ["FIELD_MISSING", "NUMBER_ROUNDED"]


def test_title_rows_stand_above_the_header_and_the_header_may_stand_again() -> None:
    rows = table(row(), row(寻亲编号="SYN-2"))
    content = book([["合成标题"], [], ["说明", "文字"], *rows[:2], rows[0], rows[2]])
    found = decode(content)
    assert ([item.locator for item in found.records], found.issues) == (["sheet 1, row 5", "sheet 1, row 7"], ())


def test_sheets_without_a_table_are_told_and_a_file_without_one_is_refused() -> None:
    notes: list[list[object]] = [["合成说明"]]
    assert codes(decode(book(notes, table(row())))) == ["SHEET_WITHOUT_TABLE"]
    found = decode(book(notes))
    assert (found.rejected, codes(found)) == (True, ["HEADER_MISSING", "SHEET_WITHOUT_TABLE"])
    far: list[list[object]] = [["x"]] * 40
    assert codes(decode(book([*far, *table(row())]))) == ["HEADER_MISSING", "SHEET_WITHOUT_TABLE"]


def test_a_table_without_rows_is_told() -> None:
    assert codes(decode(book(table(row())[:1]))) == ["NO_RECORDS"]


def test_unknown_and_repeated_columns_and_cells_beside_the_table_are_kept() -> None:
    cells = row(失踪人所在地="虚构省", 籍贯="虚构县", 样例列="合成", 注册时间="2026-01-02")
    found = decode(book([[*cells], [*cells.values(), "旁边"]]))
    (record,) = cases(found)
    assert codes(found) == ["COLUMN_REPEATED", "COLUMN_UNKNOWN"]
    assert record.household.text == "虚构省"
    assert kept(record) == {"籍贯": "虚构县", "样例列": "合成", "注册时间": "2026-01-02", "column8": "旁边"}
    (again,) = cases(decode(encode(record).content))
    assert (essence(again), kept(again)) == (essence(record), kept(record))


def test_a_name_that_says_unknown_is_no_name() -> None:
    record = one(姓名="不详")
    assert (list(record.names), kept(record)) == ([], {"姓名": "不详"})


@pytest.mark.parametrize("mark", ["_x0008_", "_x0014_", "\x7f", "\x85"])
def test_control_characters_are_left_out_with_a_warning(mark: str) -> None:
    assert one(其他资料=f"合{mark}成").narrative == "合成"
    assert codes_of(其他资料=f"合{mark}成") == ["CONTROL_CHARACTER"]


def test_a_line_break_is_no_control_character() -> None:
    assert one(其他资料="合\r\n成_x000D_\n").narrative == "合\n成"
    assert codes_of(其他资料="合\r\n成") == []


def test_a_raw_control_character_in_the_markup_refuses_the_file_by_a_code() -> None:
    content = write_sheet("a", [["寻亲编号", "类别", "姓名"], [NUMBER, "家寻宝贝", "AXB"]])
    assert codes(decode(with_sheet(content, b"AXB", b"A\x08B"))) == ["XLSX_MALFORMED"]
    assert codes(decode(with_sheet(content, b"AXB", b"&e;"))) == ["XLSX_MALFORMED"]


def test_limits_hold() -> None:
    content = book(table(row(), row(寻亲编号="SYN-2")), table(row(寻亲编号="SYN-3")))
    assert codes(decode(content, replace(LIMITS, records=2))) == ["TOO_MANY_RECORDS"]
    assert codes(decode(content, replace(LIMITS, bytes=10))) == ["FILE_TOO_LARGE"]
    long = decode(book(table(row(其他资料="x" * 20_001), row(寻亲编号="SYN-2"))))
    assert ([item.case_reference for item in long.records], codes(long)) == (["SYN-2"], ["FIELD_TOO_LONG"])
    cut = SAMPLE.read_bytes()[:-30]
    assert codes(decode(cut)) == ["XLSX_MALFORMED"]


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(content: bytes) -> None:
    decode(b"PK\x03\x04" + content)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20), max_size=15))
def test_no_cell_makes_the_reader_raise_and_no_issue_quotes_one(cells: list[str]) -> None:
    marked = [f"SECRET{cell}" for cell in cells]
    found = decode(write_sheet("a", [[*HEADER], [*marked], [NUMBER, "x", "SECRET"]]))
    written = encode(*cases(found))
    assert all("SECRET" not in f"{issue.locator} {issue.message}" for issue in (*found.issues, *written.issues))


def test_every_warning_of_a_cell_has_its_words() -> None:
    assert all(code.isupper() and words for code, words in WARNINGS.items())


# --- writing ----------------------------------------------------------------------------------------------------------

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12).filter(
    lambda text: clean(text) == text and text not in {"不详", "未知", "不知道", "不清楚", "无", "无名", "无名氏"}
)


@st.composite
def carried_cases(draw: st.DrawFn) -> case_pb2.CaseRecord:
    """Cases of which the format carries every field."""
    record = case_pb2.CaseRecord(
        kind=draw(
            st.sampled_from(
                [
                    case_pb2.CASE_KIND_MISSING_CHILD,
                    case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD,
                    case_pb2.CASE_KIND_VAGRANT_CHILD,
                    case_pb2.CASE_KIND_OTHER_SEARCH,
                ]
            )
        ),
        event=draw(st.sampled_from(list(case_pb2.EventKind.values()))),
        local_id=draw(_WORDS),
        sex=draw(st.sampled_from([common_pb2.SEX_UNSPECIFIED, common_pb2.SEX_MALE, common_pb2.SEX_FEMALE])),
        blood_sampled=draw(st.booleans()),
        narrative=draw(st.one_of(st.just(""), _WORDS)),
    )
    for name in draw(st.sets(st.sampled_from(["birth", "event_date"]))):
        date = getattr(record, name)
        date.year, date.month, date.approximate = draw(st.integers(1950, 2026)), draw(st.integers(0, 12)), True
        date.calendar = draw(st.sampled_from([common_pb2.CALENDAR_LUNAR, common_pb2.CALENDAR_GREGORIAN]))
        if draw(st.booleans()):
            date.end.year, date.end.calendar = date.year + 1, date.calendar
        month = f"{date.month}月" if date.month else ""
        mark = "农历" if date.calendar == common_pb2.CALENDAR_LUNAR else ""
        last = f"或{date.end.year}年" if date.HasField("end") else ""
        date.original_text = f"约{mark}{date.year}年{month}{last}"
    for place in draw(st.sets(st.sampled_from(["event_place", "household"]))):
        getattr(record, place).text = draw(_WORDS)
    if draw(st.booleans()):
        record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full=draw(_WORDS))
        record.features.add(kind=common_pb2.FEATURE_KIND_BODY, text=draw(_WORDS))
        record.contacts.add(relation="跟进志愿者", name=draw(_WORDS))
        record.contacts.add(relation="站务", phone=draw(_WORDS))
    if draw(st.booleans()):
        record.height.value, record.height.unit = draw(st.integers(30, 200)), "cm"
        record.height.original_text = f"{record.height.value:g}cm"
    return record


@settings(deadline=None, max_examples=60)
@given(carried_cases())
def test_what_the_format_carries_comes_back_equal_and_without_a_warning(record: case_pb2.CaseRecord) -> None:
    written = encode(record)
    assert not written.issues
    found = decode(written.content)
    assert not found.issues
    assert [essence(item) for item in cases(found)] == [record]


def test_every_field_that_a_row_cannot_carry_is_a_coded_warning() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_RESCUED_CHILD, local_id=NUMBER, sex=common_pb2.SEX_OTHER)
    record.found_date.year, record.blood_group, record.status = 2026, "A", case_pb2.CASE_STATUS_OPEN
    record.found_place.text = record.event_place.country = "CN"
    record.names.add(kind=common_pb2.NAME_KIND_FORMER, full="合成")
    record.features.add(kind=common_pb2.FEATURE_KIND_HEALTH, text="合成")
    record.documents.add(number="SYN")
    record.contacts.add(relation="父亲", name="合成")
    record.photos.add(url="https://synthetic.invalid/a.png")
    record.profile_urls.append("https://synthetic.invalid/")
    record.age.least = record.age.greatest = 5
    record.weight.value, record.ethnicity.value, record.household.division.value = 20, "01", "140100"
    record.height.value, record.height.value_max, record.height.unit = 110, 120, "cm"
    record.provenance.unmapped.add(path="GMSFHM", value="SECRET")
    written = encode(record)
    assert {issue.severity for issue in written.issues} == {Severity.WARN}
    assert {issue.code for issue in written.issues} == {"FIELD_NOT_CARRIED"}
    assert {issue.locator.removeprefix("records[0].") for issue in written.issues} == {
        "kind", "sex", "status", "found_date.year", "found_place.text", "event_place.country", "blood_group", "names",
        "features", "documents", "contacts", "photos", "profile_urls", "age.least", "age.greatest", "weight.value",
        "ethnicity.value", "household.division.value", "height.value", "height.value_max", "height.unit",
        "provenance.unmapped",
    }  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(written.content)) as archive:
        assert b"SECRET" not in archive.read(SHEET)
    assert one_of(written).height.original_text == "110-120cm"


def one_of(written: Encoded) -> case_pb2.CaseRecord:
    (record,) = cases(decode(written.content))
    return record


@pytest.mark.parametrize(
    "text", ["=HYPERLINK(1)", "+1", "-1", "@x", "'1", "0012", "1E5", "TRUE", "１２３４", "440308199901101512"]
)
def test_a_cell_is_a_text_whatever_it_looks_like(text: str) -> None:
    written = encode(case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER, narrative=text))
    with zipfile.ZipFile(io.BytesIO(written.content)) as archive:
        assert b"<f>" not in archive.read(SHEET)
    assert (one_of(written).narrative, written.issues) == (text, ())


def test_characters_that_a_cell_cannot_hold_are_left_out_with_a_warning() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER, narrative="合\x08成\x14")
    written = encode(record)
    assert [issue[1:3] for issue in written.issues] == [
        ("VALUE_CUT", "records[0], 其他资料"),
        ("FIELD_NOT_CARRIED", "records[0].narrative"),
    ]
    assert one_of(written).narrative == "合成"


def test_the_sources_words_are_not_written_where_the_record_says_something_else_by_now() -> None:
    record = one(性别="男孩", 采血情况="未采血")
    assert one_of(encode(record)).sex == common_pb2.SEX_MALE
    record.sex, record.blood_sampled = common_pb2.SEX_FEMALE, True
    written = encode(record)
    assert codes(written) == ["FIELD_NOT_CARRIED"]
    assert (one_of(written).sex, one_of(written).blood_sampled) == (common_pb2.SEX_FEMALE, True)


def test_what_another_format_left_over_is_not_written() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)
    record.provenance.source_format = "pfif"
    record.provenance.unmapped.add(path="样例列", value="SECRET")
    written = encode(record)
    assert codes(written) == ["FIELD_NOT_CARRIED"]
    assert kept(one_of(written)) == {}


def test_records_that_are_no_row_are_refused_by_a_code() -> None:
    child = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)
    parent = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_SEEKING_PARENT, local_id="SYN-2")
    long = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-3", narrative="x" * 20_001)
    written = encode(child, child, parent, long, notice_pb2.PublicNotice())
    assert [(issue.severity, issue.code, issue.locator) for issue in written.issues] == [
        (Severity.REJECT_RECORD, "RECORD_REPEATED", "records[1]"),
        (Severity.REJECT_RECORD, "KIND_NOT_CARRIED", "records[2]"),
        (Severity.REJECT_RECORD, "FIELD_TOO_LONG", "records[3]"),
        (Severity.REJECT_RECORD, "KIND_NOT_CARRIED", "records[4]"),
    ]
    assert one_of(written).local_id == NUMBER
    assert ADAPTER.encode([child] * 3, replace(LIMITS, records=2)).content == b""


def test_a_workbook_of_others_is_not_taken_for_one_of_these() -> None:
    assert ADAPTER.sniff(SAMPLE.read_bytes()[:4096])
    assert not ADAPTER.sniff(write_sheet("a", [["案件编号", "姓名"]]))
    assert not ADAPTER.sniff(b"PK\x03\x04")
