from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.base import Decoded, Limits, Severity, Source
from adapters.national_dna_database.cmf.adapter import ADAPTER
from caseexchange.records.v1 import dna_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "national_dna_database" / "samples" / "cmf-1.0.txt"
LIMITS = Limits()
REJECTIONS = {Severity.REJECT_FILE, Severity.REJECT_RECORD}
HEADER = ["1.0", "1", "IMPORT", "DEST", "LAB", "1-FEB-2026 21:51:44", "SYN.dat", "SYN-TYPER"]


def locus(name: str = "TH01", *alleles: str) -> list[str]:
    found = alleles or ("7", "9.3")
    return [name, "1", "READER", "13-FEB-2026", "21:50:42", str(len(found)), *found]


def specimen(barcode: str = "SYN-1", *loci: list[str], category: str = "BIOLOGICAL CHILD") -> list[str]:
    found = loci or (locus(),)
    start = ["DNA Analysis Result", "1.0", "PCR", barcode, "0", category, "UNKNOWN", "UNKNOWN", "UNKNOWN"]
    return [*start, str(len(found)), *(line for lines in found for line in lines)]


def decode(*specimens: list[str], stated: int | None = None, limits: Limits = LIMITS) -> Decoded:
    count = len(specimens) if stated is None else stated
    lines = [*HEADER, str(count), *(line for lines in specimens for line in lines)]
    return ADAPTER.decode(Source(("\r\n".join(lines) + "\r\n").encode()), limits)


def barcodes(found: Decoded) -> list[str]:
    return [item.case_reference for item in found.records]


def refusals(found: Decoded) -> list[str]:
    return [issue.code for issue in found.issues if issue.severity in REJECTIONS]


def test_the_sample_file_is_read_whole() -> None:
    content = SAMPLE.read_bytes()
    assert ADAPTER.sniff(content)
    found = ADAPTER.decode(Source(content), LIMITS)
    assert not found.issues
    child, mother = (item.record for item in found.records)
    assert isinstance(child, dna_pb2.StrProfile)
    assert isinstance(mother, dna_pb2.StrProfile)
    assert (child.barcode, child.role) == ("SYN-BLD-0001", dna_pb2.SAMPLE_ROLE_CHILD)
    assert (child.destination, child.laboratory) == ("SYNLAB0000", "SYNLAB0001")
    assert child.submitted_at == "2026-11-10T12:00:00"
    assert (child.loci[0].locus, child.loci[0].read_at) == ("Amelogenin", "2026-11-09T09:51:48")
    assert child.provenance.source_format_version == "1.0"
    below = next(call for call in mother.loci if call.locus == "TH01").alleles[0]
    assert (below.value, below.operator) == ("6", dna_pb2.ALLELE_OPERATOR_BELOW)


def test_a_byte_order_mark_and_bare_line_ends_are_nothing() -> None:
    content = b"\xef\xbb\xbf" + SAMPLE.read_bytes().replace(b"\r\n", b"\n")
    assert len(ADAPTER.decode(Source(content), LIMITS).records) == 2


def test_categories_in_capitals_are_those_of_the_list() -> None:
    record = decode(specimen(category="FORENSIC, UNKNOWN")).records[0].record
    assert isinstance(record, dna_pb2.StrProfile)
    assert record.category.value == "Forensic, Unknown"
    assert [issue.code for issue in decode(specimen(category="OTHER THING")).issues] == ["CATEGORY_UNKNOWN"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (specimen("SYN-2")[:-1], "TEXT_STRUCTURE"),
        (specimen("SYN-2")[:5], "TEXT_STRUCTURE"),
        ([*specimen("SYN-2"), "10"], "TEXT_STRUCTURE"),
        ([*specimen("SYN-2"), *locus("FGA", "22")], "TEXT_STRUCTURE"),
        (specimen("SYN-2", ["TH01", "2", *locus()[2:]]), "TEXT_STRUCTURE"),
        (specimen("SYN-2", ["TH01", "1", "R", "13-FEB-2026", "21:50:42", "9", *["7"] * 9]), "TEXT_STRUCTURE"),
        (specimen("SYN-2", ["TH01", "1", "R", "13-FEB-2026", "21:50:42", "two", "7", "9"]), "TEXT_STRUCTURE"),
        (specimen("SYN-2", locus("TH01", "x" * 20_001)), "TEXT_STRUCTURE"),
        (specimen("SYN-2", locus("TH01", "")), "ALLELE_INVALID"),
        (specimen("SYN-2", locus("TH01", "9.9")), "ALLELE_INVALID"),
        (specimen("SYN-2", locus("BAD1")), "LOCUS_UNKNOWN"),
        (specimen("SYN-2", locus("TH01"), locus("THO1")), "LOCUS_REPEATED"),
        (specimen(""), "FIELD_MISSING"),
        (specimen("SYN-1"), "SPECIMEN_REPEATED"),
    ],
)
def test_a_specimen_in_doubt_is_refused_and_reading_goes_on_at_the_next(bad: list[str], code: str) -> None:
    found = decode(specimen("SYN-1"), bad, specimen("SYN-3"))
    assert barcodes(found) == ["SYN-1", "SYN-3"]
    assert refusals(found) == [code]
    assert not found.rejected


def test_a_file_that_ends_too_early_loses_its_last_specimen_only() -> None:
    found = decode(specimen("SYN-1"), specimen("SYN-2")[:-1], stated=3)
    assert barcodes(found) == ["SYN-1"]
    assert [issue.code for issue in found.issues] == ["TEXT_STRUCTURE", "SPECIMEN_COUNT"]


def test_a_locus_without_alleles_is_left_out() -> None:
    empty = ["FGA", "1", "R", "13-FEB-2026", "21:50:42", "0"]
    found = decode(specimen("SYN-1", empty, locus()))
    assert [issue.code for issue in found.issues] == ["LOCUS_EMPTY"]
    assert len(found.records) == 1


def test_a_control_is_nobodys_profile() -> None:
    found = decode(specimen("Positive Control"), specimen("SYN-1"))
    assert barcodes(found) == ["SYN-1"]
    assert [issue.code for issue in found.issues] == ["CONTROL_SKIPPED"]


@pytest.mark.parametrize("date", ["31-FEB-2026", "13-FOO-2026", "2026-02-13"])
def test_a_time_that_is_none_stays_as_it_was_written(date: str) -> None:
    reading = ["TH01", "1", "R", date, "21:50:42", "1", "7"]
    record = decode(specimen("SYN-1", reading)).records[0].record
    assert isinstance(record, dna_pb2.StrProfile)
    assert record.loci[0].read_at == f"{date} 21:50:42"


def test_a_header_that_is_none_refuses_the_file() -> None:
    for content in (b"1.0\n1\nIMPORT\n", b"1.0\n1\nIMPORT\nD\nL\nT\nF\nA\nmany\n"):
        found = ADAPTER.decode(Source(content), LIMITS)
        assert found.rejected
        assert refusals(found) == ["CMF_HEADER"]
    assert refusals(decode()) == ["NO_SPECIMEN"]


def test_limits_refuse_the_file() -> None:
    assert refusals(decode(specimen("SYN-1"), specimen("SYN-2"), limits=replace(LIMITS, records=1))) == [
        "TOO_MANY_RECORDS"
    ]
    assert refusals(decode(specimen(), limits=replace(LIMITS, bytes=50))) == ["FILE_TOO_LARGE"]
