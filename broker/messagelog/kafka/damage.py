"""Which entries a process has met as damaged, with nothing that stands in for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from broker.core.streams import Position

_MOST: Final = 10_000
"""The newest are kept. If more is damaged, it is the log."""


class DamagedPlaces:
    """See the module. For one event loop."""

    def __init__(self) -> None:
        self._places: dict[Position, None] = {}

    def add(self, position: Position) -> None:
        """An entry is damaged."""
        self._places.pop(position, None)
        self._places[position] = None
        while len(self._places) > _MOST:
            del self._places[next(iter(self._places))]

    def discard(self, position: Position) -> None:
        """Something stands in for an entry."""
        self._places.pop(position, None)

    def among(self, positions: Collection[Position]) -> frozenset[Position]:
        """Those of these positions that are damaged."""
        return frozenset(position for position in positions if position in self._places)
