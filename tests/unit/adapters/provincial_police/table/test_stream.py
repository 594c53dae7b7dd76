"""A CSV is read as a stream: the same as when it is read whole, within its limits, in memory that does not grow."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.base import DecodedRecord, Issue, Limits, MappableAdapter, Severity, Source, StreamingAdapter
from adapters.provincial_police.table.csv_adapter import ADAPTER, MAX_ROW
from adapters.provincial_police.table.xlsx_adapter import ADAPTER as XLSX
from synthetic.police import police_csv
from tests.support.police import table

ROOT = Path(__file__).parents[5]
MEASURE = """
import sys, tracemalloc
from pathlib import Path
from adapters.base import DecodedRecord, Limits
from adapters.contract.measured import figure
from adapters.provincial_police.table.csv_adapter import ADAPTER
def peak(path):
    with open(path, "rb") as file:
        records = 0
        for item in ADAPTER.stream(file, {}, Limits()):
            records += isinstance(item, DecodedRecord)
        assert records == sum(1 for _ in open(path, "rb")) - 1
    return figure(Path("/proc/self/status").read_text(), "VmHWM") // 1024
small, large = peak(sys.argv[1]), peak(sys.argv[2])
tracemalloc.start()
peak(sys.argv[1])
of_small = tracemalloc.get_traced_memory()[1]
tracemalloc.stop()
tracemalloc.start()
peak(sys.argv[2])
of_large = tracemalloc.get_traced_memory()[1]
print(large - small, of_large - of_small)
"""


def streamed(content: bytes, limits: Limits | None = None) -> list[DecodedRecord | Issue]:
    return list(ADAPTER.stream(io.BytesIO(content), {}, limits or Limits()))


def test_the_adapters_keep_the_protocols() -> None:
    assert isinstance(ADAPTER, StreamingAdapter)
    assert isinstance(ADAPTER, MappableAdapter)
    assert isinstance(XLSX, MappableAdapter)


def test_a_stream_yields_what_decode_returns_in_the_files_order() -> None:
    rows = [{"AJBH": f"SYN-{number}", "AJLB": kind} for number, kind in enumerate("12x31")]
    content = table(*rows)
    found, items = ADAPTER.decode(Source(content), Limits()), streamed(content)
    assert [item for item in items if isinstance(item, DecodedRecord)] == list(found.records)
    assert [item for item in items if isinstance(item, Issue)] == list(found.issues)
    places = [int(item.locator.split(",")[0].removeprefix("row ")) for item in items]
    assert places == sorted(places)


def test_the_file_stays_open_and_may_be_read_again() -> None:
    file = io.BytesIO(table({"AJBH": "SYN-1", "AJLB": "2"}))
    assert len(list(ADAPTER.stream(file, {}, Limits()))) == len(list(ADAPTER.stream(file, {}, Limits()))) == 1
    assert not file.closed
    started = ADAPTER.stream(file, {}, Limits())
    next(started)
    del started
    assert not file.closed


def test_a_stream_has_limits_of_its_own_and_a_refusal_comes_last() -> None:
    content = table(*({"AJBH": f"SYN-{number}", "AJLB": "2"} for number in range(5)))
    items = streamed(content, Limits(records=1, bytes=1, streamed_records=4))
    assert len(items) == 5
    assert isinstance(items[-1], Issue)
    assert (items[-1].severity, items[-1].code) == (Severity.REJECT_FILE, "TOO_MANY_RECORDS")
    (only,) = streamed(content, Limits(streamed_bytes=10))
    assert isinstance(only, Issue)
    assert only.code == "FILE_TOO_LARGE"


@pytest.mark.parametrize(
    "rest",
    [b"x" * (2 * MAX_ROW), b'"' + b"x\n" * MAX_ROW, b'"a\n","b\n",' * MAX_ROW],
    ids=["one line", "one cell over many lines", "many cells over many lines"],
)
def test_a_row_that_does_not_end_is_refused_before_it_fills_the_memory(rest: bytes) -> None:
    items = streamed(b"AJBH,AJLB\r\nSYN-1,2\r\n" + rest)
    assert isinstance(items[-1], Issue)
    assert items[-1].severity is Severity.REJECT_FILE
    assert items[-1].code in {"ROW_TOO_LONG", "CSV_MALFORMED"}


def test_bad_rows_are_told_as_they_come_and_not_kept() -> None:
    items = ADAPTER.stream(io.BytesIO(b"AJBH,AJLB\r\n" + b"SYN-1\r\n" * 100), {}, Limits())
    first = next(items)
    assert isinstance(first, Issue)
    assert (first.code, first.locator) == ("ROW_MALFORMED", "row 2")


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, encoding: str) -> None:
    sizes = {"small.csv": 1_000_000, "large.csv": 10_000_000}
    for name, size in sizes.items():
        with (tmp_path / name).open("wb") as file:
            file.writelines(police_csv(size, encoding=encoding))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in sizes)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    resident_kib, traced_bytes = map(int, done.stdout.split())
    assert resident_kib < 4096
    assert traced_bytes < 500_000
