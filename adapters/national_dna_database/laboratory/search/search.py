"""The standing search: a child among all parents, a parent among all children, in any order of arrival.

A search has two steps. The index passes the profiles that need at most the bound of mutations (search/index.py explains
why no true parent is lost). The ratios decide about those. A father and a mother of one case number are also compared
as a couple. If the couple is supported, it is reported instead of the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.national_dna_database.laboratory.kinship.comparison import Thresholds, Verdict, compare, log10_of
from adapters.national_dna_database.laboratory.kinship.mutation import Sex
from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios, Question, Trio, consistent
from adapters.national_dna_database.laboratory.kinship.typings import ProfileUnusable, Typing, read_profile
from adapters.national_dna_database.laboratory.search.index import KinshipIndex
from adapters.national_dna_database.laboratory.search.results import Candidate, SearchBasis, SearchResult
from adapters.national_dna_database.laboratory.search.scores import Scores
from broker.core.errors import InputRefused
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from adapters.national_dna_database.laboratory.kinship.ratios import Genotype
    from adapters.national_dna_database.laboratory.search.store import ProfileStore, Stored

_CHILD: Final = dna_pb2.SAMPLE_ROLE_CHILD
_FATHER: Final = dna_pb2.SAMPLE_ROLE_FATHER
_MOTHER: Final = dna_pb2.SAMPLE_ROLE_MOTHER
SEARCHED: Final = frozenset({_CHILD, _FATHER, _MOTHER})
"""Roles that are searched. Siblings and other relatives need other mathematics, and are not kept."""


@dataclass(frozen=True, slots=True)
class SearchRules:
    """How to search.

    Attributes:
        thresholds: of the verdicts.
        most_mismatches: the mutation bound of the index. It must be less than the number of mismatches that excludes,
            because with so many nothing is supported.
        limit: the most relationships in a result.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    most_mismatches: int = 2
    limit: int = 100


class Added(NamedTuple):
    """Barcodes that are kept; of these, those that are new or typed again; and the refused, with reasons."""

    kept: tuple[str, ...]
    new: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Pairing:
    """Samples to be compared: a child with one parent or both."""

    question: Question
    asked: Sex
    child: Stored
    father: Stored | None
    mother: Stored | None
    log10_ratio: float


