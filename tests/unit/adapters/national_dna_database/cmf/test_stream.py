from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapters.base import DecodedRecord, Limits, Severity, Source, StreamingAdapter, collect
from adapters.national_dna_database.cmf.adapter import ADAPTER
from tests.unit.adapters.national_dna_database.cmf.test_cmf import file, locus, specimen

if TYPE_CHECKING:
    from adapters.base import Issue

LIMITS = Limits()


def stream(content: bytes, limits: Limits = LIMITS) -> list[DecodedRecord | Issue]:
    return list(ADAPTER.stream(io.BytesIO(content), {}, limits))


def outcome(content: bytes, limits: Limits = LIMITS) -> tuple[int, list[str]]:
    found = collect(stream(content, limits), b"")
    return len(found.records), sorted({issue.code for issue in found.issues})


def test_the_format_is_read_as_a_stream() -> None:
    assert isinstance(ADAPTER, StreamingAdapter)


def test_a_stream_yields_what_decode_returns_in_the_order_of_the_file() -> None:
    content = file(
        specimen("SYN-1"), specimen("SYN-2", loci=locus("TH01", "9.9")), specimen("SYN-3"), specimen("SYN-1")
    )
    items = stream(content)
    whole = ADAPTER.decode(Source(content), LIMITS)
    assert [item.case_reference if isinstance(item, DecodedRecord) else item.code for item in items] == [
        "SYN-1",
        "ALLELE_INVALID",
        "SYN-3",
        "SPECIMEN_REPEATED",
    ]
    assert [item for item in items if isinstance(item, DecodedRecord)] == list(whole.records)
    assert [item for item in items if not isinstance(item, DecodedRecord)] == list(whole.issues)


def test_a_file_that_breaks_off_is_refused_before_its_first_record() -> None:
    (issue,) = stream(file(*(specimen(f"SYN-{number}") for number in range(1000)))[:-20])
    assert not isinstance(issue, DecodedRecord)
    assert (issue.severity, issue.code) == (Severity.REJECT_FILE, "XML_MALFORMED")


def test_a_header_behind_the_specimens_counts_for_all_of_them() -> None:
    content = file(specimen()).replace(b"<SOURCELAB>SYN</SOURCELAB>", b"")
    moved = content.replace(b"</CODISImportFile>", b"<SOURCELAB>SYN-LAB</SOURCELAB></CODISImportFile>")
    (item,) = stream(moved)
    assert isinstance(item, DecodedRecord)
    assert item.record.laboratory == "SYN-LAB"  # type: ignore[union-attr] # a profile


def test_more_specimens_than_the_limit_of_a_stream_are_refused_as_a_whole() -> None:
    assert outcome(file(specimen("SYN-1"), specimen("SYN-2")), replace(LIMITS, streamed_records=1)) == (
        0,
        ["TOO_MANY_RECORDS"],
    )


def test_a_stream_may_be_larger_than_a_file_that_is_read_whole() -> None:
    content = file(*(specimen(f"SYN-{number}") for number in range(20)))
    small = replace(LIMITS, bytes=500, records=10)
    assert outcome(content, small) == (20, [])
    assert [issue.code for issue in ADAPTER.decode(Source(content), small).issues] == ["FILE_TOO_LARGE"]
    assert outcome(content, replace(small, streamed_bytes=600)) == (0, ["FILE_TOO_LARGE"])


@pytest.mark.parametrize(
    "more",
    ["".join(f"<H{number}>1</H{number}>" for number in range(1001)), f"<H>{'x' * 15_000}</H>" * 5],
    ids=["fields", "bytes"],
)
def test_a_header_that_would_swell_every_record_is_refused(more: str) -> None:
    assert outcome(file(specimen(), more=more))[1][-1] == "HEADER_TOO_LARGE"


def test_the_text_of_1_0_is_told_too() -> None:
    text = b"1.0\r\n2\r\nIMPORT\r\n" + b"SYN\r\n" * 5 + b"0\r\n"
    assert outcome(text) == (0, ["NO_SPECIMEN"])
    assert outcome(text, replace(LIMITS, bytes=20)) == (0, ["FILE_TOO_LARGE"])
