"""Derives a log's root anew from its tiles and entries, and names the first one that is wrong.

This is the computation alone: it says which tile it needs, and gets its bytes. It goes from the root downward. So a
tile is judged by a hash that is itself proved by the signed root, and what does not fit is surely the lower one. At
most one tile of each level and one entry bundle are held.

1. The partial tiles of the right edge give the root. If they do not, the tree below them is compared with them all the
   same, to name a place.
2. The hashes of each full tile give the hash that the tile above has for it.
3. Each entry gives its hash in the tile of level 0, is a leaf manifest of this log, and has a later offset than the one
   before, and no earlier time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.errors import ProofInvalid
from broker.core.tree.compactrange import EMPTY_ROOT, fold, leaf_hash, range_coordinates
from broker.core.tree.leaf import Leaf
from broker.core.tree.tiles import ENTRIES, TILE_HEIGHT, Tile, edge_tiles, read_entries, subtree_hash, tile_hashes

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from broker.core.streams import StreamPartition
    from broker.core.tree.checkpoint import Checkpoint


class TileFault(NamedTuple):
    """The first thing that is wrong.

    Attributes:
        path: of the tile or bundle, below the log's prefix. Empty: the checkpoint.
        place: which of its hashes or entries, counted over the whole level. None: all of it.
        position: the record's place in the log, if an entry is wrong and names one.
        cause: what is wrong.
    """

    path: str
    place: int | None
    position: str
    cause: str


class TreeCheck:
    """The check of one log.

    Args:
        checkpoint: what the log has signed. The caller has verified it.
        partition: the log's partition.
        log_id: its incarnation.
    """

    def __init__(self, checkpoint: Checkpoint, partition: StreamPartition, log_id: str) -> None:
        self._checkpoint = checkpoint
        self._partition = partition
        self._log_id = log_id
        self._last: Leaf | None = None
        self.tiles = 0
        """How many tiles and bundles were right so far."""

    def steps(self, *, entries: bool) -> Generator[Tile, bytes, TileFault | None]:
        """Yield each tile that is needed. Send its bytes. Return the first fault.

        Args:
            entries: whether entry bundles are read too.
        """
        try:
            return (yield from self._all(entries=entries))
        except _Found as found:
            return found.fault

    def _all(self, *, entries: bool) -> Generator[Tile, bytes, TileFault | None]:
        size = self._checkpoint.size
        if not size:
            wrong = self._checkpoint.root != EMPTY_ROOT
            return TileFault("", None, "", "it has no leaves, and not the root of an empty tree") if wrong else None
        edge: dict[Tile, list[bytes]] = {}
        for tile in edge_tiles(size):
            edge[tile] = yield from self._hashes(tile)
        proved = self._root(edge) == self._checkpoint.root
        for tile in sorted(edge, reverse=True):
            yield from self._below(tile, edge[tile], edge=None if proved else edge, entries=entries)
        if proved:
            return None
        names = ", ".join(tile.path for tile in edge)
        cause = f"the tree of {names} has another root than the checkpoint, and nothing below contradicts these tiles"
        return TileFault("", None, "", cause)

    def _root(self, edge: Mapping[Tile, Sequence[bytes]]) -> bytes:
        """The root from the partial tiles of the right edge."""
        levels = {tile.level: (tile.first, hashes) for tile, hashes in edge.items()}
        nodes = []
        for level, index in range_coordinates(0, self._checkpoint.size):
            tile_level, above = divmod(level, TILE_HEIGHT)
            first, hashes = levels[tile_level]
            begin = (index << above) - first
            nodes.append(subtree_hash(hashes[begin : begin + (1 << above)]))
        return fold(nodes)

    def _hashes(self, tile: Tile) -> Generator[Tile, bytes, list[bytes]]:
        data = yield tile
        try:
            hashes = tile_hashes(tile, data)
        except ProofInvalid as error:
            raise _Found(TileFault(tile.path, None, "", error.message)) from error
        self.tiles += 1
        return hashes

    def _below(
        self, tile: Tile, hashes: Sequence[bytes], *, edge: dict[Tile, list[bytes]] | None, entries: bool
    ) -> Generator[Tile, bytes, None]:
        """Check everything under a tile. ``edge``: the root does not prove the tile, which is one of these."""
        if tile.level == 0:
            if entries:
                yield from self._entries(tile, hashes, edge)
            return
        for at, expected in enumerate(hashes):
            child = Tile(tile.level - 1, tile.first + at)
            below = yield from self._hashes(child)
            if (found := subtree_hash(below)) != expected:
                self._blame(tile, at, found, edge)
                cause = f"it does not have the hash that {tile.path} says of it"
                raise _Found(TileFault(child.path, None, "", cause if edge is None else f"it or {tile.path}: {cause}"))
            # Under a tile of an edge that is not proved, nothing is proved.
            yield from self._below(child, below, edge=edge, entries=entries)

    def _blame(self, tile: Tile, at: int, found: bytes, edge: dict[Tile, list[bytes]] | None) -> None:
        """If the root is right with what was found below, the tile above is wrong there."""
        if edge is None or tile not in edge:
            return
        changed = [*edge[tile][:at], found, *edge[tile][at + 1 :]]
        if self._root({**edge, tile: changed}) == self._checkpoint.root:
            cause = "the hash is not that of what is below it, with which the root would be right"
            raise _Found(TileFault(tile.path, tile.first + at, "", cause))

    def _entries(
        self, tile: Tile, hashes: Sequence[bytes], edge: dict[Tile, list[bytes]] | None
    ) -> Generator[Tile, bytes, None]:
        bundle = tile._replace(level=ENTRIES)
        data = yield bundle
        try:
            found = read_entries(bundle, data)
        except ProofInvalid as error:
            raise _Found(TileFault(bundle.path, None, "", error.message)) from error
        for at, (entry, expected) in enumerate(zip(found, hashes, strict=True)):
            if leaf_hash(entry) != expected:
                self._blame(tile, at, leaf_hash(entry), edge)
                raise _Found(
                    TileFault(bundle.path, tile.first + at, _position(entry), "the entry is not the signed one")
                )
            self._check_leaf(bundle, at, entry)
        self.tiles += 1

    def _check_leaf(self, bundle: Tile, at: int, entry: bytes) -> None:
        """What the log has signed must make sense, too."""
        try:
            leaf = Leaf.parse(entry)
        except ProofInvalid as error:
            raise _Found(TileFault(bundle.path, bundle.first + at, "", error.message)) from error
        last, self._last = self._last, leaf
        if (leaf.position.stream_partition, leaf.log_id) != (self._partition, self._log_id):
            cause = "the entry is of another log"
        elif last is not None and leaf.position.offset <= last.position.offset:
            cause = "the entry does not come after the one before it"
        elif last is not None and leaf.accepted_at_ms < last.accepted_at_ms:
            cause = "the entry was accepted before the one before it"
        else:
            return
        raise _Found(TileFault(bundle.path, bundle.first + at, str(leaf.position), cause))


class _Found(Exception):
    """Ends the check with its fault."""

    def __init__(self, fault: TileFault) -> None:
        super().__init__(fault.cause)
        self.fault = fault


def _position(entry: bytes) -> str:
    """Where a wrong entry says that it is, if it says so."""
    try:
        return str(Leaf.parse(entry).position)
    except ProofInvalid:
        return ""
