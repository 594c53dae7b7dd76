from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Decoded, Limits, Severity, Source
from adapters.national_dna_database.genotypes.adapter import DATABASE_CSV, GENEMAPPER, GENOTYPE_CSV
from adapters.national_dna_database.genotypes.layout import MAX_COLUMNS, Family, Layout, find_layout
from adapters.national_dna_database.genotypes.read import MAX_ISSUES
from adapters.national_dna_database.rows import MAX_LINE
from adapters.registry import detect
from caseexchange.records.v1 import dna_pb2

SAMPLES = Path(__file__).parents[5] / "adapters" / "national_dna_database" / "samples"
LIMITS = Limits()
REJECTIONS = {Severity.REJECT_FILE, Severity.REJECT_RECORD}
ABOVE, EQUAL = dna_pb2.ALLELE_OPERATOR_ABOVE, dna_pb2.ALLELE_OPERATOR_EQUAL
OFF_LADDER = dna_pb2.ALLELE_OPERATOR_OFF_LADDER


def table(*lines: str, end: str = "\r\n") -> bytes:
    return (end.join(lines) + end).encode()


def genemapper(*lines: str, limits: Limits = LIMITS) -> Decoded:
    return GENEMAPPER.decode(Source(table(*(line.replace("|", "\t") for line in lines))), limits)


def long(*lines: str, limits: Limits = LIMITS) -> Decoded:
    return GENOTYPE_CSV.decode(Source(table("SampleName,Marker,Allele1,Allele2,Allele3", *lines)), limits)


def database(*lines: str) -> Decoded:
    return DATABASE_CSV.decode(Source(table(*lines)), LIMITS)


def profiles(found: Decoded) -> list[dna_pb2.StrProfile]:
    return [item.record for item in found.records if isinstance(item.record, dna_pb2.StrProfile)]


def genotypes(profile: dna_pb2.StrProfile) -> dict[str, list[str]]:
    return {call.locus: [allele.value for allele in call.alleles] for call in profile.loci}


def codes(found: Decoded) -> list[str]:
    return [issue.code for issue in found.issues]


def refusals(found: Decoded) -> list[tuple[str, str]]:
    return [(issue.code, issue.locator) for issue in found.issues if issue.severity in REJECTIONS]


# --- the shipped samples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "format_name", "barcodes"),
    [
        ("genemapper-idx.txt", "genemapper", ["SYN-BLD-0001", "SYN-BLD-0002", "SYN-BLD-0003"]),
        ("genemapper-wide.txt", "genemapper", ["SYN-0001_1_SYNA0001#01", "SYN-0001_1_SYNA0001#02"]),
        ("genotypes.csv", "genotype-csv", ["SYN-BLD-0001", "SYN-BLD-0002"]),
        ("database.csv", "codis-db-csv", ["SYN-DB-0001", "SYN-DB-0002"]),
    ],
)
def test_a_sample_file_is_known_by_its_header_and_read(name: str, format_name: str, barcodes: list[str]) -> None:
    content = (SAMPLES / name).read_bytes()
    found = detect(content)
    assert found is not None
    assert found.name == format_name
    decoded = found.decode(Source(content), LIMITS)
    assert [record.barcode for record in profiles(decoded)] == barcodes
    assert [item.case_reference for item in decoded.records] == barcodes
    for record in profiles(decoded):
        assert record.provenance.source_format == format_name
        assert record.provenance.source_record_id == record.barcode
        assert record.provenance.source_sha256 == decoded.source_sha256


def test_a_whole_export_of_genemapper_gives_role_kit_and_heights_and_lists_what_it_leaves_out() -> None:
    found = GENEMAPPER.decode(Source((SAMPLES / "genemapper-idx.txt").read_bytes()), LIMITS)
    child, mother, _ = profiles(found)
    assert (child.role, mother.role) == (dna_pb2.SAMPLE_ROLE_CHILD, dna_pb2.SAMPLE_ROLE_MOTHER)
    assert child.category == type(child.category)(system="CODIS CMF 3.2", value="Biological Child")
    assert child.kit == "SYN_Panel_24"
    assert [allele.peak_height for allele in child.loci[0].alleles] == [900, 937]
    assert "D6S1043" in genotypes(child)
    assert {(item.path, item.value) for item in child.provenance.unmapped} >= {("Run Name", "SYN_RUN_1")}
    listed = {issue.code: issue.locator for issue in found.issues}
    assert listed["COLUMN_UNMAPPED"] == "columns 1-2, 4, 8, 10-12"
    assert listed["COLUMN_NOT_READ"] == "columns 14, 23-30, 39-71, 73-84"


# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "family"),
    [
        ("Sample File|Sample Name|D10S1248|vWA|AMEL|", Family.CELLS),
        ("Sample File|Sample Name|D10S1248|Height|vWA|Height", Family.CELLS),
        (
            "Status|Sample Name|Sample Type|Specimen Category|UD1|UD2|Marker|Dye|Allele 1|Allele 2|Size 1|ADO|",
            Family.LONG,
        ),
        ("Sample.Name|Marker|Dye|Allele.1|Allele.2|Height.1|Data.Point.1", Family.LONG),
        ("UD1|UD2|UD3|Panel|Marker|Dye|Allele 1|Height 1", Family.LONG),
        ("SampleName|Marker|Allele1|Allele2|Allele3|Allele4|Allele5|Allele6|Allele7|Allele8", Family.LONG),
        ("specimenId|PENTA_D_1|PENTA_D_2|Penta E_1|Penta E_2|F13A1_1|FES_FPS_1", Family.FIELDS),
    ],
)
def test_a_layout_is_told_by_the_header(header: str, family: Family) -> None:
    layout = find_layout(header.split("|"))
    assert isinstance(layout, Layout)
    assert layout.family is family


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "HEADER_UNKNOWN"),
        ("Smaple Name|Marker|Allele 1", "HEADER_UNKNOWN"),
        ("Sample Name|Marker|Size 1", "HEADER_UNKNOWN"),
        ("Sample Name|Height|Panel", "HEADER_UNKNOWN"),
        ("D10S1248|vWA", "HEADER_UNKNOWN"),
        ("Sample Name|Marker|Allele 1|Allele.1", "HEADER_REPEATED"),
        ("Sample Name|SampleName|Marker|Allele 1", "HEADER_REPEATED"),
        ("Sample Name|TH01|THO1", "HEADER_REPEATED"),
        ("specimenId|TH01_1|TH01_1", "HEADER_REPEATED"),
        ("Sample Name|Marker|Allele 1" + "|x" * MAX_COLUMNS, "HEADER_TOO_WIDE"),
    ],
)
def test_a_header_of_no_layout_refuses_the_file_by_a_code(header: str, code: str) -> None:
    found = genemapper(header, "SYN-1|TH01|7")
    assert found.rejected
    assert codes(found) == [code]


def test_a_broken_header_that_still_names_sample_and_loci_is_read_and_its_unknown_column_listed() -> None:
    found = genemapper("Smaple File|Sample Name|TH01|vWA|", "x.fsa|SYN-1|7, 9.3, , |14, , , |")
    assert genotypes(profiles(found)[0]) == {"TH01": ["7", "9.3"], "vWA": ["14"]}
    assert [(issue.code, issue.locator) for issue in found.issues] == [("COLUMN_UNMAPPED", "columns 1")]


def test_a_layout_that_another_adapter_reads_is_refused() -> None:
    assert codes(DATABASE_CSV.decode(Source(table("SampleName,Marker,Allele1", "SYN-1,TH01,7")), LIMITS)) == [
        "HEADER_UNKNOWN"
    ]


@pytest.mark.parametrize("mark", [",", "\t", ";"])
def test_what_separates_cells_is_told_by_the_header_not_by_the_files_name(mark: str) -> None:
    content = table("SampleName,Marker,Allele1,Allele2", "SYN-1,TH01,7,9.3").replace(b",", mark.encode())
    assert genotypes(profiles(GENOTYPE_CSV.decode(Source(content), LIMITS))[0]) == {"TH01": ["7", "9.3"]}
    assert detect(content) is GENOTYPE_CSV


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_table_is_read_in_its_encodings_and_line_ends(encoding: str, end: str) -> None:
    content = table("SampleName,Marker,Allele1", "样本一,TH01,7", end=end).decode().encode(encoding)
    assert profiles(GENOTYPE_CSV.decode(Source(content), LIMITS))[0].barcode == "样本一"


# --- alleles ----------------------------------------------------------------------------------------------------------


