"""The likelihood ratio of a locus, for the three questions about a family.

The child has alleles c1 and c2 with frequencies p. Tf and Tm are what the father and the mother pass on:

- *parent* (duo): this is a parent, against a stranger:
  ``[T(c1) p(c2) + T(c2) p(c1)] / [2 p(c1) p(c2)]``, or ``T(c) / p(c)`` if c1 = c2 = c.
- *other parent* (trio): this is the other parent beside an undisputed one, against a stranger:
  ``[Tf(c1) Tm(c2) + Tf(c2) Tm(c1)] / [Tm(c1) p(c2) + Tm(c2) p(c1)]``, or ``Tf(c) / p(c)``, for a disputed father.
- *couple*: these two are the parents, against two strangers:
  ``[Tf(c1) Tm(c2) + Tf(c2) Tm(c1)] / [2 p(c1) p(c2)]``, or ``Tf(c) Tm(c) / p(c)^2``.

These are the general formulas. Without mutation they become 1/p, 1/2p, 1/(p+q) and so on (Brenner, Genetics 145, 1997).
Populations are in Hardy-Weinberg proportions. There is no correction for common descent within a population.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from adapters.national_dna_database.laboratory.kinship.mutation import Sex

if TYPE_CHECKING:
    from adapters.national_dna_database.laboratory.kinship.frequencies import FrequencyTable
    from adapters.national_dna_database.laboratory.kinship.mutation import MutationModel

Genotype: TypeAlias = tuple[str, str]
"""The two alleles of a locus, in canonical text. A homozygote has the same allele twice."""
_REMEMBERED: Final = 1 << 18
"""The most ratios that are remembered: at most about 100 MB. A search meets the same genotypes again and again."""


class Question(Enum):
    """The question about a family; see the module."""

    PARENT = "parent"
    OTHER_PARENT = "other parent"
    COUPLE = "couple"


class Trio(NamedTuple):
    """The genotypes at a locus: of the child and at least one parent."""

    child: Genotype
    father: Genotype | None
    mother: Genotype | None


class LocusRatios:
    """The ratios for one frequency table and one mutation model. Remembers what it computed. For one thread."""

    def __init__(self, table: FrequencyTable, mutation: MutationModel) -> None:
        self.table = table
        self.mutation = mutation
        self._known: dict[tuple[str, Question, Sex, Trio], float | None] = {}
        self._becoming: dict[tuple[str, bool, str, str, tuple[str, ...]], float] = {}

    def ratio(self, locus: str, question: Question, asked: Sex, typed: Trio) -> float | None:
        """The likelihood ratio of a locus in the table. None if the other parent cannot be a parent.

        ``asked`` is the sex of the parent in question. For a couple it has no meaning.
        """
        key = (locus, question, asked, typed)
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[key] = self._ratio(locus, question, asked, typed)
        return self._known[key]

    def _ratio(self, locus: str, question: Question, asked: Sex, typed: Trio) -> float | None:
        first, second = typed.child
        frequencies = self.table.loci[locus]
        p1, p2 = frequencies.of(first), frequencies.of(second)
        if question is Question.PARENT:
            t1, t2 = self._passed(locus, asked, typed)
            return t1 / p1 if first == second else (t1 * p2 + t2 * p1) / (2 * p1 * p2)
        f1, f2 = self._passed(locus, Sex.FATHER, typed)
        m1, m2 = self._passed(locus, Sex.MOTHER, typed)
        together = f1 * m1 if first == second else f1 * m2 + f2 * m1
        if question is Question.COUPLE:
            return together / (p1 * p1 if first == second else 2 * p1 * p2)
        u1, u2 = (m1, m2) if asked is Sex.FATHER else (f1, f2)
        beside_a_stranger = u1 * p1 if first == second else u1 * p2 + u2 * p1
        return together / beside_a_stranger if beside_a_stranger else None

    def _passed(self, locus: str, sex: Sex, typed: Trio) -> tuple[float, float]:
        parent = typed.father if sex is Sex.FATHER else typed.mother
        if parent is None:
            message = f"the {sex.value} in question was not typed"
            raise ValueError(message)
        # The locus can also mutate to an allele that is not in the table.
        listed = self.table.loci[locus].relative
        seen = {*typed.child, *(typed.father or ()), *(typed.mother or ())}
        others = tuple(sorted(seen - listed.keys()))
        first, second = typed.child
        one, other = parent
        return (
            (self._becomes(locus, sex, one, first, others) + self._becomes(locus, sex, other, first, others)) / 2,
            (self._becomes(locus, sex, one, second, others) + self._becomes(locus, sex, other, second, others)) / 2,
        )

    def _becomes(self, locus: str, sex: Sex, parental: str, passed: str, others: tuple[str, ...]) -> float:
        key = (locus, sex is Sex.FATHER, parental, passed, others)
        found = self._becoming.get(key)
        if found is None:
            if len(self._becoming) >= _REMEMBERED:
                self._becoming.clear()
            alleles = (*self.table.loci[locus].relative, *others)
            found = self._becoming[key] = self.mutation.becomes(sex, parental, passed, alleles)
        return found


def consistent(question: Question, asked: Sex, typed: Trio) -> bool:
    """Whether the locus needs no mutation."""
    first, second = typed.child
    if question is Question.PARENT:
        parent = typed.father if asked is Sex.FATHER else typed.mother
        return bool(set(parent or ()) & {first, second})
    father, mother = set(typed.father or ()), set(typed.mother or ())
    return (first in father and second in mother) or (second in father and first in mother)
