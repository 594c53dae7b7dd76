"""What a bundle's audit stream says of records that no agency processed, in the order of the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.audit.findings import FinishedLater, UnderReign, Unprocessed
from broker.core.reigns import Reigns
from broker.core.subscriptions import has_effect

if TYPE_CHECKING:
    from broker.core.audit.findings import BatchReport, Skipped
    from broker.core.streams import Position


class Fates:
    """Takes the reports on the batches of the audit stream, in its order.

    ``skipped`` are the orders by which subscriptions passed records. ``void`` is what processes told of partitions that
    others had taken over.
    """

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self.void: list[Unprocessed | FinishedLater] = []
        self._ordered: dict[tuple[str, str], int] = {}
        self._unprocessed: dict[tuple[str, str, Position], Unprocessed] = {}
        self._reigns = Reigns()

    @property
    def unprocessed(self) -> tuple[Unprocessed, ...]:
        """The records that a subscription has not processed and reads no more."""
        return tuple(self._unprocessed.values())

    def take(self, report: BatchReport) -> None:
        """Take the report on a batch."""
        for order in report.orders:
            name = (order.agency, order.subscription)
            if has_effect(order.generation, self._ordered.get(name)):
                self._ordered[name] = order.generation
                self.skipped += order.skipped
        for item in report.unprocessed:
            if not isinstance(item, UnderReign):
                self._finish(item)
            elif self._reigns.make_void(item.reign):
                self.void += [] if item.told is None else [item.told]
            elif item.told is not None:
                self._finish(item.told)

    def _finish(self, item: Unprocessed | FinishedLater) -> None:
        # The last word counts: a dead letter may be delivered again.
        key = (item.agency, item.subscription, item.position)
        self._unprocessed.pop(key, None)
        if isinstance(item, Unprocessed):
            self._unprocessed[key] = item
