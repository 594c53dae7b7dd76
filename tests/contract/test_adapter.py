"""What every adapter promises (adapters/base.py), for every format, and for an adapter of a third party too."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from adapters.contract import AdapterContract, Subject
from adapters.registry import adapter_names

NAMES = adapter_names()
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


def test_the_registered_adapters_are_these() -> None:
    assert sorted(PREFIXES) == NAMES


class TestEveryAdapter(AdapterContract):
    subjects: ClassVar = [Subject(name, PREFIXES[name], SHIPPED[name]) for name in NAMES if name in SHIPPED]
