"""Codes: divisions in force, abolished and unknown; organs; identity numbers of both forms; names of groups."""

from __future__ import annotations

import pytest

from adapters.provincial_police.table.codes import ETHNIC_GROUPS, code_in
from adapters.provincial_police.table.columns import BY_NAME
from adapters.provincial_police.table.divisions import division_of
from adapters.provincial_police.table.resident_id import is_rounded_id, resident_id_doubts
from caseexchange.records.v1 import case_pb2, common_pb2

BIRTH = common_pb2.PartialDate(year=1999, month=1, day=10, calendar=common_pb2.CALENDAR_GREGORIAN)
MALE, FEMALE = common_pb2.SEX_MALE, common_pb2.SEX_FEMALE


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("140106", "山西省太原市迎泽区"),
        ("140100", "山西省太原市"),
        ("140000", "山西省"),
        ("110105", "北京市朝阳区"),
        ("440308000000", "广东省深圳市盐田区"),
        ("110100", "北京市市辖区"),
        ("710000", "台湾省"),
    ],
)
def test_a_division_in_force_has_its_whole_name(code: str, name: str) -> None:
    found = division_of(code)
    assert found is not None
    assert (found.name, found.abolished) == (name, False)


@pytest.mark.parametrize(
    ("code", "name", "last"),
    [("140102", "山西省太原市南城区", "1996-12"), ("110103", "北京市崇文区", "2009-12")],
)
def test_an_abolished_division_is_known_by_its_name_and_last_revision(code: str, name: str, last: str) -> None:
    found = division_of(code)
    assert found is not None
    assert (found.name, found.abolished, found.last_revision) == (name, True, last)


@pytest.mark.parametrize("code", ["999999", "140199", "1401", "", "14010６", "1401060"])
def test_a_code_that_no_revision_has_is_unknown(code: str) -> None:
    assert division_of(code) is None


@pytest.mark.parametrize(
    ("number", "sex", "doubts"),
    [
        ("440308199901101512", MALE, []),
        ("440308199901101512", FEMALE, ["SEX"]),
        ("440308199901101511", MALE, ["CHECKSUM"]),
        ("440308199901111518", MALE, ["BIRTH_DATE"]),
        ("999999199901100014", MALE, ["AREA"]),
        ("110103199901100015", MALE, []),
        ("440308990110151", MALE, ["OLD_FORM"]),
        ("440308990110152", MALE, ["OLD_FORM", "SEX"]),
        ("440308980110151", MALE, ["OLD_FORM", "BIRTH_DATE"]),
        ("999999990110151", MALE, ["OLD_FORM", "AREA"]),
        ("44030819990110", MALE, ["FORM"]),
        ("44030819990110151Ⅹ", MALE, ["FORM"]),
    ],
)
def test_a_doubtful_identity_number_is_a_warning(number: str, sex: common_pb2.Sex.ValueType, doubts: list[str]) -> None:
    found = [doubt.code.removeprefix("RESIDENT_ID_") for doubt in resident_id_doubts(number, BIRTH, sex)]
    assert [code for code in found if code != "CHECKSUM" or "CHECKSUM" in doubts] == doubts


def test_a_birth_date_that_is_known_in_part_is_compared_in_part() -> None:
    year = common_pb2.PartialDate(year=1999, calendar=common_pb2.CALENDAR_GREGORIAN)
    assert not list(resident_id_doubts("440308199901101512", year, MALE))
    year.year = 1998
    assert [doubt.code for doubt in resident_id_doubts("440308199901101512", year, MALE)] == ["RESIDENT_ID_BIRTH_DATE"]
    year.approximate = True
    assert not list(resident_id_doubts("440308199901101512", year, MALE))


@pytest.mark.parametrize(
    ("number", "rounded"),
    [
        ("4.40308E+17", True),
        ("4.40308199901101E+17", True),
        ("4E+17", True),
        ("440308199901101000", True),
        ("440308199901101512", False),
        ("440308990110151", False),
    ],
)
def test_a_number_that_a_spreadsheet_has_rounded_is_told(number: str, rounded: bool) -> None:  # noqa: FBT001
    assert is_rounded_id(number) is rounded


def test_every_ethnic_group_is_known_by_its_code_its_name_and_its_short_name() -> None:
    assert len(ETHNIC_GROUPS) == 58
    assert (ETHNIC_GROUPS["01"], ETHNIC_GROUPS["43"], ETHNIC_GROUPS["56"]) == ("汉族", "乌孜别克族", "基诺族")
    for code, name in ETHNIC_GROUPS.items():
        assert code_in("GB/T 3304", code) == code_in("GB/T 3304", name) == code
        assert code_in("GB/T 3304", name.removesuffix("族")) == code


@pytest.mark.parametrize(
    ("code", "doubt"),
    [("140106000000", None), ("14010600000", "ORGAN_UNKNOWN"), ("999999000000", "ORGAN_UNKNOWN")],
)
def test_an_organs_code_has_twelve_digits_of_which_six_are_a_division(code: str, doubt: str | None) -> None:
    record, read = case_pb2.CaseRecord(), BY_NAME["SLDWDM"].read
    assert read is not None
    found = read(record, code)
    assert (found.code if found else None) == doubt
    assert (record.handling_organ.system, record.handling_organ.value) == ("GA/T 380", code)
