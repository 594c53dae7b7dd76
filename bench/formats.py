"""Measure what adapters read: records a second of processor time on one core, and how far memory grows.

    python bench/formats.py [--only NAME] [--megabytes 100]

Each case generates a synthetic file of the asked size and reads it as a stream. Files are made before the clock starts.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adapters.base import DecodedRecord, Limits, StreamingAdapter
from adapters.registry import adapter
from tests.support.police import police_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Case(NamedTuple):
    """One measurement: the adapter, and a file of about so many bytes, in pieces."""

    adapter: str
    about: str
    pieces: Callable[[int], Iterator[bytes]]


CASES = {
    "police-gb18030": Case("provincial-police-csv", "25 filled columns of the standard's list, GB18030", police_csv),
    "police-utf-8": Case("provincial-police-csv", "the same in UTF-8", lambda size: police_csv(size, encoding="utf-8")),
    "police-samples": Case(
        "provincial-police-csv", "the same with a sample in every row", lambda size: police_csv(size, samples=True)
    ),
}


def measure(name: str, size: int) -> None:
    case = CASES[name]
    reader = adapter(case.adapter)
    assert isinstance(reader, StreamingAdapter)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"bench{reader.suffix}"
        with path.open("wb") as file:
            for piece in case.pieces(size):
                file.write(piece)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        records = issues = 0
        with path.open("rb") as file:
            started, worked = time.perf_counter(), time.process_time()
            for item in reader.stream(file, {}, Limits()):
                if isinstance(item, DecodedRecord):
                    records += 1
                else:
                    issues += 1
            worked, elapsed = time.process_time() - worked, time.perf_counter() - started
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        size = path.stat().st_size
    print(f"{name}: {case.about}; {size / 1e6:.1f} MB")
    print(f"  {records} records, {issues} issues: {records / worked:,.0f} records and ", end="")
    print(f"{size / 1e6 / worked:.1f} MB a second of processor time ({elapsed:.1f} s by the clock)")
    print(f"  the process grew by {grown / 1024:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES, help="one case")
    parser.add_argument("--megabytes", type=int, default=50, help="size of each file")
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else CASES:
        measure(name, arguments.megabytes * 1_000_000)


if __name__ == "__main__":
    main()
