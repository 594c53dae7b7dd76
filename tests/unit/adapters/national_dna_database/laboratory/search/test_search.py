from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING

import pytest

from adapters.base import Limits, Source
from adapters.national_dna_database.laboratory.kinship.mutation import MutationModel, Sex
from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios, Question
from adapters.national_dna_database.laboratory.search.results import (
    records_file,
    records_of,
    result_facts,
    result_lines,
)
from adapters.national_dna_database.laboratory.search.search import Laboratory, SearchRules
from adapters.national_dna_database.laboratory.search.store import ProfileStore
from adapters.records.record_json import ADAPTER as RECORD_JSON
from adapters.records.validate import validate
from broker.core.errors import InputRefused
from caseexchange.records.v1 import dna_pb2
from synthetic.dna import Genotypes, Population, str_profile, synthetic_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
TABLE = synthetic_table()
FATHER, MOTHER = dna_pb2.SAMPLE_ROLE_FATHER, dna_pb2.SAMPLE_ROLE_MOTHER


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ProfileStore]:
    with contextlib.closing(ProfileStore(tmp_path / "lab.db", "synthetic reference")) as opened:
        yield opened


@pytest.fixture
def laboratory(store: ProfileStore) -> Laboratory:
    """With 40 couples of strangers and 20 children of nobody."""
    found = reopened(store)
    people = Population(TABLE, MutationModel(), Random(11))  # noqa: S311 - synthetic
    for number in range(40):
        for sex, role in (("F", FATHER), ("M", MOTHER)):
            profile = str_profile(f"SYN-X{sex}{number}", people.stranger(), role=role, family=f"SYN-X{number}")
            assert found.add([profile], NOW).new
    found.add([str_profile(f"SYN-XC{number}", people.stranger()) for number in range(20)], NOW)
    return found


def reopened(store: ProfileStore) -> Laboratory:
    return Laboratory(store, LocusRatios(TABLE, MutationModel()), SearchRules())


def family(seed: int = 1) -> tuple[Genotypes, Genotypes, Genotypes]:
    people = Population(TABLE, MutationModel(), Random(seed))  # noqa: S311 - synthetic
    father, mother = people.stranger(), people.stranger()
    return people.child(father, mother), father, mother


def keep(laboratory: Laboratory, *profiles: dna_pb2.StrProfile) -> None:
    assert not laboratory.add(profiles, NOW).refused


def test_a_child_finds_its_parent_and_a_parent_its_child_whoever_comes_last(laboratory: Laboratory) -> None:
    child, father, _ = family()
    keep(laboratory, str_profile("SYN-C", child))
    assert laboratory.search("SYN-C").supported == ()
    keep(laboratory, str_profile("SYN-F", father, role=FATHER))
    by_child, by_parent = laboratory.search("SYN-C"), laboratory.search("SYN-F")
    assert [item.barcodes for item in by_child.supported] == [("SYN-C", "SYN-F")]
    assert by_child.supported == by_parent.supported
    assert (by_child.basis.profiles_searched, by_parent.basis.profiles_searched) == (81, 21)
    assert records_file([by_child, by_parent]).count(b'"matchId"') == 1


def test_both_parents_of_one_case_number_are_told_of_as_a_couple_from_either_side(laboratory: Laboratory) -> None:
    child, father, mother = family()
    keep(
        laboratory,
        str_profile("SYN-C", child),
        str_profile("SYN-F", father, role=FATHER, family="SYN-1"),
        str_profile("SYN-M", mother, role=MOTHER, family="SYN-1"),
    )
    results = [laboratory.search(barcode) for barcode in ("SYN-C", "SYN-F", "SYN-M")]
    for result in results:
        assert [(item.comparison.question, item.barcodes) for item in result.supported] == [
            (Question.COUPLE, ("SYN-C", "SYN-F", "SYN-M"))
        ]
    assert len({item.supported[0].comparison.log10_ratio for item in results}) == 1
    assert records_file(results).count(b"MatchNotification") == 1


def test_parents_of_two_case_numbers_are_told_of_one_by_one(laboratory: Laboratory) -> None:
    child, father, mother = family()
    keep(
        laboratory,
        str_profile("SYN-C", child),
        str_profile("SYN-F", father, role=FATHER, family="SYN-1"),
        str_profile("SYN-M", mother, role=MOTHER, family="SYN-2"),
    )
    found = laboratory.search("SYN-C").supported
    assert {item.barcodes for item in found} == {("SYN-C", "SYN-F"), ("SYN-C", "SYN-M")}
    assert found[0].comparison.log10_ratio >= found[1].comparison.log10_ratio


