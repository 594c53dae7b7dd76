"""What the exchange demands of matches and profiles, whichever format they came in."""

from __future__ import annotations

import math

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


def places(record: dna_pb2.MatchNotification) -> list[tuple[str, str]]:
    return [(issue.code, issue.locator) for issue in validate(record) if issue.refuses]


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


def test_a_figure_is_judged_though_another_section_was_withheld() -> None:
    record = reported()
    record.ClearField("reported_hit")
    record.loci_compared, record.likelihood_ratio = 20, "many"
    assert [issue.code for issue in validate(record, {"provenance"})] == ["LR_INVALID"]


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


def test_every_locus_is_judged_by_itself() -> None:
    record = profile(("", ""), ("TH01", ""), ("TH01", ""), ("FGA", ""), ("D13S317", ""), ("th01", ""))
    del record.loci[3].alleles[:]
    record.loci[4].alleles[0].value = "nine"
    record.loci[4].alleles.add(value="9", operator=dna_pb2.ALLELE_OPERATOR_EQUAL, peak_height=-1)
    assert [(issue.code, issue.locator, issue.refuses) for issue in validate(record)] == [
        ("LOCUS_UNKNOWN", "loci[0]", True),
        ("LOCUS_REPEATED", "loci[2]", True),
        ("ALLELE_MISSING", "loci[3]", True),
        ("ALLELE_INVALID", "loci[4].alleles[0]", True),
        ("PEAK_HEIGHT_INVALID", "loci[4].alleles[1]", True),
        ("LOCUS_UNKNOWN", "loci[5]", True),
    ]


def figured(text: str, log10: float) -> dna_pb2.MatchNotification:
    return dna_pb2.MatchNotification(
        match_id="SYN-M1",
        stage=dna_pb2.MATCH_STAGE_CANDIDATE,
        relationship=dna_pb2.RELATIONSHIP_PARENT_CHILD,
        likelihood_ratio=text,
        log10_likelihood_ratio=log10,
        loci_compared=20,
    )


@pytest.mark.parametrize(
    ("text", "log10"),
    [
        ("100", 2.0),
        ("3.127e+9", 9.4951),
        ("3.127E9", 9.4951),
        ("0.5", -0.30103),
        ("1e-400", -400.0),
        ("1e400", 400.0),
        ("0", -math.inf),
        ("100", 2.009),
    ],
)
def test_a_ratio_is_told_as_text_and_as_the_logarithm_of_it(text: str, log10: float) -> None:
    assert codes(figured(text, log10)) == []


@pytest.mark.parametrize(
    ("text", "log10"), [("100", 1.98), ("100", 2.02), ("1e400", 0.0), ("0", 0.0), ("1e-400", 400.0), ("0", math.nan)]
)
def test_a_logarithm_of_another_ratio_is_refused(text: str, log10: float) -> None:
    assert places(figured(text, log10)) == [("LR_CONTRADICTION", "log10_likelihood_ratio")]


@pytest.mark.parametrize("text", ["many", "-1", "1,000", "1e12345", "٣", "1.", ".5", "inf", "1 "])
def test_a_ratio_that_is_no_decimal_number_is_refused(text: str) -> None:
    assert places(figured(text, 0.0)) == [("LR_INVALID", "likelihood_ratio")]


def test_what_is_wrong_with_a_reported_hit_is_said_where_it_stands() -> None:
    record = reported()
    record.loci_mismatched, record.stage = 1, dna_pb2.MATCH_STAGE_CONFIRMED
    assert places(record) == [("LR_CONTRADICTION", "reported_hit"), ("STAGE_INVALID", "stage")]


def test_a_match_says_which_and_of_what_relationship() -> None:
    assert places(dna_pb2.MatchNotification()) == [
        ("FIELD_MISSING", "match_id"),
        ("FIELD_MISSING", "stage"),
        ("FIELD_MISSING", "relationship"),
        ("FIELD_MISSING", "likelihood_ratio"),
        ("FIELD_MISSING", "loci_compared"),
        ("LR_INVALID", "likelihood_ratio"),
    ]
