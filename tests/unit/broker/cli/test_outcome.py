"""What each code of a finding makes of a verification. Only what proves a difference says that the log differs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from broker.cli.outcome import Outcome, outcome
from broker.cli.verify import verdict
from broker.core.audit.findings import Finding, Severity, error, warning
from tests.support.reports import audit_report

FINDINGS = Path(__file__).parents[4] / "docs" / "findings.md"
ALONE = {
    Outcome.DAMAGED: "BUNDLE_DAMAGED",
    Outcome.UNSOUND_BUNDLE: "BUNDLE_ALTERED BUNDLE_INVALID CERTIFICATE_INVALID DIRECTORY_INVALID DIRECTORY_MISSING "
    "HEADER_INVALID KEY_STATEMENT_INVALID OUT_OF_PERIOD",
    Outcome.UNCONFIRMED: "CHECKPOINT_INVALID PROOF_INVALID RECEIPT_INVALID WITNESSES_MISSING",
    Outcome.SHOWS_LESS: "LOG_ROLLED_BACK RECEIPT_UNCOVERED",
    Outcome.RULES_BROKEN: "ALGORITHM_ENDED BACKDATED "
    "BODY_TYPE_UNSUPPORTED DELIVERY_ASTRAY DELIVERY_UNLOGGED DIRECTORY_UNAVAILABLE "
    "ENCRYPTION_KEY_NOT_IN_FORCE KEY_HISTORY_BROKEN KEY_WRAPS_INVALID SEALING_REQUIRED "
    "ENVELOPE_MALFORMED FORMER_RECEIPT_INVALID ISSUED_IN_FUTURE KIND_UNKNOWN OUT_OF_ORDER RECORD_EXPIRED "
    "RECORD_REPEATED RIGHT_DENIED SECTION_NOT_ALLOWED SEQUENCE_REPEATED SIGNER_CERTIFICATE_INVALID SUPPLEMENT_INVALID "
    "SIGNATURE_MISSING SIGNER_NOT_PRINCIPAL SIGNER_REVOKED SIGNER_UNKNOWN TIME_CONTRADICTED",
    Outcome.LOG_DIFFERS: "LOG_CHANGED LOG_FORKED MISPLACED RECEIPT_BROKEN RECORD_CHANGED RECORD_INSERTED "
    "RECORD_MISSING SECTION_MISMATCH SIGNATURE_INVALID TREE_MISMATCH",
}
"""What an error of each code comes to."""
ONLY_WARNINGS = {
    *("CHECKPOINT_BEYOND_END", "DELIVERY_LOST_DECLARED", "ENDED_BEFORE_PROOF", "ERASED", "ERASURE_UNPROVED"),
    *("CHECKPOINT_NOT_COMPARED", "CHECKPOINT_UNPROVED", "DELIVERED_UNPROVED", "NOT_YET_COVERED", "PERIOD_EDGES"),
    *("RECEIPT_LOST_DECLARED", "RECEIPT_UNPROVED", "RECORD_REPAIRED", "REVOKED_BEFORE_PROOF", "SEQUENCE_FALLS"),
    *("SEQUENCE_GAP", "TIMESTAMP_UNPROVED", "WITNESSES_STALE"),
}


def came_to(*findings: Finding, left_out: int = 0, broken_off: bool = False) -> Outcome:
    report = audit_report(findings=findings, findings_left_out=left_out, broken_off=broken_off)
    assert verdict(report)
    return outcome(report)


def documented() -> set[str]:
    rows = [line.split("|")[1] for line in FINDINGS.read_text("utf-8").splitlines() if line.startswith("| `")]
    return {code for row in rows for code in re.findall(r"`([A-Z_]+)`", row)}


@pytest.mark.parametrize(("found", "code"), [(found, code) for found, codes in ALONE.items() for code in codes.split()])
def test_each_error_has_its_outcome(found: Outcome, code: str) -> None:
    assert came_to(error(code, "one")) is found


def test_every_documented_code_has_its_outcome_here() -> None:
    listed = {code for codes in ALONE.values() for code in codes.split()} | ONLY_WARNINGS
    assert len(documented()) > 40
    assert documented() - listed == set()


@pytest.mark.parametrize("code", sorted(ONLY_WARNINGS))
def test_a_warning_makes_nothing_wrong(code: str) -> None:
    assert came_to(warning(code, "one")) is Outcome.SOUND


def test_findings_that_are_not_listed_leave_it_open_unless_a_listed_one_is_an_error_about_the_log() -> None:
    assert came_to(warning("SEQUENCE_GAP", "one"), left_out=1) is Outcome.TOO_MANY
    assert came_to(error("BUNDLE_ALTERED", "one"), left_out=1) is Outcome.TOO_MANY
    assert came_to(error("WITNESSES_MISSING", "one"), left_out=1) is Outcome.UNCONFIRMED


def test_the_worst_outcome_counts_and_a_damaged_or_broken_bundle_comes_before_it() -> None:
    every = [error(codes.split()[0], "one") for found, codes in ALONE.items() if found is not Outcome.DAMAGED]
    order = [Outcome.UNSOUND_BUNDLE, Outcome.UNCONFIRMED, Outcome.SHOWS_LESS, Outcome.RULES_BROKEN, Outcome.LOG_DIFFERS]
    assert [came_to(*every[: number + 1]) for number in range(len(every))] == order
    damaged = Finding(Severity.ERROR, "BUNDLE_DAMAGED", "one")
    assert came_to(*every, damaged, broken_off=True) is Outcome.DAMAGED_AND_WRONG
    assert came_to(every[0], damaged) is Outcome.DAMAGED
    assert came_to(*every, broken_off=True) is Outcome.BROKEN_OFF


def test_a_clean_bundle_of_a_period_is_sound_in_part() -> None:
    report = audit_report()
    period = replace(report.header, accepted_from_ms=1)
    assert outcome(replace(report, header=period)) is Outcome.SOUND_PART
