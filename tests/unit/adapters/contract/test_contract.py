"""The contract notices what it is there to notice: each adapter here breaks one promise."""

from __future__ import annotations

import gzip
import io
import json
from typing import TYPE_CHECKING

import pytest

from adapters.base import Issue, IssueList, Limits, Severity
from adapters.contract import AdapterContract, Subject, not_carried, round_trip, thinned
from adapters.contract.hostile import hostile_files
from adapters.contract.tables import formulas
from adapters.records.record_json import ADAPTER as RECORD_JSON
from adapters.syntax.spreadsheet import MEDIA_TYPE, read_sheets, write_sheet
from caseexchange.records.v1 import case_pb2
from tests.support.badadapters import ADAPTERS

if TYPE_CHECKING:
    from pathlib import Path

RECORD = {"kind": "CASE_KIND_MISSING_CHILD", "localId": "SYN-1", "narrative": "虚构渡口东侧"}


class Contract(AdapterContract):
    cpu_seconds = 3
    memory_bytes = 400 << 20


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bad adapters, found as installed ones are, by this process and its children."""
    folder = tmp_path / "bad-1.dist-info"
    folder.mkdir()
    points = "\n".join(f"{name} = tests.support.badadapters:{name}" for name in ADAPTERS)
    (folder / "entry_points.txt").write_text(f"[case_exchange.adapters]\n{points}\n")
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def subject(folder: Path, name: str) -> Subject:
    sample = folder / name
    records = [{"kind": "CaseRecord", "caseReference": "SYN-1", "record": RECORD}]
    sample.write_bytes(name.encode() + json.dumps({"records": records}, ensure_ascii=False).encode())
    return Subject(name, name.encode(), sample)


def test_an_adapter_that_writes_nothing_can_hold_the_contract(installed: Path, tmp_path: Path) -> None:
    good, contract = subject(installed, "good"), Contract()
    contract.test_it_speaks_of_known_kinds_only(good)
    contract.test_its_sample_is_read(good)
    contract.test_its_sample_is_taken_for_its_own_and_by_no_other(good)
    contract.test_no_issue_quotes_what_a_field_holds(good)
    contract.test_no_bytes_make_it_raise_and_what_it_reads_is_valid(good)
    contract.test_no_mangled_sample_makes_it_raise(good)
    contract.test_a_file_over_the_limits_is_refused(good)
    contract.test_a_stream_yields_what_decode_returns(good)
    contract.test_hostile_files_end_in_a_code_within_bounded_time_and_memory(good, tmp_path)
    contract.test_a_kind_that_is_not_carried_is_refused_by_a_code(good)
    contract.test_what_it_refuses_to_write_is_reported_by_its_place(good)
    contract.test_what_it_writes_it_takes_for_its_own(good)
    contract.test_a_record_reads_back_equal_on_what_the_format_carries(good)
    contract.test_no_cell_of_a_table_is_a_formula(good)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("greedy", "ADAPTER_FAILED"),
        ("slow", "reading ended the process"),
        ("caller", "socket"),
        ("opener", "open"),
        ("silent", "issues"),
    ],
)
def test_an_adapter_that_breaks_its_bounds_is_caught(installed: Path, tmp_path: Path, name: str, why: str) -> None:
    bad = subject(installed, name)
    with pytest.raises(AssertionError, match=why):
        Contract().test_hostile_files_end_in_a_code_within_bounded_time_and_memory(bad, tmp_path)


def test_an_adapter_that_quotes_a_field_is_caught(installed: Path) -> None:
    with pytest.raises(AssertionError):
        Contract().test_no_issue_quotes_what_a_field_holds(subject(installed, "quoting"))


def test_an_adapter_that_loses_a_field_in_silence_is_caught(installed: Path) -> None:
    with pytest.raises(AssertionError):
        Contract().test_a_record_reads_back_equal_on_what_the_format_carries(subject(installed, "losing"))


def test_an_adapter_that_writes_formulas_is_caught(installed: Path) -> None:
    with pytest.raises(AssertionError):
        Contract().test_no_cell_of_a_table_is_a_formula(subject(installed, "computing"))


def test_an_adapter_that_refuses_without_a_place_is_caught(installed: Path) -> None:
    with pytest.raises(AssertionError):
        Contract().test_what_it_refuses_to_write_is_reported_by_its_place(subject(installed, "unplaced"))


def test_the_fields_that_are_not_carried_are_paths_without_places() -> None:
    issues = [
        Issue(Severity.WARN, "FIELD_NOT_CARRIED", locator, "words")
        for locator in ("records[0].event_place.text", "records[12].loci[3].alleles[0].peak_height", "report_to")
    ]
    other = Issue(Severity.WARN, "VALUE_CUT", "records[0].comment", "words")
    named = {("event_place", "text"), ("loci", "alleles", "peak_height"), ("report_to",)}
    assert not_carried([*issues, other]) == named
    assert not_carried([*issues, other], {"VALUE_CUT"}) == named | {("comment",)}


def test_a_whole_round_trip_loses_nothing() -> None:
    record = case_pb2.CaseRecord(local_id="SYN-1", kind=case_pb2.CASE_KIND_MISSING_CHILD)
    made = round_trip(RECORD_JSON, record)
    assert (made.lost, made.issues) == ((), ())
    assert thinned(record) is not None


def test_cells_of_workbooks_are_formulas_by_their_type() -> None:
    assert list(formulas(write_sheet("a", [["=1+1", "-1"]]), MEDIA_TYPE)) == []
    assert list(formulas(b'a,"=1+1"\r\n-1,b\r\n', "text/csv")) == ["=1+1", "-1"]
    assert list(formulas("a,＝1\r\n".encode("gb18030"), "text/csv")) == ["＝1"]


def test_hostile_files_are_small_and_each_has_its_name() -> None:
    files = list(hostile_files("canary", 1))
    assert len({name for name, _ in files}) == len(files)
    assert sum(len(content) for _, content in files) < 64 << 20


def test_the_bombs_are_bombs() -> None:
    files = dict(hostile_files("canary", 1))
    codes = {}
    for name in ("workbook bomb", "workbook bomb that lies", "workbook bomb of one part many times"):
        issues = IssueList()
        assert [row for sheet in read_sheets(files[name], Limits(), issues) for row in sheet.rows] == []
        codes[name] = [issue.code for issue in issues.items]
    # What unpacks to more than it says is an archive that is damaged; it is noticed while it is unpacked.
    assert list(codes.values()) == [["XLSX_UNPACKS_TOO_LARGE"], ["XLSX_MALFORMED"], ["XLSX_UNPACKS_TOO_LARGE"]]
    assert gzip.GzipFile(fileobj=io.BytesIO(files["gzip bomb"])).seek(1 << 40) == 1 << 30
