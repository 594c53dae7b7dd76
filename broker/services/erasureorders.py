"""Which sections were ordered to be erased. All who read records from the log ask, because nobody signs the mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


class ErasureOrders:
    """The names of sections by record, from the orders in the audit stream (broker/services/erasing.py).

    One broker has one of these. On a log that erases nothing it stays empty. Safe to read from any thread.
    """

    def __init__(self) -> None:
        self._names: dict[bytes, frozenset[str]] = {}

    def of(self, record_id: bytes) -> frozenset[str]:
        """The sections of a record that its publisher has ordered to be erased."""
        return self._names.get(record_id, frozenset())

    def add(self, record_id: bytes, names: Collection[str]) -> None:
        """Take an order that is durable."""
        self._names[record_id] = self.of(record_id).union(names)

    def records(self) -> tuple[bytes, ...]:
        """The ids of all records with an order."""
        return tuple(self._names)
