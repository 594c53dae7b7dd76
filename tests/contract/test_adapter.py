"""What every adapter promises (adapters/base.py), whichever format it speaks; a third party's too."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import RECORD_TYPES, Limits, Severity, Source, kind_of
from adapters.registry import adapter, adapter_names, detect, head_of
from adapters.validate import validate

NAMES = adapter_names()
ADAPTERS = {name: adapter(name) for name in NAMES}
"""Looked up once: a lookup reads what is installed, and takes longer than reading a few bytes of an example."""
PREFIXES = {
    "provincial-police-csv": b"AJBH,AJLB,XM\r\n",
    "provincial-police-xlsx": b"PK\x03\x04",
    "cap": b'<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>',
    "codis-cmf": b'<CODISImportFile xmlns="urn:CODISImportFile-schema"><SPECIMEN>',
    "codis-db-csv": b"specimenId,TH01_1,TH01_2\r\n",
    "family-search-xlsx": b"PK\x03\x04",
    "genemapper": b"Sample Name\tMarker\tAllele 1\tAllele 2\tHeight 1\tADO\r\n",
    "genotype-csv": b"SampleName,Marker,Allele1,Allele2\r\n",
    "interpol-reply": b'<x:NISTBiometricInformationExchangePackage xmlns:x="http://interpol.gov/int-i/1.0"><x:Y>',
    "niem-dna": b'<smpl:DNADataTransaction xmlns:smpl="urn:x" xmlns:biom="urn:y"><biom:DNARecord>',
    "nist-type18": b'<x:NISTBiometricInformationExchangePackage xmlns:x="urn:x"><x:PackageDNARecord>',
    "namus-json": b'[{"idFormatted": "MP1", "subjectIdentification": {',
    "niem-json": b'{"@context": {"j": "http://release.niem.gov/niem/domains/jxdm/5.0/#"}, "j:MissingPerson": {',
    "niem-missing-person": b'<j:MissingPerson xmlns:j="http://release.niem.gov/niem/domains/jxdm/5.0/">',
    "pfif": b'<pfif xmlns="http://zesty.ca/pfif/1.4"><person>',
    "pfif-csv": b"person_record_id,full_name\r\n",
    "record-json": b'{"records": [{"kind": "Tip", "record": {',
}
ROOT = Path(__file__).parents[2]
INPUT = ROOT / "deploy" / "demo" / "input"
SAMPLES = ROOT / "adapters" / "national_dna_database" / "samples"
NGO_SAMPLES = ROOT / "adapters" / "ngo" / "samples"
SHIPPED = {
    "cap": ROOT / "adapters" / "public_notice" / "samples" / "child-notice.cap.xml",
    "provincial-police-csv": INPUT / "rescued-children.csv",
    "provincial-police-xlsx": ROOT / "adapters" / "provincial_police" / "samples" / "missing-persons.xlsx",
    "codis-cmf": INPUT / "profiles.cmf.xml",
    "codis-db-csv": SAMPLES / "database.csv",
    "family-search-xlsx": NGO_SAMPLES / "family-search.xlsx",
    "genemapper": SAMPLES / "genemapper-idx.txt",
    "genotype-csv": SAMPLES / "genotypes.csv",
    "interpol-reply": SAMPLES / "interpol-hit.xml",
    "niem-dna": SAMPLES / "niem-dna.xml",
    "nist-type18": SAMPLES / "nist-type18.xml",
    "namus-json": NGO_SAMPLES / "namus-cases.json",
    "niem-json": ROOT / "adapters" / "provincial_police" / "samples" / "niem-missing-person.json",
    "niem-missing-person": ROOT / "adapters" / "provincial_police" / "samples" / "niem-amber-alert.xml",
    "pfif": INPUT / "missing-child.pfif.xml",
    "pfif-csv": NGO_SAMPLES / "persons.csv",
    "record-json": INPUT / "closure.json",
}
HOSTILE = {
    "empty": b"",
    "nul bytes": bytes(1000),
    "external entity": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "billion laughs": b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>',
    "deep elements": b"<a>" * 100_000,
    "deep lists": b'{"records": ' + b"[" * 100_000,
    "long line": b"A" * 2_000_000,
    "utf-16": "<pfif/>".encode("utf-16"),
    "byte order marks": b"\xef\xbb\xbf" * 3,
    "half a character": b"AJBH\r\n\x81",
}


def test_the_registered_adapters_are_these() -> None:
    assert sorted(PREFIXES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_speaks_of_known_kinds_only(name: str) -> None:
    found = adapter(name)
    assert found.name == name
    assert found.decodes | found.encodes <= set(RECORD_TYPES)
    assert found.suffix.startswith(".")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_file_is_refused_by_a_code_and_nothing_raises(name: str, content: bytes) -> None:
    for prefix in (b"", PREFIXES[name]):
        found = adapter(name).decode(Source(prefix + content), Limits())
        assert found.source_sha256 == hashlib.sha256(prefix + content).digest()
        assert found.records or found.issues
        assert all(issue.code == issue.code.upper() and issue.locator and issue.message for issue in found.issues)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_an_adapter_raise_and_what_it_reads_is_valid(name: str, content: bytes) -> None:
    for prefix in (b"", PREFIXES[name]):
        found = ADAPTERS[name].decode(Source(prefix + content), Limits())
        for item in found.records:
            assert kind_of(item.record) in ADAPTERS[name].decodes
            assert validate(item.record) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_file_over_the_limit_is_refused(name: str) -> None:
    found = adapter(name).decode(Source(PREFIXES[name] + b"x" * 1000), Limits(bytes=500))
    assert found.rejected
    assert found.records == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_kind_that_is_not_carried_is_refused_by_a_code(name: str) -> None:
    found = adapter(name)
    for kind in set(RECORD_TYPES) - found.encodes:
        encoded = found.encode([RECORD_TYPES[kind]()], Limits())
        assert {Severity.REJECT_RECORD, Severity.REJECT_FILE} & {issue.severity for issue in encoded.issues}


@pytest.mark.parametrize("name", NAMES)
def test_no_adapter_takes_the_file_of_another_for_its_own(name: str) -> None:
    content = SHIPPED[name].read_bytes()
    assert [other for other in NAMES if adapter(other).sniff(head_of(content))] == [name]


READ_ONLY = [name for name in NAMES if not ADAPTERS[name].encodes]
"""Formats that only somebody else can issue."""


@pytest.mark.parametrize("name", READ_ONLY)
def test_an_adapter_that_only_reads_refuses_to_write_even_what_it_read(name: str) -> None:
    read = ADAPTERS[name].decode(Source(SHIPPED[name].read_bytes()), Limits())
    assert len(read.records) > 0
    for records in ([item.record for item in read.records], []):
        written = ADAPTERS[name].encode(records, Limits())
        assert [issue.severity for issue in written.issues] == [Severity.REJECT_FILE]
        assert (written.content, dict(written.attachments)) == (b"", {})


@pytest.mark.parametrize("name", [name for name in NAMES if name not in READ_ONLY])
def test_what_an_adapter_writes_it_takes_for_its_own(name: str) -> None:
    found = adapter(name)
    read = found.decode(Source(SHIPPED[name].read_bytes()), Limits())
    assert len(read.records) > 0
    content = found.encode([item.record for item in read.records], Limits()).content
    assert found.sniff(head_of(content))
    assert detect(content) is found
    assert len(found.decode(Source(content), Limits()).records) == len(read.records)
