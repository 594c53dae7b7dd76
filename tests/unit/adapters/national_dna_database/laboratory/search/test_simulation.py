"""A simulated population with known families: who is found, and who is found falsely. docs/dna-search.md has more."""

from __future__ import annotations

from functools import cache

from adapters.national_dna_database.laboratory.kinship.comparison import Thresholds
from adapters.values.alleles import CODIS_20
from synthetic.dna import synthetic_table
from synthetic.families import Outcome, Sizes, simulate

SIZES = Sizes(families=180, strangers=1500, brothers=60, orphans=120)


@cache
def outcome() -> Outcome:
    found = simulate(synthetic_table(), CODIS_20, SIZES, seed=1)
    print("\n".join(found.lines()))  # noqa: T201 - the report
    return found


def test_the_population_has_mutations_and_every_situation() -> None:
    assert outcome().mutations >= 5
    assert len(outcome().tallies) == 8
    assert all(tally.children > 0 for tally in outcome().tallies.values())


def test_couples_are_all_found() -> None:
    for name in ("couple", "couple, partial"):
        tally = outcome().tallies[name]
        assert tally.found == tally.children, name


def test_lone_parents_of_whole_profiles_are_nearly_all_found() -> None:
    found, children = (
        sum(getattr(outcome().tallies[name], field) for name in ("father", "mother")) for field in ("found", "children")
    )
    assert found >= 0.95 * children


def test_strangers_are_supported_no_oftener_than_the_threshold_allows() -> None:
    # By Markov's inequality a stranger reaches a ratio of x with probability 1/x at the most, under a right table.
    strangers = sum(tally.false_stranger for tally in outcome().tallies.values())
    assert strangers <= outcome().pairs / Thresholds().support
    assert outcome().pairs > 400_000


def test_the_simulation_of_a_seed_is_always_the_same() -> None:
    sizes = Sizes(families=6, strangers=20, brothers=2, orphans=3)
    assert simulate(synthetic_table(), CODIS_20, sizes, 2) == simulate(synthetic_table(), CODIS_20, sizes, 2)
