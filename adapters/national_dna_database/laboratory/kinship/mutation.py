"""How an allele becomes another one between parent and child.

For each sex of the parent, a model gives a matrix M over the alleles of a locus: ``M(a, b)`` is the probability that
a parent's allele a is passed on as b. Every row adds up to 1, for any alleles and rates.

- *equal*: a mutation leads to every other allele with the same probability, ``M(a, b) = rate / (n - 1)`` for n alleles.
- *stepwise*: each further step is ten times rarer, ``M(a, b) = k * 0.1 ** (s - 1)`` for s whole repeats. k is such that
  the row's mutations add up to the rate. An allele with a partial repeat (9.3) is in a class of its own (n.3).
  Mutations between classes have their own rate, the same for each allele (as in Familias' extended stepwise model).

The defaults are 0.002 for each meiosis on average, and 3.5 times as often from the father as from the mother, as in the
parentage practice under GB/T 37223-2018. A laboratory may state other rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MEAN_RATE: Final = 0.002
"""Mutations for each meiosis and locus, the mean of both sexes."""
PATERNAL_TO_MATERNAL: Final = 3.5
MATERNAL_RATE: Final = 2 * MEAN_RATE / (1 + PATERNAL_TO_MATERNAL)
PATERNAL_RATE: Final = PATERNAL_TO_MATERNAL * MATERNAL_RATE
CLASS_RATE: Final = 1e-6
"""Mutations between whole and partial repeats: very rare, but never impossible."""
_STEP: Final = 0.1


class Sex(Enum):
    """The sex of a parent."""

    FATHER = "father"
    MOTHER = "mother"


class Kind(Enum):
    """The kind of a mutation model."""

    EQUAL = "equal"
    STEPWISE = "stepwise"


@dataclass(frozen=True, slots=True)
class MutationModel:
    """See the module. Rates are mutations for each meiosis and locus, from 0 to less than 0.5.

    Attributes:
        kind: equal or stepwise.
        paternal: the rate of fathers.
        maternal: the rate of mothers.
        between_classes: the rate of both between whole and partial repeats; only in the stepwise model.
    """

    kind: Kind = Kind.STEPWISE
    paternal: float = PATERNAL_RATE
    maternal: float = MATERNAL_RATE
    between_classes: float = CLASS_RATE

    @property
    def label(self) -> str:
        """The model as search results name it. Theta 0: there is no correction for related populations."""
        rates = f"paternal {self.paternal:.4g}, maternal {self.maternal:.4g}"
        classes = f", between classes {self.between_classes:.4g}" if self.kind is Kind.STEPWISE else ""
        return f"{self.kind.value}, {rates}{classes}, theta 0"

    def passed_on(self, sex: Sex, genotype: tuple[str, str], allele: str, alleles: Sequence[str]) -> float:
        """``T(g, c)``: the probability that a parent with this genotype passes on this allele.

        ``alleles``: all alleles of the locus, each once, with these.
        """
        first, second = genotype
        return (self.becomes(sex, first, allele, alleles) + self.becomes(sex, second, allele, alleles)) / 2

    def becomes(self, sex: Sex, parental: str, passed: str, alleles: Sequence[str]) -> float:
        """``M(a, b)``: the probability that a parent's allele ``parental`` is passed on as ``passed``."""
        rate = self.paternal if sex is Sex.FATHER else self.maternal
        if self.kind is Kind.EQUAL:
            if len(alleles) == 1:
                return 1.0
            return 1 - rate if passed == parental else rate / (len(alleles) - 1)
        return _stepwise(rate, self.between_classes, parental, passed, alleles)


def _stepwise(rate: float, between: float, parental: str, passed: str, alleles: Sequence[str]) -> float:
    whole, part = _repeats(parental)
    weights: dict[str, float] = {}
    elsewhere = 0
    for allele in alleles:
        other_whole, other_part = _repeats(allele)
        if other_part != part:
            elsewhere += 1
        elif allele != parental:
            weights[allele] = _STEP ** (abs(other_whole - whole) - 1)
    within, across = rate if weights else 0.0, between if elsewhere else 0.0
    if passed == parental:
        return 1 - within - across
    if passed in weights:
        return within * weights[passed] / sum(weights.values())
    return across / elsewhere


def _repeats(allele: str) -> tuple[int, str]:
    whole, _, part = allele.partition(".")
    return int(whole), part
