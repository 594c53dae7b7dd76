"""Measure decoding on one core, and the memory for a file of a gigabyte: ``python bench/formats.py [--gigabyte]``.

Synthetic files are written to a temporary folder, one at a time, inspected by the real command, and deleted. Without
the option they have 10 and 50 MB, with it 10 MB and 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adapters.values.alleles import AMELOGENIN, CODIS_20
from synthetic.police import police_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MB = 1_000_000
COMMAND = [sys.executable, "-c", "from broker.cli.main import main; main()", "inspect", "--json"]


class Measured(NamedTuple):
    """The result of inspecting one file."""

    records: int
    cpu_seconds: float
    peak_mb: float


def cmf(size: int) -> Iterator[bytes]:
    """CODIS CMF: specimens of 21 loci with two alleles each, in the layout of real programs, 6 KB for each specimen."""
    header = "<HEADERVERSION>3.2</HEADERVERSION><MESSAGETYPE>Import</MESSAGETYPE><SOURCELAB>SYN</SOURCELAB>"
    yield b"<?xml version='1.0' encoding='UTF-8'?>\n"
    yield f'<CODISImportFile xmlns="urn:CODISImportFile-schema">{header}\n'.encode()
    number = written = 0
    while written < size:
        lines = [
            f'  <SPECIMEN SOURCEID="Yes" CASEID="SYN-{number}" PARTIAL="false">',
            f"    <SPECIMENID>SYN-{number:012}</SPECIMENID>",
            "    <SPECIMENCATEGORY>Biological Child</SPECIMENCATEGORY>",
        ]
        for place, locus in enumerate((*CODIS_20, AMELOGENIN)):
            first, second = str(6 + (number + place) % 9), f"{9 + (number * 7 + place) % 6}.3"
            alleles = ("X", "Y") if locus == AMELOGENIN else (first, second)
            lines += [
                f'    <LOCUS KIT="PowerPlex 21">\n      <LOCUSNAME>{locus}</LOCUSNAME>',
                "      <READINGBY>SYN</READINGBY>\n      <READINGDATETIME>2026-11-10T10:00:00</READINGDATETIME>",
                *(f"      <ALLELE><ALLELEVALUE>{allele}</ALLELEVALUE></ALLELE>" for allele in alleles),
                "    </LOCUS>",
            ]
        piece = ("\n".join([*lines, "  </SPECIMEN>"]) + "\n").encode()
        yield piece
        number, written = number + 1, written + len(piece)
    yield b"</CODISImportFile>\n"


class Case(NamedTuple):
    """A format, a description of its files, and a function that writes a file of about a given size, in pieces."""

    adapter: str
    about: str
    pieces: Callable[[int], Iterator[bytes]]


CASES = (
    Case("codis-cmf", "21 loci a specimen", cmf),
    Case("provincial-police-csv", "25 filled columns, GB18030", police_csv),
    Case("provincial-police-csv", "the same in UTF-8", lambda size: police_csv(size, encoding="utf-8")),
    Case("provincial-police-csv", "the same with samples", lambda size: police_csv(size, samples=True)),
)


def inspect(path: Path, name: str) -> Measured:
    """Run ``case-exchange inspect`` on a file."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen([*COMMAND, "--from", name, str(path)], stdout=out)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        facts = json.load(out)
    assert child.returncode == 0, facts
    return Measured(sum(facts["records"].values()), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabyte", action="store_true", help="inspect files of a gigabyte (minutes)")
    parser.add_argument("--format", choices=sorted({case.adapter for case in CASES}), help="this one only")
    options = parser.parse_args()
    sizes = (10 * MB, 1000 * MB if options.gigabyte else 50 * MB)
    print(f"{'format':52}{'MB':>6}{'records':>10}{'CPU s':>8}{'records/s':>11}{'MB/s':>7}{'peak MB':>9}")
    for case in CASES:
        if options.format not in {None, case.adapter}:
            continue
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="case-exchange-") as folder:
                path = Path(folder) / "file"
                with path.open("wb") as file:
                    file.writelines(case.pieces(size))
                found = inspect(path, case.adapter)
            rate, speed = found.records / found.cpu_seconds, size / MB / found.cpu_seconds
            figures = f"{found.records:>10}{found.cpu_seconds:>8.1f}{rate:>11,.0f}{speed:>7.1f}{found.peak_mb:>9.0f}"
            print(f"{f'{case.adapter}, {case.about}':52}{size // MB:>6}{figures}", flush=True)


if __name__ == "__main__":
    main()
