"""Adapters by name, and with an agency's mapping."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.base import Limits, Source
from adapters.registry import adapter, adapters_of, detect, head_of, mapped
from adapters.syntax.spreadsheet import write_sheet
from broker.core.errors import MappingInvalid, SetupInvalid

SAMPLES = Path(__file__).parents[3] / "adapters" / "provincial_police" / "samples"
MAPPING = SAMPLES / "province.toml"
POLICE = ["provincial-police-csv", "provincial-police-xlsx"]


def test_without_a_mapping_an_adapter_is_itself() -> None:
    found = adapter("pfif")
    assert mapped(found, None) is mapped(found, Path()) is found


def test_a_mapping_is_for_the_formats_that_take_one_and_the_others_stay_as_they_are() -> None:
    csv, json, xlsx = adapters_of([POLICE[0], "record-json", POLICE[1]], MAPPING)
    content = (SAMPLES / "province.csv").read_bytes()
    assert len(csv.decode(Source(content), Limits()).records) == 3
    assert json is adapter("record-json")
    assert xlsx.sniff(write_sheet("a", [["登记号", "当事人"]]))


def test_a_mapping_without_a_format_that_takes_one_is_a_wrong_setting() -> None:
    with pytest.raises(SetupInvalid, match="no format with columns"):
        adapters_of(["pfif"], MAPPING)
    with pytest.raises(SetupInvalid, match="pfif has no columns"):
        mapped(adapter("pfif"), MAPPING)


def test_a_fault_in_a_mapping_names_the_file_and_the_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('version = 1\n[columns]\n"登记号" = "AJXX"\n', encoding="utf-8")
    with pytest.raises(MappingInvalid) as caught:
        adapters_of(POLICE, bad)
    assert caught.value.message == f"{bad}: line 3: AJXX is no column"


@pytest.mark.parametrize("content", [None, "登记号".encode("gb18030")])
def test_a_mapping_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mapping.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SetupInvalid, match="cannot be read"):
        mapped(adapter(POLICE[0]), path)


def test_a_workbook_of_any_size_is_known_by_all_of_it() -> None:
    rows = [["案件编号", "姓名"], *([f"SYN-{number}", f"测试{number * 7919}"] for number in range(2000))]
    content = write_sheet("a", rows)
    assert len(content) > 4096
    assert head_of(content) == content
    assert detect(content) is adapter("provincial-police-xlsx")
    assert head_of(b"a" * 5000) == b"a" * 4096
