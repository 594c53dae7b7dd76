from __future__ import annotations

import math
from random import Random

import pytest

from adapters.national_dna_database.laboratory.kinship.comparison import Thresholds, Verdict, compare, ratio_text
from adapters.national_dna_database.laboratory.kinship.mutation import MutationModel, Sex
from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios, Question
from adapters.national_dna_database.laboratory.kinship.typings import ProfileUnusable, Typing, Unused, read_profile
from caseexchange.records.v1 import dna_pb2
from synthetic.dna import Population, str_profile, synthetic_table

TABLE = synthetic_table()
RATIOS = LocusRatios(TABLE, MutationModel())
RULES = Thresholds()
TH01_CHILD = {"TH01": ("7", "9.3")}


def typing(profile: dna_pb2.StrProfile) -> Typing:
    found = read_profile(profile)
    assert isinstance(found, Typing)
    return found


def family() -> tuple[Typing, Typing, Typing]:
    people = Population(TABLE, MutationModel(), Random(1))  # noqa: S311 - synthetic
    father, mother = people.stranger(), people.stranger()
    child = people.child(father, mother)
    return typing(str_profile("C", child)), typing(str_profile("F", father)), typing(str_profile("M", mother))


# --- which loci are used ----------------------------------------------------------------------------------------------


def test_one_allele_is_a_homozygote_and_in_a_partial_profile_a_possible_drop_out() -> None:
    whole, partial = (typing(str_profile("A", {"TH01": ("7",), "FGA": ("21", "22")}, partial=p)) for p in (False, True))
    assert whole.genotypes["TH01"] == ("7", "7")
    assert partial.unused == {"TH01": Unused.POSSIBLE_DROP_OUT}
    assert partial.genotypes["FGA"] == ("21", "22")


def test_a_possible_drop_out_is_left_out_whether_it_agrees_or_not() -> None:
    child = typing(str_profile("C", {"TH01": ("7",), "FGA": ("21", "22")}, partial=True))
    for allele in ("7", "9.3"):
        father = typing(str_profile("F", {"TH01": (allele,), "FGA": ("21", "22")}))
        found = compare(RATIOS, RULES, Question.PARENT, Sex.FATHER, child=child, father=father)
        assert (found.loci_compared, found.loci_mismatched) == (1, 0)
        assert [item.unused for item in found.evidence] == [None, Unused.POSSIBLE_DROP_OUT]


def test_a_tri_allelic_locus_is_left_out_with_its_reason_and_a_second_one_makes_a_mixture() -> None:
    one = str_profile("A", {"TPOX": ("8", "9", "11"), "TH01": ("7", "9.3")})
    assert typing(one).unused == {"TPOX": Unused.TRI_ALLELIC}
    two = str_profile("A", {"TPOX": ("8", "9", "11"), "FGA": ("20", "21", "22"), "TH01": ("7", "9.3")})
    assert read_profile(two) is ProfileUnusable.MIXTURE


@pytest.mark.parametrize("quality", dna_pb2.LocusQuality.values())
@pytest.mark.parametrize("operator", [dna_pb2.ALLELE_OPERATOR_EQUAL, dna_pb2.ALLELE_OPERATOR_ABOVE])
def test_a_mixture_does_not_hide_behind_the_doubts_of_its_source(
    quality: dna_pb2.LocusQuality.ValueType, operator: dna_pb2.AlleleOperator.ValueType
) -> None:
    profile = str_profile("A", {"TH01": ("7", "9.3"), "TPOX": ("8", "9", "11"), "FGA": ("20", "21", "22")})
    for call in profile.loci[1:]:
        call.quality, call.alleles[2].operator = quality, operator
    assert read_profile(profile) is ProfileUnusable.MIXTURE


