from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Decoded, Encoded, Limits, Severity, Source
from adapters.national_dna_database.cmf.adapter import ADAPTER
from adapters.national_dna_database.codes import CATEGORIES, KITS, ROLE_OF_CATEGORY, cmf_locus
from adapters.national_dna_database.laboratory.kinship.typings import ProfileUnusable, read_profile
from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "national_dna_database" / "samples" / "child-profile.xml"
LIMITS = Limits()
REJECTIONS = {Severity.REJECT_FILE, Severity.REJECT_RECORD}


def locus(name: str = "TH01", *alleles: str, attributes: str = "", more: str = "") -> str:
    found = "".join(f"<ALLELE><ALLELEVALUE>{allele}</ALLELEVALUE></ALLELE>" for allele in alleles or ("7", "9.3"))
    return (
        f"<LOCUS {attributes}><LOCUSNAME>{name}</LOCUSNAME><READINGBY>SYN</READINGBY>"
        f"<READINGDATETIME>2026-11-10T10:00:00</READINGDATETIME>{found}{more}</LOCUS>"
    )


def specimen(
    barcode: str = "SYN-1",
    *,
    loci: str | None = None,
    category: str = "Biological Child",
    attributes: str = "",
    more: str = "",
) -> str:
    return (
        f"<SPECIMEN {attributes}><SPECIMENID>{barcode}</SPECIMENID><SPECIMENCATEGORY>{category}</SPECIMENCATEGORY>"
        f"{more}{locus() if loci is None else loci}</SPECIMEN>"
    )


def file(*specimens: str, message: str = "Import", more: str = "") -> bytes:
    header = (
        f"<HEADERVERSION>3.2</HEADERVERSION><MESSAGETYPE>{message}</MESSAGETYPE><DESTINATIONORI>SYN</DESTINATIONORI>"
        "<SOURCELAB>SYN</SOURCELAB><SUBMITBYUSERID>SYN</SUBMITBYUSERID>"
        f"<SUBMITDATETIME>2026-11-10T12:00:00</SUBMITDATETIME>{more}"
    )
    body = "\n".join(specimens)
    return f'<CODISImportFile xmlns="urn:CODISImportFile-schema">{header}\n{body}</CODISImportFile>'.encode()


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return ADAPTER.decode(Source(content), limits)


def profiles(found: Decoded) -> list[dna_pb2.StrProfile]:
    return [item.record for item in found.records if isinstance(item.record, dna_pb2.StrProfile)]


def codes(found: Decoded | Encoded) -> list[str]:
    return sorted({issue.code for issue in found.issues})


def profile(**fields: object) -> dna_pb2.StrProfile:
    """A profile that the format carries without a warning, but for the fields that are given."""
    (record,) = profiles(decode(file(specimen())))
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def essence(record: dna_pb2.StrProfile) -> dna_pb2.StrProfile:
    copy = dna_pb2.StrProfile()
    copy.CopyFrom(record)
    copy.ClearField("provenance")
    return copy


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_sample_file_is_read_whole_and_written_again_byte_by_byte() -> None:
    found = decode(SAMPLE.read_bytes())
    (record,) = profiles(found)
    assert not found.issues
    assert found.records[0].case_reference == record.barcode == "SYN-BLD-0001"
    assert record.role == dna_pb2.SAMPLE_ROLE_CHILD
    assert len(record.loci) == 23
    assert [allele.value for allele in record.loci[18].alleles] == ["7", "9.3"]
    assert ADAPTER.encode([record], LIMITS) == Encoded(SAMPLE.read_bytes(), {}, ())


def test_a_profile_knows_its_source() -> None:
    content = file(specimen())
    (record,) = profiles(decode(content))
    assert record.provenance.source_format == "codis-cmf"
    assert record.provenance.source_format_version == "3.2"
    assert record.provenance.source_record_id == "SYN-1"
    assert record.provenance.source_sha256 == decode(content).source_sha256


