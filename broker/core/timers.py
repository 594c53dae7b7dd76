"""The running leases and delays of a book, and when the next one ends."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broker.core.leasing.delivery import Delivery

_SPARE: Final = 64


class Timers:
    """A heap of deliveries by the end of their lease or delay. Each method is O(log n), spread over many calls.

    A timer is stopped by setting its delivery's ``timer`` to another id, and made later by setting a later ``due``.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        # (when, timer id, delivery). Stale if the delivery has another timer; early if the lease was extended.
        self._heap: list[tuple[float, int, Delivery]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def start(self, delivery: Delivery) -> None:
        """Run the delivery's ``timer`` until its ``due``. Of those due together, the lowest id is first."""
        heappush(self._heap, (delivery.due, delivery.timer, delivery))

    def next_due(self) -> float | None:
        """When the next timer ends, or None if none runs."""
        while self._heap:
            due, timer, delivery = self._heap[0]
            if delivery.timer != timer:
                heappop(self._heap)
            elif delivery.due > due:
                heapreplace(self._heap, (delivery.due, timer, delivery))
            else:
                return due
        return None

    def pop(self) -> Delivery:
        """Take out the timer that ``next_due`` has just found."""
        return heappop(self._heap)[2]

    def drop_stale(self, most_running: int) -> None:
        """Limit the heap: quick acks leave stale timers, which are dropped before they outnumber those that can run."""
        if len(self._heap) > 2 * most_running + _SPARE:
            self._heap = [item for item in self._heap if item[2].timer == item[1]]
            heapify(self._heap)
