"""Compares a child with one or two supposed parents: evidence locus by locus, the combined ratio, the verdict.

The ratios of the loci are multiplied by adding their logarithms, because the ratios of strangers are far too small for
a float. The thresholds are those of SF/Z JD0105001-2016 and GB/T 37223-2018.

Loci are treated as independent. For parent and child this is true for linked loci (vWA and D12S391) too, because the
phase of the parent's alleles is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from adapters.national_dna_database.laboratory.kinship.ratios import Question, Trio, consistent
from adapters.national_dna_database.laboratory.kinship.typings import Unused

if TYPE_CHECKING:
    from adapters.national_dna_database.laboratory.kinship.mutation import Sex
    from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios
    from adapters.national_dna_database.laboratory.kinship.typings import Typing


class Verdict(Enum):
    """The meaning of the figure. The value is the text in reports."""

    SUPPORTED = "supported"
    EXCLUDED = "excluded"
    INCONCLUSIVE = "inconclusive: type more loci or the other parent"
    TOO_FEW_LOCI = "too few loci to compare"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a figure supports or excludes a relationship.

    Attributes:
        support: the least combined ratio that supports.
        exclude: the greatest combined ratio that excludes, if enough loci are against inheritance too.
        exclude_mismatches: the fewest loci against inheritance that exclude, if the ratio is low enough too.
        least_loci: the fewest loci to compare; six, as for hits under the Prüm decisions (2008/616/JHA, annex I.1).
    """

    support: float = 10_000.0
    exclude: float = 0.0001
    exclude_mismatches: int = 3
    least_loci: int = 6

    @property
    def label(self) -> str:
        """The thresholds as search results name them."""
        return (
            f"supported from {self.support:g} with fewer than {self.exclude_mismatches} loci against it, "
            f"excluded up to {self.exclude:g} with {self.exclude_mismatches} or more, {self.least_loci} loci at least"
        )

    def verdict(self, loci: int, mismatched: int, log10_ratio: float) -> Verdict:
        """The verdict for a figure. A great ratio with many mismatches is a contradiction, and supports nothing."""
        if loci < self.least_loci:
            return Verdict.TOO_FEW_LOCI
        if mismatched >= self.exclude_mismatches:
            return Verdict.EXCLUDED if log10_ratio <= math.log10(self.exclude) else Verdict.INCONCLUSIVE
        return Verdict.SUPPORTED if log10_ratio >= math.log10(self.support) else Verdict.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class LocusEvidence:
    """The evidence of one locus.

    Attributes:
        locus: its name.
        typed: the genotypes, if the locus is used.
        ratio: its likelihood ratio, if the locus is used.
        mismatched: it needs a mutation.
        least_frequency: the child has an allele for which the least frequency is used.
        unused: why the locus is not used.
    """

    locus: str
    typed: Trio | None = None
    ratio: float | None = None
    mismatched: bool = False
    least_frequency: bool = False
    unused: Unused | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The evidence of all loci. ``log10_ratio`` is minus infinity if a locus makes the relationship impossible."""

    question: Question
    evidence: tuple[LocusEvidence, ...]
    loci_compared: int
    loci_mismatched: int
    log10_ratio: float
    verdict: Verdict


def compare(
    ratios: LocusRatios,
    thresholds: Thresholds,
    question: Question,
    asked: Sex,
    *,
    child: Typing,
    father: Typing | None = None,
    mother: Typing | None = None,
) -> Comparison:
    """Compare a child with its supposed parents. ``asked``: the parent in question; either parent of a couple.

    If there is only one parent, give only this one. Every locus of any profile is in the evidence, sorted by name.
    """
    people = [person for person in (child, father, mother) if person is not None]
    names = {locus for person in people for locus in (*person.genotypes, *person.unused)}
    evidence: list[LocusEvidence] = []
    for locus in sorted(names):
        unused = _why_unused(ratios, locus, people)
        if unused is not None:
            evidence.append(LocusEvidence(locus, unused=unused))
            continue
        typed = Trio(
            child.genotypes[locus],
            None if father is None else father.genotypes[locus],
            None if mother is None else mother.genotypes[locus],
        )
        evidence.append(_computed(ratios, question, asked, locus, typed))
    used = [item for item in evidence if item.ratio is not None]
    mismatched = sum(item.mismatched for item in used)
    log10_ratio = math.fsum(log10_of(item.ratio) for item in used if item.ratio is not None)
    verdict = thresholds.verdict(len(used), mismatched, log10_ratio)
    return Comparison(question, tuple(evidence), len(used), mismatched, log10_ratio, verdict)


def log10_of(ratio: float) -> float:
    """The logarithm of a ratio. Of zero, minus infinity."""
    return math.log10(ratio) if ratio else -math.inf


def ratio_text(log10_ratio: float) -> str:
    """A combined ratio of any size, as decimal text with four significant digits: ``3.127e+9``."""
    if log10_ratio == -math.inf:
        return "0"
    exponent = math.floor(log10_ratio)
    mantissa = f"{10 ** (log10_ratio - exponent):.3f}"
    return f"1.000e{exponent + 1:+d}" if mantissa == "10.000" else f"{mantissa}e{exponent:+d}"


def _why_unused(ratios: LocusRatios, locus: str, people: list[Typing]) -> Unused | None:
    for person in people:
        if locus in person.unused:
            return person.unused[locus]
    if any(locus not in person.genotypes for person in people):
        return Unused.NOT_TYPED
    return None if locus in ratios.table.loci else Unused.NO_FREQUENCIES


def _computed(ratios: LocusRatios, question: Question, asked: Sex, locus: str, typed: Trio) -> LocusEvidence:
    ratio = ratios.ratio(locus, question, asked, typed)
    if ratio is None:
        return LocusEvidence(locus, typed, unused=Unused.OTHER_PARENT_IMPOSSIBLE)
    known = ratios.table.loci[locus]
    return LocusEvidence(
        locus,
        typed,
        ratio,
        mismatched=not consistent(question, asked, typed),
        least_frequency=any(known.relative.get(allele, 0.0) < known.least for allele in typed.child),
    )