def test_one_bad_specimen_does_not_hold_back_the_others() -> None:
    found = decode(file(specimen("SYN-1"), specimen("SYN-2", loci=locus("TH01", "9.9")), specimen("SYN-3")))
    assert [record.barcode for record in profiles(found)] == ["SYN-1", "SYN-3"]
    (issue,) = found.issues
    assert (issue.severity, issue.code, issue.locator) == (Severity.REJECT_RECORD, "ALLELE_INVALID", "line 3")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (specimen(loci=locus("BAD1")), "LOCUS_UNKNOWN"),
        (specimen(loci=locus("TH01", "")), "ALLELE_INVALID"),
        (specimen(loci=locus("TH01", *["7"] * 9)), "ALLELES_TOO_MANY"),
        (specimen(loci="<LOCUS><LOCUSNAME>TH01</LOCUSNAME></LOCUS>"), "ALLELE_MISSING"),
        (specimen(loci=locus("TH01") + locus("THO1")), "LOCUS_REPEATED"),
        (specimen(loci=""), "FIELD_MISSING"),
        (specimen(""), "FIELD_MISSING"),
        (specimen(more="<SPECIMENID>SYN-2</SPECIMENID>"), "FIELD_REPEATED"),
        (specimen(loci=locus(more="<LOCUSNAME>FGA</LOCUSNAME>")), "FIELD_REPEATED"),
        (
            specimen(loci=locus(more="<ALLELE><ALLELEVALUE>8</ALLELEVALUE><ALLELEVALUE>9</ALLELEVALUE></ALLELE>")),
            "FIELD_REPEATED",
        ),
        (specimen(more="<SPECIMENCOMMENT>" + "x" * 20_001 + "</SPECIMENCOMMENT>"), "FIELD_TOO_LONG"),
        (specimen(attributes='CASEID="' + "x" * 20_001 + '"'), "FIELD_TOO_LONG"),
    ],
)
def test_a_specimen_in_doubt_is_refused_by_its_code(text: str, code: str) -> None:
    found = decode(file(text))
    assert not found.records
    assert [issue.code for issue in found.issues if issue.severity in REJECTIONS] == [code]
    assert not found.rejected


def test_the_second_specimen_of_one_id_is_refused() -> None:
    found = decode(file(specimen(), specimen()))
    assert (len(found.records), codes(found)) == (1, ["SPECIMEN_REPEATED"])


def test_a_refused_specimen_does_not_take_its_id_from_a_good_one() -> None:
    found = decode(file(specimen(loci=locus("BAD1")), specimen()))
    assert (len(found.records), codes(found)) == (1, ["LOCUS_UNKNOWN"])


@pytest.mark.parametrize(
    ("barcode", "category"),
    [
        ("Allelic Ladder 1", "Suspect, Known"),
        ("LADDER_02", "Other"),
        ("SYN Positive Control", "Other"),
        ("reagent blank", "Other"),
        ("SYN-1", "Proficiency"),
    ],
)
def test_ladders_controls_and_proficiency_tests_are_nobody(barcode: str, category: str) -> None:
    found = decode(file(specimen(barcode, category=category)))
    assert (found.records, codes(found)) == ((), ["CONTROL_SKIPPED"])


def test_a_bladder_sample_is_somebody() -> None:
    assert len(decode(file(specimen("SYN-BLADDER-1"))).records) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "XML_MALFORMED"),
        (b"<!DOCTYPE a><CODISImportFile/>", "XML_DTD_REFUSED"),
        (b"1.0\nSYNTHETIC", "XML_MALFORMED"),
        (b"<other/>", "NOT_CMF"),
        (file(), "NO_SPECIMEN"),
        (file(specimen(), message="Remove"), "NOT_IMPORT"),
        (file(specimen(), more="<SOURCELAB>OTHER</SOURCELAB>"), "FIELD_REPEATED"),
        (file(specimen(), more="<BATCHID>" + "x" * 20_001 + "</BATCHID>"), "FIELD_TOO_LONG"),
    ],
)
def test_a_file_that_is_no_cmf_is_refused_as_a_whole(content: bytes, code: str) -> None:
    found = decode(content)
    assert found.rejected
    assert not found.records
    assert codes(found) == [code]


