"""``inspect`` and ``convert`` on every format, on large files, and on files that are refused."""

from __future__ import annotations

import gzip
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from adapters.base import Limits, Source
from adapters.contract.checks import texts_of
from adapters.contract.measured import run_measured
from adapters.registry import adapter
from tests.contract.test_adapter import SHIPPED
from tests.support.process import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HEADER = "<HEADERVERSION>3.2</HEADERVERSION><MESSAGETYPE>Import</MESSAGETYPE><SOURCELAB>SYN</SOURCELAB>"
LOCUS = "<LOCUS><LOCUSNAME>TH01</LOCUSNAME><ALLELE><ALLELEVALUE>7</ALLELEVALUE></ALLELE></LOCUS>"
COMMENT = f"<SPECIMENCOMMENT>{'x' * 15_000}</SPECIMENCOMMENT>"


def run(*arguments: object, expect: int) -> subprocess.CompletedProcess[str]:
    command = [str(COMMAND), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def cmf(path: Path, specimens: Iterable[str]) -> Path:
    with path.open("w") as file:
        file.write(f'<CODISImportFile xmlns="urn:CODISImportFile-schema">{HEADER}\n')
        for number, inner in enumerate(specimens):
            category = "<SPECIMENCATEGORY>Biological Child</SPECIMENCATEGORY>"
            file.write(f"<SPECIMEN><SPECIMENID>SYN-{number}</SPECIMENID>{category}{inner}</SPECIMEN>\n")
        file.write("</CODISImportFile>")
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is too large to be read as a whole."""
    path = cmf(tmp_path_factory.mktemp("large") / "large.xml", (COMMENT + LOCUS for _ in range(5_000)))
    assert path.stat().st_size > Limits().bytes
    return path


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_inspect_detects_every_sample_and_shows_no_value_of_it(name: str) -> None:
    found = adapter(name).decode(Source(SHIPPED[name].read_bytes()), Limits())
    refused = any(issue.severity.value.startswith("reject") for issue in found.issues)
    done = run("inspect", "--json", SHIPPED[name], expect=1 if refused else 0)
    facts = json.loads(done.stdout)
    assert facts["format"] == name
    assert sum(facts["records"].values()) == len(found.records) > 0
    assert facts["sha256"] == found.source_sha256.hex()
    plain = run("inspect", SHIPPED[name], expect=1 if refused else 0)
    for text in (text for item in found.records for text in texts_of(item.record)):
        assert text not in done.stdout + done.stderr + plain.stdout + plain.stderr


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_packed_file_is_of_no_format_and_is_not_unpacked(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"测试儿童乙{SHIPPED[name].suffix}.gz"
    path.write_bytes(gzip.compress(SHIPPED[name].read_bytes()))
    done = run("inspect", path, expect=1)
    assert "FORMAT_UNKNOWN" in done.stderr
    assert "测试" not in done.stderr + done.stdout


def test_a_file_that_is_larger_than_one_that_is_read_whole_is_inspected(large: Path) -> None:
    facts = json.loads(run("inspect", "--json", large, expect=0).stdout)
    assert (facts["format"], facts["records"]) == ("codis-cmf", {"StrProfile": 5_000})


def test_the_memory_of_a_stream_does_not_hold_the_file(large: Path, tmp_path: Path) -> None:
    peaks = []
    for path in (cmf(tmp_path / "small.xml", [COMMENT + LOCUS]), large):
        done = run_measured("inspect", path)
        assert done.code == 0
        peaks.append(done.peak)
    small, whole = peaks
    assert whole - small < large.stat().st_size / 4


def test_of_many_issues_the_first_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    path = cmf(tmp_path / "bad.xml", ("" for _ in range(1_500)))
    done = run("inspect", path, expect=1)
    assert len(done.stderr.splitlines()) == 1_001
    assert "reject_record: FIELD_MISSING 500 more times, not listed" in done.stderr
    facts = json.loads(run("inspect", "--json", path, expect=1).stdout)
    assert len(facts["issues"]) == 1_000
    assert facts["further_issues"] == [{"severity": "reject_record", "code": "FIELD_MISSING", "count": 500}]


def test_a_file_that_is_refused_has_no_records_in_what_is_told(tmp_path: Path) -> None:
    path = cmf(tmp_path / "cut.xml", (LOCUS, LOCUS))
    path.write_bytes(path.read_bytes()[:-5])
    facts = json.loads(run("inspect", "--json", path, expect=1).stdout)
    assert (facts["records"], [issue["code"] for issue in facts["issues"]]) == ({}, ["XML_MALFORMED"])


def convert(path: Path, source: str, target: str, out: Path, expect: int) -> subprocess.CompletedProcess[str]:
    return run("convert", "--from", source, "--to", target, path, "--out", out, expect=expect)


def test_convert_counts_what_the_target_took(tmp_path: Path) -> None:
    path, out = tmp_path / "table.csv", tmp_path / "out.xml"
    path.write_text(f"SampleName,Marker,Allele1,Allele2\nSYN-1,TH01,7,8\n{'SYN-' * 10},TH01,7,8\n")
    done = convert(path, "genotype-csv", "codis-cmf", out, expect=1)
    assert done.stdout == f"1 records written to {out}\n"
    assert "SPECIMEN_ID_NOT_CARRIED" in done.stderr
    assert out.exists()


def test_convert_writes_no_file_where_every_record_is_refused(tmp_path: Path) -> None:
    path, out = tmp_path / "table.csv", tmp_path / "out.xml"
    path.write_text(f"SampleName,Marker,Allele1,Allele2\n{'SYN-' * 10},TH01,7,8\n")
    done = convert(path, "genotype-csv", "codis-cmf", out, expect=1)
    assert done.stdout == "no record was written, and no file\n"
    assert not out.exists()


def test_convert_writes_no_file_of_one_that_is_refused(tmp_path: Path) -> None:
    path, out = tmp_path / "empty.xml", tmp_path / "out.json"
    path.write_bytes(b"<CODISImportFile/>")
    done = convert(path, "codis-cmf", "record-json", out, expect=1)
    assert done.stdout == "no record was written, and no file\n"
    assert not out.exists()


def test_convert_refuses_more_than_one_file_can_be_written_of(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = convert(large, "codis-cmf", "record-json", out, expect=1)
    assert "reject_file: TOO_MANY_RECORDS" in done.stderr
    assert not out.exists()


def test_convert_tells_of_kinds_that_the_target_has_not(tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    done = convert(SHIPPED["provincial-police-csv"], "provincial-police-csv", "codis-cmf", out, expect=1)
    assert "4 records left out: codis-cmf does not hold their kinds" in done.stderr
    assert done.stdout == "no record was written, and no file\n"


def test_converting_to_a_format_that_is_only_read_says_so(tmp_path: Path) -> None:
    only_read = next(name for name in sorted(SHIPPED) if not adapter(name).encodes)
    done = convert(SHIPPED["pfif"], "pfif", only_read, tmp_path / "out", expect=1)
    assert "FORMAT_NOT_WRITTEN" in done.stderr
    assert not (tmp_path / "out").exists()
