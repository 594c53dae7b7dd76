"""What a verification comes to, in one word. ``verify`` and its report say what to do."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from broker.core.findings import Severity

if TYPE_CHECKING:
    from broker.core.auditreport import AuditReport

_DAMAGED: Final = "BUNDLE_DAMAGED"
_OF_THE_BUNDLE: Final = frozenset({"BUNDLE_ALTERED", "BUNDLE_INVALID", "HEADER_INVALID"})


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
    LOG_DIFFERS = "log_differs"


def outcome(report: AuditReport) -> Outcome:
    """What a verification comes to."""
    if report.clean:
        return Outcome.SOUND if report.header.whole else Outcome.SOUND_PART
    codes = {finding.code for finding in report.findings if finding.severity is Severity.ERROR}
    of_the_log = codes - _OF_THE_BUNDLE - {_DAMAGED}
    if _DAMAGED in codes:
        return Outcome.DAMAGED_AND_WRONG if of_the_log else Outcome.DAMAGED
    if report.broken_off:
        return Outcome.BROKEN_OFF
    return Outcome.UNSOUND_BUNDLE if codes and not of_the_log else Outcome.LOG_DIFFERS
