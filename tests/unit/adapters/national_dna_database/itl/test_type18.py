from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Decoded, Limits, Severity, Source
from adapters.national_dna_database.cmf.adapter import ADAPTER
from adapters.national_dna_database.genotypes.adapter import DATABASE_CSV, GENEMAPPER, GENOTYPE_CSV
from adapters.national_dna_database.itl.type18 import ADAPTER as NIST_TYPE18
from adapters.national_dna_database.laboratory.kinship.typings import ProfileUnusable, read_profile
from adapters.national_dna_database.niem.adapter import ADAPTER as NIEM_DNA
from adapters.records.validate import validate
from caseexchange.records.v1 import dna_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "national_dna_database" / "samples" / "nist-type18.xml"
LIMITS = Limits()
NOBODY = dna_pb2.SAMPLE_ROLE_UNSPECIFIED


def tag(name: str, text: str) -> str:
    return f"<biom:{name}>{text}</biom:{name}>"


def number(name: str, text: str) -> str:
    return tag(name, f"<nc:IdentificationID>{text}</nc:IdentificationID>")


def locus(dlr: str = "4", *alleles: str, kind: str = "0", flags: str = "111", more: str = "") -> str:
    names = ("DNAAlleleIndicator", "DNALocusAnalysisIndicator", "DNAPreciseCallIndicator")
    stated = "".join(tag(name, "true" if flag == "1" else "false") for name, flag in zip(names, flags, strict=True))
    calls = "".join(tag(f"DNAAlleleCall{place}Text", text) for place, text in enumerate(alleles, 1))
    return tag(
        "DNASTRProfile",
        tag("DNASTRProfileCategoryCode", kind) + number("DNALocusIdentification", dlr) + stated + calls + more,
    )


def record(
    barcode: str = "SYN-1",
    *loci: str,
    donor: str = "1",
    kind: str = "0",
    result: str = "",
    more: str = "",
    idc: str = "1",
) -> str:
    answer = tag("DNAProfileResultCode", result) if result else ""
    profile = tag(
        "DNAProfile", tag("DNAProfileCategoryCode", kind) + answer + number("DNAProfileIdentification", barcode)
    )
    sample = tag("DNADonor", tag("DNADonorCategoryCode", donor)) + more + profile
    content = "".join(loci or (locus("4", "11", "23.3"),))
    index = number("ImageReferenceIdentification", idc)
    return f"<itl:PackageDNARecord>{index}{tag('DNASample', sample + content)}</itl:PackageDNARecord>"


def file(*records: str, space: str = "http://biometrics.nist.gov/standard/2011") -> bytes:
    header = tag("Transaction", number("TransactionControlIdentification", "SYN-TCN"))
    body = f"<itl:PackageInformationRecord>{header}</itl:PackageInformationRecord>" + "\n".join(records)
    return (
        f'<itl:NISTBiometricInformationExchangePackage xmlns:itl="{space}" xmlns:biom="urn:b" xmlns:nc="urn:n">\n'
        f"{body}</itl:NISTBiometricInformationExchangePackage>"
    ).encode()


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return NIST_TYPE18.decode(Source(content), limits)


def profiles(found: Decoded) -> list[dna_pb2.StrProfile]:
    return [item.record for item in found.records if isinstance(item.record, dna_pb2.StrProfile)]


def codes(found: Decoded) -> list[str]:
    return sorted({issue.code for issue in found.issues} - {"LOCUS_NUMBER_UNKNOWN", "FIELD_UNMAPPED"})


def test_the_shipped_sample_is_a_mothers_profile_by_numbers() -> None:
    found = decode(SAMPLE.read_bytes())
    (profile,) = profiles(found)
    assert (profile.barcode, profile.laboratory, profile.role) == ("SYN-P-81", "SYNLAB001", dna_pb2.SAMPLE_ROLE_MOTHER)
    assert (profile.category.value, profile.category.display) == ("1", "relative")
    (call,) = profile.loci
    assert (call.locus, call.reported_locus, call.kit) == ("", "DST 0 DLR 4", "Synthetic Kit 23")
    assert [allele.value for allele in call.alleles] == ["11", "23.3"]


# --- loci -------------------------------------------------------------------------------------------------------------


def test_a_number_is_not_guessed_to_be_a_locus_and_nothing_is_computed_or_written_with_it() -> None:
    found = decode(file(record("SYN-1", *(locus(str(place), "11", "12") for place in range(1, 30)))))
    assert [issue.code for issue in found.issues] == ["LOCUS_NUMBER_UNKNOWN"]
    (profile,) = profiles(found)
    assert {call.locus for call in profile.loci} == {""}
    assert read_profile(profile) is ProfileUnusable.NO_LOCUS
    for writer in (ADAPTER, NIEM_DNA, GENEMAPPER, GENOTYPE_CSV, DATABASE_CSV):
        written = writer.encode([profile], LIMITS)
        assert written.content == b""
        assert "NO_LOCUS_CARRIED" in {issue.code for issue in written.issues}