def test_sequenced_alleles_and_the_heights_of_peaks_have_no_place_in_the_format() -> None:
    record = profile()
    record.loci[0].alleles[0].peak_height = 900
    call = record.loci.add(locus="D1S1656", reported_locus="D1S1656")
    call.alleles.add(value="15_14_1_0", operator=dna_pb2.ALLELE_OPERATOR_SEQUENCE)
    encoded = ADAPTER.encode([record], LIMITS)
    assert [(issue.severity, issue.code, issue.locator) for issue in encoded.issues] == [
        (Severity.WARN, "FIELD_NOT_CARRIED", "records[0].loci[0].alleles.peak_height"),
        (Severity.WARN, "LOCUS_NOT_CARRIED", "records[0].loci[1]"),
    ]
    assert len(profiles(decode(encoded.content))[0].loci) == 1


def test_a_profile_of_sequenced_alleles_alone_is_not_written() -> None:
    record = profile()
    for allele in record.loci[0].alleles:
        allele.value, allele.operator = "8_8", dna_pb2.ALLELE_OPERATOR_SEQUENCE
    assert codes(ADAPTER.encode([record], LIMITS)) == ["NO_LOCUS_CARRIED", "NO_SPECIMEN"]


def test_more_specimens_than_the_limit_are_refused_as_a_whole() -> None:
    assert codes(decode(file(specimen("SYN-1"), specimen("SYN-2")), replace(LIMITS, records=1))) == ["TOO_MANY_RECORDS"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (file(specimen(category="DUMMYVALUE")), "CATEGORY_UNKNOWN"),
        (file(specimen(attributes='PARTIAL="perhaps"')), "FLAG_NOT_READ"),
        (file(specimen()).replace(b' xmlns="urn:CODISImportFile-schema"', b""), "NAMESPACE_MISSING"),
        (file(specimen()).replace(b"3.2", b"3.3"), "CMF_VERSION"),
    ],
)
def test_harmless_departures_are_read_with_a_warning(content: bytes, code: str) -> None:
    found = decode(content)
    assert (len(found.records), codes(found)) == (1, [code])


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + file(specimen()),
        file(specimen(" SYN-1 ")),
        file(specimen(), more="<KIT>PowerPlex16</KIT>"),
        file(specimen(), more="").replace(b"<SOURCELAB>SYN", b"<SOURCELAB>A-CODE-TOO-LONG"),
        file(specimen()).replace(b"<CODISImportFile", b"<!-- synthetic --><CODISImportFile"),
    ],
)
def test_departures_of_real_files_are_read_in_silence(content: bytes) -> None:
    found = decode(content)
    assert [record.barcode for record in profiles(found)] == ["SYN-1"]
    assert not found.issues


@pytest.mark.parametrize(
    ("text", "partial"), [("true", True), ("1", True), ("TRUE", True), ("false", False), ("0", False)]
)
def test_whether_loci_may_be_missing_is_read(text: str, partial: bool) -> None:  # noqa: FBT001 - parametrised
    (record,) = profiles(decode(file(specimen(attributes=f'PARTIAL="{text}"'))))
    assert record.partial is partial


def test_what_has_no_place_is_kept_with_its_path_and_listed() -> None:
    found = decode(
        file(
            specimen(
                attributes='SYNX="1"',
                more="<SYNY>2</SYNY>",
                loci=locus(attributes='SYNZ="3"', more="<ALLELE><ALLELEVALUE>8</ALLELEVALUE><PEAK>4</PEAK></ALLELE>"),
            ),
            more="<SYNW>5</SYNW>",
        )
    )
    (record,) = profiles(found)
    assert {(item.path, item.value) for item in record.provenance.unmapped} == {
        ("CODISImportFile/SYNW", "5"),
        ("SPECIMEN/@SYNX", "1"),
        ("SPECIMEN/SYNY", "2"),
        ("LOCUS/@SYNZ", "3"),
        ("ALLELE/PEAK", "4"),
    }
    assert codes(found) == ["FIELD_UNKNOWN"]


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise(content: bytes) -> None:
    decode(content)


@given(
    st.lists(
        st.sampled_from([b"<SPECIMEN>", b"</SPECIMEN>", b"<LOCUS/>", b"\xff", b"9.3", b"&", b"ALLELE"]), max_size=9
    )
)
def test_no_mangled_file_makes_the_reader_raise(parts: list[bytes]) -> None:
    decode(file(specimen()).replace(b"<ALLELEVALUE>", b"".join(parts), 1))


