from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from adapters.base import Decoded, Encoded, Limits, Source
from adapters.national_dna_database.cmf.adapter import ADAPTER
from adapters.national_dna_database.laboratory.kinship.typings import ProfileUnusable, Typing, Unused, read_profile
from adapters.national_dna_database.niem.adapter import ADAPTER as NIEM_DNA
from adapters.national_dna_database.niem.codes import (
    BIOMETRICS,
    CATEGORIES,
    CONTROLS,
    QUALITIES,
    SOURCES,
    SYSTEM,
    UNACCOMPANIED_MINOR,
)
from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "national_dna_database" / "samples" / "niem-dna.xml"
LIMITS = Limits()
CHILD, MOTHER, FATHER = dna_pb2.SAMPLE_ROLE_CHILD, dna_pb2.SAMPLE_ROLE_MOTHER, dna_pb2.SAMPLE_ROLE_FATHER
SIBLING, RELATIVE = dna_pb2.SAMPLE_ROLE_SIBLING, dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE
NOBODY = dna_pb2.SAMPLE_ROLE_UNSPECIFIED
EQUAL, ABOVE = dna_pb2.ALLELE_OPERATOR_EQUAL, dna_pb2.ALLELE_OPERATOR_ABOVE


def allele(first: str, operator: str = "Equal", second: str = "", more: str = "") -> str:
    stated = f"<biom:DNAAlleleOperatorCode>{operator}</biom:DNAAlleleOperatorCode>" if operator else ""
    other = f"<biom:DNAAlleleCall2Text>{second}</biom:DNAAlleleCall2Text>" if second else ""
    call = f"<biom:DNAAlleleCall1Text>{first}</biom:DNAAlleleCall1Text>"
    return f"<biom:DNAAllele>{stated}{call}{other}{more}</biom:DNAAllele>"


def locus(name: str = "TH01", *alleles: str, quality: str = "Normal", category: str = "Autosomal") -> str:
    found = "".join(alleles or (allele("7"), allele("9.3")))
    stated = f"<biom:DNALocusQualityStatusCode>{quality}</biom:DNALocusQualityStatusCode>" if quality else ""
    return (
        f"<biom:DNALocus><biom:DNALocusName>{name}</biom:DNALocusName>"
        f"<biom:DNALocusCategoryCode>{category}</biom:DNALocusCategoryCode>{stated}{found}</biom:DNALocus>"
    )


def number(element: str, text: str, kind: str) -> str:
    return (
        f"<biom:{element}><nc:IdentificationID>{text}</nc:IdentificationID>"
        f"<nc:IdentificationCategoryDescriptionText>{kind}</nc:IdentificationCategoryDescriptionText></biom:{element}>"
    )


def encoding(barcode: str, loci: str | None = None, source: str = "Person", more: str = "", data: str = "") -> str:
    sample = number("DNASourceIdentification", barcode, "Sample ID") if barcode else ""
    return (
        "<biom:DNAEncoding><biom:DNATypingTechnologyCode>STR</biom:DNATypingTechnologyCode>"
        f"<biom:DNASource>{sample}<biom:DNASourceCategoryCode>{source}</biom:DNASourceCategoryCode></biom:DNASource>"
        f"{more}<biom:DNASTRData>{data}{locus() if loci is None else loci}</biom:DNASTRData></biom:DNAEncoding>"
    )


def record(
    barcode: str = "SYN-1",
    loci: str | None = None,
    *,
    category: str = "Family Relative",
    source: str = "Person",
    numbers: str = "",
    more: str = "",
) -> str:
    numbers = numbers or number("DNADataIdentification", "SYN-CASE", "Case ID")
    return (
        f"<biom:DNARecord><biom:DNACategoryCode>{category}</biom:DNACategoryCode>{numbers}"
        f"{encoding(barcode, loci, source)}{more}</biom:DNARecord>"
    )


def file(*parts: str, biometrics: str = BIOMETRICS) -> bytes:
    body = "\n".join(parts)
    return (
        '<smpl:DNADataTransaction xmlns:smpl="urn:any" '
        f'xmlns:biom="{biometrics}" xmlns:nc="http://release.niem.gov/niem/niem-core/5.0/" '
        f'xmlns:structures="http://release.niem.gov/niem/structures/5.0/">\n{body}</smpl:DNADataTransaction>'
    ).encode()


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return NIEM_DNA.decode(Source(content), limits)


