from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from adapters.national_dna_database.laboratory.kinship.mutation import Kind, MutationModel
from adapters.national_dna_database.laboratory.search.index import SEGMENT, KinshipIndex
from synthetic.dna import Population, synthetic_table

if TYPE_CHECKING:
    from adapters.national_dna_database.laboratory.kinship.ratios import Genotype

TABLE = synthetic_table()
LOCI = ("TH01", "FGA", "vWA", "TPOX", "D18S51")
_GENOTYPES = st.tuples(st.sampled_from("6789"), st.sampled_from("6789"))
_PEOPLE = st.dictionaries(st.sampled_from(LOCI), _GENOTYPES)


def against(one: dict[str, Genotype], other: dict[str, Genotype], loci: tuple[str, ...]) -> int:
    """Loci at which the two share nothing, counted one by one."""
    return sum(not set(one[locus]) & set(other[locus]) for locus in loci if locus in one and locus in other)


@given(st.lists(_PEOPLE, max_size=40), _PEOPLE, st.integers(0, 3), st.sets(st.integers(0, 39)))
def test_the_index_leaves_over_exactly_those_that_counting_one_by_one_does(
    people: list[dict[str, Genotype]], query: dict[str, Genotype], most: int, gone: set[int]
) -> None:
    index = KinshipIndex()
    # Across the border of two segments.
    start = SEGMENT - 20
    for number, person in enumerate(people):
        index.add(start + number, person)
    for number in gone & set(range(len(people))):
        index.remove(start + number)
    assert len(index) == len(people) - len(gone & set(range(len(people))))
    assert list(index.candidates(query, LOCI, most)) == [
        start + number
        for number, person in enumerate(people)
        if number not in gone and against(query, person, LOCI) <= most
    ]


def test_loci_that_are_not_computed_with_are_against_nobody() -> None:
    index = KinshipIndex()
    index.add(1, {"TH01": ("6", "6"), "FGA": ("20", "21")})
    query: dict[str, Genotype] = {"TH01": ("9", "9"), "FGA": ("20", "20")}
    assert list(index.candidates(query, ("FGA",), 0)) == [1]
    assert list(index.candidates(query, ("FGA", "TH01"), 0)) == []


def test_no_true_parent_and_no_true_child_is_lost_that_needs_no_more_mutations_than_the_bound() -> None:
    # Mutations are made 30 times as frequent as they are, so that every number of them occurs.
    people = Population(TABLE, MutationModel(Kind.STEPWISE, 0.06, 0.06), Random(5))  # noqa: S311 - synthetic
    parents, children = KinshipIndex(), KinshipIndex()
    families = []
    for number in range(300):
        father, mother = people.stranger(), people.stranger()
        before = people.mutations
        child = people.child(father, mother)
        families.append((father, mother, child, people.mutations - before))
        parents.add(2 * number, father)
        parents.add(2 * number + 1, mother)
        children.add(number, child)
    seen = set()
    for number, (father, mother, child, mutations) in enumerate(families):
        seen.add(mutations)
        for most in range(4):
            if mutations <= most:
                assert {2 * number, 2 * number + 1} <= set(parents.candidates(child, TABLE.loci, most))
                assert number in set(children.candidates(father, TABLE.loci, most))
                assert number in set(children.candidates(mother, TABLE.loci, most))
    assert {0, 1, 2, 3} <= seen
