"""Decoding on one core, and what memory a file of a gigabyte takes: ``python bench/gigabyte.py [--gigabyte]``.

Synthetic files are written to a scratch folder, one at a time, inspected by the real command, and deleted. Without the
option they have 10 and 50 MB, with it 10 MB and 1 GB. A format that is no stream here is left out.
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

from adapters.alleles import AMELOGENIN, CODIS_20
from adapters.base import StreamingAdapter
from adapters.registry import adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MB = 1_000_000
COMMAND = [sys.executable, "-c", "from broker.cli.main import main; main()", "inspect", "--json"]


class Measured(NamedTuple):
    """What inspecting a file took."""

    records: int
    cpu_seconds: float
    peak_mb: float


def specimens() -> Iterator[bytes]:
    """CODIS CMF: specimens of 21 loci with two alleles each, laid out as programs lay them out, 6 KB a specimen."""
    header = "<HEADERVERSION>3.2</HEADERVERSION><MESSAGETYPE>Import</MESSAGETYPE><SOURCELAB>SYN</SOURCELAB>"
    yield b"<?xml version='1.0' encoding='UTF-8'?>\n"
    yield f'<CODISImportFile xmlns="urn:CODISImportFile-schema">{header}\n'.encode()
    number = 0
    while True:
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
        yield ("\n".join([*lines, "  </SPECIMEN>"]) + "\n").encode()
        number += 1


def police_rows() -> Iterator[bytes]:
    """Rows of a police export in GB18030, 26 columns as the demo's, 200 bytes a row."""
    yield (
        "AJBH,AJLB,XM,BM,XBDM,CSRQ,NL,MZDM,GMSFHM,HJDXZ,HJDQH,SG,TMTZ,YZTZ,KY,FXSJ,FXDD,FXDQH,JYAQ,LXR,LXDH,LXDW,XP,"
        "YBTM,YBJS,YBCJSJ\r\n"
    ).encode("gb18030")
    number = 0
    while True:
        yield (
            f"SYN-{number:012},1,测试儿童𠮷,虚构小名,1,20180101,8,01,,虚构省虚构县样例村1号,140100,123,左肘有月牙形胎记（虚构）,"
            f"蓝色上衣（虚构）,不详,20261103,虚构火车站候车室,140100,虚构案情,样例民警甲,000-0000-0001,虚构县公安局,,"
            f"SYN-B-{number:012},1,2026-11-04\r\n"
        ).encode("gb18030")
        number += 1


FILES: dict[str, tuple[Callable[[], Iterator[bytes]], bytes]] = {
    "codis-cmf": (specimens, b"</CODISImportFile>\n"),
    "provincial-police-csv": (police_rows, b""),
}
"""How a file of each format begins and goes on, and how it ends."""


def write(path: Path, name: str, size: int) -> None:
    """Write a file of about so many bytes."""
    make, end = FILES[name]
    with path.open("wb") as file:
        for part in make():
            file.write(part)
            if file.tell() >= size:
                break
        file.write(end)


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
    parser.add_argument("--format", choices=sorted(FILES), help="this one only")
    options = parser.parse_args()
    sizes = (10 * MB, 1000 * MB if options.gigabyte else 50 * MB)
    print(f"{'format':24}{'MB':>6}{'records':>10}{'CPU s':>8}{'records/s':>11}{'MB/s':>7}{'peak MB':>9}")
    for name in [options.format] if options.format else sorted(FILES):
        if not isinstance(adapter(name), StreamingAdapter):
            print(f"{name:24} is not read as a stream here")
            continue
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="case-exchange-") as folder:
                path = Path(folder) / "file"
                write(path, name, size)
                found = inspect(path, name)
            rate, speed = found.records / found.cpu_seconds, size / MB / found.cpu_seconds
            figures = f"{found.records:>10}{found.cpu_seconds:>8.1f}{rate:>11.0f}{speed:>7.1f}{found.peak_mb:>9.0f}"
            print(f"{name:24}{size // MB:>6}{figures}", flush=True)


if __name__ == "__main__":
    main()
