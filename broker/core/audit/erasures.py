"""Judge the sections that a bundle's records lack because they were erased: each by an order of the record's publisher.

A copy says which sections were erased, and nobody signs that. So each needs an order in the audit stream, which the
exchange signed before the bytes went. With the order it is ERASED, without it RECORD_CHANGED: somebody removed what the
publisher had signed. A proof, and a bundle without the audit stream or of a period, may lack the order. Then it is
ERASURE_UNPROVED: who has this bundle alone cannot tell one from the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.audit.findings import error, warning
from broker.core.streams import AUDIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.core.audit.erasureorder import ErasureOrder
    from broker.core.audit.findings import EntryFacts, Finding
    from broker.core.bundle import BundleHeader


class ErasureAudit:
    """Takes the facts of a bundle's entries and its orders, in any order."""

    def __init__(self, header: BundleHeader) -> None:
        self._all_orders = AUDIT in header.streams and not header.has_period and not header.proved_record
        self._lacking: list[EntryFacts] = []
        self._orders: dict[str, list[ErasureOrder]] = {}

    def take_record(self, facts: EntryFacts) -> None:
        """Take what one record lacks."""
        if facts.erased:
            self._lacking.append(facts)

    def take(self, orders: Sequence[ErasureOrder]) -> None:
        """Take orders."""
        for order in orders:
            self._orders.setdefault(order.record_id, []).append(order)

    def findings(self) -> Iterator[Finding]:
        """What became of each section that is lacking."""
        for facts in self._lacking:
            orders = [order for order in self._orders.get(facts.record_id, ()) if order.agency == facts.publisher]
            ordered = frozenset[str]().union(*(order.sections for order in orders))
            done = [name for name in facts.erased if name in ordered]
            other = [name for name in facts.erased if name not in ordered]
            if done:
                told = ", ".join(str(order.told_at) for order in orders if not set(done).isdisjoint(order.sections))
                message = f"{facts.publisher} had {_named(done)} erased; the audit stream has the order at {told}"
                yield warning("ERASED", message, facts.record_id, facts.position)
            if other and (self._all_orders or facts.position.stream == AUDIT):
                message = f"{_named(other)} was removed: marked as erased, and the publisher ordered no such thing"
                yield error("RECORD_CHANGED", message, facts.record_id, facts.position)
            elif other:
                message = (
                    f"{_named(other)} was removed, and nothing here shows that {facts.publisher} ordered it: a replay "
                    "of every stream without a period has the order, or RECORD_CHANGED"
                )
                yield warning("ERASURE_UNPROVED", message, facts.record_id, facts.position)


def _named(names: Sequence[str]) -> str:
    return ("the section " if len(names) == 1 else "the sections ") + ", ".join(names)