def test_no_issue_quotes_a_value() -> None:
    marked = specimen(
        "SECRET", category="SECRET", attributes='PARTIAL="SECRET" X="SECRET"', loci=locus("TH01", "SECRET")
    )
    found = decode(file(marked, specimen("SECRET", loci=locus("SECRET")), more="<SECRET>SECRET</SECRET>"))
    assert len(found.issues) > 3
    assert all("SECRET" not in f"{issue.locator} {issue.message}" for issue in found.issues)


# --- writing ----------------------------------------------------------------------------------------------------------

_LOCI = ("TH01", "FGA", "vWA", "Penta E", "SE33", "DYS389I", "Y GATA H4", "D12S391")
_TIMES = st.datetimes().map(lambda time: f"{time.year % 170 + 1905:04}-{time.month:02}-{time.day % 28 + 1:02}T09:30:00")
_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=10)


@st.composite
def carried_profiles(draw: st.DrawFn) -> dna_pb2.StrProfile:
    """Profiles of which the format carries every field."""
    category = draw(st.sampled_from(sorted(CATEGORIES - {"Proficiency", "Deduced Victim Known"})))
    record = dna_pb2.StrProfile(
        barcode=draw(st.from_regex(r"SYN-[A-Z0-9]{1,20}", fullmatch=True)),
        role=ROLE_OF_CATEGORY.get(category, dna_pb2.SAMPLE_ROLE_UNSPECIFIED),
        category=common_pb2.Code(system="CODIS CMF 3.2", value=category),
        kit=draw(st.sampled_from(["", *sorted(KITS)])),
        laboratory=draw(_WORDS),
        destination=draw(_WORDS),
        submitted_by=draw(_WORDS),
        submitted_at=draw(_TIMES),
        case_number=draw(st.one_of(st.just(""), _WORDS)),
        source_id=draw(st.sampled_from(["", "Yes", "No", "N/A"])),
        partial=draw(st.booleans()),
        batch=draw(st.one_of(st.just(""), _WORDS)),
        comment=draw(st.one_of(st.just(""), _WORDS)),
    )
    for name in draw(st.lists(st.sampled_from(_LOCI), min_size=1, unique=True)):
        call = record.loci.add(
            locus=name, reported_locus=cmf_locus(name, ""), read_by=draw(_WORDS), read_at=draw(_TIMES)
        )
        call.kit = draw(st.sampled_from(["", "PowerPlex 16"]))
        call.batch = draw(st.one_of(st.just(""), _WORDS))
        for text in draw(st.lists(st.sampled_from(["7", "9.3", "12", "31.2"]), min_size=1, max_size=8)):
            call.alleles.add(
                value=text, operator=dna_pb2.ALLELE_OPERATOR_EQUAL, required=draw(st.booleans()), reported=text
            )
    return record


@given(carried_profiles())
def test_what_the_format_carries_comes_back_equal_and_without_a_warning(record: dna_pb2.StrProfile) -> None:
    written = ADAPTER.encode([record], LIMITS)
    assert not written.issues
    found = decode(written.content)
    assert not found.issues
    assert [essence(item) for item in profiles(found)] == [record]


def warned(record: dna_pb2.StrProfile) -> set[tuple[str, str]]:
    return {(issue.code, issue.locator) for issue in ADAPTER.encode([record], LIMITS).issues}


def test_d6s1043_is_left_out_with_its_own_warning_and_the_rest_is_written() -> None:
    record = profile()
    call = record.loci.add(locus="D6S1043", reported_locus="D6S1043", read_by="SYN", read_at="2026-11-10T10:00:00")
    call.alleles.add(value="11", operator=dna_pb2.ALLELE_OPERATOR_EQUAL, reported="11")
    assert warned(record) == {("LOCUS_NOT_CARRIED", "records[0].loci[1]")}
    (again,) = profiles(decode(ADAPTER.encode([record], LIMITS).content))
    assert [item.locus for item in again.loci] == ["TH01"]