def test_a_wild_card_is_no_third_allele() -> None:
    profile = str_profile("A", {"TH01": ("7", "9.3"), "TPOX": ("8", "9", "11"), "FGA": ("20", "21", "22")})
    for call in profile.loci[1:]:
        call.alleles[2].value, call.alleles[2].operator = "", dna_pb2.ALLELE_OPERATOR_WILDCARD
    assert set(typing(profile).unused.values()) == {Unused.NOT_NUMERIC}


def test_a_mixture_by_its_category_is_not_compared() -> None:
    profile = str_profile("A", TH01_CHILD)
    profile.category.value = "Forensic Mixture"
    assert read_profile(profile) is ProfileUnusable.MIXTURE


def test_sex_markers_y_loci_and_insertions_are_never_counted() -> None:
    profile = str_profile("A", {"Amelogenin": ("X", "Y"), "DYS391": ("10",), "Yindel": ("2",), "TH01": ("7", "9.3")})
    found = typing(profile)
    assert set(found.unused.values()) == {Unused.NOT_AUTOSOMAL}
    assert set(found.genotypes) == {"TH01"}


@pytest.mark.parametrize(
    "operator",
    [
        dna_pb2.ALLELE_OPERATOR_BELOW,
        dna_pb2.ALLELE_OPERATOR_ABOVE,
        dna_pb2.ALLELE_OPERATOR_OFF_LADDER,
        dna_pb2.ALLELE_OPERATOR_WILDCARD,
        dna_pb2.ALLELE_OPERATOR_RANGE,
        dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT,
        dna_pb2.ALLELE_OPERATOR_SEQUENCE,
    ],
)
def test_an_allele_that_is_no_number_leaves_its_locus_out(operator: dna_pb2.AlleleOperator.ValueType) -> None:
    profile = str_profile("A", {"TH01": ("7", "9.3"), "FGA": ("21", "22")})
    profile.loci[0].alleles[0].operator = operator
    assert typing(profile).unused == {"TH01": Unused.NOT_NUMERIC}


@pytest.mark.parametrize(
    ("quality", "reason"),
    [
        (dna_pb2.LOCUS_QUALITY_NOT_DEFINITIVE, Unused.UNCERTAIN),
        (dna_pb2.LOCUS_QUALITY_SILENT_ALLELE, Unused.UNCERTAIN),
        (dna_pb2.LOCUS_QUALITY_PARTIAL, Unused.POSSIBLE_DROP_OUT),
        (dna_pb2.LOCUS_QUALITY_NORMAL, None),
    ],
)
def test_a_locus_that_its_source_is_not_sure_of_is_left_out(
    quality: dna_pb2.LocusQuality.ValueType, reason: Unused | None
) -> None:
    profile = str_profile("A", {"TH01": ("7", "9.3"), "FGA": ("21", "22")})
    profile.loci[0].quality = quality
    assert typing(profile).unused.get("TH01") is reason


def test_a_locus_that_has_a_number_only_is_compared_with_nothing() -> None:
    profile = str_profile("A", {"TH01": ("7", "9.3"), "FGA": ("21", "22")})
    profile.loci[0].locus, profile.loci[0].reported_locus = "", "DLR 4"
    assert typing(profile).unused == {"DLR 4": Unused.UNNAMED}


@pytest.mark.parametrize("source", dna_pb2.ProfileSource.values())
def test_what_is_not_known_to_be_one_person_is_never_searched_as_one(source: dna_pb2.ProfileSource.ValueType) -> None:
    profile = str_profile("A", TH01_CHILD)
    profile.source = source
    expected = {
        dna_pb2.PROFILE_SOURCE_UNSPECIFIED: None,
        dna_pb2.PROFILE_SOURCE_PERSON: None,
        dna_pb2.PROFILE_SOURCE_SINGLE: None,
        dna_pb2.PROFILE_SOURCE_MIXTURE: ProfileUnusable.MIXTURE,
    }.get(source, ProfileUnusable.SOURCE_UNCERTAIN)
    found = read_profile(profile)
    assert (None if isinstance(found, Typing) else found) is expected