def profiles(found: Decoded) -> list[dna_pb2.StrProfile]:
    return [item.record for item in found.records if isinstance(item.record, dna_pb2.StrProfile)]


def codes(found: Decoded | Encoded) -> list[str]:
    return sorted({issue.code for issue in found.issues})


def essence(profile: dna_pb2.StrProfile) -> dna_pb2.StrProfile:
    copy = dna_pb2.StrProfile()
    copy.CopyFrom(profile)
    copy.ClearField("provenance")
    return copy


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_shipped_sample_is_a_family_in_which_the_child_is_sought() -> None:
    found = decode(SAMPLE.read_bytes())
    assert codes(found) == []
    mother, father = profiles(found)
    assert (mother.role, father.role) == (MOTHER, FATHER)
    assert (mother.barcode, mother.case_number, mother.source_id) == ("SYN-BLD-0071", "SYN-CASE-0007", "Yes")
    assert [(code.system, code.value) for code in mother.other_numbers] == [("DNA Profile ID", "SYN-P-71")]
    assert "D6S1043" in {call.locus for call in mother.loci}
    assert (len(mother.loci), len(father.loci)) == (9, 10)


def test_a_locus_that_is_not_definitive_is_in_the_profile_and_not_in_the_figures() -> None:
    mother = profiles(decode(SAMPLE.read_bytes()))[0]
    typing = read_profile(mother)
    assert isinstance(typing, Typing)
    assert typing.unused["CSF1PO"] is Unused.UNCERTAIN
    assert typing.unused["FGA"] is Unused.NOT_NUMERIC
    assert typing.genotypes["vWA"] == ("14", "14")


@pytest.mark.parametrize(
    ("written", "value", "value_to", "operator"),
    [
        (allele("9.3"), "9.3", "", EQUAL),
        (allele("9.30"), "9.3", "", EQUAL),
        (allele("9.3", ""), "9.3", "", EQUAL),
        (allele("&gt;15", ""), "15", "", ABOVE),
        (allele("15", "AboveUpperLimit"), "15", "", ABOVE),
        (allele("6", "BelowLowerLimit"), "6", "", dna_pb2.ALLELE_OPERATOR_BELOW),
        (allele("9", "Range", "11.2"), "9", "11.2", dna_pb2.ALLELE_OPERATOR_RANGE),
        (allele("15_14_1_0"), "15_14_1_0", "", dna_pb2.ALLELE_OPERATOR_SEQUENCE),
        (allele("OL"), "", "", dna_pb2.ALLELE_OPERATOR_OFF_LADDER),
    ],
)
def test_an_operator_says_how_a_call_is_meant(written: str, value: str, value_to: str, operator: int) -> None:
    (profile,) = profiles(decode(file(record(loci=locus("FGA", written)))))
    (found,) = profile.loci[0].alleles
    assert (found.value, found.value_to, found.operator) == (value, value_to, operator)


@pytest.mark.parametrize(
    "written",
    [
        allele("&gt;15"),
        allele("&lt;15", "AboveUpperLimit"),
        allele("9", "Range"),
        allele("11", "Range", "9"),
        allele("9", "Equal", "11"),
        allele("9", "About"),
        allele(""),
        "<biom:DNAAllele/>",
    ],
)
def test_a_call_that_contradicts_its_operator_refuses_its_record_alone(written: str) -> None:
    found = decode(file(record("SYN-1", locus("FGA", written)), record("SYN-2")))
    assert [profile.barcode for profile in profiles(found)] == ["SYN-2"]
    assert "ALLELE_INVALID" in codes(found)


@pytest.mark.parametrize("quality", QUALITIES)
def test_each_quality_is_kept(quality: str) -> None:
    (profile,) = profiles(decode(file(record(loci=locus(quality=quality)))))
    assert profile.loci[0].quality == QUALITIES[quality]