def test_off_ladder_peaks_are_kept_without_a_value_and_with_their_heights() -> None:
    found = genemapper("Sample Name|vWA|Height", "SYN-1|OL, 17, , |319, 164, , ")
    (call,) = profiles(found)[0].loci
    assert [(allele.value, allele.operator, allele.peak_height) for allele in call.alleles] == [
        ("", OFF_LADDER, 319),
        ("17", EQUAL, 164),
    ]
    assert not found.issues


def test_an_off_ladder_peak_of_amelogenin_is_left_out_with_a_warning() -> None:
    found = long("SYN-1,AMEL,X,OL,Y")
    assert genotypes(profiles(found)[0]) == {"Amelogenin": ["X", "Y"]}
    assert [(issue.severity, issue.code) for issue in found.issues] == [(Severity.WARN, "ALLELE_OFF_LADDER")]


def test_a_homozygote_stays_written_once_or_twice_and_alleles_in_their_order() -> None:
    found = long("SYN-1,FGA,16,,", "SYN-2,FGA,16,16,", "SYN-3,FGA,14,12,", "SYN-4,FGA,10,8,", "SYN-5,FGA,,16,14")
    assert [genotypes(record)["FGA"] for record in profiles(found)] == [
        ["16"],
        ["16", "16"],
        ["14", "12"],
        ["10", "8"],
        ["16", "14"],
    ]
    assert not found.issues


def test_three_alleles_of_one_locus_are_read() -> None:
    assert genotypes(profiles(long("SYN-1,TPOX,8,10,11"))[0]) == {"TPOX": ["8", "10", "11"]}


def test_alleles_of_a_sequencer_stay_names() -> None:
    found = long("SYN-1,D1S1656,15_14_1_0,16.3_11_1_0,", "SYN-1,TPOX,8_8,9_9,")
    operators = {allele.operator for call in profiles(found)[0].loci for allele in call.alleles}
    assert operators == {dna_pb2.ALLELE_OPERATOR_SEQUENCE}
    assert genotypes(profiles(found)[0])["D1S1656"] == ["15_14_1_0", "16.3_11_1_0"]


def test_an_unknown_microvariant_is_kept_as_one_and_written_again() -> None:
    (record,) = profiles(long("SYN-1,FGA,12.X,22,"))
    assert [(allele.value, allele.operator) for allele in record.loci[0].alleles] == [
        ("12", dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT),
        ("22", EQUAL),
    ]
    assert b"12.X" in GENOTYPE_CSV.encode([record], LIMITS).content


def test_an_allele_beyond_the_ladder_keeps_its_operator() -> None:
    found = database("specimenId,D12S391_1,D12S391_2,FGA_1,FGA_2", "SYN-1,17, >20,<18, 25<")
    assert [(allele.value, allele.operator) for call in profiles(found)[0].loci for allele in call.alleles] == [
        ("17", EQUAL),
        ("20", ABOVE),
        ("18", dna_pb2.ALLELE_OPERATOR_BELOW),
        ("25", dna_pb2.ALLELE_OPERATOR_BELOW),
    ]


@pytest.mark.parametrize("text", ["0", "9.9", "x", "10.8", ">", "11.333:5", "X.X"])
def test_an_allele_that_is_none_refuses_its_sample_alone(text: str) -> None:
    found = long("SYN-1,TH01,7,9.3,", f"SYN-2,FGA,{text},,", "SYN-2,TH01,7,,", "SYN-3,TH01,6,,")
    assert [record.barcode for record in profiles(found)] == ["SYN-1", "SYN-3"]
    assert refusals(found) == [("ALLELE_INVALID", "line 3, column 3")]


def test_a_decimal_comma_is_one_allele_where_tabs_separate_cells() -> None:
    content = table("SampleName\tMarker\tAllele1\tAllele2", "SYN-1\tTH01\t7\t9,3")
    assert genotypes(profiles(GENOTYPE_CSV.decode(Source(content), LIMITS))[0]) == {"TH01": ["7", "9.3"]}


def test_alleles_without_sizes_and_without_heights_are_read_and_heights_that_are_none_are_left_out() -> None:
    found = genemapper(
        "Sample Name|Marker|Allele 1|Allele 2|Size 1|Size 2|Height 1|Height 2", "SYN-1|TH01|7|9.3|||x|812.6"
    )
    (call,) = profiles(found)[0].loci
    assert [allele.peak_height for allele in call.alleles] == [0, 812]
    assert [code for code in codes(found) if code != "COLUMN_NOT_READ"] == ["PEAK_HEIGHT_NOT_READ"]


