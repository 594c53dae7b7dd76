"""What is written is read again, column by column and record by record, as CSV and as a workbook."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.base import Adapter, DecodedRecord, Limits, Severity, Source
from adapters.provincial_police.table.codes import ETHNIC_GROUPS
from adapters.provincial_police.table.columns import BY_NAME, COLUMNS, OUTSIDE_OF_CASE
from adapters.provincial_police.table.csv_adapter import ADAPTER
from adapters.provincial_police.table.dates import read_date
from adapters.provincial_police.table.text import one_dot, parts_of
from adapters.provincial_police.table.xlsx_adapter import ADAPTER as XLSX
from adapters.records.sections import split
from caseexchange.records.v1 import case_pb2, common_pb2
from tests.support.police import only_case, table

BOTH = pytest.mark.parametrize("adapter", [ADAPTER, XLSX], ids=["csv", "xlsx"])
FULL = {
    "AJBH": "SYN-1",
    "AJLB": "2",
    "SLDW": "虚构县公安局",
    "SLDWDM": "140106000000",
    "XM": "测试·儿童甲𠮷",
    "CYM": "测试儿童旧名",
    "BM": "甲甲、小甲",
    "XBDM": "1",
    "CSRQ": "20180102",
    "NL": "5-7",
    "MZDM": "05",
    "GMSFHM": "999999201801020011",
    "ZJLX": "414",
    "ZJHM": "SYN-P-1",
    "JSZH": "SYN-L-1",
    "HPHM": "虚A00001",
    "SJHM": "000-0000-0001",
    "WLZH": "虚构账号",
    "HJDXZ": "虚构县样例村1号",
    "HJDQH": "140102",
    "XZZXZ": "虚构市样例路2号",
    "XZZQH": "140106",
    "GZDW": "虚构小学",
    "SG": "约123厘米",
    "TZ": "60斤",
    "XX": "AB",
    "TMTZ": "左肘有胎记（虚构）",
    "YCTZ": "缺一颗门牙（虚构）",
    "YZTZ": "蓝色上衣（虚构）",
    "XDWP": "红色书包（虚构）",
    "KY": "样例口音",
    "JKZK": "良好",
    "JSBS": "无",
    "SHXG": "喜欢画画（虚构）",
    "SHGX": "虚构亲属",
    "SZSJ": "2026年11月3日14：30",
    "SZDD": "虚构小学门口",
    "SZDQH": "140106",
    "SZQYX": "虚构言行",
    "SZYY": "2",
    "ZXXZ": "虚构查找",
    "FXSJ": "20261105",
    "FXDD": "虚构车站",
    "FXDQH": "140100",
    "JYAQ": "虚构案情",
    "BARXM": "样例家属甲",
    "BARGX": "母亲",
    "BARDH": "000-0000-0002",
    "BARDW": "虚构工厂",
    "BARZZ": "虚构市样例路3号",
    "LXR": "样例民警甲",
    "LXRGX": "承办人",
    "LXDH": "000-0000-0003",
    "LXDW": "虚构派出所",
}
"""Every column that one row can fill; CH is read into the same place as BM."""


def test_every_column_of_the_case_is_in_the_example() -> None:
    assert set(FULL) == set(BY_NAME) - OUTSIDE_OF_CASE - {"CH"}


@pytest.mark.parametrize("heading", ["name", "label", "english"])
def test_every_column_is_written_as_it_was_read_whatever_headed_it(heading: str) -> None:
    record = only_case(table({getattr(BY_NAME[name], heading): cell for name, cell in FULL.items()}))
    assert {column.name: column.write(record) for column in COLUMNS if column.write(record)} == FULL


@BOTH
def test_a_record_of_every_column_comes_back_whole(adapter: Adapter) -> None:
    record = only_case(table(FULL))
    written = adapter.encode([record], Limits())
    assert written.issues == ()
    (item,) = adapter.decode(Source(written.content), Limits()).records
    assert item.record.provenance.unmapped[0].path == "HPHM"
    assert bare(item) == cleared(record)


def test_codes_may_be_written_in_words() -> None:
    words = {"XBDM": "女", "MZDM": "维吾尔族", "AJLB": "失踪儿童", "SZYY": "离家出走", "ZJLX": "111", "ZJHM": "x"}
    record = only_case(table({"AJBH": "SYN-1", **words}))
    assert (record.sex, record.kind, record.event) == (
        common_pb2.SEX_FEMALE,
        case_pb2.CASE_KIND_MISSING_CHILD,
        case_pb2.EVENT_KIND_RAN_AWAY,
    )
    assert (record.ethnicity.value, record.ethnicity.display) == ("05", "维吾尔族")
    assert (record.documents[0].type.system, record.documents[0].number) == ("GB 11643", "X")


@pytest.mark.parametrize("licence", [{}, {"JSZH": "SYN-L-1"}], ids=["alone", "beside another"])
@pytest.mark.parametrize("first", ["ZJLX", "ZJHM", "JSZH"])
def test_a_driving_licence_in_the_columns_of_other_documents_keeps_its_number(
    licence: dict[str, str], first: str
) -> None:
    cells = {"ZJLX": "335", "ZJHM": "SYN-L-2", **licence}
    ordered = {name: cells[name] for name in sorted(cells, key=lambda name: name != first)}
    documents = only_case(table({"AJBH": "SYN-1", "AJLB": "2", **ordered})).documents
    assert sorted((item.type.value, item.number) for item in documents) == [
        ("335", number) for number in sorted([*licence.values(), "SYN-L-2"])
    ]


@pytest.mark.parametrize(
    ("column", "cell", "code"),
    [
        ("XBDM", "3", "SEX_UNKNOWN"),
        ("NL", "不详", "AGE_NOT_READ"),
        ("NL", "7-5", "AGE_NOT_READ"),
        ("NL", "200", "AGE_NOT_READ"),
        ("SZYY", "原因不明", "EVENT_KIND_UNKNOWN"),
        ("GMSFHM", "4.40308E+17", "RESIDENT_ID_ROUNDED"),
        ("GMSFHM", "４.40308e＋17", "RESIDENT_ID_ROUNDED"),
        ("ZJHM", "4.40308E+17", "NUMBER_ROUNDED"),
        ("LXDH", "1.39E+10", "NUMBER_ROUNDED"),
    ],
)
def test_a_cell_that_no_field_can_take_is_kept_and_comes_back(column: str, cell: str, code: str) -> None:
    content = table({"AJBH": "SYN-1", "AJLB": "2", column: cell})
    assert [issue.code for issue in ADAPTER.decode(Source(content), Limits()).issues] == [code]
    record = only_case(content)
    assert [(item.path, item.value) for item in record.provenance.unmapped] == [(column, cell)]
    assert only_case(ADAPTER.encode([record], Limits()).content).provenance.unmapped == record.provenance.unmapped


@pytest.mark.parametrize(
    ("column", "cell", "value", "code"),
    [
        ("SG", "123", 123, ""),
        ("SG", "123.0", 123, ""),
        ("SG", "１２３", 123, ""),
        ("SG", "1.23", 123, ""),
        ("SG", "1.23米", 123, ""),
        ("SG", "1米23", 123, ""),
        ("SG", "123公分", 123, ""),
        ("SG", "4'00\"", 121.92, ""),
        ("SG", "约123厘米", 123, ""),
        ("SG", "123米", 0, "HEIGHT_IMPLAUSIBLE"),
        ("SG", "1.23厘米", 0, "HEIGHT_IMPLAUSIBLE"),
        ("SG", "900", 0, "HEIGHT_IMPLAUSIBLE"),
        ("SG", "很高", 0, "HEIGHT_NOT_READ"),
        ("TZ", "30", 30, ""),
        ("TZ", "60斤", 30, ""),
        ("TZ", "30公斤左右", 30, ""),
        ("TZ", "900", 0, "WEIGHT_IMPLAUSIBLE"),
        ("TZ", "很轻", 0, "WEIGHT_NOT_READ"),
    ],
)
def test_measures_have_one_unit_and_keep_their_text(column: str, cell: str, value: float, code: str) -> None:
    content = table({"AJBH": "SYN-1", "AJLB": "2", column: cell})
    record = only_case(content)
    measure = record.height if column == "SG" else record.weight
    assert (measure.value, measure.original_text) == (value, cell)
    assert [issue.code for issue in ADAPTER.decode(Source(content), Limits()).issues] == ([code] if code else [])


def test_codes_that_a_program_took_for_numbers_with_a_fraction_are_the_codes() -> None:
    cells = {
        "AJLB": "2.0",
        "XBDM": "1.0",
        "NL": "8.0",
        "MZDM": "11.0",
        "HJDQH": "140106.0",
        "YBTM": "SYN-B",
        "YBJS": "2.0",
    }
    found = ADAPTER.decode(Source(table({"AJBH": "SYN-1", **cells})), Limits())
    record = found.records[0].record
    assert isinstance(record, case_pb2.CaseRecord)
    assert (record.sex, record.age.least, record.ethnicity.value) == (common_pb2.SEX_MALE, 8, "11")
    assert record.household.division.value == "140106"
    assert found.issues == ()


def test_the_day_on_which_a_sample_was_taken_is_doubted_like_any_other() -> None:
    content = table({"AJBH": "SYN-1", "AJLB": "1", "YBTM": "SYN-B", "YBCJSJ": "不详"})
    found = ADAPTER.decode(Source(content), Limits())
    assert [(issue.code, issue.locator) for issue in found.issues] == [("DATE_NOT_READ", "row 2, column YBCJSJ")]


def test_a_lost_zero_is_put_back_where_the_table_leaves_no_doubt() -> None:
    found = ADAPTER.decode(Source(table({"AJBH": "SYN-1", "AJLB": "2", "MZDM": "5"})), Limits())
    assert [(issue.code, issue.severity) for issue in found.issues] == [("LEADING_ZERO_LOST", Severity.WARN)]
    assert isinstance(found.records[0].record, case_pb2.CaseRecord)
    assert found.records[0].record.ethnicity.value == "05"


def test_what_another_format_left_over_under_a_columns_heading_is_not_written_over_it() -> None:
    record = only_case(table({"AJBH": "SYN-1", "AJLB": "2", "XM": "测试儿童甲"}))
    for path, value in (("姓名", "别人"), ("XM", "别人"), ("XP", "x.png"), ("备注", "虚构")):
        record.provenance.unmapped.add(path=path, value=value)
    written = ADAPTER.encode([record], Limits())
    assert [issue.code for issue in written.issues] == ["FIELD_NOT_CARRIED"] * 3
    again = only_case(written.content)
    assert again.names == record.names
    assert [(item.path, item.value) for item in again.provenance.unmapped] == [("备注", "虚构")]


def bare(item: DecodedRecord) -> case_pb2.CaseRecord:
    assert isinstance(item.record, case_pb2.CaseRecord)
    return cleared(item.record)


def cleared(record: case_pb2.CaseRecord) -> case_pb2.CaseRecord:
    copy = case_pb2.CaseRecord()
    copy.CopyFrom(record)
    copy.ClearField("provenance")
    return copy


TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Co", "Zs", "Zl", "Zp", "Cn")),
    min_size=1,
    max_size=12,
)
NAME = TEXT.filter(lambda name: one_dot(name) == name)
"""A name with the one dot that the format has between two of its characters."""
LISTED = NAME.filter(lambda name: parts_of(name) == [name])
"""A name that a cell can list beside others."""


def called(full: str, *others: str) -> case_pb2.CaseRecord:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1")
    record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full=full)
    for other in others:
        record.names.add(kind=common_pb2.NAME_KIND_ALIAS, full=other)
    return record


@st.composite
def cases(draw: st.DrawFn) -> case_pb2.CaseRecord:
    record = case_pb2.CaseRecord(
        kind=draw(st.sampled_from(case_pb2.CaseKind.values()[1:])),
        event=draw(st.sampled_from(case_pb2.EventKind.values())),
        local_id=draw(TEXT),
        sex=draw(st.sampled_from(common_pb2.Sex.values())),
        narrative=draw(TEXT),
    )
    record.names.extend(called(draw(NAME), *draw(st.lists(LISTED, max_size=3))).names)
    for kind in draw(
        st.sets(
            st.sampled_from(
                [kind for kind in common_pb2.FeatureKind.values()[1:] if kind != common_pb2.FEATURE_KIND_MENTAL]
            )
        )
    ):
        record.features.add(kind=kind, text=draw(TEXT))
    record.found_place.text = draw(TEXT)
    record.residence.text = draw(TEXT)
    record.handling_organ.display = draw(TEXT)
    for role in draw(st.sets(st.sampled_from(common_pb2.ContactRole.values()))):
        record.contacts.add(name=draw(TEXT), phone=draw(TEXT), role=role)
    record.birth.CopyFrom(read_date(draw(st.dates()).strftime("%Y%m%d")).date)
    code = draw(st.sampled_from(sorted(ETHNIC_GROUPS)))
    record.ethnicity.MergeFrom(common_pb2.Code(system="GB/T 3304", value=code, display=ETHNIC_GROUPS[code]))
    return record


@BOTH
@given(record=cases())
@example(record=called("、.、"))
@example(record=called("测试", "甲", ".乙", "（.）"))
def test_what_is_written_is_read_again(adapter: Adapter, record: case_pb2.CaseRecord) -> None:
    encoded = adapter.encode([record], Limits())
    assert encoded.issues == ()
    (item,) = adapter.decode(Source(encoded.content), Limits()).records
    again = bare(item)
    for field in ("features", "contacts"):
        getattr(again, field).sort(key=str)
        getattr(record, field).sort(key=str)
    assert again == record


@pytest.mark.parametrize("text", ["\u200b测试", "测试\ue81e", "测试 ", "\u3000"])
@BOTH
def test_a_text_that_reading_would_change_is_a_coded_warning(adapter: Adapter, text: str) -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1", narrative=text)
    found = adapter.encode([record], Limits())
    assert [(issue.code, issue.locator) for issue in found.issues] == [("FIELD_NOT_CARRIED", "records[0].narrative")]


def test_a_character_that_a_workbook_cannot_hold_is_a_coded_warning() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1", narrative="测\x08试")
    assert [issue.code for issue in XLSX.encode([record], Limits()).issues] == ["FIELD_NOT_CARRIED"]
    assert only_case(ADAPTER.encode([record], Limits()).content).narrative == "测\x08试"


def test_a_mental_history_is_in_no_section_that_the_description_of_a_person_is_in() -> None:
    record = only_case(table({"AJBH": "SYN-1", "AJLB": "2", "JSBS": "SYN-HISTORY"}))
    holding = {name for name, content in split(record).items() if b"SYN-HISTORY" in content}
    assert holding == {"provenance"}
