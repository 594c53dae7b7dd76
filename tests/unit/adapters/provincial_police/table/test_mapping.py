"""A province's mapping: what it says, and every fault with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.base import Decoded, Limits, Source
from adapters.provincial_police.table.csv_adapter import ADAPTER
from adapters.provincial_police.table.mapping import parse_mapping
from adapters.provincial_police.table.toml_lines import entries, fault_of
from adapters.provincial_police.table.xlsx_adapter import ADAPTER as XLSX
from adapters.syntax.spreadsheet import write_sheet
from broker.core.errors import MappingInvalid
from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2
from tests.support.police import issue_codes, table

SAMPLES = Path(__file__).parents[5] / "adapters" / "provincial_police" / "samples"
MAPPING = (SAMPLES / "province.toml").read_text(encoding="utf-8")
GOOD = """\
version = 1
[columns]
"登记号" = "AJBH"
"性别类型" = { column = "XBDM", codes = "sex" }
[codes.sex]
table = "GB/T 2261.1"
values = { "M" = "1", "F" = "2" }
[constants]
AJLB = "2"
"""


def mapped(text: str, *rows: dict[str, str]) -> Decoded:
    return ADAPTER.with_mapping(text).decode(Source(table(*rows)), Limits())


def faults(text: str) -> list[str]:
    with pytest.raises(MappingInvalid) as caught:
        parse_mapping(text)
    return caught.value.message.split("; ")


def test_the_sample_mapping_reads_the_sample_export() -> None:
    found = ADAPTER.with_mapping(MAPPING).decode(Source((SAMPLES / "province.csv").read_bytes()), Limits())
    case, sample, other = (item.record for item in found.records)
    assert isinstance(case, case_pb2.CaseRecord)
    assert isinstance(sample, dna_pb2.SampleRequest)
    assert isinstance(other, case_pb2.CaseRecord)
    assert (case.sex, case.event, case.kind) == (
        common_pb2.SEX_FEMALE,
        case_pb2.EVENT_KIND_STRAYED,
        case_pb2.CASE_KIND_MISSING_CHILD,
    )
    assert (case.ethnicity.value, sample.role) == ("01", dna_pb2.SAMPLE_ROLE_MOTHER)
    assert case.handling_organ.display == "虚构省公安厅样例支队"
    assert issue_codes(found) == {"COLUMN_UNKNOWN", "DIVISION_ABOLISHED", "CODE_NOT_MAPPED"}
    assert {item.path: item.value for item in other.provenance.unmapped} == {"MZDM": "X", "本省自用": "虚构备注二"}


def test_a_mapped_adapter_knows_its_own_files_and_the_plain_one_does_not() -> None:
    content = (SAMPLES / "province.csv").read_bytes()
    assert ADAPTER.with_mapping(MAPPING).sniff(content)
    assert not ADAPTER.sniff(content)


def test_workbooks_are_mapped_by_the_same_file() -> None:
    content = write_sheet("a", [["登记号", "性别类型"], ["SYN-1", "F"]])
    found = XLSX.with_mapping(GOOD)
    assert found.sniff(content)
    (item,) = found.decode(Source(content), Limits()).records
    assert isinstance(item.record, case_pb2.CaseRecord)
    assert item.record.sex == common_pb2.SEX_FEMALE


def test_a_mapping_adds_to_the_headings_that_are_known() -> None:
    found = mapped(GOOD, {"登记号": "SYN-1", "姓名": "测试儿童甲", "性别类型": "M"})
    assert isinstance(found.records[0].record, case_pb2.CaseRecord)
    assert found.records[0].record.names[0].full == "测试儿童甲"
    assert not found.issues


def test_a_code_that_the_mapping_does_not_have_is_not_taken_for_the_standards() -> None:
    found = mapped(GOOD, {"登记号": "SYN-1", "性别类型": "2"})
    assert isinstance(found.records[0].record, case_pb2.CaseRecord)
    assert found.records[0].record.sex == common_pb2.SEX_UNSPECIFIED
    assert issue_codes(found) == {"CODE_NOT_MAPPED"}


def test_a_constant_does_not_take_the_place_of_a_column_that_is_there() -> None:
    for row, kind in (({"登记号": "SYN-1"}, 2), ({"登记号": "SYN-1", "AJLB": "1"}, 1)):
        (item,) = mapped(GOOD, row).records
        assert isinstance(item.record, case_pb2.CaseRecord)
        assert item.record.kind == kind


def test_what_a_mapped_adapter_writes_it_reads_again() -> None:
    adapter = ADAPTER.with_mapping(GOOD)
    first = mapped(GOOD, {"登记号": "SYN-1", "性别类型": "F"}).records[0].record
    (again,) = adapter.decode(Source(adapter.encode([first], Limits()).content), Limits()).records
    first.ClearField("provenance")
    again.record.ClearField("provenance")
    assert again.record == first


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version = 1\n", "", "line 1: version = 1 is missing"),
        ("version = 1", "version = 2", "line 1: this release reads version 1 of mappings"),
        ("version = 1", "version = true", "line 1: this release reads version 1 of mappings"),
        ('"AJBH"', '"AJXX"', "line 3: AJXX is no column"),
        ('"AJBH"', "7", "line 3: columns.登记号 is no key of a mapping, or holds what is no text"),
        ('"登记号" = "AJBH"', '"登记号" = "AJBH"\n"编 号" = "AJBH"', "line 4: the column AJBH has a heading on line 3"),
        (
            '"登记号" = "AJBH"',
            '"登记号" = "AJBH"\n"登记 号" = "XM"',
            "line 4: the heading is the same as that of line 3",
        ),
        ('"登记号" = "AJBH"', '"" = "AJBH"', "line 3: the heading is empty"),
        ("{ column =", "{ colum =", "line 4: columns.性别类型.colum is no key of a mapping"),
        ('column = "XBDM"', 'column = "NL"', "line 4: the column NL holds no codes that can be mapped"),
        ('column = "XBDM"', 'column = "MZDM"', "line 4: the column MZDM is of GB/T 3304, the codes sex of another"),
        ('codes = "sex"', 'codes = "sexes"', "line 4: there are no codes sexes"),
        ('column = "XBDM", ', "", "line 4: the heading 性别类型 has no column"),
        ('"GB/T 2261.1"', '"GB/T 9999"', "line 6: GB/T 9999 is no code table"),
        ('table = "GB/T 2261.1"\n', "", "line 6: the codes sex name no table"),
        ('"F" = "2"', '"F" = "7"', "line 7: GB/T 2261.1 has no code 7"),
        ('"F" = "2"', '"F" = "2", "Ｆ" = "1"', "line 7: the code is the same as that of line 7"),
        ("[constants]", "[constant]", "line 8: constant is no key of a mapping"),
        ("[constants]", "[[constants]]", "line 8: constants is no key of a mapping"),
        ('AJLB = "2"', 'AJLB = "8"', "line 9: AJLB has no code 8"),
        ('AJLB = "2"', 'AJLB = "2"\nXBDM = "1"', "line 10: the column XBDM has a heading on line 4 already"),
        ('AJLB = "2"', 'YBTM = "2"', "line 9: the column YBTM cannot be the same in every row"),
        ('AJLB = "2"', 'XX = " "', "line 9: a constant is not empty"),
        ('AJLB = "2"', 'QQQQ = "2"', "line 9: QQQQ is no column"),
        ('AJLB = "2"', 'AJLB = "2"\n[codes.more]\ntable = "AJLB"', "line 11: no column has the codes more"),
        ('AJLB = "2"', 'AJLB = "2"\n[columns."空"]', "line 10: the heading 空 has no column"),
        ('AJLB = "2"', 'AJLB = "2"\nAJLB = "1"', "line 10: Cannot overwrite a value"),
        ('AJLB = "2"', "AJLB = 2x", "line 9: "),
        ('AJLB = "2"', 'AJLB = """2', "line 9: "),
        ("[codes.sex]", "[columns]", "line 5: Cannot declare ('columns',) twice"),
    ],
)
def test_every_fault_names_its_line(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert any(fault.startswith(expected) for fault in faults(GOOD.replace(old, new, 1))), faults(
        GOOD.replace(old, new, 1)
    )


def test_all_faults_are_told_at_once_in_the_files_order() -> None:
    text = GOOD.replace('"AJBH"', '"A"').replace('"F" = "2"', '"F" = "7"').replace('AJLB = "2"', 'AJLB = "8"')
    assert [fault.split(":")[0] for fault in faults(text)] == ["line 3", "line 7", "line 9"]


def test_lines_are_right_beside_comments_blanks_and_values_over_many_lines() -> None:
    text = (
        '# a comment with " and [\n\na = """\n[no]\nb = 1\n"""  # end\n[t."x.y"]\nlist = [\n  1,\n]\nb.c = { d = 1 }\n'
    )
    assert [(entry.path, entry.line) for entry in entries(text)] == [
        (("a",), 3),
        (("t", "x.y"), 7),
        (("t", "x.y", "list"), 8),
        (("t", "x.y", "b", "c", "d"), 11),
    ]
    assert fault_of(text) is None


@pytest.mark.parametrize(("text", "line"), [("a = 1\n\nb = [\n 1\n", 3), ("a = 1\r\nb = @\r\n", 2), ("[x\n", 1)])
def test_a_text_that_is_no_toml_has_its_line(text: str, line: int) -> None:
    fault = fault_of(text)
    assert fault is not None
    assert fault.line == line
    assert "at line" not in fault.message


def test_a_mapping_has_a_bound() -> None:
    assert faults("#" * 300_000) == ["line 1: a mapping has at most 200000 characters"]


def test_a_mapping_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(MappingInvalid, match="nested too deep"):
        parse_mapping("version = 1\na = " + "[" * 1_900)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[columns]\nx = """' + "a\n" * 90_000, "line 2: Unterminated string"),
        ("[columns]\nx = [\n" + '"a",\n' * 300 + "]\n", "line 2: a value has at most 200 lines"),
        ("a" + ".a" * 60_000 + " = 1\n", "line 1: a line has at most 2000 characters"),
        ("version = 1\n[columns]\nx" + ".a" * 900 + " = 1\n", "line 3: columns.x.a"),
    ],
    ids=["unfinished", "a long value", "a long key", "a deep key"],
)
def test_a_mapping_that_would_take_time_or_depth_without_end_is_refused_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(MappingInvalid) as refused:
        parse_mapping(text)
    assert refused.value.message.startswith(fault)
