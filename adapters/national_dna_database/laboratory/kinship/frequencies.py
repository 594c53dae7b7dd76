"""Allele frequencies of a population, in a file that the laboratory supplies. The laboratory is responsible for it.

The file is TOML: ``name``, ``source`` (the publication that the numbers are from), ``individuals`` (people typed), and
a table of frequencies for each locus, with every allele in quotes. ``[individuals_by_locus]`` may give a locus a sample
of its own. This project brings no population's numbers. The laboratory decides which table is right.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from adapters.values.alleles import CHINESE_KITS, CODIS_20, OTHERS, OTHERS_2, canonical_locus, parse_allele
from broker.core.errors import InputRefused
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTOSOMAL: Final = frozenset((*CODIS_20, *CHINESE_KITS, *OTHERS, *OTHERS_2)) - {"Yindel"}
"""Loci that follow Mendel's rules in both sexes. Sex markers and Y loci never count."""
LEAST_OBSERVATIONS: Final = 5
"""The lowest frequency that is used is that of an allele seen five times (NRC, The Evaluation of Forensic DNA
Evidence, 1996, recommendation 4.1: 5/(2N))."""
SUM_TOLERANCE: Final = 0.01
"""How far from 1 the sum of a locus may be, because published figures are rounded. With a larger error it is wrong."""
LEAST_INDIVIDUALS: Final = 50
"""A table needs at least so many people."""
_LOCI: Final = "loci"
_KEYS: Final = frozenset({"name", "source", "individuals", "individuals_by_locus", _LOCI})


@dataclass(frozen=True, slots=True)
class LocusFrequencies:
    """The alleles of a locus in a sample of a population.

    Attributes:
        relative: the share of each allele that was seen. The shares add up to 1.
        individuals: people typed, each with two alleles.
    """

    relative: Mapping[str, float]
    individuals: int

    @property
    def least(self) -> float:
        """The lowest frequency that is used, 5/(2N)."""
        return LEAST_OBSERVATIONS / (2 * self.individuals)

    def of(self, allele: str) -> float:
        """The frequency to compute with: at least 5/(2N), also for an allele that was seldom or never seen.

        The lower the frequency, the more a shared allele weighs. So this limit favours no claim to a child.
        """
        return max(self.relative.get(allele, 0.0), self.least)


@dataclass(frozen=True, slots=True)
class FrequencyTable:
    """The frequencies of a population. ``sha256`` is of the file, so that two parties know that they use the same."""

    name: str
    source: str
    loci: Mapping[str, LocusFrequencies]
    sha256: str

    @property
    def label(self) -> str:
        """Its name in search results."""
        return f"{self.name}, sha256 {self.sha256[:16]}"


def parse_table(content: bytes) -> FrequencyTable:
    """Read a table. If the rounded figures of a locus do not add up to 1, they are scaled.

    Raises:
        InputRefused: it is not such a file, cites no source, or a figure in it is impossible.
    """
    try:
        document = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = "the frequency table is not TOML"
        raise InputRefused(message) from error
    if document.keys() - _KEYS:
        _refuse("it has a key that is none of " + ", ".join(sorted(_KEYS)))
    name, source = document.get("name"), document.get("source")
    if not isinstance(name, str) or not name or not isinstance(source, str) or not source:
        _refuse("it does not state its name and the source of its numbers")
    loci, samples = document.get(_LOCI, {}), document.get("individuals_by_locus", {})
    if not isinstance(loci, dict) or not loci or not isinstance(samples, dict) or samples.keys() - loci.keys():
        _refuse("it has no loci, or a sample size of a locus that it does not have")
    read = {locus: _locus(locus, item, samples.get(locus, document.get("individuals"))) for locus, item in loci.items()}
    return FrequencyTable(name, source, MappingProxyType(read), hashlib.sha256(content).hexdigest())


def _locus(locus: str, item: Any, individuals: Any) -> LocusFrequencies:
    if canonical_locus(locus) != locus or locus not in AUTOSOMAL:
        _refuse("a locus is no autosomal locus that is known here, or not by its usual name")
    if not isinstance(individuals, int) or isinstance(individuals, bool) or individuals < LEAST_INDIVIDUALS:
        _refuse(f"{locus} does not state how many individuals were typed, at least {LEAST_INDIVIDUALS}")
    if not isinstance(item, dict) or not item:
        _refuse(f"{locus} has no frequencies")
    for allele, share in item.items():
        if isinstance(share, dict):
            _refuse(f"{locus} has an allele with a point that is not in quotes")
        parsed = parse_allele(locus, allele)
        if parsed is None or parsed != (allele, dna_pb2.ALLELE_OPERATOR_EQUAL):
            _refuse(f"{locus} has an allele that is none, or not in its usual form")
        if not isinstance(share, float) or not 0 < share < 1:
            _refuse(f"{locus} has a frequency that is not between 0 and 1")
    total = math.fsum(item.values())
    if abs(total - 1) > SUM_TOLERANCE:
        _refuse(f"the frequencies of {locus} do not add up to 1")
    return LocusFrequencies(MappingProxyType({allele: share / total for allele, share in item.items()}), individuals)


def _refuse(what: str) -> NoReturn:
    message = f"the frequency table cannot be used: {what}"
    raise InputRefused(message)
