from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Encoded, Limits, Severity, Source
from adapters.national_dna_database.cmf.adapter import ADAPTER
from adapters.national_dna_database.genotypes.adapter import DATABASE_CSV, GENEMAPPER, GENOTYPE_CSV
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from adapters.base import Adapter
    from adapters.national_dna_database.genotypes.adapter import GenotypeTable

SAMPLES = Path(__file__).parents[5] / "adapters" / "national_dna_database" / "samples"
LIMITS = Limits()
TABLES = [GENEMAPPER, GENOTYPE_CSV, DATABASE_CSV]
EQUAL = dna_pb2.ALLELE_OPERATOR_EQUAL


def profile(barcode: str = "SYN-1", /, **loci: list[str]) -> dna_pb2.StrProfile:
    record = dna_pb2.StrProfile(barcode=barcode)
    for locus, alleles in (loci or {"TH01": ["7", "9.3"]}).items():
        call = record.loci.add(locus=locus, reported_locus=locus)
        for value in alleles:
            call.alleles.add(value=value, operator=EQUAL, reported=value)
    return record


def read(table: GenotypeTable, content: bytes) -> list[dna_pb2.StrProfile]:
    found = [item.record for item in table.decode(Source(content), LIMITS).records]
    profiles = [record for record in found if isinstance(record, dna_pb2.StrProfile)]
    for record in profiles:
        record.ClearField("provenance")
    return profiles


def warnings(encoded: Encoded) -> list[tuple[str, str]]:
    return [(issue.code, issue.locator) for issue in encoded.issues if issue.severity is Severity.WARN]


def refusals(encoded: Encoded) -> list[str]:
    return [issue.code for issue in encoded.issues if issue.severity is not Severity.WARN]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_profile_that_a_table_can_carry_is_written_and_read_again_as_it_was(table: GenotypeTable) -> None:
    records = [profile("SYN-1", TH01=["7", "9.3"], D6S1043=["11", "18"]), profile("-5649", FGA=["22"], TH01=["6", "6"])]
    encoded = table.encode(records, LIMITS)
    assert not encoded.issues
    again = read(table, encoded.content)
    for record in (*again, *records):
        record.loci.sort(key=lambda call: call.locus)
    assert again == records


def test_genemapper_writes_its_own_columns_with_heights_kit_and_category() -> None:
    record = profile(TH01=["7", "9.3"])
    record.kit, record.role = "SYN Kit", dna_pb2.SAMPLE_ROLE_CHILD
    record.category.system, record.category.value = "CODIS CMF 3.2", "Biological Child"
    record.loci[0].alleles[0].peak_height = 812
    encoded = GENEMAPPER.encode([record], LIMITS)
    header, row = (line.split("\t") for line in encoded.content.decode().splitlines())
    assert header[:6] == ["Sample Name", "Specimen Category", "Panel", "Marker", "Allele 1", "Allele 2"]
    assert header[12] == "Height 1"
    assert row == ["SYN-1", "Biological Child", "SYN Kit", "TH01", "7", "9.3", *[""] * 6, "812", *[""] * 7]
    assert not encoded.issues
    assert read(GENEMAPPER, encoded.content) == [record]


def test_a_role_without_a_category_is_written_as_the_category_that_says_it() -> None:
    record = profile()
    record.role = dna_pb2.SAMPLE_ROLE_MOTHER
    encoded = GENEMAPPER.encode([record], LIMITS)
    assert b"\tBiological Mother\t" not in encoded.content.split(b"\r\n")[0]
    assert warnings(encoded) == [("FIELD_NOT_CARRIED", "records[0].role")]
    assert read(GENEMAPPER, encoded.content)[0].role == dna_pb2.SAMPLE_ROLE_MOTHER


def test_a_marker_table_has_as_many_columns_as_the_longest_row_needs() -> None:
    encoded = GENOTYPE_CSV.encode([profile(TPOX=["8", "10", "11"], TH01=["7"])], LIMITS)
    assert encoded.content == b"SampleName,Marker,Allele1,Allele2,Allele3\r\nSYN-1,TPOX,8,10,11\r\nSYN-1,TH01,7,,\r\n"