def test_the_same_number_of_another_list_is_another_locus() -> None:
    (profile,) = profiles(decode(file(record("SYN-1", locus("4", "11"), locus("4", "12", kind="2")))))
    assert [call.reported_locus for call in profile.loci] == ["DST 0 DLR 4", "DST 2 DLR 4"]


def test_who_writes_a_name_where_the_number_belongs_has_named_the_locus() -> None:
    found = decode(file(record("SYN-1", locus("D8S1179", "11", "12"))))
    assert found.issues == ()
    assert profiles(found)[0].loci[0].locus == "D8S1179"


def test_an_unnamed_locus_may_have_the_alleles_of_a_sex_marker_or_of_a_pentanucleotide() -> None:
    (profile,) = profiles(decode(file(record("SYN-1", locus("1", "X", "Y"), locus("2", "15.4")))))
    assert [[allele.value for allele in call.alleles] for call in profile.loci] == [["X", "Y"], ["15.4"]]


def test_an_empty_placeholder_leaves_its_locus_out_with_a_code() -> None:
    found = decode(file(record("SYN-1", locus("4", "", ""), locus("5", "11"))))
    assert codes(found) == ["ALLELE_EMPTY"]
    assert [call.reported_locus for call in profiles(found)[0].loci] == ["DST 0 DLR 5"]


def test_three_alleles_are_three_and_one_is_one() -> None:
    (profile,) = profiles(decode(file(record("SYN-1", locus("4", "8", "9", "11"), locus("5", "12")))))
    assert [len(call.alleles) for call in profile.loci] == [3, 1]


@pytest.mark.parametrize("flags", ["011", "101", "110"])
def test_what_is_not_indicated_not_analysed_or_not_precise_is_doubtful(flags: str) -> None:
    found = decode(file(record("SYN-1", locus("TH01", "7", "9.3", flags=flags))))
    assert codes(found) == ["LOCUS_DOUBTFUL"]
    assert profiles(found)[0].loci[0].quality == dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE
    assert read_profile(profiles(found)[0]) is ProfileUnusable.NO_LOCUS


# --- donors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "role"),
    [
        ("1", dna_pb2.SAMPLE_ROLE_CHILD),
        ("2", dna_pb2.SAMPLE_ROLE_FATHER),
        ("3", dna_pb2.SAMPLE_ROLE_MOTHER),
        ("4", dna_pb2.SAMPLE_ROLE_SIBLING),
        ("5", dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE),
        ("6", dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE),
        ("7", NOBODY),
    ],
)
@pytest.mark.parametrize("field", ["DNAClaimedRelationshipCode", "DNAValidatedRelationshipCode"])
def test_a_relatives_relationship_is_a_role(field: str, code: str, role: int) -> None:
    found = decode(file(record(more=tag(field, code))))
    assert codes(found) == []
    assert profiles(found)[0].role == role


def test_a_validated_relationship_counts_against_a_claimed_one() -> None:
    both = tag("DNAClaimedRelationshipCode", "2") + tag("DNAValidatedRelationshipCode", "4")
    found = decode(file(record(more=both)))
    assert codes(found) == ["ROLE_CONTRADICTION"]
    assert profiles(found)[0].role == dna_pb2.SAMPLE_ROLE_SIBLING


def test_the_subject_is_nobodys_relative() -> None:
    found = decode(file(record(donor="0", more=tag("DNAClaimedRelationshipCode", "1"))))
    assert codes(found) == ["DONOR_CONTRADICTION"]
    assert profiles(found)[0].role == NOBODY


def test_codes_that_the_standard_does_not_have_are_warned_of() -> None:
    found = decode(file(record(donor="7", kind="9", result="8", more=tag("DNAClaimedRelationshipCode", "99"))))
    assert codes(found) == ["CATEGORY_UNKNOWN", "RELATIONSHIP_UNKNOWN", "RESULT_UNKNOWN", "SOURCE_UNKNOWN"]
    assert profiles(found)[0].source == dna_pb2.PROFILE_SOURCE_OTHER


def test_a_pedigree_says_case_and_sample_and_the_rest_is_kept() -> None:
    pedigree = tag(
        "DNAPedigree",
        number("DNAPedigreeIdentification", "SYN-PED") + number("DNAPedigreeSampleIdentification", "SYN-S")
        + tag("DNAPedigreeMemberStatusCode", "K"),
    )  # fmt: skip
    (profile,) = profiles(decode(file(record(more=pedigree))))
    assert profile.case_number == "SYN-PED"
    assert [(code.system, code.value) for code in profile.other_numbers] == [("Sample ID", "SYN-S")]
    assert {(item.path, item.value) for item in profile.provenance.unmapped} >= {
        ("PackageDNARecord/DNASample/DNAPedigree/DNAPedigreeMemberStatusCode", "K")
    }


