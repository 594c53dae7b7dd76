from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.national_dna_database.laboratory.kinship.mutation import (
    MATERNAL_RATE,
    PATERNAL_RATE,
    Kind,
    MutationModel,
    Sex,
)

_ALLELES = st.lists(
    st.sampled_from(["5", "6", "7", "8", "9", "9.3", "10", "10.3", "13.2"]), min_size=1, max_size=9, unique=True
)


@given(
    _ALLELES,
    st.sampled_from(Kind),
    st.sampled_from(Sex),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
)
def test_every_row_adds_up_to_one(alleles: list[str], kind: Kind, sex: Sex, rate: float, between: float) -> None:
    model = MutationModel(kind, rate, rate / 2, between)
    for parental in alleles:
        row = [model.passed_on(sex, (parental, parental), allele, alleles) for allele in alleles]
        assert all(0 <= probability <= 1 for probability in row)
        assert math.isclose(math.fsum(row), 1)


def test_the_default_rates_have_the_stated_mean_and_proportion() -> None:
    assert math.isclose((PATERNAL_RATE + MATERNAL_RATE) / 2, 0.002)
    assert math.isclose(PATERNAL_RATE / MATERNAL_RATE, 3.5)


def test_a_step_more_is_ten_times_rarer_and_the_mutations_add_up_to_the_rate() -> None:
    model = MutationModel(Kind.STEPWISE, 0.01, 0.001)
    alleles = ("10", "11", "12", "13", "13.2")
    one, two, three = (model.passed_on(Sex.FATHER, ("10", "10"), to, alleles) for to in ("11", "12", "13"))
    assert math.isclose(one / two, 10)
    assert math.isclose(two / three, 10)
    assert math.isclose(one + two + three, 0.01)
    assert model.passed_on(Sex.FATHER, ("10", "10"), "13.2", alleles) == model.between_classes
    assert math.isclose(model.passed_on(Sex.FATHER, ("10", "10"), "10", alleles), 1 - 0.01 - model.between_classes)


def test_each_sex_has_its_own_rate() -> None:
    model = MutationModel(Kind.EQUAL, 0.02, 0.01)
    assert math.isclose(model.passed_on(Sex.FATHER, ("6", "6"), "7", ("6", "7", "8")), 0.01)
    assert math.isclose(model.passed_on(Sex.MOTHER, ("6", "6"), "7", ("6", "7", "8")), 0.005)


def test_a_heterozygote_passes_on_either_half_the_time() -> None:
    model = MutationModel(Kind.EQUAL, 0.0, 0.0)
    assert model.passed_on(Sex.MOTHER, ("6", "9.3"), "9.3", ("6", "9.3")) == 0.5


@pytest.mark.parametrize("kind", list(Kind))
def test_a_model_says_its_name_and_rates(kind: Kind) -> None:
    label = MutationModel(kind).label
    assert label.startswith(kind.value)
    assert "paternal 0.003111, maternal 0.0008889" in label
    assert "theta 0" in label