@pytest.mark.parametrize("operator", [dna_pb2.ALLELE_OPERATOR_RANGE, dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT])
def test_a_locus_with_an_allele_that_cmf_has_no_way_to_write_is_left_out(
    operator: dna_pb2.AlleleOperator.ValueType,
) -> None:
    record = profile()
    record.loci.add().CopyFrom(record.loci[0])
    record.loci[1].locus = record.loci[1].reported_locus = "FGA"
    record.loci[1].alleles[0].operator = operator
    record.loci[1].alleles[0].value_to = "9" if operator == dna_pb2.ALLELE_OPERATOR_RANGE else ""
    assert warned(record) == {("LOCUS_NOT_CARRIED", "records[0].loci[1]")}


def test_a_doubtful_locus_is_left_out_for_cmf_would_make_it_a_sure_one() -> None:
    record = profile()
    record.loci.add(quality=dna_pb2.LOCUS_QUALITY_PARTIAL).MergeFrom(record.loci[0])
    record.loci[1].locus = record.loci[1].reported_locus = "FGA"
    record.loci[0].quality = dna_pb2.LOCUS_QUALITY_NORMAL
    assert warned(record) == {
        ("LOCUS_NOT_CARRIED", "records[0].loci[1]"),
        ("FIELD_NOT_CARRIED", "records[0].loci[0].quality"),
    }


def test_a_mixture_is_written_as_one_and_another_doubtful_source_is_refused() -> None:
    record = profile(source=dna_pb2.PROFILE_SOURCE_MIXTURE)
    (again,) = profiles(decode(ADAPTER.encode([record], LIMITS).content))
    assert again.category.value == "Forensic Mixture"
    assert read_profile(again) is ProfileUnusable.MIXTURE
    assert ("FIELD_NOT_CARRIED", "records[0].source") in warned(record)
    refused = ADAPTER.encode([profile(source=dna_pb2.PROFILE_SOURCE_DECONVOLUTED)], LIMITS)
    assert "SOURCE_NOT_CARRIED" in codes(refused)
    assert refused.content == b""


def test_numbers_and_a_source_that_cmf_has_no_place_for_are_named() -> None:
    record = profile(source=dna_pb2.PROFILE_SOURCE_PERSON)
    record.other_numbers.add(system="NCIC", value="SYN-7")
    assert warned(record) == {
        ("FIELD_NOT_CARRIED", "records[0].source"),
        ("FIELD_NOT_CARRIED", "records[0].other_numbers"),
    }


def test_a_second_writing_is_the_same_bytes() -> None:
    assert ADAPTER.encode([profile()], LIMITS) == ADAPTER.encode([profile()], LIMITS)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("role", dna_pb2.SAMPLE_ROLE_FATHER, "FIELD_NOT_CARRIED"),
        ("role", 99, "FIELD_NOT_CARRIED"),
        ("kit", "Goldeneye 20A", "KIT_NOT_CARRIED"),
        ("laboratory", "A-CODE-TOO-LONG", "VALUE_CUT"),
        ("laboratory", "", "DEFAULT_WRITTEN"),
        ("destination", "", "DEFAULT_WRITTEN"),
        ("submitted_by", "", "DEFAULT_WRITTEN"),
        ("submitted_at", "", "DEFAULT_WRITTEN"),
        ("submitted_at", "2026-11-10T12:00:00Z", "FIELD_NOT_CARRIED"),
        ("submitted_at", "2026-02-30T12:00:00", "FIELD_NOT_CARRIED"),
        ("submitted_at", "1900-01-01T00:00:00", "FIELD_NOT_CARRIED"),
        ("submitted_at", "2079-06-06T00:00:00", "FIELD_NOT_CARRIED"),
        ("case_number", "x" * 33, "FIELD_NOT_CARRIED"),
        ("case_number", "a\x08b", "FIELD_NOT_CARRIED"),
        ("source_id", "Perhaps", "FIELD_NOT_CARRIED"),
        ("batch", "x" * 33, "FIELD_NOT_CARRIED"),
        ("comment", "x" * 256, "VALUE_CUT"),
        ("comment", "a\x08b", "VALUE_CUT"),
    ],
)
def test_what_the_format_cannot_carry_is_a_coded_warning(field: str, value: object, code: str) -> None:
    written = ADAPTER.encode([profile(**{field: value})], LIMITS)
    assert code in codes(written)
    assert {issue.severity for issue in written.issues} == {Severity.WARN}
    assert {issue.locator for issue in written.issues} == {f"records[0].{field}"}
    assert len(decode(written.content).records) == 1


