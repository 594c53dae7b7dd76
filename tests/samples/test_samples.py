"""The real third-party files beside the project, where they are present: each has the outcome that is stated here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from adapters.alleles import canonical_locus
from adapters.base import Limits, Severity, Source
from adapters.national_dna_database.cmf_tables import CATEGORIES, KITS, cmf_category, cmf_locus
from adapters.registry import adapter
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from adapters.base import Decoded, Record

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the third-party samples are not beside the project")

CMF = {
    "CODIS-32.AppendixAexample.xml": (2, ()),
    "CODIS-CMF-1.0.AppendixF.txt": (0, ("CMF_TEXT",)),
    "CODIS-Rapid-Import-CMF.AppendixA.xml": (0, ("CMF_RAPID",)),
    "CmfList.xml": (0, ("NOT_CMF",)),
    "genis-profile_bad_formed.xml": (1, ()),
    "genis-profile_with_invalid_loci.xml": (0, ("LOCUS_UNKNOWN",)),
    "nfi-Codis-Single-Profile.xml": (1, ()),
    "nfi-broken-allele.xml": (0, ("ALLELE_INVALID",)),
    "nfi-no-profiles.xml": (0, ("NO_SPECIMEN",)),
    "nfi-not-a-codis-file.xml": (0, ("NOT_CMF",)),
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
FILES = [("codis-cmf", "codis-cmf", name) for name in CMF] + [("pfif", "pfif", name) for name in PFIF]
EXPECTED = {("codis-cmf", name): outcome for name, outcome in CMF.items()} | {
    ("pfif", name): outcome for name, outcome in PFIF.items()
}
LOSSY = {"VALUE_CUT", "NAME_COMPOSED", "DEFAULT_WRITTEN", "FIELD_NOT_CARRIED", "LOCUS_NOT_CARRIED", "KIT_NOT_CARRIED"}


def decoded(folder: str, format_name: str, name: str) -> Decoded:
    return adapter(format_name).decode(Source((SAMPLES / folder / name).read_bytes()), Limits())


def essence(record: Record) -> Record:
    copy = type(record)()
    copy.CopyFrom(record)  # type: ignore[arg-type] # of its own type
    copy.ClearField("provenance")
    return copy


@pytest.mark.parametrize(("folder", "format_name", "name"), FILES, ids=[name for _, _, name in FILES])
def test_every_file_has_its_stated_outcome(folder: str, format_name: str, name: str) -> None:
    found = decoded(folder, format_name, name)
    refused = {issue.code for issue in found.issues if issue.severity in {Severity.REJECT_FILE, Severity.REJECT_RECORD}}
    assert (len(found.records), tuple(sorted(refused))) == EXPECTED[folder, name]


@pytest.mark.parametrize(
    ("folder", "format_name", "name"),
    [file for file in FILES if EXPECTED[file[0], file[2]][0]],
    ids=[name for folder, _, name in FILES if EXPECTED[folder, name][0]],
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
    for folder, table in (("codis-cmf", CMF), ("pfif", PFIF)):
        files = {str(path.relative_to(SAMPLES / folder)) for path in (SAMPLES / folder).rglob("*.xml")}
        assert files <= set(table)


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


def test_tables_of_other_agencies_are_refused_by_the_police_adapter_with_a_code() -> None:
    for path in sorted(SAMPLES.rglob("*.csv")):
        found = adapter("provincial-police-csv").decode(Source(path.read_bytes()), Limits())
        assert not found.records, path.name
        assert found.rejected, path.name


@pytest.mark.parametrize("format_name", ["codis-cmf", "pfif"])
def test_no_file_of_any_other_format_makes_a_reader_raise(format_name: str) -> None:
    for path in sorted(item for item in SAMPLES.rglob("*") if item.is_file()):
        found = adapter(format_name).decode(Source(path.read_bytes()), Limits())
        assert found.records or found.issues, path.name