def test_a_quality_that_is_unknown_is_taken_for_doubt_and_a_missing_one_for_none() -> None:
    found = decode(file(record(loci=locus(quality="Splendid") + locus("FGA", quality=""))))
    assert [call.quality for call in profiles(found)[0].loci] == [
        dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE,
        dna_pb2.LOCUS_QUALITY_UNSPECIFIED,
    ]
    assert codes(found) == ["QUALITY_MISSING", "QUALITY_UNKNOWN"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_may_be_several_people_is_never_searched_as_one(source: str) -> None:
    (profile,) = profiles(decode(file(record(source=source))))
    assert profile.source == SOURCES[source]
    single = source in {"Person", "Evidentiary, Single Source"}
    assert isinstance(read_profile(profile), Typing) == single


def test_a_source_that_is_unknown_counts_as_one_that_may_be_several_people() -> None:
    found = decode(file(record(source="Something new")))
    assert codes(found) == ["SOURCE_UNKNOWN"]
    assert read_profile(profiles(found)[0]) is ProfileUnusable.SOURCE_UNCERTAIN


@pytest.mark.parametrize("category", sorted(CONTROLS))
def test_controls_and_training_samples_are_nobody(category: str) -> None:
    found = decode(file(record(category=category), record("Allelic Ladder"), record("SYN-2")))
    assert [profile.barcode for profile in profiles(found)] == ["SYN-2"]
    assert codes(found) == ["CONTROL_SKIPPED"]


@pytest.mark.parametrize("category", ["control", "TRAINING", "Negative Control"])
def test_a_control_is_one_however_it_is_spelled(category: str) -> None:
    found = decode(file(record(category=category), record("SYN-2")))
    assert [profile.barcode for profile in profiles(found)] == ["SYN-2"]
    assert codes(found) == ["CATEGORY_UNKNOWN", "CONTROL_SKIPPED"]


def test_a_category_may_be_told_in_words() -> None:
    text = record(category="Child of a case").replace("DNACategoryCode", "DNACategoryText")
    found = decode(file(text, record("SYN-2", category="Control").replace("DNACategoryCode", "DNACategoryText")))
    assert codes(found) == ["CONTROL_SKIPPED"]
    (profile,) = profiles(found)
    assert (profile.category.system, profile.category.value) == ("NIEM DNACategoryText", "Child of a case")


def test_numbers_are_told_apart_by_what_they_are_of() -> None:
    numbers = "".join(
        number("DNADataIdentification", text, kind)
        for text, kind in (("C-1", "case id"), ("N-1", "NCIC"), ("P-1", "DNA Profile ID"))
    )
    (profile,) = profiles(decode(file(record(numbers=numbers))))
    assert (profile.barcode, profile.case_number) == ("SYN-1", "C-1")
    assert [(code.system, code.value) for code in profile.other_numbers] == [("NCIC", "N-1"), ("DNA Profile ID", "P-1")]
    (without,) = profiles(decode(file(record("", numbers=numbers))))
    assert without.barcode == "P-1"


def test_a_record_without_any_number_of_its_sample_is_refused() -> None:
    assert codes(decode(file(record("")))) == ["FIELD_MISSING"]


@pytest.mark.parametrize("release", ["5.0", "5.1"])
def test_releases_are_known_by_the_family_of_their_namespace(release: str) -> None:
    found = decode(file(record(), biometrics=f"http://release.niem.gov/niem/domains/biometrics/{release}/"))
    assert codes(found) == []
    assert profiles(found)[0].provenance.source_format_version == release


def test_release_6_0_has_a_namespace_of_another_family() -> None:
    space = "https://docs.oasis-open.org/niemopen/ns/model/domains/biometrics/6.0/"
    found = decode(file(record(), biometrics=space))
    assert codes(found) == []
    assert profiles(found)[0].provenance.source_format_version == "6.0"


def test_another_release_or_namespace_is_read_with_a_warning() -> None:
    newer = file(record(), biometrics="http://release.niem.gov/niem/domains/biometrics/9.0/")
    assert codes(decode(newer)) == ["NIEM_VERSION"]
    assert codes(decode(file(record(), biometrics="urn:other"))) == ["NAMESPACE_UNKNOWN"]


def test_files_in_base64_are_left_out_with_a_code_and_what_is_beside_them_is_kept() -> None:
    trace = (
        "<biom:DNAAnalysis><biom:DNAElectropherogram><biom:DNAElectropherogramFileStorageText>png"
        "</biom:DNAElectropherogramFileStorageText><biom:DNAElectropherogramBinaryObject>"
        f"{'QUJD' * 10_000}</biom:DNAElectropherogramBinaryObject></biom:DNAElectropherogram></biom:DNAAnalysis>"
    )
    found = decode(file(record().replace("<biom:DNASTRData>", f"{trace}<biom:DNASTRData>")))
    assert codes(found) == ["BINARY_NOT_CARRIED", "FIELD_UNMAPPED"]
    assert [item.value for item in profiles(found)[0].provenance.unmapped] == ["png"]


def test_who_the_donor_is_stays_in_what_could_not_be_mapped() -> None:
    donor = (
        "<biom:DNADonor><nc:PersonBirthDate><nc:Date>2015-01-01</nc:Date></nc:PersonBirthDate>"
        "<nc:PersonSexText>Female</nc:PersonSexText></biom:DNADonor>"
    )
    (profile,) = profiles(decode(file(record(more=donor))))
    assert {(item.path, item.value) for item in profile.provenance.unmapped} == {
        ("DNARecord/DNADonor/PersonBirthDate/Date", "2015-01-01"),
        ("DNARecord/DNADonor/PersonSexText", "Female"),
    }


def test_each_str_encoding_of_a_record_is_a_profile_and_another_is_kept_as_unmapped() -> None:
    mito = "<biom:DNAEncoding><biom:DNATypingTechnologyCode>mtDNA</biom:DNATypingTechnologyCode></biom:DNAEncoding>"
    found = decode(file(record(more=encoding("SYN-2", locus("FGA")) + mito)))
    assert [(profile.barcode, profile.loci[0].locus) for profile in profiles(found)] == [
        ("SYN-1", "TH01"),
        ("SYN-2", "FGA"),
    ]
    assert codes(found) == ["ENCODING_NOT_READ", "FIELD_UNMAPPED"]
    assert [item.value for item in profiles(found)[0].provenance.unmapped] == ["mtDNA"]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([record(), record()], "SPECIMEN_REPEATED"),
        ([record(loci=locus("BAD1"))], "LOCUS_UNKNOWN"),
        ([record(loci=locus() + locus("TH 01"))], "LOCUS_REPEATED"),
        ([record(loci="")], "FIELD_MISSING"),
        ([record(loci=locus("FGA", *[allele("9")] * 33))], "ALLELES_TOO_MANY"),
        ([record(loci=locus().replace("<biom:DNALocusName>", "<biom:DNALocusName>FGA</biom:DNALocusName>"
          "<biom:DNALocusName>"))], "FIELD_REPEATED"),
        ([record(more="<biom:DNACategoryCode>Victim</biom:DNACategoryCode>")], "FIELD_REPEATED"),
        ([record(more=f"<biom:DNADonor><nc:X>{'A' * 20_001}</nc:X></biom:DNADonor>")], "FIELD_TOO_LONG"),
        (["<biom:DNARecord/>"], "PROFILE_EMPTY"),
        ([record(more="".join(encoding(f"SYN-{place}") for place in range(40)))], "ENCODINGS_TOO_MANY"),
    ],
)  # fmt: skip
def test_what_leaves_a_profile_in_doubt_is_refused_with_its_code(parts: list[str], code: str) -> None:
    assert code in codes(decode(file(*parts)))


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (locus(category="Y-STR"), "LOCUS_CATEGORY_CONTRADICTION"),
        (locus("DYS391", allele("10")), "LOCUS_CATEGORY_CONTRADICTION"),
        (locus("FGA", allele("9", more="<biom:DNAAllelePeakHeightValue>high</biom:DNAAllelePeakHeightValue>")),
         "PEAK_HEIGHT_NOT_READ"),
        (locus("FGA", allele("9", more="<biom:DNAAlleleRequiredIndicator>maybe</biom:DNAAlleleRequiredIndicator>")),
         "FLAG_NOT_READ"),
    ],
)  # fmt: skip
def test_what_is_odd_is_read_with_a_warning(changed: str, code: str) -> None:
    found = decode(file(record(loci=changed)))
    assert len(profiles(found)) == 1
    assert codes(found) == [code]


