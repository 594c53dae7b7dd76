"""What a verification comes to, in one word. ``verify`` and its report say what to do."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from broker.core.audit.findings import Severity

if TYPE_CHECKING:
    from broker.core.audit.report import AuditReport

_DAMAGED: Final = "BUNDLE_DAMAGED"


class Outcome(Enum):
    """What a verification comes to."""

    SOUND = "sound"
    """Nothing is wrong with the whole log."""
    SOUND_PART = "sound_part"
    """Nothing is wrong with the part of the log that the bundle has."""
    DAMAGED = "damaged"
    """The bundle is not as it was made, and nothing else is wrong."""
    DAMAGED_AND_WRONG = "damaged_and_wrong"
    """The bundle is not as it was made, and the findings about the log may come from that."""
    BROKEN_OFF = "broken_off"
    UNSOUND_BUNDLE = "unsound_bundle"
    """Only the bundle is wrong, and not the log."""
    TOO_MANY = "too_many"
    """So many findings that some are not listed, and no listed one is an error about the log."""
    UNCONFIRMED = "unconfirmed"
    """What should confirm the log is missing or does not hold. That proves no difference."""
    SHOWS_LESS = "shows_less"
    """The exchange signed for more than the bundle shows. The bundle may only be old."""
    RULES_BROKEN = "rules_broken"
    """A record, a time or a delivery is against the rules. That proves no difference."""
    LOG_DIFFERS = "log_differs"
    """The bundle has something else than the exchange or a publisher signed."""


_PROVED: Final = {
    Outcome.UNSOUND_BUNDLE: frozenset(
        {
            "BUNDLE_ALTERED",
            "BUNDLE_INVALID",
            "CERTIFICATE_INVALID",
            "DIRECTORY_INVALID",
            "DIRECTORY_MISSING",
            "DIRECTORY_VERSION_MISSING",
            "HEADER_INVALID",
            "KEY_STATEMENT_INVALID",
            "OUT_OF_PERIOD",
        }
    ),
    Outcome.UNCONFIRMED: frozenset(
        {"CHECKPOINT_INVALID", "PROOF_INVALID", "RECEIPT_INVALID", "REVOCATION_UNAVAILABLE", "WITNESSES_MISSING"}
    ),
    Outcome.SHOWS_LESS: frozenset({"LOG_ROLLED_BACK", "RECEIPT_UNCOVERED"}),
    Outcome.LOG_DIFFERS: frozenset(
        {
            "LOG_CHANGED",
            "LOG_FORKED",
            "MISPLACED",
            "RECEIPT_BROKEN",
            "RECORD_CHANGED",
            "RECORD_INSERTED",
            "RECORD_MISSING",
            "SECTION_MISMATCH",
            "SIGNATURE_INVALID",
            "TREE_MISMATCH",
        }
    ),
}
_OF_CODE: Final = {code: found for found, codes in _PROVED.items() for code in codes}
_WORST_FIRST: Final = (Outcome.LOG_DIFFERS, Outcome.RULES_BROKEN, Outcome.SHOWS_LESS, Outcome.UNCONFIRMED)


def outcome(report: AuditReport) -> Outcome:
    """What a verification comes to."""
    if report.clean:
        return Outcome.SOUND if report.header.whole else Outcome.SOUND_PART
    codes = {finding.code for finding in report.findings if finding.severity is Severity.ERROR}
    # Every refusal of policy has a code of its own. So what is not listed is one.
    found = {_OF_CODE.get(code, Outcome.RULES_BROKEN) for code in codes - {_DAMAGED}}
    of_the_log = [each for each in _WORST_FIRST if each in found]
    if _DAMAGED in codes:
        return Outcome.DAMAGED_AND_WRONG if of_the_log else Outcome.DAMAGED
    if report.broken_off:
        return Outcome.BROKEN_OFF
    if of_the_log:
        return of_the_log[0]
    # Those that are not listed may be about the log.
    return Outcome.TOO_MANY if report.findings_left_out else Outcome.UNSOUND_BUNDLE