def test_a_parent_whose_spouse_is_not_one_is_found_alone(laboratory: Laboratory) -> None:
    child, father, _ = family()
    _, _, stranger = family(2)
    keep(
        laboratory,
        str_profile("SYN-C", child),
        str_profile("SYN-F", father, role=FATHER, family="SYN-1"),
        str_profile("SYN-M", stranger, role=MOTHER, family="SYN-1"),
    )
    for barcode in ("SYN-C", "SYN-F"):
        assert [item.barcodes for item in laboratory.search(barcode).supported] == [("SYN-C", "SYN-F")]
    assert laboratory.search("SYN-M").supported == ()


def test_beside_a_known_mother_the_father_is_searched(laboratory: Laboratory) -> None:
    child, father, mother = family()
    keep(
        laboratory,
        str_profile("SYN-C", child),
        str_profile("SYN-F", father, role=FATHER),
        str_profile("SYN-M", mother, role=MOTHER),
    )
    result = laboratory.search("SYN-C", known_parent="SYN-M")
    (found,) = result.supported
    assert (found.comparison.question, found.barcodes) == (Question.OTHER_PARENT, ("SYN-C", "SYN-F", "SYN-M"))
    assert result.basis.profiles_searched == 41
    alone = next(item for item in laboratory.search("SYN-C").supported if item.father)
    assert found.comparison.log10_ratio > alone.comparison.log10_ratio
    for child_barcode, parent in (("SYN-C", "SYN-XC1"), ("SYN-F", "SYN-M"), ("SYN-C", "SYN-NOBODY")):
        with pytest.raises(InputRefused):
            laboratory.search(child_barcode, known_parent=parent)


def test_a_partial_profile_with_drop_outs_finds_its_parent(laboratory: Laboratory) -> None:
    child, father, _ = family()
    dropped = {
        locus: alleles[:1] if number % 3 == 0 else alleles for number, (locus, alleles) in enumerate(child.items())
    }
    keep(laboratory, str_profile("SYN-C", dropped, partial=True), str_profile("SYN-F", father, role=FATHER))
    (found,) = laboratory.search("SYN-C").supported
    assert found.barcodes == ("SYN-C", "SYN-F")
    assert found.comparison.loci_compared < len(TABLE.loci)


def test_what_was_kept_is_searched_after_a_restart_too(laboratory: Laboratory, store: ProfileStore) -> None:
    child, father, _ = family()
    keep(laboratory, str_profile("SYN-C", child), str_profile("SYN-F", father, role=FATHER))
    again = reopened(store)
    assert len(again) == len(laboratory) == 102
    assert again.search("SYN-C") == laboratory.search("SYN-C")


def test_a_sample_typed_again_is_searched_by_its_new_profile_only(laboratory: Laboratory) -> None:
    child, father, _ = family()
    _, stranger, _ = family(2)
    keep(laboratory, str_profile("SYN-C", child), str_profile("SYN-F", stranger, role=FATHER))
    assert laboratory.search("SYN-C").supported == ()
    assert laboratory.add([str_profile("SYN-F", father, role=FATHER)], NOW).new == ("SYN-F",)
    assert laboratory.add([str_profile("SYN-F", father, role=FATHER)], NOW).new == ()
    assert len(laboratory.search("SYN-C").supported) == 1
    assert len(laboratory) == 102


def test_a_withdrawn_sample_is_found_by_nobody(laboratory: Laboratory) -> None:
    child, father, _ = family()
    keep(laboratory, str_profile("SYN-C", child), str_profile("SYN-F", father, role=FATHER))
    assert laboratory.withdraw("SYN-F", NOW)
    assert not laboratory.withdraw("SYN-F", NOW)
    result = laboratory.search("SYN-C")
    assert (result.supported, result.basis.profiles_searched) == ((), 80)
    with pytest.raises(InputRefused):
        laboratory.search("SYN-F")


def test_one_that_cannot_be_searched_with_does_not_hold_back_the_others(laboratory: Laboratory) -> None:
    child, _, _ = family()
    mixture = str_profile("SYN-MIX", child)
    mixture.category.value = "Forensic Mixture"
    sibling = str_profile("SYN-SIB", child, role=dna_pb2.SAMPLE_ROLE_SIBLING)
    added = laboratory.add([mixture, str_profile("SYN-C", child), sibling], NOW)
    assert added.new == ("SYN-C",)
    assert [barcode for barcode, _ in added.refused] == ["SYN-MIX", "SYN-SIB"]


# --- what a result says ----------------------------------------------------------------------------------------------