@pytest.mark.parametrize(("name", "category"), [("Amelogenin", "Autosomal"), ("Yindel", "Y-STR")])
def test_sex_markers_may_be_of_the_categories_that_published_samples_give_them(name: str, category: str) -> None:
    call = allele("X") if name == "Amelogenin" else allele("2")
    assert codes(decode(file(record(loci=locus(name, call, category=category))))) == []


def test_another_document_and_one_without_records_are_refused() -> None:
    assert codes(decode(b"<Other/>")) == ["NOT_NIEM_DNA"]
    assert codes(decode(file())) == ["NO_RECORDS"]
    assert codes(decode(file(record(), record("SYN-2")), Limits(records=1))) == ["TOO_MANY_RECORDS"]


def test_no_issue_quotes_a_value() -> None:
    marked = record("SECRET", locus("SECRET"), category="SECRET", source="SECRET")
    odd = record("SECRET2", locus(quality="SECRET", category="SECRET") + locus("FGA", allele("SECRET", "SECRET")))
    found = decode(file(marked, odd, pedigree(member("1", "SECRET", father="SECRET"), status="SECRET")))
    assert len(found.issues) > 5
    assert all("SECRET" not in f"{issue.locator} {issue.message}" for issue in found.issues)


# --- pedigrees --------------------------------------------------------------------------------------------------------