@pytest.mark.parametrize(("alleles", "fields"), [(1, 2), (2, 2), (3, 3), (4, 4), (5, 6), (8, 8)])
def test_a_database_export_has_the_same_number_of_fields_for_each_locus(alleles: int, fields: int) -> None:
    record = profile("SYN-1", **{"Penta D": [str(9 + number) for number in range(alleles)], "TH01": ["7"]})
    header, row = DATABASE_CSV.encode([record], LIMITS).content.decode().splitlines()
    assert header.split(",") == [
        "specimenId",
        *(f"{name}_{n + 1}" for name in ("Penta_D", "TH01") for n in range(fields)),
    ]
    assert row.split(",").count("NULL") == 2 * fields - alleles - 1


def test_loci_that_profiles_have_in_one_order_keep_it_in_a_database_export() -> None:
    records = [profile("SYN-1", CSF1PO=["10"], TH01=["7"]), profile("SYN-2", CSF1PO=["10"], FGA=["22"], TH01=["7"])]
    header = DATABASE_CSV.encode(records, LIMITS).content.decode().splitlines()[0]
    assert [name[:-2] for name in header.split(",")[1::2]] == ["CSF1PO", "FGA", "TH01"]


def test_sequenced_alleles_are_carried_by_the_marker_table_alone() -> None:
    record = profile(TH01=["7"])
    record.loci.add(locus="TPOX").alleles.add(value="8_8", operator=dna_pb2.ALLELE_OPERATOR_SEQUENCE)
    assert b"TPOX,8_8" in GENOTYPE_CSV.encode([record], LIMITS).content
    for table in (GENEMAPPER, DATABASE_CSV):
        encoded = table.encode([record], LIMITS)
        assert warnings(encoded) == [("LOCUS_NOT_CARRIED", "records[0].loci[1]")]
        assert [call.locus for call in read(table, encoded.content)[0].loci] == ["TH01"]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_locus_with_a_wild_card_is_left_out_with_a_warning(table: GenotypeTable) -> None:
    record = profile(TH01=["7"])
    record.loci.add(locus="FGA").alleles.add(operator=dna_pb2.ALLELE_OPERATOR_WILDCARD)
    assert warnings(table.encode([record], LIMITS)) == [("LOCUS_NOT_CARRIED", "records[0].loci[1]")]


@pytest.mark.parametrize("table", [GENEMAPPER, GENOTYPE_CSV, DATABASE_CSV])
def test_what_a_table_cannot_say_of_a_locus_leaves_it_out_with_a_warning(table: GenotypeTable) -> None:
    doubtful, ranged, unnamed = (profile(TH01=["7", "9.3"], D6S1043=["11", "12"]) for _ in range(3))
    doubtful.loci[0].quality = dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE
    ranged.loci[0].alleles[0].operator, ranged.loci[0].alleles[0].value_to = dna_pb2.ALLELE_OPERATOR_RANGE, "9"
    unnamed.loci[0].locus, unnamed.loci[0].reported_locus = "", "DLR 4"
    for record in (doubtful, ranged, unnamed):
        encoded = table.encode([record], LIMITS)
        assert ("LOCUS_NOT_CARRIED", "records[0].loci[0]") in warnings(encoded)
        assert [call.locus for call in read(table, encoded.content)[0].loci] == ["D6S1043"]


@pytest.mark.parametrize("table", [GENEMAPPER, GENOTYPE_CSV, DATABASE_CSV])
def test_a_profile_that_may_be_of_several_people_is_refused_where_the_table_cannot_say_so(
    table: GenotypeTable,
) -> None:
    record = profile(TH01=["7", "9.3"])
    record.source = dna_pb2.PROFILE_SOURCE_MIXTURE
    assert "SOURCE_NOT_CARRIED" in refusals(table.encode([record], LIMITS))