# --- source and result ------------------------------------------------------------------------------------------------


def test_a_stain_may_be_of_several_people_and_weighted_pairs_are_of_a_mixture() -> None:
    person, stain = (profiles(decode(file(record("SYN-1", locus("TH01", "7"), kind=kind))))[0] for kind in "01")
    assert (person.source, stain.source) == (
        dna_pb2.PROFILE_SOURCE_PERSON,
        dna_pb2.PROFILE_SOURCE_SINGLE_OR_MIXTURE,
    )
    pairs = tag("DNAGenotypeAllelePair", tag("DNAGenotypeAllelePairText", "7,9"))
    found = decode(file(record("SYN-1", locus("TH01", "7"), pairs)))
    assert codes(found) == ["GENOTYPES_WEIGHTED"]
    assert profiles(found)[0].source == dna_pb2.PROFILE_SOURCE_DECONVOLUTED
    for profile in (stain, profiles(found)[0]):
        assert read_profile(profile) is ProfileUnusable.SOURCE_UNCERTAIN


@pytest.mark.parametrize(
    ("code", "reason"),
    [("0", dna_pb2.NO_MATCH_REASON_UNABLE_TO_PROCESS), ("1", dna_pb2.NO_MATCH_REASON_NO_CANDIDATE)],
)
def test_no_hit_and_no_search_are_told_apart(code: str, reason: int) -> None:
    profile, result = (item.record for item in decode(file(record(result=code))).records)
    assert isinstance(profile, dna_pb2.StrProfile)
    assert isinstance(result, dna_pb2.NoMatchResult)
    assert (result.barcode, result.reason) == ("SYN-1", reason)
    assert not result.public_notice_eligible
    assert not result.standing_search


@pytest.mark.parametrize(
    ("code", "strength"),
    [
        ("2", dna_pb2.HIT_STRENGTH_UNSPECIFIED),
        ("3", dna_pb2.HIT_STRENGTH_HIGH),
        ("4", dna_pb2.HIT_STRENGTH_MODERATE),
        ("5", dna_pb2.HIT_STRENGTH_LOW),
    ],
)
def test_a_hit_is_a_candidate_without_a_figure(code: str, strength: int) -> None:
    more = tag("DNAClaimedRelationshipCode", "3")
    _, match = (item.record for item in decode(file(record(result=code, more=more))).records)
    assert isinstance(match, dna_pb2.MatchNotification)
    assert (match.match_id, match.stage, match.reported_hit.strength) == (
        "SYN-TCN/1",
        dna_pb2.MATCH_STAGE_CANDIDATE,
        strength,
    )
    assert match.likelihood_ratio == ""
    assert match.relationship == dna_pb2.RELATIONSHIP_PARENT_CHILD
    assert list(match.barcodes) == ["SYN-1"]


def test_a_hit_of_the_subject_is_of_one_person_and_of_an_unknown_donor_of_no_stated_relationship() -> None:
    for donor, relationship in (("0", dna_pb2.RELATIONSHIP_SAME_PERSON), ("2", dna_pb2.RELATIONSHIP_UNSPECIFIED)):
        match = decode(file(record(result="2", donor=donor))).records[1].record
        assert isinstance(match, dna_pb2.MatchNotification)
        assert match.relationship == relationship


def test_who_the_donor_is_goes_with_the_profile_and_never_with_a_result() -> None:
    birth = "<biom:DNADonor><nc:PersonBirthDate><nc:Date>2015-01-01</nc:Date></nc:PersonBirthDate></biom:DNADonor>"
    found = decode(file(record(result="1", more=birth)))
    profile, result = (item.record for item in found.records)
    assert "2015-01-01" in {item.value for item in profile.provenance.unmapped}
    assert not result.provenance.unmapped


def test_a_result_without_alleles_is_a_result_alone_and_a_record_without_either_is_refused() -> None:
    born = tag("DNASampleCollectionMethodText", "who was swabbed")
    found = decode(file(record("SYN-1", locus("4", ""), result="1", more=born), record("SYN-2", locus("4", ""))))
    assert [item.record.DESCRIPTOR.name for item in found.records] == ["NoMatchResult"]
    assert not found.records[0].record.provenance.unmapped
    assert [(issue.severity, issue.code) for issue in found.issues if issue.code == "PROFILE_EMPTY"] == [
        (Severity.WARN, "PROFILE_EMPTY"),
        (Severity.REJECT_RECORD, "PROFILE_EMPTY"),
    ]