def member(
    key: str,
    barcode: str = "",
    status: str = "K",
    *,
    sex: str = "",
    father: str = "",
    mother: str = "",
    by: str = "metadata",
) -> str:
    parents = "".join(
        f'<biom:Pedigree{name}Identification structures:{by}="{parent}"/>'
        for name, parent in (("Father", father), ("Mother", mother))
        if parent
    )
    own = number("PedigreeMemberIdentification", barcode, "Sample ID") if barcode else ""
    return (
        f'<biom:PedigreeMember structures:id="{key}">{own}<nc:PersonSexText>{sex}</nc:PersonSexText>'
        f"<biom:PedigreeMemberStatusCode>{status}</biom:PedigreeMemberStatusCode>{parents}</biom:PedigreeMember>"
    )


def pedigree(*members: str, status: str = "Claimed") -> str:
    own = number("PedigreeIdentification", "SYN-CASE", "Case ID")
    code = f"<biom:PedigreeStatusCode>{status}</biom:PedigreeStatusCode>"
    return f"<biom:Pedigree>{own}{code}{''.join(members)}</biom:Pedigree>"


def roles(*pedigrees: str, people: str = "ABCD", category: str = "Family Relative") -> tuple[list[int], list[str]]:
    found = decode(file(*(record(barcode, category=category) for barcode in people), *pedigrees))
    return [profile.role for profile in profiles(found)], [code for code in codes(found) if code != "FIELD_UNMAPPED"]


def test_a_sought_child_makes_its_parents_and_siblings_what_they_are() -> None:
    family = pedigree(
        member("1", "A", sex="Female"),
        member("2", "B", sex="Male"),
        member("3", "", "S", father="2", mother="1"),
        member("4", "C", father="2", mother="1"),
        member("5", "D"),
    )
    assert roles(family) == ([MOTHER, FATHER, SIBLING, RELATIVE], [])


def test_a_sought_parent_makes_the_other_parent_and_their_child_what_they_are() -> None:
    family = pedigree(
        member("ID-1", "A", sex="Female"),
        member("ID-2", "", "S", sex="Male"),
        member("ID-3", "B", sex="Male", father="ID-2", mother="ID-1"),
    )
    assert roles(family, people="AB") == ([MOTHER, CHILD], [])


def test_without_a_target_the_one_who_has_parents_and_no_child_is_the_child() -> None:
    family = pedigree(member("1", "A"), member("2", "B", mother="1"), member("3", "C", father="4", mother="2"),
                      member("4", "D"))  # fmt: skip
    assert roles(family) == ([RELATIVE, MOTHER, CHILD, FATHER], [])


@pytest.mark.parametrize("by", ["metadata", "ref", "uri"])
def test_members_are_referred_to_as_the_published_sample_does_or_as_one_would_expect(by: str) -> None:
    target = "#1" if by == "uri" else "1"
    assert roles(pedigree(member("1", "A"), member("2", "", "S", mother=target, by=by)), people="A")[0] == [MOTHER]


def test_a_refuted_pedigree_gives_nobody_a_role() -> None:
    family = (member("1", "A"), member("2", "B", mother="1"))
    assert roles(pedigree(*family), people="AB") == ([MOTHER, CHILD], [])
    assert roles(pedigree(*family, status="Negated"), people="AB") == ([NOBODY, NOBODY], ["PEDIGREE_NEGATED"])


@pytest.mark.parametrize(
    "members",
    [
        (member("1", "A"), member("2", "B", mother="1"), member("3", "C", mother="1")),
        (member("1", "A", "S"), member("2", "B", "S", mother="1")),
        (member("1", "A", father="2"), member("2", "B", father="1")),
        (member("1", "A"), member("2", "B")),
    ],
)
def test_a_pedigree_that_does_not_say_who_the_child_is_gives_nobody_a_role(members: tuple[str, ...]) -> None:
    assert roles(pedigree(*members), people="AB")[0] == [NOBODY, NOBODY]
    assert "PEDIGREE_AMBIGUOUS" in roles(pedigree(*members), people="AB")[1]


