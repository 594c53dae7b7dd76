"""The combined ratios of many stored profiles with one query. Fast: two microseconds for each profile.

A stored profile has one short text for each locus. Its logarithm is computed when the text first occurs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adapters.national_dna_database.laboratory.kinship.comparison import log10_of
from adapters.national_dna_database.laboratory.kinship.mutation import Sex
from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios, Question, Trio
from adapters.national_dna_database.laboratory.search.store import Stored, read_item

if TYPE_CHECKING:
    from adapters.national_dna_database.laboratory.kinship.ratios import Genotype


class Scores(dict[str, float]):
    """Logarithms of ratios, by a stored profile's text for a locus. For one query and one sex of the parent.

    Attributes:
        question: parent, or the other parent beside a known one; never a couple.
    """

    def __init__(
        self, ratios: LocusRatios, query: Stored, asked: Sex, *, query_is_child: bool, known: Stored | None
    ) -> None:
        super().__init__()
        self.question = Question.PARENT if known is None else Question.OTHER_PARENT
        self._ratios = ratios
        self._query = query.genotypes
        self._query_is_child = query_is_child
        self._known = None if known is None else known.genotypes
        self._asked = asked

    def of(self, stored: Stored) -> float:
        """The sum over the loci of a stored profile. It is the same number that the evidence adds up to."""
        return math.fsum(map(self.__getitem__, stored.items))

    def __missing__(self, item: str) -> float:
        self[item] = found = self._computed(*read_item(item))
        return found

    def _computed(self, locus: str, stored: Genotype) -> float:
        query = self._query.get(locus)
        beside = None if self._known is None else self._known.get(locus)
        untyped = query is None or (self._known is not None and beside is None)
        if query is None or untyped or locus not in self._ratios.table.loci:
            return 0.0
        child, parent = (query, stored) if self._query_is_child else (stored, query)
        people = (parent, beside) if self._asked is Sex.FATHER else (beside, parent)
        ratio = self._ratios.ratio(locus, self.question, self._asked, Trio(child, *people))
        return 0.0 if ratio is None else log10_of(ratio)