# --- refusing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([record("SYN-1", locus("4", "11.333:5"))], "ALLELE_INVALID"),
        ([record("SYN-1", locus("4", "", "11"))], "ALLELE_INVALID"),
        ([record("SYN-1", locus("", "11"))], "LOCUS_UNKNOWN"),
        ([record("SYN-1", locus("4", "11"), locus("4", "12"))], "LOCUS_REPEATED"),
        ([record("")], "FIELD_MISSING"),
        ([record(), record(idc="2")], "SPECIMEN_REPEATED"),
        ([record(more=tag("DNAProfile", number("DNAProfileIdentification", "X")))], "FIELD_REPEATED"),
        ([record(more=tag("DNASampleCollectionMethodText", "A" * 20_001))], "FIELD_TOO_LONG"),
    ],
)
def test_what_leaves_a_record_in_doubt_is_refused_and_the_others_are_read(records: list[str], code: str) -> None:
    found = decode(file(*records, record("SYN-9")))
    assert "SYN-9" in {profile.barcode for profile in profiles(found)}
    assert code in codes(found)


def test_ladders_are_nobody_and_files_in_base64_are_left_out() -> None:
    trace = tag("DNAElectropherogram", tag("DNAElectropherogramBinaryObject", "QUJD" * 10_000))
    found = decode(file(record("Allelic Ladder"), record("SYN-2", locus("TH01", "7"), trace)))
    assert codes(found) == ["BINARY_NOT_CARRIED", "CONTROL_SKIPPED"]
    assert [profile.barcode for profile in profiles(found)] == ["SYN-2"]


def test_another_document_and_a_package_without_dna_are_refused() -> None:
    assert codes(decode(b"<Other/>")) == ["NOT_ITL"]
    assert codes(decode(file())) == ["NO_RECORDS"]
    assert codes(decode(file("<itl:PackageFacialImageRecord/>", record()))) == ["OTHER_TYPES_NOT_READ"]
    assert codes(decode(file(record(), space="urn:other"))) == ["NAMESPACE_UNKNOWN"]
    assert codes(decode(file(record(), record("SYN-2")), Limits(records=1))) == ["TOO_MANY_RECORDS"]


def test_no_issue_quotes_a_value() -> None:
    marked = record("SECRET", locus("SECRET", "SECRET"), donor="SECRET", kind="SECRET", result="SECRET")
    found = decode(file(marked, record("SECRET", locus("4", "11"), locus("4", "11"))))
    assert len(found.issues) > 4
    assert all("SECRET" not in f"{issue.locator} {issue.message}" for issue in found.issues)


def test_the_format_is_not_written_and_says_so() -> None:
    written = NIST_TYPE18.encode([dna_pb2.StrProfile(barcode="SYN-1")], LIMITS)
    assert [issue.code for issue in written.issues] == ["FORMAT_NOT_WRITTEN"]


@given(st.lists(st.sampled_from([b"<biom:DNASample>", b"</biom:DNASTRProfile>", b"\xff", b"&", b"\x00"]), max_size=9))
def test_no_mangled_file_makes_the_reader_raise(parts: list[bytes]) -> None:
    decode(file(record()).replace(b"true", b"".join(parts), 1))


_CALLS = st.one_of(
    st.lists(st.sampled_from(["9", "9.3"]), min_size=1, max_size=2),
    st.lists(st.sampled_from(["", "9", "9.3", "15.4", "X", "OL", "<6", "12.X", "bad"]), max_size=3),
).map(lambda texts: [text.replace("<", "&lt;") for text in texts])
_LOCI = st.lists(
    st.builds(
        lambda dlr, calls, kind, flags: locus(dlr, *calls, kind=kind, flags=flags),
        st.sampled_from(["1", "2", "TH01", "FGA", "Amelogenin", ""]),
        _CALLS,
        st.sampled_from("012"),
        st.sampled_from(["111", "101"]),
    ),
    min_size=1,
    max_size=4,
)


@given(_LOCI, st.sampled_from(["", *"0123456789"]), st.sampled_from("0129"), st.sampled_from("019"))
def test_whatever_a_record_holds_is_valid_records_or_coded_refusals(
    loci: list[str], result: str, donor: str, kind: str
) -> None:
    found = decode(file(record("SYN-1", *loci, result=result, donor=donor, kind=kind)))
    assert found.records or found.issues
    assert all(validate(item.record) == [] for item in found.records)
    for profile in profiles(found):
        # Nothing but a name in the source names a locus.
        assert {call.locus for call in profile.loci} <= {"", "TH01", "FGA", "Amelogenin"}
