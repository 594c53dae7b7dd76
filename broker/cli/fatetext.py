"""The lines of a report on records that no agency processed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.audit.findings import FinishedLater

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.findings import Unprocessed
    from broker.core.audit.report import AuditReport

MOST_LISTED: Final = 20
"""So many of each sort are printed as text."""
FATES: Final = {
    "finished": "finished",
    "refused": "refused as {code}",
    "discarded": "discarded as {code}",
    "parked": "parked behind a dead letter",
    "set_aside": "set aside as {code}, and not delivered,",
    "dead_letter": "given up as a dead letter",
}


def fate_lines(report: AuditReport) -> Iterator[str]:
    """What became of records that no agency processed, as lines of a report."""
    for ended in report.unprocessed[:MOST_LISTED]:
        yield (f"  not processed: {ended.position} was {_fate(ended)} by {ended.agency} ({ended.subscription})")
    yield from more_than_listed(len(report.unprocessed), "not processed")
    for order in report.skipped[:MOST_LISTED]:
        yield (
            f"  skipped by order: {order.records} records on {order.partition} from {order.first} on, "
            f"by {order.agency} ({order.subscription} was {order.order}), see {order.told_at}"
        )
    yield from more_than_listed(len(report.skipped), "skipped by order")
    for void in report.void[:MOST_LISTED]:
        said = f"{void.position} was {_fate(void)} by {void.agency} ({void.subscription})"
        yield (f"  void: a broker that had lost the partition said that {said}")
    yield from more_than_listed(len(report.void), "void")


def more_than_listed(count: int, what: str) -> Iterator[str]:
    """The line that says how many are not printed, if there are any."""
    if count > MOST_LISTED:
        yield f"  and {count - MOST_LISTED} more that were {what}; --json lists all"


def fate(ended: Unprocessed | FinishedLater) -> tuple[str, str]:
    """What became of a record: a key of ``FATES``, and the code that goes with it or nothing."""
    if isinstance(ended, FinishedLater):
        return "finished", ""
    if ended.refused or ended.discarded:
        return ("refused", ended.refused) if ended.refused else ("discarded", ended.discarded)
    if ended.parked:
        return "parked", ""
    return ("set_aside", ended.reason) if ended.reason else ("dead_letter", "")


def _fate(ended: Unprocessed | FinishedLater) -> str:
    what, code = fate(ended)
    return FATES[what].format(code=code)