def test_a_father_who_is_a_woman_is_neither() -> None:
    family = pedigree(member("1", "A", sex="Female"), member("2", "B", father="1"))
    assert roles(family, people="AB") == ([NOBODY, CHILD], ["PEDIGREE_SEX_CONTRADICTION"])


def test_a_reference_to_nobody_or_to_oneself_is_left_out_with_a_warning() -> None:
    family = pedigree(member("1", "A"), member("2", "B", mother="1", father="9"), member("3", "C", mother="3"))
    assert roles(family, people="ABC") == ([MOTHER, CHILD, RELATIVE], ["PEDIGREE_REFERENCE"])


def test_an_id_that_two_members_have_is_nobodys() -> None:
    family = pedigree(
        member("1", "A"), member("1", "B"), member("2", "C", "S", father="1", mother="3"), member("3", "D")
    )
    assert roles(family) == ([RELATIVE, RELATIVE, CHILD, MOTHER], ["PEDIGREE_REFERENCE"])


def test_nobody_is_their_own_mother() -> None:
    family = pedigree(member("1", "A", "S", mother="1"), member("2", "B", mother="1"))
    assert roles(family, people="AB") == ([MOTHER, CHILD], ["PEDIGREE_REFERENCE"])


def test_two_pedigrees_that_disagree_leave_a_role_open() -> None:
    one = pedigree(member("1", "A"), member("2", "B", mother="1"))
    other = pedigree(member("1", "B"), member("2", "A", mother="1"))
    assert roles(one, other, people="AB") == ([NOBODY, NOBODY], ["ROLE_CONTRADICTION"])


def test_a_refuted_pedigree_does_not_contradict_another() -> None:
    one = pedigree(member("1", "A"), member("2", "B", mother="1"))
    other = pedigree(member("1", "B"), member("2", "A", mother="1"), status="Negated")
    assert roles(other, one, people="AB") == ([MOTHER, CHILD], ["PEDIGREE_NEGATED"])


def test_what_a_pedigree_says_beside_the_roles_is_kept_once() -> None:
    found = decode(file(record("A"), record("B"), pedigree(member("1", "A"), member("2", "B", mother="1"))))
    paths = [[item.path for item in profile.provenance.unmapped] for profile in profiles(found)]
    assert paths[1] == ["Pedigree/PedigreeStatusCode"]
    assert "Pedigree/PedigreeIdentification/IdentificationID" in paths[0]


def test_a_member_whose_profile_is_not_in_the_file_is_told_of() -> None:
    assert roles(pedigree(member("1", "X"), member("2", "A", mother="1")), people="A") == (
        [CHILD],
        ["PEDIGREE_MEMBER_WITHOUT_PROFILE"],
    )


def test_an_unaccompanied_minor_is_a_child_who_is_searched_for_parents() -> None:
    assert roles(people="A", category=UNACCOMPANIED_MINOR) == ([CHILD], [])


def test_a_members_number_must_be_of_the_same_kind_as_the_profiles() -> None:
    numbers = number("DNADataIdentification", "A", "NCIC")
    family = pedigree(member("1", "A"), member("2", "", "S", mother="1"))
    found = decode(file(record("SYN-9", numbers=numbers), family))
    assert profiles(found)[0].role == NOBODY


_PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["K", "S", "U", ""]),
        st.sampled_from(["", "Male", "Female", "male", "M"]),
        st.sampled_from(["", *"01234", "9"]),
        st.sampled_from(["", *"01234", "9"]),
    ),
    min_size=1,
    max_size=5,
)


@given(_PEOPLE)
def test_whatever_a_pedigree_says_a_parent_is_one_of_a_child_and_of_the_right_sex(
    people: list[tuple[str, str, str, str]],
) -> None:
    barcodes = "ABCDE"[: len(people)]
    family = pedigree(
        *(
            member(str(place), barcodes[place], status, sex=sex, father=father, mother=mother)
            for place, (status, sex, father, mother) in enumerate(people)
        )
    )
    found, _ = roles(family, people=barcodes)
    for role, wrong, parent in ((FATHER, "f", 2), (MOTHER, "m", 3)):
        for place, _ in enumerate(people):
            if found[place] == role:
                assert not people[place][1].lower().startswith(wrong)
                assert any(
                    found[child] == CHILD and people[child][parent] == str(place) for child in range(len(people))
                )


