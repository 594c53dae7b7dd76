"""The tiles of a log, made from its entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.tree.merkle import CompactRange, leaf_hash
from broker.core.tree.tiles import ENTRIES, TILE_WIDTH, Tile, write_entries

if TYPE_CHECKING:
    from collections.abc import Sequence


def tiled(entries: Sequence[bytes]) -> tuple[dict[str, bytes], bytes]:
    """Its files by their paths, as tlog-tiles has them, and its root."""
    tree, levels = CompactRange(), dict[int, list[bytes]]()
    for entry in entries:
        levels.setdefault(0, []).append(leaf_hash(entry))
        for level, _, node in tree.append(leaf_hash(entry)):
            if level % 8 == 0:
                levels.setdefault(level // 8, []).append(node)
    files = {}
    for level, hashes in levels.items():
        for number in range(-(-len(hashes) // TILE_WIDTH)):
            row = hashes[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
            files[Tile(level, number, len(row)).path] = b"".join(row)
    for number in range(-(-len(entries) // TILE_WIDTH)):
        bundle = entries[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
        files[Tile(ENTRIES, number, len(bundle)).path] = write_entries(bundle)
    return files, tree.root()
