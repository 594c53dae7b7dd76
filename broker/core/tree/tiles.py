"""Tiles: how C2SP tlog-tiles cuts a tree, and the entries under it, into files that never change.

A tile holds up to 256 hashes of one level of the tree, 32 bytes each. Tile level ``L`` has the nodes of tree level
``8 * L``. The levels between them are computed from the tile below. An entry bundle has the entries under a tile of
level 0. A partial tile is the beginning of a full one, and so is a partial bundle.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import PositionUnknown, ProofInvalid
from broker.core.tree.compactrange import HASH_BYTES, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
CHECKPOINT: Final = "checkpoint"
"""The path of the checkpoint, below the log's prefix."""
ENTRIES: Final = -1
"""Stands for a level: that of the entry bundles, under the leaves."""
MAX_ENTRY_BYTES: Final = 65_535
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)

_ENTRIES_PART: Final = "entries"
_PATH: Final = re.compile(
    r"tile/(?P<level>0|[1-9][0-9]?|entries)/(?P<number>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)
_MAX_NUMBER: Final = (1 << 63) // TILE_WIDTH
_LENGTH_BYTES: Final = 2


class Tile(NamedTuple):
    """The name of a tile or of an entry bundle.

    Attributes:
        level: its tile level, 0 for the leaves, or ``ENTRIES``.
        number: its place among those of its level.
        width: how many hashes or entries it has: 1 to 256. Fewer than 256: a partial one.
    """

    level: int
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's prefix (tlog-tiles, "Merkle Tree" and "Log entries")."""
        level = _ENTRIES_PART if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{number_path(self.number)}{partial}"

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Read a path. Only the exact texts that ``path`` gives are accepted.

        Raises:
            PositionUnknown: no tile has this path.
        """
        match = _PATH.fullmatch(path)
        if match is not None:
            level = ENTRIES if match["level"] == _ENTRIES_PART else int(match["level"])
            number = int(match["number"].replace("x", "").replace("/", ""))
            width = TILE_WIDTH if match["width"] is None else int(match["width"])
            tile = cls(level, number, width)
            if number < _MAX_NUMBER and tile.path == path:
                return tile
        message = "there is no tile of this name"
        raise PositionUnknown(message)

    @property
    def first(self) -> int:
        """The index of its first hash on its level, or of its first entry."""
        return self.number * TILE_WIDTH

    @property
    def end(self) -> int:
        """One more than the index of its last one."""
        return self.first + self.width


def number_path(number: int) -> str:
    """A number in elements of three digits: all but the last begin with an x."""
    digits = str(number)
    digits = digits.zfill((len(digits) + 2) // 3 * 3)
    *above, last = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{part}" for part in above), last])


def edge_tiles(size: int) -> Iterator[Tile]:
    """The partial tiles of a tree: at most one for each level, from the leaves upward."""
    level = 0
    while size:
        size, width = divmod(size, TILE_WIDTH)
        if width:
            yield Tile(level, size, width)
        level += 1


def tile_hashes(tile: Tile, data: bytes) -> list[bytes]:
    """The hashes of a tile.

    Raises:
        ProofInvalid: it has another size than its name says.
    """
    if len(data) != tile.width * HASH_BYTES:
        message = f"the tile has {len(data)} bytes instead of {tile.width * HASH_BYTES}"
        raise ProofInvalid(message)
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def subtree_hash(row: Sequence[bytes]) -> bytes:
    """The hash over a complete subtree, from the hashes of one of its levels: a power of two of them."""
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def write_entries(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry after its length in two bytes, big endian. An entry has at most 65,535 bytes."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES) + entry for entry in entries)


def read_entries(tile: Tile, data: bytes) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        ProofInvalid: it does not have exactly as many entries as its name says.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < tile.width:
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(data[at:begin])
        entries.append(data[begin:at])
    if at != len(data) or len(entries) != tile.width:
        message = f"the entry bundle does not have exactly {tile.width} whole entries"
        raise ProofInvalid(message)
    return entries
