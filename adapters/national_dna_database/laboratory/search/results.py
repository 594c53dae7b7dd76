"""The result of a search with the basis of its figures, and the records that report it to the exchange."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from adapters.base import Record, kind_of, provenance
from adapters.national_dna_database.laboratory.kinship.comparison import Comparison, ratio_text
from adapters.national_dna_database.laboratory.kinship.ratios import Question
from adapters.national_dna_database.laboratory.kinship.report import comparison_facts
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from adapters.national_dna_database.laboratory.search.store import Snapshot

NAME: Final = "dna-search"
_RELATIONSHIPS: Final = {
    Question.PARENT: dna_pb2.RELATIONSHIP_PARENT_CHILD,
    Question.OTHER_PARENT: dna_pb2.RELATIONSHIP_PARENTS_CHILD,
    Question.COUPLE: dna_pb2.RELATIONSHIP_PARENTS_CHILD,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A relationship that was computed. The people are barcodes; "" for a parent who is not part of it."""

    child: str
    father: str
    mother: str
    comparison: Comparison

    @property
    def barcodes(self) -> tuple[str, ...]:
        """The barcodes of the compared samples, the child's first."""
        return tuple(barcode for barcode in (self.child, self.father, self.mother) if barcode)


@dataclass(frozen=True, slots=True)
class SearchBasis:
    """The basis of a result, in words that another party can compare with its own.

    Attributes:
        database: its name.
        snapshot: its state.
        profiles_searched: profiles that were compared with the query, by the index or by figures.
        frequency_table: its name and digest.
        frequency_source: the publication.
        mutation_model: with its rates.
        thresholds: of the verdicts.
        support: the least combined ratio that supports.
        most_mismatches: figures are computed for profiles with at most this many loci against inheritance.
    """

    database: str
    snapshot: Snapshot
    profiles_searched: int
    frequency_table: str
    frequency_source: str
    mutation_model: str
    thresholds: str
    support: float
    most_mismatches: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search.

    Attributes:
        barcode: of the sample that was searched with.
        basis: the basis of the result.
        screened: the profiles that passed the index. Figures were computed for these.
        supported: relationships that the figures support, greatest ratio first.
        undecided: how many others have a ratio above 1. Another locus or parent may decide them.
        left_out: supported relationships beyond the limit.
        too_few_loci: the sample has too few loci for a search.
    """

    barcode: str
    basis: SearchBasis
    screened: int
    supported: tuple[Candidate, ...]
    undecided: int
    left_out: int
    too_few_loci: bool


def strangers_by_chance(result: SearchResult, candidate: Candidate) -> float:
    """The greatest expected number of strangers among the searched profiles that reach this ratio by chance.

    If the frequency table is right, a stranger reaches a ratio of x with a probability of at most 1/x (Markov's
    inequality: the mean of the ratio among strangers is 1). A brother of a parent is not a stranger.
    """
    return min(1.0, 10**-candidate.comparison.log10_ratio) * result.basis.profiles_searched


def result_facts(result: SearchResult) -> dict[str, Any]:
    """The result as JSON, with the evidence of every locus: for the laboratory, not for the exchange."""
    basis = result.basis
    return {
        "barcode": result.barcode,
        "database": basis.database,
        "snapshot": basis.snapshot.number,
        "snapshot_at": basis.snapshot.at.isoformat(),
        "profiles_searched": basis.profiles_searched,
        "frequency_table": basis.frequency_table,
        "frequency_source": basis.frequency_source,
        "mutation_model": basis.mutation_model,
        "thresholds": basis.thresholds,
        "most_mismatches": basis.most_mismatches,
        "screened": result.screened,
        "undecided": result.undecided,
        "left_out": result.left_out,
        "too_few_loci": result.too_few_loci,
        "supported": [
            {
                "child": item.child,
                "father": item.father,
                "mother": item.mother,
                "strangers_by_chance": strangers_by_chance(result, item),
                **comparison_facts(item.comparison),
            }
            for item in result.supported
        ],
    }


def result_lines(result: SearchResult) -> Iterator[str]:
    """The result as text: the basis of the search, then a line for each relationship. It shows no alleles."""
    basis = result.basis
    yield f"{result.barcode}: {len(result.supported)} supported, {result.undecided} undecided"
    if result.too_few_loci:
        yield "  not searched: too few loci"
    yield f"  searched: {basis.profiles_searched} profiles of {basis.database}, state {basis.snapshot.number}"
    yield f"  figures: {basis.frequency_table}; {basis.mutation_model}; {basis.thresholds}"
    yield f"  computed with: {result.screened}, which need at most {basis.most_mismatches} mutations"
    for item in result.supported:
        found = item.comparison
        people = " + ".join(item.barcodes)
        loci = f"{found.loci_compared} loci, {found.loci_mismatched} against inheritance"
        yield (
            f"  {found.question.value}: {people}: {ratio_text(found.log10_ratio)} ({loci}; by chance at most "
            f"{strangers_by_chance(result, item):.2g} of the {basis.profiles_searched})"
        )
    if result.left_out:
        yield f"  {result.left_out} more supported relationships are not shown"


def records_of(result: SearchResult) -> list[tuple[str, Record]]:
    """A candidate for each relationship, or the record that there is none. With each, the barcode of its case.

    The records contain no name and no allele.
    """
    if not result.supported:
        return [(result.barcode, _no_match(result))]
    return [(item.child, _match(item, result.basis)) for item in result.supported]


def records_file(results: Iterable[SearchResult]) -> bytes:
    """The records of several results as a file of the format ``record-json``. Each relationship is there once."""
    items: dict[bytes, dict[str, Any]] = {}
    for result in results:
        for reference, record in records_of(result):
            key = record.match_id if isinstance(record, dna_pb2.MatchNotification) else reference
            items[f"{kind_of(record)} {key}".encode()] = {
                "kind": kind_of(record),
                "caseReference": reference,
                "record": json_format.MessageToDict(record),
            }
    return json.dumps({"records": list(items.values())}, ensure_ascii=False, indent=1).encode() + b"\n"


def _match(candidate: Candidate, basis: SearchBasis) -> dna_pb2.MatchNotification:
    comparison = candidate.comparison
    # The same question about the same samples has the same number, in any order of the samples' arrival.
    seed = "\0".join((basis.database, comparison.question.value, *candidate.barcodes))
    match_id = hashlib.sha256(seed.encode()).hexdigest()[:24]
    return dna_pb2.MatchNotification(
        match_id=match_id,
        stage=dna_pb2.MATCH_STAGE_CANDIDATE,
        relationship=_RELATIONSHIPS[comparison.question],
        barcodes=candidate.barcodes,
        likelihood_ratio=ratio_text(comparison.log10_ratio),
        log10_likelihood_ratio=comparison.log10_ratio,
        loci_compared=comparison.loci_compared,
        loci_mismatched=comparison.loci_mismatched,
        search=_parameters(basis),
        provenance=provenance(NAME, "1", match_id, hashlib.sha256(seed.encode()).digest()),
    )


def _no_match(result: SearchResult) -> dna_pb2.NoMatchResult:
    reason = dna_pb2.NO_MATCH_REASON_BELOW_THRESHOLD if result.undecided else dna_pb2.NO_MATCH_REASON_NO_CANDIDATE
    return dna_pb2.NoMatchResult(
        barcode=result.barcode,
        reason=dna_pb2.NO_MATCH_REASON_TOO_FEW_LOCI if result.too_few_loci else reason,
        search=_parameters(result.basis),
        standing_search=not result.too_few_loci,
        provenance=provenance(NAME, "1", result.barcode, b""),
    )


def _parameters(basis: SearchBasis) -> dna_pb2.SearchParameters:
    found = dna_pb2.SearchParameters(
        database=f"{basis.database}, state {basis.snapshot.number}",
        profiles_searched=basis.profiles_searched,
        frequency_table=basis.frequency_table,
        mutation_model=basis.mutation_model,
        threshold=f"{basis.support:f}".rstrip("0").rstrip("."),
    )
    found.snapshot_at.FromDatetime(basis.snapshot.at)
    return found
