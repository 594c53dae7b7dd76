"""What every adapter promises (adapters/base.py), whichever format it speaks; a third party's too."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from adapters.contract import AdapterContract, Subject
from adapters.registry import adapter_names

NAMES = adapter_names()
PREFIXES = {
    "provincial-police-csv": b"AJBH,AJLB,XM\r\n",
    "cap": b'<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>',
    "codis-cmf": b'<CODISImportFile xmlns="urn:CODISImportFile-schema"><SPECIMEN>',
    "codis-db-csv": b"specimenId,TH01_1,TH01_2\r\n",
    "genemapper": b"Sample Name\tMarker\tAllele 1\tAllele 2\tHeight 1\tADO\r\n",
    "genotype-csv": b"SampleName,Marker,Allele1,Allele2\r\n",
    "pfif": b'<pfif xmlns="http://zesty.ca/pfif/1.4"><person>',
    "record-json": b'{"records": [{"kind": "Tip", "record": {',
}
ROOT = Path(__file__).parents[2]
INPUT = ROOT / "deploy" / "demo" / "input"
SAMPLES = ROOT / "adapters" / "national_dna_database" / "samples"
SHIPPED = {
    "cap": ROOT / "adapters" / "public_notice" / "samples" / "child-notice.cap.xml",
    "provincial-police-csv": INPUT / "rescued-children.csv",
    "codis-cmf": INPUT / "profiles.cmf.xml",
    "codis-db-csv": SAMPLES / "database.csv",
    "genemapper": SAMPLES / "genemapper-idx.txt",
    "genotype-csv": SAMPLES / "genotypes.csv",
    "pfif": INPUT / "missing-child.pfif.xml",
    "record-json": INPUT / "closure.json",
}


def test_the_registered_adapters_are_these() -> None:
    assert sorted(PREFIXES) == NAMES


class TestEveryAdapter(AdapterContract):
    subjects: ClassVar = [Subject(name, PREFIXES[name], SHIPPED[name]) for name in NAMES if name in SHIPPED]