def test_a_profile_without_a_usable_locus_is_not_compared() -> None:
    assert read_profile(str_profile("A", {"Amelogenin": ("X",)})) is ProfileUnusable.NO_LOCUS


def test_a_locus_that_one_lacks_or_the_table_lacks_is_listed_with_its_reason() -> None:
    child = typing(str_profile("C", {"TH01": ("7", "9.3"), "FGA": ("21",), "LPL": ("10", "11")}))
    father = typing(str_profile("F", {"TH01": ("7",), "LPL": ("10", "11"), "vWA": ("16",)}))
    found = compare(RATIOS, RULES, Question.PARENT, Sex.FATHER, child=child, father=father)
    assert {item.locus: item.unused for item in found.evidence} == {
        "FGA": Unused.NOT_TYPED,
        "LPL": Unused.NO_FREQUENCIES,
        "TH01": None,
        "vWA": Unused.NOT_TYPED,
    }


def test_the_evidence_says_where_the_least_frequency_was_used() -> None:
    child, father = typing(str_profile("C", {"TH01": ("7", "13")})), typing(str_profile("F", {"TH01": ("13",)}))
    (item,) = compare(RATIOS, RULES, Question.PARENT, Sex.FATHER, child=child, father=father).evidence
    assert item.least_frequency
    assert math.isclose(item.ratio or 0, 1 / (2 * 5 / 4000), rel_tol=0.01)


# --- the figure and the verdict ---------------------------------------------------------------------------------------


def test_a_family_is_supported_by_every_question_and_strangers_are_excluded() -> None:
    child, father, mother = family()
    for question, parents in (
        (Question.PARENT, {"father": father}),
        (Question.OTHER_PARENT, {"father": father, "mother": mother}),
        (Question.COUPLE, {"father": father, "mother": mother}),
    ):
        found = compare(RATIOS, RULES, question, Sex.FATHER, child=child, **parents)
        assert found.verdict is Verdict.SUPPORTED, question
        assert found.loci_compared == 23
        assert math.isclose(
            found.log10_ratio, math.fsum(math.log10(item.ratio) for item in found.evidence if item.ratio)
        )
    people = Population(TABLE, MutationModel(), Random(2))  # noqa: S311 - synthetic
    stranger = typing(str_profile("S", people.stranger()))
    assert compare(RATIOS, RULES, Question.PARENT, Sex.FATHER, child=child, father=stranger).verdict is Verdict.EXCLUDED


@pytest.mark.parametrize(
    ("loci", "mismatched", "log10_ratio", "verdict"),
    [
        (20, 0, 4.0, Verdict.SUPPORTED),
        (20, 2, 4.0, Verdict.SUPPORTED),
        (20, 0, 3.999, Verdict.INCONCLUSIVE),
        (20, 3, 4.0, Verdict.INCONCLUSIVE),
        (20, 3, -4.0, Verdict.EXCLUDED),
        (20, 3, -3.999, Verdict.INCONCLUSIVE),
        (20, 2, -9.0, Verdict.INCONCLUSIVE),
        (20, 9, -math.inf, Verdict.EXCLUDED),
        (5, 0, 9.0, Verdict.TOO_FEW_LOCI),
    ],
)
def test_the_thresholds_are_those_of_the_standard(
    loci: int, mismatched: int, log10_ratio: float, verdict: Verdict
) -> None:
    assert RULES.verdict(loci, mismatched, log10_ratio) is verdict


@pytest.mark.parametrize(
    ("log10_ratio", "text"),
    [
        (0.0, "1.000e+0"),
        (4.0, "1.000e+4"),
        (-math.inf, "0"),
        (9.49513, "3.127e+9"),
        (-400.5, "3.162e-401"),
        (2.9999999, "1.000e+3"),
    ],
)
def test_a_ratio_is_written_as_a_decimal_whatever_its_size(log10_ratio: float, text: str) -> None:
    assert ratio_text(log10_ratio) == text