def test_what_r_writes_for_nothing_is_nothing() -> None:
    found = genemapper("Sample.Name|Marker|Allele.1|Allele.2|Height.1|Height.2", "SYN-1|TH01|7|NA|500|NA")
    assert genotypes(profiles(found)[0]) == {"TH01": ["7"]}
    assert not found.issues


def test_more_alleles_than_any_table_has_refuse_the_sample() -> None:
    found = genemapper("Sample Name|TH01", "SYN-1|" + ", ".join(["7"] * 33))
    assert [code for code, _ in refusals(found)] == ["ALLELES_TOO_MANY"]


# --- samples and rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Allelic Ladder", "Positive Control", "Negative Control", "negative control"])
def test_ladders_and_controls_are_nobodys_profile_whatever_category_they_state(kind: str) -> None:
    found = genemapper(
        "Sample Name|Sample Type|Specimen Category|Marker|Allele 1|Allele 2",
        f"SYN-L|{kind}|Biological Child|TH01|7|9.3",
        f"SYN-L|{kind}|Biological Child|FGA|22|24",
        "SYN-1|Sample|Biological Child|TH01|7|9.3",
    )
    assert [record.barcode for record in profiles(found)] == ["SYN-1"]
    assert [(issue.severity, issue.code, issue.locator) for issue in found.issues] == [
        (Severity.INFO, "CONTROL_SKIPPED", "line 2")
    ]


def test_a_control_is_known_by_its_name_where_there_is_no_type() -> None:
    found = long("Ladder_A1,TH01,7,8,9", "SYN Positive Control 2,TH01,7,9.3,", "SYN-BLADDER,TH01,7,9.3,")
    assert [record.barcode for record in profiles(found)] == ["SYN-BLADDER"]
    assert codes(found) == ["CONTROL_SKIPPED", "CONTROL_SKIPPED"]


def test_rows_of_a_sample_need_not_stand_together() -> None:
    found = long("SYN-1,TH01,7,,", "SYN-2,TH01,8,,", "SYN-1,FGA,22,,", "SYN-2,FGA,23,,")
    assert [genotypes(record) for record in profiles(found)] == [
        {"TH01": ["7"], "FGA": ["22"]},
        {"TH01": ["8"], "FGA": ["23"]},
    ]
    assert [item.locator for item in found.records] == ["line 2", "line 3"]


def test_a_marker_that_stands_twice_with_the_same_alleles_counts_once() -> None:
    found = long("SYN-1,TH01,7,9.3,", "SYN-1,THO1,9.3,7,")
    assert genotypes(profiles(found)[0]) == {"TH01": ["7", "9.3"]}
    assert [(issue.severity, issue.code) for issue in found.issues] == [(Severity.INFO, "LOCUS_REPEATED")]


@pytest.mark.parametrize("again", ["7,,", "7,7,", "7,9,", "7,9.3,11"])
def test_a_marker_that_stands_twice_with_other_alleles_refuses_the_sample(again: str) -> None:
    found = long("SYN-1,TH01,7,9.3,", f"SYN-1,TH01,{again}", "SYN-2,TH01,7,,")
    assert [record.barcode for record in profiles(found)] == ["SYN-2"]
    assert refusals(found) == [("LOCUS_CONTRADICTION", "line 3")]


def test_a_sample_that_stands_in_two_rows_of_a_wide_table_is_refused_whole() -> None:
    found = database("specimenId,TH01_1,TH01_2", "SYN-1,7,9.3", "SYN-2,6,8", "SYN-1,7,8")
    assert [record.barcode for record in profiles(found)] == ["SYN-2"]
    assert refusals(found) == [("SPECIMEN_REPEATED", "line 4")]


def test_a_marker_with_more_alleles_than_are_shown_is_left_out_and_the_profile_partial() -> None:
    header = "Sample Name|Marker|Allele 1|Allele 2|ADO"
    rows = ("SYN-1|TH01|7|9.3|true", "SYN-1|TH01|7|9.3|false", "SYN-1|FGA|22|24|false")
    for order in (rows, rows[::-1]):
        found = genemapper(header, *order)
        assert genotypes(profiles(found)[0]) == {"FGA": ["22", "24"]}
        assert profiles(found)[0].partial
        assert [issue.code for issue in found.issues if issue.severity is Severity.WARN] == ["ALLELES_NOT_SHOWN"]


