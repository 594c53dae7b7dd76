"""A comparison as text and as JSON: for every locus its genotypes and its ratio, or why it has none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from adapters.national_dna_database.laboratory.kinship.comparison import ratio_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.national_dna_database.laboratory.kinship.comparison import Comparison, LocusEvidence, Thresholds
    from adapters.national_dna_database.laboratory.kinship.ratios import Genotype, LocusRatios


def basis_facts(ratios: LocusRatios, thresholds: Thresholds) -> dict[str, str]:
    """The basis of every figure."""
    return {
        "frequency_table": ratios.table.label,
        "frequency_source": ratios.table.source,
        "mutation_model": ratios.mutation.label,
        "thresholds": thresholds.label,
    }


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON. An impossible relationship has the ratio 0 and no logarithm."""
    return {
        "question": comparison.question.value,
        "likelihood_ratio": ratio_text(comparison.log10_ratio),
        "log10_likelihood_ratio": None if comparison.log10_ratio == -math.inf else comparison.log10_ratio,
        "loci_compared": comparison.loci_compared,
        "loci_mismatched": comparison.loci_mismatched,
        "verdict": comparison.verdict.value,
        "loci": [_locus_facts(item) for item in comparison.evidence],
    }


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """A comparison as text: a line for each locus, then the figure."""
    for item in comparison.evidence:
        if item.unused is not None or item.typed is None or item.ratio is None:
            yield f"{item.locus:10} not used: {'' if item.unused is None else item.unused.value}"
            continue
        people = "  ".join(f"{_alleles(person):11}" for person in item.typed if person is not None)
        remarks = ["against inheritance"] if item.mismatched else []
        remarks += ["least frequency used"] if item.least_frequency else []
        yield f"{item.locus:10} {people}  {item.ratio:<12.6g} {', '.join(remarks)}".rstrip()
    yield f"loci compared: {comparison.loci_compared}, against inheritance: {comparison.loci_mismatched}"
    yield f"combined likelihood ratio ({comparison.question.value}): {ratio_text(comparison.log10_ratio)}"
    yield f"verdict: {comparison.verdict.value}"


def _locus_facts(item: LocusEvidence) -> dict[str, Any]:
    if item.unused is not None or item.typed is None:
        return {"locus": item.locus, "unused": None if item.unused is None else item.unused.name}
    return {
        "locus": item.locus,
        "child": list(item.typed.child),
        "father": None if item.typed.father is None else list(item.typed.father),
        "mother": None if item.typed.mother is None else list(item.typed.mother),
        "likelihood_ratio": item.ratio,
        "mismatched": item.mismatched,
        "least_frequency": item.least_frequency,
    }


def _alleles(genotype: Genotype | None) -> str:
    return "" if genotype is None else "/".join(genotype)
