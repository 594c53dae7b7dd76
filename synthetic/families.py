"""Simulates a population with known families, searches it, and counts the true parents and the others that it finds.

A third of the families is in the laboratory with both parents under one case number, a third with only the father, a
third with only the mother. There are also strangers' parents, brothers of fathers (each searches for an own child), and
children without parents in the laboratory. A share of the children has a partial profile: an allele has dropped out at
several heterozygous loci.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from adapters.national_dna_database.laboratory.kinship.mutation import MutationModel
from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios
from adapters.national_dna_database.laboratory.search.search import Laboratory, SearchRules
from adapters.national_dna_database.laboratory.search.store import ProfileStore
from caseexchange.records.v1 import dna_pb2
from synthetic.dna import Genotypes, Population, str_profile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from adapters.national_dna_database.laboratory.kinship.frequencies import FrequencyTable
    from adapters.national_dna_database.laboratory.search.results import SearchResult

_NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
_DROPPED_LOCI = 4
_SITUATIONS = ("couple", "father", "mother")


@dataclass(frozen=True, slots=True)
class Sizes:
    """The size of a simulation. ``partial`` is the share of children with drop-outs."""

    families: int
    strangers: int
    brothers: int
    orphans: int
    partial: float = 0.2


@dataclass(slots=True)
class Tally:
    """The results for the children in one situation: was the whole truth supported, was anybody falsely supported."""

    children: int = 0
    found: int = 0
    partly: int = 0
    false_stranger: int = 0
    false_brother: int = 0


@dataclass(slots=True)
class Outcome:
    """The result of a simulation. ``pairs`` is how many children and unrelated parents were compared."""

    profiles: int = 0
    pairs: int = 0
    mutations: int = 0
    screened: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The result as a table."""
        yield f"{self.profiles} profiles of parents, {self.mutations} mutations, {self.screened} left over by the index"
        yield "situation        children   found  partly  stranger supported  father's brother supported"
        for name, tally in self.tallies.items():
            yield (
                f"{name:16} {tally.children:8} {tally.found:7} {tally.partly:7} {tally.false_stranger:19}"
                f" {tally.false_brother:27}"
            )
        false = sum(tally.false_stranger for tally in self.tallies.values())
        yield f"strangers supported: {false} in {self.pairs} pairs"


class _Simulation:
    def __init__(self, table: FrequencyTable, loci: Collection[str], sizes: Sizes, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - synthetic
        self.people = Population(table, MutationModel(), self.random)
        self.loci = set(loci)
        self.sizes = sizes
        self.outcome = Outcome()
        self.parents: list[dna_pb2.StrProfile] = []
        self.children: list[tuple[dna_pb2.StrProfile, str, set[str]]] = []

    def typed(self, genotypes: Genotypes) -> Genotypes:
        return {locus: alleles for locus, alleles in genotypes.items() if locus in self.loci}

    def parent(self, barcode: str, genotypes: Genotypes, sex: str, family: str = "") -> None:
        role = dna_pb2.SAMPLE_ROLE_FATHER if sex == "F" else dna_pb2.SAMPLE_ROLE_MOTHER
        self.parents.append(str_profile(barcode, self.typed(genotypes), role=role, family=family))

    def child(self, barcode: str, genotypes: Genotypes, situation: str, truth: set[str]) -> None:
        partial = self.random.random() < self.sizes.partial
        typed: dict[str, tuple[str, ...]] = dict(self.typed(genotypes))
        if partial:
            for locus in self.random.sample(sorted(typed), _DROPPED_LOCI):
                typed[locus] = (self.random.choice(typed[locus]),)
        name = f"{situation}, partial" if partial else situation
        self.children.append((str_profile(barcode, typed, partial=partial), name, truth))

    def populate(self) -> None:
        for number in range(self.sizes.families):
            grandparents = self.people.stranger(), self.people.stranger()
            before = self.people.mutations
            father, mother = self.people.child(*grandparents), self.people.stranger()
            self.people.mutations = before
            child = self.people.child(father, mother)
            situation = _SITUATIONS[number % len(_SITUATIONS)]
            truth = set()
            for sex, genotypes, name in (("F", father, "father"), ("M", mother, "mother")):
                if situation in {"couple", name}:
                    self.parent(f"{sex}{number}", genotypes, sex, f"CASE-{number}")
                    truth.add(f"{sex}{number}")
            if number < self.sizes.brothers:
                before = self.people.mutations
                self.parent(f"B{number}", self.people.child(*grandparents), "F")
                self.people.mutations = before
            self.child(f"C{number}", child, situation, truth)
        for number in range(self.sizes.strangers):
            self.parent(f"S{number}", self.people.stranger(), "FM"[number % 2], f"CASE-S{number // 2}")
        for number in range(self.sizes.orphans):
            self.child(f"O{number}", self.people.stranger(), "nobody there", set())

    def count(self, name: str, truth: set[str], result: SearchResult) -> None:
        tally = self.outcome.tallies.setdefault(name, Tally())
        named = {barcode for item in result.supported for barcode in (item.father, item.mother)} - {""}
        tally.children += 1
        tally.found += bool(truth) and truth <= named
        tally.partly += bool(truth & named) and not truth <= named
        tally.false_brother += sum(barcode.startswith("B") for barcode in named - truth)
        tally.false_stranger += sum(not barcode.startswith("B") for barcode in named - truth)
        self.outcome.pairs += len(self.parents) - len(truth)
        self.outcome.screened += result.screened


def simulate(table: FrequencyTable, loci: Collection[str], sizes: Sizes, seed: int) -> Outcome:
    """Make the population, store the parents, then add each child and search with it."""
    simulation = _Simulation(table, loci, sizes, seed)
    simulation.populate()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(ProfileStore(Path(folder) / "lab.db", "simulated")) as store,
    ):
        laboratory = Laboratory(store, LocusRatios(table, MutationModel()), SearchRules())
        laboratory.add([*simulation.parents, *(profile for profile, _, _ in simulation.children)], _NOW)
        for profile, name, truth in simulation.children:
            simulation.count(name, truth, laboratory.search(profile.barcode))
    outcome = simulation.outcome
    outcome.profiles, outcome.mutations = len(simulation.parents), simulation.people.mutations
    outcome.tallies = dict(sorted(outcome.tallies.items()))
    return outcome