def test_an_unknown_marker_is_left_out_with_a_warning_and_kept_as_unmapped() -> None:
    found = long("SYN-1,TH01,7,9.3,", "SYN-1,IQCS,1,2,", "SYN-1,QS1,,,")
    (record,) = profiles(found)
    assert genotypes(record) == {"TH01": ["7", "9.3"]}
    assert [(item.path, item.value) for item in record.provenance.unmapped] == [("marker IQCS", "1,2")]
    assert [(issue.severity, issue.code) for issue in found.issues] == [(Severity.WARN, "LOCUS_UNKNOWN")]


def test_empty_lines_are_nothing() -> None:
    found = long("", "SYN-1,TH01,7,,", ",,,,", "  ", "SYN-1,FGA,22,,", "")
    assert len(profiles(found)[0].loci) == 2
    assert not found.issues


def test_trailing_tabs_and_empty_cells_beyond_the_header_are_nothing() -> None:
    found = genemapper("Sample Name|TH01||", "SYN-1|7, 9.3|||||")
    assert not found.issues
    assert len(profiles(found)) == 1


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("SYN-1,FGA,22,24,,x", "ROW_MALFORMED"),
        ('SYN-1,FGA,"22', "ROW_MALFORMED"),
        ("SYN-1,FGA," + "9" * 21_000, "FIELD_TOO_LONG"),
        (",FGA,22,24,", "SAMPLE_NAME_MISSING"),
    ],
)
def test_a_malformed_row_is_refused_by_a_code(row: str, code: str) -> None:
    found = long("SYN-2,TH01,7,,", row)
    assert [record.barcode for record in profiles(found)] == ["SYN-2"]
    assert refusals(found) == [(code, "line 3")]


def test_a_malformed_row_refuses_its_whole_sample_before_and_after() -> None:
    found = long("SYN-1,TH01,7,,", "SYN-1,FGA,22,24,,x", "SYN-1,vWA,14,,", "SYN-2,FGA,22,24,,x", "SYN-2,TH01,7,,")
    assert not found.records


def test_a_row_that_the_end_of_the_file_cuts_off_refuses_its_sample() -> None:
    content = table("SampleName,Marker,Allele1,Allele2", "SYN-2,TH01,7,9.3") + b"SYN-1,TH01,7"
    found = GENOTYPE_CSV.decode(Source(content), LIMITS)
    assert [record.barcode for record in profiles(found)] == ["SYN-2"]
    assert refusals(found) == [("ROW_CUT_OFF", "line 3")]
    assert len(GENOTYPE_CSV.decode(Source(content + b"\n"), LIMITS).records) == 2


def test_a_sample_without_any_allele_is_refused() -> None:
    found = database("specimenId,TH01_1,TH01_2", "SYN-1, NULL,NULL", "SYN-2,7,NULL")
    assert [record.barcode for record in profiles(found)] == ["SYN-2"]
    assert refusals(found) == [("PROFILE_EMPTY", "line 2")]


def test_a_database_export_is_read_with_padded_ids_blanks_and_any_number_of_fields() -> None:
    for fields in (2, 3, 4, 6):
        names = ",".join(f"{locus}_{n + 1}" for locus in ("PENTA_D", "D6S1043", "F13A1", "FOO") for n in range(fields))
        rest = ", NULL" * (fields - 2)
        found = database(f"\ufeffspecimenId,{names}", f"SYN-1      ,12, 9{rest},11,18{rest},NULL, NULL{rest},1,2{rest}")
        (record,) = profiles(found)
        assert record.barcode == "SYN-1"
        assert genotypes(record) == {"Penta D": ["12", "9"], "D6S1043": ["11", "18"]}
        assert record.loci[0].reported_locus == "PENTA_D"
        assert [item.path for item in record.provenance.unmapped] == ["FOO_1", "FOO_2"]
        assert codes(found) == ["COLUMN_UNMAPPED"]


def test_user_defined_columns_are_sample_and_case_where_no_column_names_the_sample() -> None:
    found = genemapper("UD1|UD2|UD3|Panel|Marker|Dye|Allele 1", "SYN-1|CASE-1|SIN-1|NGM_Select|TH01|B|7")
    (record,) = profiles(found)
    assert (record.barcode, record.case_number, record.kit) == ("SYN-1", "CASE-1", "NGM_Select")
    assert [(item.path, item.value) for item in record.provenance.unmapped] == [("UD3", "SIN-1")]