def test_a_result_names_what_it_rests_on(laboratory: Laboratory) -> None:
    child, father, _ = family()
    keep(laboratory, str_profile("SYN-C", child), str_profile("SYN-F", father, role=FATHER))
    result = laboratory.search("SYN-C")
    facts = result_facts(result)
    assert facts["database"] == "synthetic reference"
    assert (facts["snapshot"], facts["snapshot_at"]) == (102, NOW.isoformat())
    assert facts["profiles_searched"] == 81
    assert facts["frequency_table"] == TABLE.label
    assert facts["mutation_model"] == MutationModel().label
    assert "10000" in facts["thresholds"]
    assert len(facts["supported"][0]["loci"]) == 23
    text = "\n".join(result_lines(result))
    for name in ("synthetic reference", "state 102", "81 profiles", TABLE.label, MutationModel().label, "10000"):
        assert name in text


def test_the_records_are_valid_and_carry_the_basis_and_no_allele(laboratory: Laboratory) -> None:
    child, father, _ = family()
    keep(laboratory, str_profile("SYN-C", child), str_profile("SYN-F", father, role=FATHER))
    ((reference, match),) = records_of(laboratory.search("SYN-C"))
    assert isinstance(match, dna_pb2.MatchNotification)
    assert validate(match) == []
    assert reference == "SYN-C"
    assert match.stage == dna_pb2.MATCH_STAGE_CANDIDATE
    assert match.search.database == "synthetic reference, state 102"
    assert match.search.threshold == "10000"
    assert match.search.snapshot_at.ToDatetime(UTC) == NOW
    content = records_file([laboratory.search("SYN-C")])
    decoded = RECORD_JSON.decode(Source(content), Limits())
    assert [(item.case_reference, item.record) for item in decoded.records] == [("SYN-C", match)]
    assert b"TH01" not in content


@pytest.mark.parametrize(
    ("loci", "reason"),
    [(23, dna_pb2.NO_MATCH_REASON_NO_CANDIDATE), (5, dna_pb2.NO_MATCH_REASON_TOO_FEW_LOCI)],
)
def test_that_nobody_was_found_is_a_record_too(
    laboratory: Laboratory, loci: int, reason: dna_pb2.NoMatchReason.ValueType
) -> None:
    child, _, _ = family()
    keep(laboratory, str_profile("SYN-C", dict(list(child.items())[:loci])))
    ((reference, record),) = records_of(laboratory.search("SYN-C"))
    assert isinstance(record, dna_pb2.NoMatchResult)
    assert validate(record) == []
    assert (reference, record.reason) == ("SYN-C", reason)
    assert record.standing_search is (loci == 23)
    assert record.search.profiles_searched == 80


def test_a_true_parent_with_too_few_loci_for_the_threshold_is_undecided(laboratory: Laboratory) -> None:
    child, father, _ = family()
    few = dict(list(child.items())[:7])
    keep(laboratory, str_profile("SYN-C", few), str_profile("SYN-F", father, role=FATHER))
    result = laboratory.search("SYN-C")
    assert result.supported == ()
    assert result.undecided >= 1
    ((_, record),) = records_of(result)
    assert isinstance(record, dna_pb2.NoMatchResult)
    assert record.reason == dna_pb2.NO_MATCH_REASON_BELOW_THRESHOLD


def test_relationships_beyond_the_limit_are_counted(store: ProfileStore) -> None:
    child, father, _ = family()
    laboratory = Laboratory(store, LocusRatios(TABLE, MutationModel()), SearchRules(limit=2))
    keep(laboratory, str_profile("SYN-C", child))
    keep(laboratory, *(str_profile(f"SYN-F{number}", father, role=FATHER) for number in range(5)))
    result = laboratory.search("SYN-C")
    assert (len(result.supported), result.left_out) == (2, 3)
    assert any("3 more" in line for line in result_lines(result))


def test_the_figure_of_the_search_is_that_of_the_evidence(laboratory: Laboratory) -> None:
    child, father, mother = family()
    stored = {
        "SYN-C": str_profile("SYN-C", child),
        "SYN-F": str_profile("SYN-F", father, role=FATHER, family="SYN-1"),
        "SYN-M": str_profile("SYN-M", mother, role=MOTHER, family="SYN-1"),
    }
    keep(laboratory, *stored.values())
    child_row, father_row, mother_row = (laboratory._store.find(barcode) for barcode in stored)
    assert child_row is not None
    assert father_row is not None
    for question, other in (
        (Question.PARENT, None),
        (Question.OTHER_PARENT, mother_row),
        (Question.COUPLE, mother_row),
    ):
        pairing = laboratory._pairing(question, child_row, father_row, other)
        assert pairing.asked is Sex.FATHER
        assert laboratory._candidate(pairing).comparison.log10_ratio == pairing.log10_ratio
