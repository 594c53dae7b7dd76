"""What the exchange demands of matches and profiles, whichever format they came in."""

from __future__ import annotations

import pytest

from adapters.records.validate import validate
from caseexchange.records.v1 import dna_pb2


def reported() -> dna_pb2.MatchNotification:
    return dna_pb2.MatchNotification(
        match_id="SYN-M1",
        stage=dna_pb2.MATCH_STAGE_CANDIDATE,
        relationship=dna_pb2.RELATIONSHIP_SAME_PERSON,
        reported_hit=dna_pb2.ReportedHit(candidates=1),
    )


def codes(record: dna_pb2.MatchNotification | dna_pb2.StrProfile) -> list[str]:
    return [issue.code for issue in validate(record)]


def test_a_hit_that_was_reported_without_a_figure_needs_none_and_may_have_none() -> None:
    assert codes(reported()) == []
    for name, value in {"likelihood_ratio": "100", "loci_compared": 20, "log10_likelihood_ratio": 2.0}.items():
        record = reported()
        setattr(record, name, value)
        assert codes(record) == ["LR_CONTRADICTION"]


def test_a_match_without_a_reported_hit_needs_its_figure() -> None:
    record = reported()
    record.ClearField("reported_hit")
    record.ClearField("relationship")
    assert codes(record) == ["FIELD_MISSING"] * 3 + ["LR_INVALID"]


@pytest.mark.parametrize("stage", [dna_pb2.MATCH_STAGE_CONFIRMED, dna_pb2.MATCH_STAGE_REFUTED])
def test_a_hit_without_a_figure_is_a_candidate_and_nothing_more(stage: dna_pb2.MatchStage.ValueType) -> None:
    record = reported()
    record.stage = stage
    assert codes(record) == ["STAGE_INVALID"]


def profile(*loci: tuple[str, str]) -> dna_pb2.StrProfile:
    record = dna_pb2.StrProfile(barcode="SYN-1")
    for locus, as_reported in loci:
        call = record.loci.add(locus=locus, reported_locus=as_reported)
        call.alleles.add(value="9", operator=dna_pb2.ALLELE_OPERATOR_EQUAL)
    return record


def test_a_locus_may_be_known_by_its_number_alone_but_not_by_nothing() -> None:
    assert codes(profile(("", "DLR 4"), ("", "DLR 5"), ("TH01", ""))) == []
    assert codes(profile(("", ""))) == ["LOCUS_UNKNOWN"]
    assert codes(profile(("", "DLR 4"), ("", "DLR 4"))) == ["LOCUS_REPEATED"]