def test_every_other_field_is_named_where_it_is_left_out() -> None:
    record = profile(TH01=["7", "9.3"])
    record.laboratory, record.partial, record.comment, record.kit = "SYN", True, "remark", "kit"
    record.provenance.unmapped.add(path="Run", value="R1")
    record.loci[0].read_by = "SYN"
    first = record.loci[0].alleles[0]
    first.required, first.reported, first.peak_height = True, "07", 900
    places = [locator for _, locator in warnings(GENOTYPE_CSV.encode([record], LIMITS))]
    assert places == [
        "records[0].comment",
        "records[0].kit",
        "records[0].laboratory",
        "records[0].partial",
        "records[0].provenance.unmapped",
        "records[0].loci[0].alleles.peak_height",
        "records[0].loci[0].alleles.reported",
        "records[0].loci[0].alleles.required",
        "records[0].loci[0].read_by",
    ]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@pytest.mark.parametrize("barcode", ["=1+1", "+1", "@x", "-x", "-1+1", " SYN-1", "SYN\t1", "SYN\n1", "＝1"])
def test_a_name_that_a_table_would_change_or_take_for_a_formula_is_not_written(
    table: GenotypeTable, barcode: str
) -> None:
    encoded = table.encode([profile(barcode), profile("SYN-1")], LIMITS)
    assert refusals(encoded) == ["SPECIMEN_ID_NOT_CARRIED"]
    assert [record.barcode for record in read(table, encoded.content)] == ["SYN-1"]


def test_a_kit_that_is_a_formula_is_left_out() -> None:
    record = profile()
    record.kit = "=cmd"
    encoded = GENEMAPPER.encode([record], LIMITS)
    assert warnings(encoded) == [("FIELD_NOT_CARRIED", "records[0].kit")]
    assert b"cmd" not in encoded.content


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_profile_is_written_whole_or_refused(table: GenotypeTable) -> None:
    many = profile("SYN-9", TH01=["7"] * 9)
    wild = dna_pb2.StrProfile(barcode="SYN-3")
    wild.loci.add(locus="FGA").alleles.add(operator=dna_pb2.ALLELE_OPERATOR_WILDCARD)
    encoded = table.encode([profile(), profile(), many, wild], LIMITS)
    assert refusals(encoded) == ["SPECIMEN_REPEATED", "ALLELES_TOO_MANY", "NO_LOCUS_CARRIED"]
    assert len(read(table, encoded.content)) == 1
    assert refusals(table.encode([many], LIMITS)) == ["ALLELES_TOO_MANY", "NO_SPECIMEN"]
    assert refusals(table.encode([profile("SYN-1"), profile("SYN-2")], Limits(records=1))) == ["TOO_MANY_RECORDS"]


@pytest.mark.parametrize(
    "name",
    ["genemapper-idx.txt", "genemapper-wide.txt", "genotypes.csv", "database.csv", "cmf-1.0.txt", "rapid-import.xml"],
)
def test_the_sample_files_become_cmf_3_2_and_tables_with_coded_losses_only(name: str) -> None:
    content = (SAMPLES / name).read_bytes()
    adapters: list[Adapter] = [*TABLES, ADAPTER]
    source = next(adapter for adapter in adapters if adapter.sniff(content))
    records = [item.record for item in source.decode(Source(content), LIMITS).records]
    for target in adapters:
        encoded = target.encode(records, LIMITS)
        assert {issue.severity for issue in encoded.issues} <= {Severity.WARN}
        assert {issue.code for issue in encoded.issues} <= {
            "FIELD_NOT_CARRIED",
            "LOCUS_NOT_CARRIED",
            "KIT_NOT_CARRIED",
            "DEFAULT_WRITTEN",
        }
        assert len(target.decode(Source(encoded.content), LIMITS).records) == len(records)


ALLELE = st.builds("{}{}".format, st.integers(1, 40), st.sampled_from(["", ".1", ".2", ".3"]))
LOCI = st.dictionaries(
    st.sampled_from(["TH01", "FGA", "D6S1043", "vWA", "Penta D"]), st.lists(ALLELE, min_size=1, max_size=8), min_size=1
)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@settings(deadline=None)  # what is written matters here, not how busy the machine is
@given(st.lists(LOCI, min_size=1, max_size=4))
def test_any_profile_of_numbered_alleles_survives_a_round_trip(
    table: GenotypeTable, loci: list[dict[str, list[str]]]
) -> None:
    records = [profile(f"SYN-{number}", **found) for number, found in enumerate(loci)]
    again = read(table, table.encode(records, LIMITS).content)
    assert [{call.locus: [allele.value for allele in call.alleles] for call in record.loci} for record in again] == loci