def test_inner_fields_that_the_format_cannot_carry_are_coded_warnings() -> None:
    record = profile()
    record.category.display = "Kind"
    record.provenance.unmapped.add(path="X", value="1")
    record.loci[0].reported_locus = "TH-01"
    record.loci[0].alleles[0].reported = "07"
    record.loci.add(locus="D6S1043").alleles.add(value="12", operator=dna_pb2.ALLELE_OPERATOR_EQUAL)
    written = ADAPTER.encode([record], LIMITS)
    assert {(issue.code, issue.locator.removeprefix("records[0].")) for issue in written.issues} == {
        ("FIELD_NOT_CARRIED", "category"),
        ("FIELD_NOT_CARRIED", "provenance.unmapped"),
        ("FIELD_NOT_CARRIED", "loci[0].reported_locus"),
        ("FIELD_NOT_CARRIED", "loci[0].alleles[0].reported"),
        ("LOCUS_NOT_CARRIED", "loci[1]"),
    }


def test_a_profile_that_would_become_another_one_is_not_written() -> None:
    long_id = profile(barcode="SYN-" + "1" * 21)
    unwritable_id = profile(barcode="SYN-\x08")
    many_alleles = profile(barcode="SYN-2")
    many_alleles.loci[0].alleles.extend([many_alleles.loci[0].alleles[0]] * 8)
    no_locus = profile(barcode="SYN-3")
    no_locus.loci[0].locus = no_locus.loci[0].reported_locus = "D6S1043"
    invalid = profile(barcode="SYN-4")
    invalid.loci[0].alleles[0].value = "9.9"
    good = profile(barcode="SYN-5")
    written = ADAPTER.encode([long_id, unwritable_id, many_alleles, no_locus, invalid, good, good], LIMITS)
    assert [(issue.severity, issue.code) for issue in written.issues] == [
        (Severity.REJECT_RECORD, code)
        for code in (
            "SPECIMEN_ID_NOT_CARRIED",
            "SPECIMEN_ID_NOT_CARRIED",
            "ALLELES_TOO_MANY",
            "NO_LOCUS_CARRIED",
            "ALLELE_INVALID",
            "SPECIMEN_REPEATED",
        )
    ]
    assert [record.barcode for record in profiles(decode(written.content))] == ["SYN-5"]


def test_a_locus_is_never_written_under_the_name_of_another() -> None:
    record = profile()
    record.loci[0].reported_locus = "AMEL"
    (again,) = profiles(decode(ADAPTER.encode([record], LIMITS).content))
    assert again.loci[0].locus == "TH01"


def test_profiles_of_different_kits_keep_each_its_own() -> None:
    first, second = profile(kit="PowerPlex 16", batch="B1"), profile(barcode="SYN-2", batch="B2")
    written = ADAPTER.encode([first, second], LIMITS)
    again = profiles(decode(written.content))
    assert [(item.kit or item.loci[0].kit, item.batch or item.loci[0].batch) for item in again] == [
        ("PowerPlex 16", "B1"),
        ("", "B2"),
    ]
    assert codes(written) == ["FIELD_NOT_CARRIED"]


def test_a_header_that_differs_between_profiles_is_a_warning() -> None:
    written = ADAPTER.encode([profile(), profile(barcode="SYN-2", laboratory="OTHER")], LIMITS)
    assert [issue.locator for issue in written.issues] == ["records[1].laboratory"]


def test_only_profiles_are_written() -> None:
    written = ADAPTER.encode([case_pb2.CaseRecord()], LIMITS)
    assert codes(written) == ["KIND_NOT_CARRIED", "NO_SPECIMEN"]
    assert not written.content


def test_more_records_than_the_limit_are_not_written() -> None:
    assert not ADAPTER.encode([profile(), profile(barcode="SYN-2")], replace(LIMITS, records=1)).content