class Laboratory:
    """See the module. It reads the whole store when it is made. For one process and one thread.

    Raises (every method):
        SetupInvalid: the store cannot be used.
    """

    def __init__(self, store: ProfileStore, ratios: LocusRatios, rules: SearchRules) -> None:
        self._store = store
        self._ratios = ratios
        self._rules = rules
        self._indexes = {role: KinshipIndex() for role in SEARCHED}
        for stored in store.current():
            self._indexes[stored.role].add(stored.position, stored.genotypes)

    def __len__(self) -> int:
        return sum(map(len, self._indexes.values()))

    def add(self, profiles: Iterable[dna_pb2.StrProfile], now: datetime) -> Added:
        """Keep profiles, in one transaction. One that cannot be searched with does not stop the others."""
        kept: list[str] = []
        new: list[Stored] = []
        old: list[Stored] = []
        refused: list[tuple[str, str]] = []
        with self._store.transaction():
            for profile in profiles:
                typing = read_profile(profile)
                if isinstance(typing, ProfileUnusable) or profile.role not in SEARCHED:
                    reason = typing.value if isinstance(typing, ProfileUnusable) else "not of a child or a parent"
                    refused.append((profile.barcode, reason))
                    continue
                kept.append(profile.barcode)
                before = self._store.find(profile.barcode)
                stored = self._store.put(profile, typing, now)
                if stored is not None:
                    new.append(stored)
                    old += [] if before is None else [before]
        for stored in new:
            self._indexes[stored.role].add(stored.position, stored.genotypes)
        for stored in old:
            self._indexes[stored.role].remove(stored.position)
        known = dict.fromkeys(stored.barcode for stored in new)
        return Added(tuple(dict.fromkeys(kept)), tuple(known), tuple(refused))

    def withdraw(self, barcode: str, now: datetime) -> bool:
        """Erase a sample's profiles. Returns whether there were any."""
        stored = self._store.find(barcode)
        found = self._store.withdraw(barcode, now)
        if stored is not None:
            self._indexes[stored.role].remove(stored.position)
        return found

    def search(self, barcode: str, *, known_parent: str = "") -> SearchResult:
        """Search with a stored sample: a child among parents, a parent among children.

        With ``known_parent``, an undisputed parent of the child, the other parent is searched for.

        Raises:
            InputRefused: there is no such sample, or it does not have the role that is needed.
        """
        query = self._stored(barcode)
        loci = len(query.genotypes.keys() & self._ratios.table.loci)
        known = self._stored(known_parent) if known_parent else None
        if known is not None and (query.role != _CHILD or known.role == _CHILD):
            message = "a known parent must be a parent's sample, and the other sample a child's"
            raise InputRefused(message)
        roles = [_CHILD] if query.role != _CHILD else [role for role in (_FATHER, _MOTHER) if not _is(known, role)]
        screened: list[Stored] = []
        if loci >= self._rules.thresholds.least_loci:
            for role in roles:
                positions = self._indexes[role].candidates(
                    query.genotypes, self._ratios.table.loci.keys(), self._rules.most_mismatches
                )
                screened += self._store.at(positions)
        pairings = self._pairings(query, screened, known)
        return self._result(query, roles, screened, pairings, too_few=loci < self._rules.thresholds.least_loci)

    def _stored(self, barcode: str) -> Stored:
        stored = self._store.find(barcode)
        if stored is None:
            message = f"the database has no sample {barcode}"
            raise InputRefused(message)
        return stored

    # --- comparing ---

    def _pairings(self, query: Stored, screened: list[Stored], known: Stored | None) -> list[_Pairing]:
        query_is_child = query.role == _CHILD
        scores = {
            sex: Scores(self._ratios, query, sex, query_is_child=query_is_child, known=known)
            for sex in (Sex.FATHER, Sex.MOTHER)
        }
        found: list[_Pairing] = []
        for other in screened:
            child, parent = (query, other) if query_is_child else (other, query)
            score = scores[Sex.FATHER if parent.role == _FATHER else Sex.MOTHER]
            if score.of(other) > 0:
                found.append(self._pairing(score.question, child, parent, known))
        if known is None:
            found += self._couples(query, screened)
        return [pairing for pairing in found if pairing.log10_ratio > 0]

    def _couples(self, query: Stored, screened: list[Stored]) -> list[_Pairing]:
        if query.role != _CHILD:
            spouses = [
                item for item in self._store.family(query.family) if item.role in SEARCHED - {_CHILD, query.role}
            ]
            return [
                self._pairing(Question.COUPLE, child, query, spouse) for child, spouse in product(screened, spouses)
            ]
        families: dict[str, list[Stored]] = {}
        for parent in screened:
            if parent.family:
                families.setdefault(parent.family, []).append(parent)
        return [
            self._pairing(Question.COUPLE, query, father, mother)
            for family in families.values()
            for father, mother in product(
                [item for item in family if item.role == _FATHER], [item for item in family if item.role == _MOTHER]
            )
        ]

    def _pairing(self, question: Question, child: Stored, parent: Stored, other: Stored | None) -> _Pairing:
        """Only the figure, from what the store keeps. The evidence is computed later, for reported relationships."""
        asked = Sex.FATHER if parent.role == _FATHER else Sex.MOTHER
        father, mother = (parent, other) if asked is Sex.FATHER else (other, parent)
        logarithms: list[float] = []
        mismatched = 0
        paternal, maternal = _genotypes(father), _genotypes(mother)
        for locus, alleles in child.genotypes.items():
            typed = Trio(alleles, paternal.get(locus), maternal.get(locus))
            untyped = (paternal and typed.father is None) or (maternal and typed.mother is None)
            if untyped or locus not in self._ratios.table.loci:
                continue
            ratio = self._ratios.ratio(locus, question, asked, typed)
            if ratio is not None:
                logarithms.append(log10_of(ratio))
                mismatched += not consistent(question, asked, typed)
        beyond = mismatched > self._rules.most_mismatches
        return _Pairing(question, asked, child, father, mother, -math.inf if beyond else math.fsum(logarithms))

    def _result(
        self,
        query: Stored,
        roles: list[dna_pb2.SampleRole.ValueType],
        screened: list[Stored],
        pairings: list[_Pairing],
        *,
        too_few: bool,
    ) -> SearchResult:
        least = math.log10(self._rules.thresholds.support)
        strong = sorted(
            (pairing for pairing in pairings if pairing.log10_ratio >= least), key=lambda pairing: -pairing.log10_ratio
        )
        couples = [pairing for pairing in strong if pairing.question is Question.COUPLE]
        covered = {(item.child.barcode, _barcode(parent)) for item in couples for parent in (item.father, item.mother)}
        reported = [
            pairing
            for pairing in strong
            if pairing.question is not Question.PARENT
            or (pairing.child.barcode, _barcode(pairing.father or pairing.mother)) not in covered
        ]
        candidates = [self._candidate(pairing) for pairing in reported[: self._rules.limit]]
        supported = tuple(item for item in candidates if item.comparison.verdict is Verdict.SUPPORTED)
        undecided = len(pairings) - len(strong) + len(candidates) - len(supported)
        left_out = max(0, len(reported) - self._rules.limit)
        basis = self._basis(roles)
        return SearchResult(query.barcode, basis, len(screened), supported, undecided, left_out, too_few)

    def _basis(self, roles: list[dna_pb2.SampleRole.ValueType]) -> SearchBasis:
        return SearchBasis(
            database=self._store.name,
            snapshot=self._store.snapshot(),
            profiles_searched=sum(len(self._indexes[role]) for role in roles),
            frequency_table=self._ratios.table.label,
            frequency_source=self._ratios.table.source,
            mutation_model=self._ratios.mutation.label,
            thresholds=self._rules.thresholds.label,
            support=self._rules.thresholds.support,
            most_mismatches=self._rules.most_mismatches,
        )

    def _candidate(self, pairing: _Pairing) -> Candidate:
        child, father, mother = (self._typing(item) for item in (pairing.child, pairing.father, pairing.mother))
        if child is None:
            message = "a pairing needs a child"
            raise ValueError(message)
        comparison = compare(
            self._ratios,
            self._rules.thresholds,
            pairing.question,
            pairing.asked,
            child=child,
            father=father,
            mother=mother,
        )
        return Candidate(child.barcode, _barcode(pairing.father), _barcode(pairing.mother), comparison)

    def _typing(self, stored: Stored | None) -> Typing | None:
        profile = None if stored is None else self._store.profile(stored.barcode)
        typing = None if profile is None else read_profile(profile)
        return typing if isinstance(typing, Typing) else None


def _genotypes(person: Stored | None) -> dict[str, Genotype]:
    return {} if person is None else person.genotypes


def _barcode(person: Stored | None) -> str:
    return "" if person is None else person.barcode


def _is(person: Stored | None, role: dna_pb2.SampleRole.ValueType) -> bool:
    return person is not None and person.role == role