# --- writing ----------------------------------------------------------------------------------------------------------

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=10)
_SOME = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=10)
_ALLELES = st.sampled_from(
    [("9.3", "", EQUAL), ("9", "11.2", dna_pb2.ALLELE_OPERATOR_RANGE), ("15", "", ABOVE), ("12", "", EQUAL),
     ("6", "", dna_pb2.ALLELE_OPERATOR_BELOW), ("15_14_1_0", "", dna_pb2.ALLELE_OPERATOR_SEQUENCE)]
)  # fmt: skip


@st.composite
def carried(draw: st.DrawFn, barcode: str, role: dna_pb2.SampleRole.ValueType) -> dna_pb2.StrProfile:
    """Profiles of which the format carries every field."""
    profile = dna_pb2.StrProfile(
        barcode=barcode,
        role=role,
        category=common_pb2.Code(
            system=SYSTEM, value=draw(st.sampled_from(sorted(CATEGORIES - {UNACCOMPANIED_MINOR})))
        ),
        kit=draw(_WORDS),
        case_number="SYN-CASE",
        source_id=draw(st.sampled_from(["", "Yes", "No"])),
        source=draw(st.sampled_from(dna_pb2.ProfileSource.values())),
        partial=draw(st.booleans()),
        batch=draw(_WORDS),
        comment=draw(_WORDS),
    )
    if draw(st.booleans()):
        profile.other_numbers.add(system="NCIC", value=draw(_SOME))
    for name in draw(st.lists(st.sampled_from(["TH01", "D6S1043", "DYS391", "Penta E"]), min_size=1, unique=True)):
        call = profile.loci.add(
            locus=name,
            reported_locus=name,
            kit=draw(_WORDS),
            batch=draw(_WORDS),
            read_by=draw(_WORDS),
            read_at=draw(st.sampled_from(["", "2026-11-10T10:00:00Z", "2026-11-10T10:00:00.5+08:00"])),
            quality=draw(st.sampled_from(list(QUALITIES.values()))),
        )
        for value, value_to, operator in draw(st.lists(_ALLELES, min_size=1, max_size=5)):
            call.alleles.add(
                value=value,
                value_to=value_to,
                operator=operator,
                reported=value,
                required=draw(st.booleans()),
                peak_height=draw(st.integers(0, 2**31 - 1)),
            )
    return profile


@given(st.data(), st.sampled_from([(CHILD, MOTHER, FATHER), (MOTHER, FATHER), (MOTHER, SIBLING, SIBLING), (CHILD,),
                                   (RELATIVE, FATHER), (SIBLING,)]))  # fmt: skip
def test_what_the_format_carries_comes_back_equal(
    data: st.DataObject, family: tuple[dna_pb2.SampleRole.ValueType, ...]
) -> None:
    records = [data.draw(carried(f"SYN-{place}", role)) for place, role in enumerate(family)]
    written = NIEM_DNA.encode(records, LIMITS)
    assert codes(written) == ["DEFAULT_WRITTEN"]
    assert [essence(profile) for profile in profiles(decode(written.content))] == records


def plain(**fields: object) -> dna_pb2.StrProfile:
    profile = dna_pb2.StrProfile(barcode="SYN-1")
    for name, value in fields.items():
        setattr(profile, name, value)
    call = profile.loci.add(locus="TH01", reported_locus="TH01", quality=dna_pb2.LOCUS_QUALITY_NORMAL)
    call.alleles.add(value="7", operator=EQUAL, reported="7")
    return profile


def warned(*records: dna_pb2.StrProfile) -> list[tuple[str, str]]:
    return [(issue.code, issue.locator) for issue in NIEM_DNA.encode(list(records), LIMITS).issues]


def test_what_the_format_has_no_place_for_is_named() -> None:
    assert warned(plain()) == []
    record = plain(
        laboratory="SYN",
        destination="SYN",
        submitted_by="SYN",
        submitted_at="2026-11-10T10:00:00",
        source_id="N/A",
        comment="a\x00b",
        role=RELATIVE,
    )
    record.category.value, record.category.system = "Biological Mother", "CODIS CMF 3.2"
    record.other_numbers.add(system="Case ID", value="SYN")
    record.provenance.unmapped.add(path="a", value="b")
    record.loci[0].reported_locus = "FGA"
    record.loci[0].read_at = "2026-11-10T10:00:00"
    record.loci[0].alleles[0].reported = "07"
    assert {where.removeprefix("records[0].") for code, where in warned(record) if code == "FIELD_NOT_CARRIED"} == {
        "laboratory", "destination", "submitted_by", "submitted_at", "source_id", "comment", "role", "category.value",
        "category", "other_numbers[0]", "provenance.unmapped", "loci[0].reported_locus", "loci[0].read_at",
        "loci[0].alleles[0].reported",
    }  # fmt: skip


