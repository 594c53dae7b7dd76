"""Where columns are: headings in three languages of label, titles above, two rows, groups, repetitions."""

from __future__ import annotations

import pytest

from adapters.provincial_police.table.columns import CASE_NUMBER, COLUMNS
from adapters.provincial_police.table.header import Header, find_header, plain, standard

KNOWN = standard()


def columns_of(*rows: list[str]) -> tuple[list[str], int]:
    found = find_header(list(rows), KNOWN)
    assert isinstance(found, Header)
    return [place.column.name if place.column else f"?{place.path}" for place in found.places], found.rows


def test_no_heading_stands_for_two_columns() -> None:
    labels = [plain(label) for item in COLUMNS for label in {item.name, item.label, item.english, *item.also}]
    assert len(labels) == len(set(labels)) == len(KNOWN)


def test_every_column_is_found_by_its_name_and_by_both_labels() -> None:
    for column in COLUMNS:
        for label in (column.name, column.label, column.english, column.english.lower(), *column.also):
            above = [] if column.name == CASE_NUMBER else ["案件编号"]
            assert columns_of([*above, label])[0][-1] == column.name


def test_headings_may_have_blanks_marks_and_remarks() -> None:
    assert columns_of(["* 案件编号", "姓　名：", "身高（厘米）", "性别(1男2女)", "备注(本县)"]) == (
        ["AJBH", "XM", "SG", "XBDM", "?备注(本县)"],
        1,
    )


def test_titles_above_the_header_are_passed_over() -> None:
    rows = [["虚构登记表", "", ""], ["填报：虚构县", "", "2026年"], ["案件编号", "姓名", "性别"], ["SYN-1", "甲", "1"]]
    assert columns_of(*rows) == (["AJBH", "XM", "XBDM"], 3)


def test_groups_of_merged_cells_tell_equal_headings_apart() -> None:
    rows = [["案件", "", "失踪人", "", "报案人", ""], ["案件编号", "案件类别", "姓名", "性别", "姓名", "电话"]]
    assert columns_of(*rows) == (["AJBH", "AJLB", "XM", "XBDM", "BARXM", "BARDH"], 2)


def test_a_case_number_merged_over_two_rows_has_its_second_row_below() -> None:
    rows = [
        ["案件编号", "失踪人", "", "报案人", ""],
        ["", "姓名", "性别", "姓名", "电话"],
        ["SYN-1", "甲", "1", "乙", "0"],
    ]
    assert columns_of(*rows) == (["AJBH", "XM", "XBDM", "BARXM", "BARDH"], 2)


def test_a_first_case_without_headings_in_it_is_no_second_row_of_the_header() -> None:
    assert columns_of(["案件编号", "姓名"], ["SYN-1", "甲"])[1] == 1
    assert columns_of(["案件编号", "姓名"], ["", "测试儿童甲"])[1] == 1


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], "HEADER_MISSING"),
        ([["姓名", "性别"]], "HEADER_MISSING"),
        ([["寻亲编号", "姓名"]], "HEADER_MISSING"),
        ([["Case number", "Name"]], "HEADER_MISSING"),
        ([["虚构"]] * 10 + [["案件编号"]], "HEADER_MISSING"),
        ([["AJBH", "姓名", "XM"]], "HEADER_REPEATED"),
    ],
)
def test_a_header_that_cannot_be_used_has_a_code(rows: list[list[str]], code: str) -> None:
    assert find_header(rows, KNOWN) == code


def test_a_title_above_an_unknown_column_is_none_of_its_heading() -> None:
    rows = [["虚构登记表", "2026年", ""], ["案件编号", "姓名", "备注"]]
    assert columns_of(*rows) == (["AJBH", "XM", "?备注"], 2)


def test_a_group_tells_unknown_columns_of_one_heading_apart() -> None:
    rows = [["案件", "失踪人", "", "报案人", ""], ["编号", "姓名", "备注", "姓名", "备注"]]
    assert columns_of(*rows) == (["AJBH", "XM", "?备注", "BARXM", "?报案人备注"], 2)


def test_columns_of_one_unknown_heading_are_kept_apart() -> None:
    found = find_header([["AJBH", "备注", "备注", ""]], KNOWN)
    assert isinstance(found, Header)
    assert [place.path for place in found.places] == ["AJBH", "备注", "备注 (column 3)", "(column 4)"]