def test_the_kit_is_in_ud2_where_there_is_a_name_and_no_panel() -> None:
    found = genemapper("Sample Name|Specimen Category|UD1|UD2|Marker|Allele 1", "SYN-1|SIMPLE|setup|Powerplex21|TH01|7")
    (record,) = profiles(found)
    assert (record.kit, record.category.system, record.category.value) == ("Powerplex21", "GeneMapper", "SIMPLE")
    assert record.role == dna_pb2.SAMPLE_ROLE_UNSPECIFIED


def test_two_categories_of_one_sample_refuse_it() -> None:
    header = "Sample Name|Specimen Category|Marker|Allele 1"
    found = genemapper(header, "SYN-1|Biological Child|TH01|7", "SYN-1|Biological Mother|FGA|22")
    assert refusals(found) == [("CATEGORY_CONTRADICTION", "line 3")]


def test_remarks_and_values_that_differ_between_rows_are_kept() -> None:
    header = "Sample.Name|Marker|Allele.1|Remark|Panel|Run"
    found = genemapper(header, "SYN-1|TH01|7|once|P1|R1", "SYN-1|FGA|22||P2|R1", "SYN-1|vWA|14|twice|P1|R2")
    (record,) = profiles(found)
    assert (record.comment, record.kit) == ("once", "P1")
    assert {(item.path, item.value) for item in record.provenance.unmapped} == {
        ("kit", "P2"),
        ("comment", "twice"),
        ("Run", "R1"),
        ("Run", "R2"),
    }


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "HEADER_UNKNOWN"),
        (b"SampleName,Marker,Allele1\nSYN-1,TH01,\0", "NUL_BYTE"),
        ("SampleName,Marker,Allele1\n".encode("utf-16"), "ENCODING_UNSUPPORTED"),
        (b"SampleName,Marker,Allele1\nSYN-\x81,TH01,7\n", "ENCODING_UNKNOWN"),
        (b"SampleName,Marker,Allele1\n" + b"x" * (MAX_LINE + 1), "LINE_TOO_LONG"),
    ],
)
def test_a_file_that_is_no_table_is_refused_as_a_whole(content: bytes, code: str) -> None:
    found = GENOTYPE_CSV.decode(Source(content), LIMITS)
    assert found.rejected
    assert not found.records
    assert codes(found) == [code]


def test_limits_refuse_the_file() -> None:
    rows = ("SYN-1,TH01,7,,", "SYN-2,TH01,7,,")
    assert codes(long(*rows, limits=replace(LIMITS, records=1))) == ["TOO_MANY_RECORDS"]
    assert codes(long(*rows, limits=replace(LIMITS, bytes=10))) == ["FILE_TOO_LARGE"]
    assert len(long(*rows, limits=replace(LIMITS, records=2)).records) == 2


def test_a_file_in_which_everything_is_wrong_is_not_described_to_its_end() -> None:
    found = long(*[",TH01,7,,"] * (MAX_ISSUES + 10))
    assert found.rejected
    assert len(found.issues) == MAX_ISSUES + 2
    assert found.issues[-1].code == "TOO_MANY_ISSUES"


def test_memory_is_that_of_the_profiles_not_of_the_file() -> None:
    header = b"Sample Name\tSample Type\tMarker\tAllele 1\tAllele 2\tSize 1\tSize 2\n"
    content = header + b"SYN-L\tAllelic Ladder\tTH01\t7\t9.3\t100.01\t104.02\n" * 100_000
    tracemalloc.start()
    found = GENEMAPPER.decode(Source(content), LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codes(found) == ["COLUMN_NOT_READ", "CONTROL_SKIPPED"]
    assert len(content) > 4_000_000
    assert peak < 1_000_000


SECRET = st.text(st.sampled_from("张三李四"), min_size=3, max_size=8)


@settings(deadline=None)  # what is written matters here, not how busy the machine is
@given(SECRET, SECRET, SECRET)
def test_no_issue_tells_a_value(name: str, marker: str, allele: str) -> None:
    found = long(f"{name},{marker},{allele},,", f"{name},TH01,{allele},{allele},", f"{name},FGA,7,8,9,{allele}")
    assert found.issues
    for issue in found.issues:
        assert not any(value in str(issue) for value in (name, marker, allele))
