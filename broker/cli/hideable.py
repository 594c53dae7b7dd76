"""What a malicious operator could still have hidden from a verification, given what the auditor brought.

Every phrase has its line in the table of docs/findings.md, with a test (tests/unit/broker/bootstrap/test_operator.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.cli.proofreport import PROOF_PHRASES, proof_limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.broughtreceipts import BroughtReport
    from broker.core.audit.received import ReceivedReport
    from broker.core.audit.report import AuditReport

PHRASES: Final = {
    "any_record": "any record, by a log without it that it signed anew, a publisher's whole traffic, or another order",
    "no_receipt": "records whose receipts you did not bring, and another order among them",
    "moved": "{number} records were moved, unless their publishers published them again. Ask them",
    "unreported": (
        "a record or section that it delivered against the directory and did not log: bring what agencies got"
    ),
    "unreported_rest": "what it delivered to agencies whose reports you did not bring, and did not log",
    "since_witnesses": (
        "what it did after the records that your witnesses have cosigned, and more if enough of them help it"
    ),
    "another_log": (
        "that it once showed another log, or a longer one, to you or to others: no checkpoint proves otherwise"
    ),
    "since_checkpoints": (
        "another log that it shows to others whose checkpoints you did not bring, and what it did since yours"
    ),
    "later": "that a record was accepted later than it says: bring cosigned checkpoints (--since, --witness-policy)",
    "later_between": (
        "that a record was accepted ten minutes later than it says, or more between cosigned checkpoints of yours"
    ),
    "older": "that the bundle is older than it says: compare the time below with the time at which you asked for it",
}


class Hideable(NamedTuple):
    """One thing that could be hidden: a key of ``PHRASES``, and the number in it."""

    what: str
    number: int = 0


def first_lines(report: AuditReport) -> Iterator[str]:
    """The first lines of a report: what was brought, and what could be hidden all the same."""
    brought = report.brought
    if report.header.proved_record:
        yield "a proof of one record does not say:"
        for item in could_hide(report):
            yield f"  - {item}"
        return
    yield from _what_was_brought(brought)
    yield from _received(report.received)
    yield "an operator who holds every key of the exchange could still have hidden:"
    for item in could_hide(report):
        yield f"  - {item}"


def could_hide(report: AuditReport) -> Iterator[str]:
    """What could still be hidden, as phrases. Of a proof of one record: what it does not say."""
    if report.header.proved_record:
        yield from (PROOF_PHRASES[what] for what in proof_limits(report))
        return
    for hidden in hideable(report):
        yield PHRASES[hidden.what].format(number=hidden.number)


def hideable(report: AuditReport) -> Iterator[Hideable]:
    """What could still be hidden."""
    brought = report.brought
    if brought.receipts is None or brought.not_judged:
        yield Hideable("any_record")
    else:
        yield Hideable("no_receipt")
        if brought.again:
            # The publisher signs a record, not the former receipt beside it. The exchange can put that there.
            yield Hideable("moved", brought.again)
    yield Hideable("unreported" if report.received is None or report.received.not_judged else "unreported_rest")
    witnesses = report.witnesses
    # A policy that needs no witness says nothing of what others were shown.
    if witnesses is not None and witnesses.brought and witnesses.needed > 0 and not witnesses.missing:
        yield Hideable("since_witnesses")
    elif brought.continued_partitions < max(len(report.partitions), 1):
        yield Hideable("another_log")
    else:
        yield Hideable("since_checkpoints")
    timed = witnesses is not None and witnesses.timed > 0
    yield Hideable("later_between" if timed else "later")
    yield Hideable("older")


def _received(received: ReceivedReport | None) -> Iterator[str]:
    if received is None:
        return
    if received.not_judged:
        yield f"copies that agencies report: {received.not_judged}. They were not judged, because the bundle breaks off"
        return
    yield (
        f"copies that agencies report: {received.copies}. The log agrees with {received.agreed} of them, "
        f"{received.outside} are outside of this bundle, and {received.wrong} contradict it or the directory"
        f"{f'. {received.lost} may be lost as declared' if received.lost else ''}"
    )


def _what_was_brought(brought: BroughtReport) -> Iterator[str]:
    if brought.receipts is None and not brought.checkpoints and not brought.unproved_checkpoints:
        yield "you brought no receipts and no checkpoints, which the exchange did not choose: --receipts, --since"
    if brought.not_judged:
        yield f"receipts brought: {brought.not_judged}. They were not judged, because the bundle breaks off"
    elif brought.receipts is not None:
        yield (
            f"receipts brought: {brought.receipts}. Of their records {brought.kept} are in their places, "
            f"{brought.again} were published again, {brought.outside} are outside of this bundle, "
            f"{brought.uncovered} are not yet covered, and {brought.broken} are missing or elsewhere"
        )
        if brought.lost:
            yield f"{brought.lost} more are lost with a former incarnation of the log, as the directory declares"
    if brought.unproved:
        yield f"{brought.unproved} more receipts do not count"
    if brought.checkpoints or brought.unproved_checkpoints:
        yield (
            f"checkpoints brought: {brought.checkpoints}. The log here continues {brought.continued} of them. "
            f"{brought.unproved_checkpoints} more do not count"
        )
        if brought.closed:
            yield f"{brought.closed} of them cover records that are lost, as the directory declares"