@pytest.mark.parametrize(
    "operator",
    [
        dna_pb2.ALLELE_OPERATOR_OFF_LADDER,
        dna_pb2.ALLELE_OPERATOR_WILDCARD,
        dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT,
    ],
)
def test_an_allele_that_no_operator_can_say_leaves_its_locus_out(operator: dna_pb2.AlleleOperator.ValueType) -> None:
    record = plain()
    value = "12" if operator == dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT else ""
    record.loci.add(locus="FGA", quality=dna_pb2.LOCUS_QUALITY_NORMAL).alleles.add(value=value, operator=operator)
    assert warned(record) == [("LOCUS_NOT_CARRIED", "records[0].loci[1]")]


def test_a_quality_that_the_record_does_not_state_is_filled_in_with_a_warning() -> None:
    record = plain()
    record.loci[0].quality = dna_pb2.LOCUS_QUALITY_UNSPECIFIED
    assert warned(record) == [("DEFAULT_WRITTEN", "records[0].loci[0].quality")]


def test_a_sibling_beside_the_typed_child_and_two_mothers_are_roles_that_no_pedigree_says() -> None:
    family = [plain(barcode=f"SYN-{role}", role=role, case_number="SYN-C") for role in (CHILD, MOTHER, SIBLING)]
    assert ("FIELD_NOT_CARRIED", "records[2].role") in warned(*family)
    mothers = [plain(barcode=f"SYN-{place}", role=MOTHER, case_number="SYN-C") for place in range(2)]
    assert warned(*mothers) == [("FIELD_NOT_CARRIED", f"records[{place}].role") for place in range(2)]


def test_a_category_that_would_make_a_child_of_a_profile_without_a_role_is_told_of() -> None:
    record = plain()
    record.category.value = UNACCOMPANIED_MINOR
    assert warned(record) == [("FIELD_NOT_CARRIED", "records[0].role")]
    record.role = CHILD
    assert warned(record) == []


def test_a_profile_is_written_whole_or_refused() -> None:
    wild = dna_pb2.StrProfile(barcode="SYN-2")
    wild.loci.add(locus="TH01").alleles.add(operator=dna_pb2.ALLELE_OPERATOR_WILDCARD)
    found = NIEM_DNA.encode([plain(), plain(), plain(barcode=" A"), wild, case_pb2.Tip(text="x")], LIMITS)
    assert codes(found) == ["KIND_NOT_CARRIED", "NO_LOCUS_CARRIED", "SPECIMEN_ID_NOT_CARRIED", "SPECIMEN_REPEATED"]
    assert len(profiles(decode(found.content))) == 1
    assert codes(NIEM_DNA.encode([], LIMITS)) == ["NO_RECORDS"]
    assert codes(NIEM_DNA.encode([plain()] * 2, Limits(records=1))) == ["TOO_MANY_RECORDS"]


def test_ids_of_members_are_unique_in_a_file_of_several_families() -> None:
    people = [plain(barcode=f"SYN-{place}", role=MOTHER, case_number=f"C{place}") for place in range(3)]
    root = etree.fromstring(NIEM_DNA.encode(people, LIMITS).content)
    ids = [value for item in root.iter() for name, value in item.attrib.items() if str(name).endswith("}id")]
    assert len(ids) == len(set(ids)) == 9


def test_a_cmf_profile_becomes_a_record_with_coded_losses_only() -> None:
    found = ADAPTER.decode(Source((SAMPLE.parent / "child-profile.xml").read_bytes()), LIMITS)
    written = NIEM_DNA.encode([item.record for item in found.records], LIMITS)
    assert set(codes(written)) <= {"FIELD_NOT_CARRIED", "DEFAULT_WRITTEN"}
    (again,) = profiles(decode(written.content))
    (first,) = profiles(found)
    assert [(call.locus, [item.value for item in call.alleles]) for call in again.loci] == [
        (call.locus, [item.value for item in call.alleles]) for call in first.loci
    ]


@given(
    st.lists(st.sampled_from([b"<biom:DNALocus>", b"</biom:DNAAllele>", b"\xff", b"&", b"Range", b"\x00"]), max_size=9)
)
def test_no_mangled_file_makes_the_reader_raise(parts: list[bytes]) -> None:
    decode(file(record()).replace(b"Equal", b"".join(parts), 1))
