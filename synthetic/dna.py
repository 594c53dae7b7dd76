"""Synthetic STR profiles and families, drawn from the synthetic frequency table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adapters.national_dna_database.laboratory.kinship.frequencies import parse_table
from adapters.national_dna_database.laboratory.kinship.mutation import MutationModel, Sex
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from adapters.national_dna_database.laboratory.kinship.frequencies import FrequencyTable
    from adapters.national_dna_database.laboratory.kinship.ratios import Genotype

TABLE_FILE = Path(__file__).parents[1] / "adapters" / "national_dna_database" / "samples" / "frequencies-synthetic.toml"
Genotypes = dict[str, "Genotype"]


def synthetic_table() -> FrequencyTable:
    """The synthetic frequency table."""
    return parse_table(TABLE_FILE.read_bytes())


def str_profile(
    barcode: str,
    loci: Mapping[str, Sequence[str]],
    *,
    role: dna_pb2.SampleRole.ValueType = dna_pb2.SAMPLE_ROLE_CHILD,
    family: str = "",
    partial: bool = False,
) -> dna_pb2.StrProfile:
    """A profile. A homozygote is written once, as laboratories do."""
    profile = dna_pb2.StrProfile(barcode=barcode, role=role, case_number=family, partial=partial)
    for locus, alleles in loci.items():
        call = profile.loci.add(locus=locus)
        for allele in dict.fromkeys(alleles):
            call.alleles.add(value=allele, operator=dna_pb2.ALLELE_OPERATOR_EQUAL)
    return profile


class Population:
    """People in Hardy-Weinberg proportions, and children who inherit with mutations. The same for the same seed."""

    def __init__(self, table: FrequencyTable, mutation: MutationModel, random: Random) -> None:
        self.table = table
        self.mutation = mutation
        self.random = random
        self.mutations = 0
        self._rows: dict[tuple[str, Sex, str], list[float]] = {}
        self._alleles = {name: tuple(locus.relative) for name, locus in table.loci.items()}
        self._shares = {name: tuple(locus.relative.values()) for name, locus in table.loci.items()}

    def stranger(self) -> Genotypes:
        """A random person."""
        return {name: self._sorted(*self._drawn(name, 2)) for name in self.table.loci}

    def child(self, father: Genotypes, mother: Genotypes) -> Genotypes:
        """A child of two people."""
        return {
            name: self._sorted(
                self._passed(name, Sex.FATHER, father[name]), self._passed(name, Sex.MOTHER, mother[name])
            )
            for name in self.table.loci
        }

    def _drawn(self, name: str, count: int) -> list[str]:
        return self.random.choices(self._alleles[name], self._shares[name], k=count)

    def _passed(self, name: str, sex: Sex, genotype: Genotype) -> str:
        parental = self.random.choice(genotype)
        alleles = self._alleles[name]
        row = self._rows.get((name, sex, parental))
        if row is None:
            row = [self.mutation.becomes(sex, parental, allele, alleles) for allele in alleles]
            self._rows[name, sex, parental] = row
        (passed,) = self.random.choices(alleles, row)
        self.mutations += passed != parental
        return passed

    @staticmethod
    def _sorted(first: str, second: str) -> Genotype:
        return (first, second) if float(first) <= float(second) else (second, first)
