from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.national_dna_database.laboratory.kinship.frequencies import parse_table
from adapters.national_dna_database.laboratory.kinship.mutation import Kind, MutationModel, Sex
from adapters.national_dna_database.laboratory.kinship.ratios import Genotype, LocusRatios, Question, Trio, consistent

TABLE = parse_table(
    b'name = "t"\nsource = "made up"\nindividuals = 5000\n'
    b'[loci.TH01]\n"6" = 0.1\n"7" = 0.2\n"8" = 0.3\n"9" = 0.15\n"9.3" = 0.25\n'
)
SHARES = TABLE.loci["TH01"].relative
NONE = MutationModel(Kind.EQUAL, 0.0, 0.0)
P, Q = 0.1, 0.2


def ratio(
    question: Question, child: Genotype, father: Genotype | None, mother: Genotype | None, model: MutationModel = NONE
) -> float | None:
    asked = Sex.MOTHER if father is None else Sex.FATHER
    return LocusRatios(TABLE, model).ratio("TH01", question, asked, Trio(child, father, mother))


@pytest.mark.parametrize(
    ("child", "father", "mother", "expected"),
    [
        (("6", "6"), ("6", "6"), None, 1 / P),
        (("6", "6"), ("6", "8"), None, 1 / (2 * P)),
        (("6", "7"), ("6", "6"), None, 1 / (2 * P)),
        (("6", "7"), ("6", "8"), None, 1 / (4 * P)),
        (("6", "7"), ("6", "7"), None, (P + Q) / (4 * P * Q)),
        (("6", "7"), ("6", "6"), ("7", "8"), 1 / P),
        (("6", "7"), ("6", "8"), ("7", "8"), 1 / (2 * P)),
        (("6", "7"), ("6", "6"), ("6", "7"), 1 / (P + Q)),
        (("6", "7"), ("6", "8"), ("6", "7"), 1 / (2 * (P + Q))),
        (("6", "6"), ("6", "8"), ("6", "7"), 1 / (2 * P)),
    ],
)
def test_without_mutation_the_ratios_are_those_of_the_textbook(
    child: Genotype, father: Genotype, mother: Genotype | None, expected: float
) -> None:
    question = Question.PARENT if mother is None else Question.OTHER_PARENT
    assert math.isclose(ratio(question, child, father, mother) or 0, expected)


_GENOTYPES = st.tuples(st.sampled_from(sorted(SHARES)), st.sampled_from(sorted(SHARES)))
_MODELS = st.builds(MutationModel, st.sampled_from(Kind), st.floats(0.001, 0.2), st.floats(0.001, 0.2))


def chance(child: Genotype, paternal: dict[str, float], maternal: dict[str, float]) -> float:
    """Of this child, by adding up every way in which the two gametes can make it."""
    return sum(
        paternal[first] * maternal[second]
        for first, second in product(SHARES, SHARES)
        if sorted((first, second)) == sorted(child)
    )


def gamete(model: MutationModel, sex: Sex, parent: Genotype) -> dict[str, float]:
    return {allele: model.passed_on(sex, parent, allele, tuple(SHARES)) for allele in SHARES}


@given(_GENOTYPES, _GENOTYPES, _GENOTYPES, _MODELS)
def test_with_mutation_they_are_what_counting_every_way_gives(
    child: Genotype, father: Genotype, mother: Genotype, model: MutationModel
) -> None:
    stranger = dict(SHARES)
    paternal, maternal = gamete(model, Sex.FATHER, father), gamete(model, Sex.MOTHER, mother)
    together = chance(child, paternal, maternal)
    for question, found, expected in (
        (
            Question.PARENT,
            ratio(Question.PARENT, child, father, None, model),
            chance(child, paternal, stranger) / chance(child, stranger, stranger),
        ),
        (
            Question.OTHER_PARENT,
            ratio(Question.OTHER_PARENT, child, father, mother, model),
            together / chance(child, stranger, maternal),
        ),
        (
            Question.COUPLE,
            ratio(Question.COUPLE, child, father, mother, model),
            together / chance(child, stranger, stranger),
        ),
    ):
        assert found is not None
        assert math.isclose(found, expected, rel_tol=1e-9), question


@given(_GENOTYPES, _GENOTYPES, _GENOTYPES)
def test_a_locus_needs_a_mutation_exactly_where_the_ratio_without_is_zero(
    child: Genotype, father: Genotype, mother: Genotype
) -> None:
    for question, typed in (
        (Question.PARENT, Trio(child, father, None)),
        (Question.COUPLE, Trio(child, father, mother)),
    ):
        found = ratio(question, child, typed.father, typed.mother)
        assert (found == 0) is not consistent(question, Sex.FATHER, typed)


def test_a_disputed_mother_is_asked_beside_an_undisputed_father() -> None:
    ratios = LocusRatios(TABLE, NONE)
    found = ratios.ratio("TH01", Question.OTHER_PARENT, Sex.MOTHER, Trio(("6", "7"), ("7", "8"), ("6", "6")))
    assert math.isclose(found or 0, 1 / P)


def test_an_undisputed_parent_who_cannot_be_one_leaves_the_locus_without_a_ratio() -> None:
    assert ratio(Question.OTHER_PARENT, ("6", "7"), ("6", "7"), ("8", "8")) is None


def test_an_allele_that_the_table_lacks_counts_with_the_least_frequency_and_can_mutate() -> None:
    least = 5 / 10_000
    assert math.isclose(ratio(Question.PARENT, ("11", "11"), ("11", "11"), None) or 0, 1 / least)
    model = MutationModel(Kind.EQUAL, 0.01, 0.01)
    found = ratio(Question.PARENT, ("11", "11"), ("6", "6"), None, model)
    assert math.isclose(found or 0, 0.01 / 5 / least)


def test_a_parent_who_was_not_typed_is_not_asked_for() -> None:
    with pytest.raises(ValueError, match="not typed"):
        LocusRatios(TABLE, NONE).ratio("TH01", Question.PARENT, Sex.MOTHER, Trio(("6", "6"), ("6", "6"), None))
