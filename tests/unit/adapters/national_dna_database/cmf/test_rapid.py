from __future__ import annotations

from pathlib import Path

import pytest

from adapters.base import Decoded, Limits, Severity, Source
from adapters.national_dna_database.cmf.adapter import ADAPTER
from caseexchange.records.v1 import dna_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "national_dna_database" / "samples" / "rapid-import.xml"
LIMITS = Limits()
REJECTIONS = {Severity.REJECT_FILE, Severity.REJECT_RECORD}


def decode(old: str = "", new: str = "") -> Decoded:
    text = SAMPLE.read_text()
    assert old in text
    return ADAPTER.decode(Source(text.replace(old, new, 1).encode()), LIMITS)


def refusals(found: Decoded) -> list[str]:
    return [issue.code for issue in found.issues if issue.severity in REJECTIONS]


def test_the_sample_file_is_read_whole() -> None:
    assert ADAPTER.sniff(SAMPLE.read_bytes())
    found = decode()
    record = found.records[0].record
    assert isinstance(record, dna_pb2.StrProfile)
    assert (record.barcode, record.category.value) == ("SYN-RPD-0001", "Juvenile")
    assert (record.destination, record.laboratory, record.submitted_by) == ("SYN000001", "SYN000002", "SYNUSER")
    assert record.submitted_at == "2026-11-10T12:00:00"
    assert record.provenance.source_format_version == "Rapid 1.0"
    assert {(call.kit, call.batch) for call in record.loci} == {("GlobalFiler Express", "SYN-CARTRIDGE-1")}
    assert "D6S1043" in {call.locus for call in record.loci}
    assert not refusals(found)


def test_what_only_a_booking_station_knows_is_kept_as_unmapped() -> None:
    record = decode().records[0].record
    assert [item.path for item in record.provenance.unmapped] == [
        "CODISImportFile/MESSAGEID",
        "CODISImportFile/INSTRUMENTID",
        "SPECIMEN/UNIQUEEVENTID",
        "SPECIMEN/FINGERPRINTDATE",
        "SPECIMEN/ARRESTOFFENSECATEGORY",
    ]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (">Rapid Import<", ">Import<", "NOT_IMPORT"),
        (">Rapid Import<", ">Rapid Response<", "NOT_IMPORT"),
        ("<MESSAGEID>", "<SOURCEORI>OTHER</SOURCEORI><MESSAGEID>", "FIELD_REPEATED"),
        ("<KIT>", "<KIT>GlobalFiler</KIT><KIT>", "FIELD_REPEATED"),
        ("<SPECIMENID>", "<SPECIMENID>OTHER</SPECIMENID><SPECIMENID>", "FIELD_REPEATED"),
        (">SYNUSER<", f">{'x' * 20_001}<", "FIELD_TOO_LONG"),
        (">TH01<", ">BAD1<", "LOCUS_UNKNOWN"),
        (">9.3<", ">9.9<", "ALLELE_INVALID"),
    ],
)
def test_what_leaves_the_profile_in_doubt_is_refused_as_in_3_2(old: str, new: str, code: str) -> None:
    found = decode(old, new)
    assert refusals(found) == [code]
    assert not found.records


def test_a_document_without_its_namespace_is_read_with_a_warning() -> None:
    found = decode(' xmlns="urn:CODISRapidImportFile-schema"', "")
    assert len(found.records) == 1
    assert found.issues[0].code == "NAMESPACE_MISSING"


def test_a_document_without_specimens_is_refused() -> None:
    for content in (b"<CODISRapidImportFile/>", b'<CODISRapidImportFile xmlns="urn:CODISRapidImportFile-schema"/>'):
        assert refusals(ADAPTER.decode(Source(content), LIMITS)) == ["NO_SPECIMEN"]
