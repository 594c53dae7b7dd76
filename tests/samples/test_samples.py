"""The real third-party files beside the project, if they are present. Each has the outcome that is stated here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from adapters.base import Limits, Severity, Source, kind_of
from adapters.national_dna_database.codes import CATEGORIES, KITS, cmf_category, cmf_locus
from adapters.registry import adapter, adapter_names, detect
from adapters.values.alleles import canonical_locus
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from adapters.base import Decoded, Record

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the third-party samples are not beside the project")

CMF = {
    "CODIS-32.AppendixAexample.xml": (2, ()),
    "CODIS-CMF-1.0.AppendixF.txt": (2, ()),
    "CODIS-Rapid-Import-CMF.AppendixA.xml": (2, ()),
    "CmfList.xml": (0, ("NOT_CMF",)),
    "genis-profile_bad_formed.xml": (1, ()),
    "genis-profile_with_invalid_loci.xml": (0, ("LOCUS_UNKNOWN",)),
    "nfi-Codis-Single-Profile.xml": (1, ()),
    "nfi-broken-allele.xml": (0, ("ALLELE_INVALID",)),
    "nfi-no-profiles.xml": (0, ("NO_SPECIMEN",)),
    "nfi-not-a-codis-file.xml": (0, ("NOT_CMF",)),
}
GENEMAPPER = {
    "genis-Autosomal.txt": (1, ()),
    "genis-Genemapper_v1.4-excerpt.txt": (0, ()),
    "genis-Homocygote.txt": (2, ()),
    "nfi-GeneMapperExample.txt": (4, ()),
    "nfi-GeneMapperExampleBrokenHeader.txt": (4, ()),
    "nfi-GeneMapperExampleDifferentCaseNumbers.txt": (4, ()),
    "nfi-GeneMapperExampleWithHeights.txt": (4, ()),
    "nfi-lrmix-genemapperSample.txt": (1, ()),
    "strvalidator-ref3.txt": (3, ()),
}
GENEMAPPER_AMONG_CSV = {
    "nfi-5716083_RAAK1234NL.txt": (1, ()),
    "nfi-eDNASample.csv": (1, ()),
    "nfi-lrmix-suspect2.csv": (1, ()),
}
GENOTYPE_CSV = {
    "euroformix-ForenSeq_refs.csv": (4, ()),
    "euroformix-GF_refs.csv": (4, ()),
    "euroformix-triAllele1_refs.csv": (2, ()),
    "nfi-lrmix-suspect.csv": (1, ()),
    "nfi-lrmix-suspect.tsv": (1, ()),
    "nfi-sample-long.csv": (4, ()),
    "nfi-sampleProfile_duplicateAlleles.csv": (2, ()),
}
DATABASE = {
    "nfi-database_codis_2records_lowerascii.csv": (2, ()),
    "nfi-database_codis_4records_1error_1empty.csv": (3, ("PROFILE_EMPTY",)),
    "nfi-database_codis_generated_10.csv": (10, ()),
    "nfi-database_codis_generated_10_2fields.csv": (10, ()),
    "nfi-database_codis_generated_10_3fields.csv": (10, ()),
    "nfi-database_codis_generated_10_6fields.csv": (10, ()),
    "nfi-database_codis_generated_44.csv": (44, ()),
}
NIEM_DNA = {
    "NIEM5.1_DNA_Crime_Scene_Sample.xml": (1, ()),
    "NIEM5.1_DNA_MP_Relatives_Case.xml": (2, ()),
}
TYPE18 = {"AllFields.xml": (1, ())}
INTERPOL = {
    "Sample-SRE-HIT_CPS-INT-ITransaction.xml": (1, ()),
    "Sample-SRE-HIT_MPS-INT-ITransaction.xml": (1, ()),
}
PFIF = {
    "fixtures/XML_11_SMALL.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_ADDED_DELETED_CHANGED_2.xml": (1, ("PERSON_UNKNOWN",)),
    "fixtures/XML_ASYMMETRICALLY_LINKED_RECORDS.xml": (0, ("FIELD_MISSING",)),
    "fixtures/XML_BAD_PFIF_VERSION.xml": (0, ("PFIF_VERSION",)),
    "fixtures/XML_CORRECT_FIELD_ORDER_12.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_CORRECT_FORMAT_13.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_DUPLICATE_FIELDS.xml": (1, ("RECORD_ID_MISSING",)),
    "fixtures/XML_DUPLICATE_PERSON_AND_NOTE_ID.xml": (1, ("RECORD_REPEATED",)),
    "fixtures/XML_DUPLICATE_PERSON_IDS.xml": (2, ("RECORD_REPEATED",)),
    "fixtures/XML_EXPIRE_99_12.xml": (1, ()),
    "fixtures/XML_EXPIRE_99_HAS_DATA_NONSYNCED_DATES.xml": (1, ("FIELD_MISSING", "RECORD_ID_MISSING")),
    "fixtures/XML_EXPIRE_99_HAS_DATA_SYNCED_DATES.xml": (1, ()),
    "fixtures/XML_EXPIRE_99_NO_DATA.xml": (1, ()),
    "fixtures/XML_FULL_12.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_INCORRECT_FIELD_ORDER_11.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_INCORRECT_NOTE_FIELD_ORDER_12.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_MANDATORY_13.xml": (3, ()),
    "fixtures/XML_MANDATORY_13_NONSUB.xml": (2, ()),
    "fixtures/XML_NON_PFIF_ROOT.xml": (0, ("NOT_PFIF",)),
    "fixtures/XML_NOTES_WITHOUT_PEOPLE.xml": (1, ("RECORD_ID_MISSING",)),
    "fixtures/XML_NOTES_WITH_CHILDREN.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_NO_EXPIRY_DATE.xml": (1, ()),
    "fixtures/XML_ONE_BLANK_RECORD_ID.xml": (1, ("RECORD_ID_MISSING",)),
    "fixtures/XML_ONE_PERSON_TWO_FIELDS_NEW_VALUE.xml": (1, ()),
    "fixtures/XML_PERSON_NO_CHILDREN_13.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_PERSON_WITH_CHILDREN_11.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_ROOT_LACKS_CHILD.xml": (0, ("NO_RECORDS",)),
    "fixtures/XML_TOP_LEVEL_NOTE_11.xml": (0, ("RECORD_ID_MISSING",)),
    "fixtures/XML_TWO_DUPLICATE_NO_CHILD.xml": (0, ("NO_RECORDS",)),
    "fixtures/XML_TWO_PERSONS_ONE_FIELD.xml": (2, ()),
    "fixtures/XML_UNIQUE_PERSON_IDS.xml": (4, ()),
    "fixtures/XML_UNLINKED_RECORDS.xml": (1, ("FIELD_MISSING",)),
    "global-test.pfif-1.2-source.xml": (1, ()),
    "test.pfif-1.2-believed-dead.xml": (1, ()),
    "test.pfif-1.2-note.xml": (2, ()),
    "test.pfif-1.2-notification.xml": (1, ()),
    "test.pfif-1.2-source.xml": (1, ()),
    "test.pfif-1.2.xml": (5, ()),
    "test.pfif-1.4.xml": (5, ()),
}
NIEM_XML = {
    "CrashDriverSample.xml": (0, ("NO_RECORDS",)),
    "full-example.xml": (0, ("NO_RECORDS",)),
    "nlets-amber-alert.xml": (1, ()),
}
NIEM_JSON = {
    "CrashDriverSample.json": (0, ("NO_RECORDS",)),
    "full-example.jsonld": (0, ("NO_RECORDS",)),
}
TABLES = (
    ("codis-cmf", "codis-cmf", CMF),
    ("genemapper", "genemapper", GENEMAPPER),
    ("genotype-csv", "genemapper", GENEMAPPER_AMONG_CSV),
    ("genotype-csv", "genotype-csv", GENOTYPE_CSV),
    ("codis-db-csv", "codis-db-csv", DATABASE),
    ("niem-dna", "niem-dna", NIEM_DNA),
    ("ansi-nist", "interpol-reply", INTERPOL),
    ("ansi-nist", "nist-type18", TYPE18),
    ("pfif", "pfif", PFIF),
    ("niem", "niem-missing-person", NIEM_XML),
    ("niem", "niem-json", NIEM_JSON),
)
"""Folder, adapter, and the outcome of each file: how many records are read, and the codes of what is refused."""
FILES = [(folder, format_name, name) for folder, format_name, table in TABLES for name in table]
EXPECTED = {(folder, name): outcome for folder, _, table in TABLES for name, outcome in table.items()}
READ_ONLY = {"interpol-reply", "nist-type18"}
LOSSY = {"VALUE_CUT", "NAME_COMPOSED", "DEFAULT_WRITTEN", "FIELD_NOT_CARRIED", "LOCUS_NOT_CARRIED", "KIT_NOT_CARRIED"}


def decoded(folder: str, format_name: str, name: str) -> Decoded:
    return adapter(format_name).decode(Source((SAMPLES / folder / name).read_bytes()), Limits())


def essence(record: Record) -> Record:
    copy = type(record)()
    copy.CopyFrom(record)  # type: ignore[arg-type] # of its own type
    copy.ClearField("provenance")
    if isinstance(copy, dna_pb2.StrProfile):
        copy.loci.sort(key=lambda call: call.locus)
    return copy


@pytest.mark.parametrize(("folder", "format_name", "name"), FILES, ids=[name for _, _, name in FILES])
def test_every_file_has_its_stated_outcome(folder: str, format_name: str, name: str) -> None:
    found = decoded(folder, format_name, name)
    refused = {issue.code for issue in found.issues if issue.severity in {Severity.REJECT_FILE, Severity.REJECT_RECORD}}
    assert (len(found.records), tuple(sorted(refused))) == EXPECTED[folder, name]


@pytest.mark.parametrize(
    ("folder", "format_name", "name"),
    [file for file in FILES if EXPECTED[file[0], file[2]][0] and file[1] not in READ_ONLY],
    ids=[name for folder, form, name in FILES if EXPECTED[folder, name][0] and form not in READ_ONLY],
)
def test_what_is_read_is_written_and_read_again_without_loss_or_with_a_coded_warning(
    folder: str, format_name: str, name: str
) -> None:
    first = [item.record for item in decoded(folder, format_name, name).records]
    written = adapter(format_name).encode(first, Limits())
    second = [item.record for item in adapter(format_name).decode(Source(written.content), Limits()).records]
    assert len(second) == len(first)
    if not {issue.code for issue in written.issues} & (LOSSY - {"DEFAULT_WRITTEN"}):
        assert [essence(record) for record in second] == [essence(record) for record in first]


def test_every_sample_file_of_these_formats_is_in_the_tables() -> None:
    for folder, suffixes in (
        ("codis-cmf", {".xml", ".txt"}),
        ("genemapper", {".txt"}),
        ("genotype-csv", {".csv", ".tsv", ".txt"}),
        ("codis-db-csv", {".csv"}),
        ("niem-dna", {".xml"}),
        ("ansi-nist", {".xml"}),
        ("pfif", {".xml"}),
        ("niem", {".xml", ".json", ".jsonld"}),
    ):
        files = {(folder, str(path.relative_to(SAMPLES / folder))) for path in (SAMPLES / folder).rglob("*.*")}
        assert {(folder, name) for folder, name in files if Path(name).suffix in suffixes} <= set(EXPECTED)


@pytest.mark.parametrize(("folder", "format_name", "name"), FILES, ids=[name for _, _, name in FILES])
def test_every_file_that_holds_records_is_known_by_its_content(folder: str, format_name: str, name: str) -> None:
    if EXPECTED[folder, name][0]:
        assert detect((SAMPLES / folder / name).read_bytes()) is adapter(format_name)


def test_rows_of_ladders_are_nobody_whatever_category_they_state() -> None:
    found = decoded("genemapper", "genemapper", "genis-Genemapper_v1.4-excerpt.txt")
    assert [issue.code for issue in found.issues] == ["COLUMN_UNMAPPED", "COLUMN_NOT_READ", "CONTROL_SKIPPED"]


def test_alleles_of_every_profile_of_a_sequencer_are_names() -> None:
    for item in decoded("genotype-csv", "genotype-csv", "euroformix-ForenSeq_refs.csv").records:
        assert isinstance(item.record, dna_pb2.StrProfile)
        operators = {allele.operator for call in item.record.loci for allele in call.alleles}
        assert operators == {dna_pb2.ALLELE_OPERATOR_SEQUENCE}
        assert "D6S1043" in {call.locus for call in item.record.loci}


def test_an_allele_above_the_ladder_in_a_database_export_is_one() -> None:
    found = decoded("codis-db-csv", "codis-db-csv", "nfi-database_codis_4records_1error_1empty.csv")
    alleles = [
        allele
        for item in found.records
        if isinstance(item.record, dna_pb2.StrProfile)
        for call in item.record.loci
        for allele in call.alleles
        if allele.operator != dna_pb2.ALLELE_OPERATOR_EQUAL
    ]
    assert [(allele.value, allele.operator) for allele in alleles] == [("20", dna_pb2.ALLELE_OPERATOR_ABOVE)]


def test_cmf_1_0_and_3_2_tell_the_same_alleles_of_the_same_specimens() -> None:
    text, document = (
        [item.record for item in decoded("codis-cmf", "codis-cmf", name).records]
        for name in ("CODIS-CMF-1.0.AppendixF.txt", "CODIS-32.AppendixAexample.xml")
    )
    for one, other in zip(text, document, strict=True):
        assert isinstance(one, dna_pb2.StrProfile)
        assert isinstance(other, dna_pb2.StrProfile)
        assert (one.barcode, one.category.value) == (other.barcode, other.category.value)
        alleles = [
            {call.locus: [(allele.value, allele.operator) for allele in call.alleles] for call in profile.loci}
            for profile in (one, other)
        ]
        assert alleles[0] == alleles[1]


def test_the_wife_and_son_of_a_missing_man_are_the_mother_and_the_child() -> None:
    wife, son = (item.record for item in decoded("niem-dna", "niem-dna", "NIEM5.1_DNA_MP_Relatives_Case.xml").records)
    assert isinstance(wife, dna_pb2.StrProfile)
    assert isinstance(son, dna_pb2.StrProfile)
    assert (wife.role, son.role) == (dna_pb2.SAMPLE_ROLE_MOTHER, dna_pb2.SAMPLE_ROLE_CHILD)
    assert (len(wife.loci), len(son.loci)) == (21, 23)
    assert {code.system for code in wife.other_numbers} == {"NCIC", "DNA Profile ID"}
    doubtful = {call.locus for call in wife.loci if call.quality != dna_pb2.LOCUS_QUALITY_NORMAL}
    assert doubtful == {"CSF1PO"}
    assert any(len(call.alleles) == 1 for call in wife.loci if call.locus not in {"Amelogenin", "Yindel"})


def test_a_record_of_placeholders_tells_its_result_and_makes_nobody_a_person() -> None:
    found = decoded("ansi-nist", "nist-type18", "AllFields.xml")
    assert [type(item.record) for item in found.records] == [dna_pb2.NoMatchResult]
    assert {"ALLELE_EMPTY", "PROFILE_EMPTY", "BINARY_NOT_CARRIED"} <= {issue.code for issue in found.issues}


@pytest.mark.parametrize("name", INTERPOL)
def test_a_hit_of_interpol_lists_one_of_three_candidates_and_names_nobody(name: str) -> None:
    found = decoded("ansi-nist", "interpol-reply", name)
    (hit,) = (item.record for item in found.records)
    assert isinstance(hit, dna_pb2.MatchNotification)
    assert (hit.reported_hit.candidate, hit.reported_hit.candidates) == ("1", 3)
    assert hit.reported_hit.verification == dna_pb2.MANUAL_VERIFICATION_DONE
    assert hit.likelihood_ratio == ""
    assert "Mustermann" not in str(hit)
    assert {issue.code for issue in found.issues} == {"CANDIDATES_NOT_LISTED", "IDENTITY_LEFT_OUT"}


def test_a_transaction_is_written_in_the_elements_and_order_of_the_published_one() -> None:
    name = "NIEM5.1_DNA_MP_Relatives_Case.xml"
    written = adapter("niem-dna").encode(
        [item.record for item in decoded("niem-dna", "niem-dna", name).records], Limits()
    )
    published = list(etree.parse(SAMPLES / "niem-dna" / name).iter(etree.Element))
    known = {(element.getparent().tag, element.tag) for element in published if element.getparent() is not None}
    order: dict[str, list[str]] = {}
    for element in published:
        seen = order.setdefault(element.tag, [])
        seen.extend(child.tag for child in element.iterchildren(etree.Element) if child.tag not in seen)
    for element in etree.fromstring(written.content).iter(etree.Element):
        places = [order[element.tag].index(child.tag) for child in element if (element.tag, child.tag) in known]
        assert places == sorted(places)
        assert all((element.tag, child.tag) in known for child in element)


def test_what_is_written_is_valid_by_the_published_schema() -> None:
    schema = etree.XMLSchema(etree.parse(SAMPLES / "codis-cmf" / "CMF-2017.xsd"))
    for name, (records, _) in CMF.items():
        if records:
            found = [item.record for item in decoded("codis-cmf", "codis-cmf", name).records]
            content = adapter("codis-cmf").encode(found, Limits()).content
            schema.assertValid(etree.fromstring(content))


def test_what_uses_names_of_3_2_only_is_valid_by_its_own_schema_too() -> None:
    schema = etree.XMLSchema(etree.parse(SAMPLES / "codis-cmf" / "CODIS-32.AppendixBexample.xsd"))
    for name in ("CODIS-32.AppendixAexample.xml", "genis-profile_bad_formed.xml"):
        found = [item.record for item in decoded("codis-cmf", "codis-cmf", name).records]
        schema.assertValid(etree.fromstring(adapter("codis-cmf").encode(found, Limits()).content))


def test_what_had_to_be_filled_in_is_valid_by_the_published_schema() -> None:
    bare = dna_pb2.StrProfile(barcode="SYN-1")
    bare.loci.add(locus="Y GATA H4").alleles.add(value="12", operator=dna_pb2.ALLELE_OPERATOR_EQUAL)
    schema = etree.XMLSchema(etree.parse(SAMPLES / "codis-cmf" / "CMF-2017.xsd"))
    schema.assertValid(etree.fromstring(adapter("codis-cmf").encode([bare], Limits()).content))


def test_every_locus_kit_and_category_of_the_lists_of_2017_is_written_as_the_list_has_it() -> None:
    lists = etree.parse(SAMPLES / "codis-cmf" / "CMF-2017.xsd")
    schema = "{http://www.w3.org/2001/XMLSchema}"
    names = {
        str(kind.get("name")): {str(item.get("value")) for item in kind.iter(f"{schema}enumeration")}
        for kind in lists.iter(f"{schema}simpleType")
    }
    assert names["KitType"] == KITS
    assert names["SpecimenCategoryType"] == {
        name for name in CATEGORIES if cmf_category(name, dna_pb2.SAMPLE_ROLE_UNSPECIFIED) == name
    }
    assert all(cmf_locus(canonical_locus(name) or "", name) for name in names["LocusNameType"])
    assert {cmf_locus(canonical_locus(name) or "", name) for name in names["LocusNameType"]} <= names["LocusNameType"]


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_tables_of_other_agencies_are_refused_by_the_police_adapters_with_a_code(suffix: str) -> None:
    for path in sorted(SAMPLES.rglob(f"*.{suffix}")):
        found = adapter(f"provincial-police-{suffix}").decode(Source(path.read_bytes()), Limits())
        assert not found.records, path.name
        assert found.rejected, path.name


def test_the_import_table_of_person_finder_holds_a_person_and_a_note_that_can_be_written_as_pfif() -> None:
    found = decoded("pfif", "pfif-csv", "sample-import.csv")
    assert [kind_of(item.record) for item in found.records] == ["CaseRecord", "Tip"]
    assert {issue.code for issue in found.issues} == {"RECORD_ID_FORM", "COLUMN_MISSING"}
    assert detect((SAMPLES / "pfif" / "sample-import.csv").read_bytes()) is adapter("pfif-csv")
    written = adapter("pfif").encode([item.record for item in found.records], Limits())
    assert (written.content.count(b"<person>"), written.content.count(b"<note>")) == (1, 1)


@pytest.mark.parametrize("format_name", adapter_names())
def test_no_file_of_any_other_format_makes_a_reader_raise(format_name: str) -> None:
    for path in sorted(item for item in SAMPLES.rglob("*") if item.is_file()):
        found = adapter(format_name).decode(Source(path.read_bytes()), Limits())
        assert found.records or found.issues, path.name
