"""The port of tiles: where the tiles of one log are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from broker.core.tree.tiles import Tile


class TileSource(Protocol):
    """The checkpoint, the tiles and the entry bundles of one log. Nothing that it returns is verified."""

    async def checkpoint(self) -> bytes:
        """The newest checkpoint, as a signed note.

        Raises:
            PositionUnknown: there is none.
            IdentityRefused, RightDenied, Overloaded, Unavailable
        """

    async def tile(self, tile: Tile) -> bytes:
        """A tile or an entry bundle. It may be longer than it should be, but not without a bound.

        Raises:
            PositionUnknown: there is no such tile.
            LogCorrupt: whoever serves it found itself that something is wrong with it.
            RightDenied: entries are for auditors of the stream.
            ProofInvalid: whoever serves it refuses entries that the directory grants.
            IdentityRefused, Overloaded, Unavailable
        """
