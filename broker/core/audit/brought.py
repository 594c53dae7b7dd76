"""What an auditor brings to a bundle, because its maker did not choose it: receipts, and checkpoints seen elsewhere.

Receipts are judged by broughtreceipts.py.

A checkpoint that was seen elsewhere must be a prefix of the tree that the bundle shows (earlier.py):
LOG_FORKED, LOG_ROLLED_BACK, LOG_CHANGED. A proof of one record shows one partition, and is compared with no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.audit.broughtreceipts import UNCOVERED_AT_MOST_MS, ReceiptsJudge
from broker.core.audit.findings import Compared, Stated, error, warning
from broker.core.incarnations import NONE_DECLARED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.audit.broughtreceipts import BroughtReport, ReceiptBook, ShownPartition
    from broker.core.audit.findings import Finding
    from broker.core.bundle import BundleHeader
    from broker.core.incarnations import Incarnations
    from broker.core.streams import StreamPartition
    from broker.core.tree.checkpoint import Checkpoint, Note


class BroughtCheckpoint(NamedTuple):
    """A checkpoint that was seen elsewhere, verified but for its witnesses' lines. It names the incarnation."""

    partition: StreamPartition
    log_id: str
    checkpoint: Checkpoint
    note: Note | None = None


class Brought(NamedTuple):
    """What the auditor brings.

    ``unproved`` counts checkpoints that no key of the directory signed. A checkpoint must cover each record that was
    accepted more than ``covered_within_ms`` before the bundle was made. None: the auditor does not say. ``beyond_end``:
    the partition and size of each checkpoint that an ended key signed beyond its end. They do not count either.
    """

    receipts: ReceiptBook | None = None
    checkpoints: tuple[BroughtCheckpoint, ...] = ()
    unproved: int = 0
    covered_within_ms: int | None = None
    beyond_end: tuple[tuple[StreamPartition, int], ...] = ()


def judge_brought(
    brought: Brought,
    header: BundleHeader,
    shown: Mapping[StreamPartition, ShownPartition],
    report: BroughtReport,
    add: Callable[[Finding], None],
    *,
    declared: Incarnations = NONE_DECLARED,
) -> None:
    """Judge what was brought, when the whole bundle was taken. ``report`` gets the numbers, ``add`` the findings.

    ``shown`` has each partition that the bundle shows, and ``declared`` the incarnations in its newest directory.
    """
    for seen in () if header.proved_record else brought.checkpoints:
        if seen.partition.stream in header.streams and seen.partition not in shown:
            message = f"{seen.partition}: the exchange signed a tree of this partition, and the bundle shows none"
            size = (Compared(Stated.SIZE_SEEN, str(seen.checkpoint.size)),)
            add(error("LOG_ROLLED_BACK", message, compared=size))
    if brought.unproved:
        message = f"{brought.unproved} checkpoints that were brought do not count: no log key signed them"
        add(warning("CHECKPOINT_UNPROVED", message))
    if brought.receipts is not None:
        within_ms = UNCOVERED_AT_MOST_MS if (said := brought.covered_within_ms) is None else said
        judge = ReceiptsJudge(header, shown, declared, within_ms)
        judge.judge(brought.receipts, report, add)


def leave_unjudged(brought: Brought, report: BroughtReport) -> None:
    """Count the receipts as not judged: the bundle breaks off, so what it lacks says nothing about the log."""
    if brought.receipts is not None:
        report.receipts, report.unproved = brought.receipts.receipts, brought.receipts.unproved
        report.not_judged = report.receipts
