"""A folder with the tiles of logs: the paths of tlog-tiles as files. Any program for such logs can read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import PositionUnknown, RightDenied
from broker.core.tree.checkpoint import MAX_NOTE_BYTES
from broker.core.tree.tiles import CHECKPOINT, ENTRIES, MAX_BUNDLE_BYTES
from broker.files import make_private, read_file, replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.tree.tiles import Tile
    from broker.ports import TileSource


class FolderTiles:
    """One log in a folder (the port TileSource). Raises OSError if a file cannot be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def checkpoint(self) -> bytes:
        """See ``TileSource``."""
        return self._read(CHECKPOINT, MAX_NOTE_BYTES)

    async def tile(self, tile: Tile) -> bytes:
        """See ``TileSource``."""
        if tile.level == ENTRIES and not (self._folder / "tile" / "entries").is_dir():
            message = "the folder has no entry bundles"
            raise RightDenied(message)
        return self._read(tile.path, MAX_BUNDLE_BYTES)

    def _read(self, path: str, max_bytes: int) -> bytes:
        try:
            return read_file(self._folder / path, max_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            message = f"there is no {path}"
            raise PositionUnknown(message) from None


class MirroredTiles:
    """Another source of which everything that is read is also written into a folder (the port TileSource).

    ``finish`` writes the checkpoint at last. So a folder with a checkpoint has every tile that was read for it.
    """

    def __init__(self, source: TileSource, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._note = b""

    async def checkpoint(self) -> bytes:
        """See ``TileSource``."""
        self._note = await self._source.checkpoint()
        return self._note

    async def tile(self, tile: Tile) -> bytes:
        """See ``TileSource``."""
        data = await self._source.tile(tile)
        path = self._folder / tile.path
        make_private(path.parent)
        path.write_bytes(data)
        return data

    def finish(self) -> None:
        """Write the checkpoint, if there was one."""
        if self._note:
            make_private(self._folder)
            replace_file(self._folder / CHECKPOINT, self._note)


def logs_in(folder: Path) -> dict[str, Path]:
    """The logs in a folder, by their paths below it. Empty path: the folder itself is a log."""
    if (folder / CHECKPOINT).is_file():
        return {"": folder}
    found = sorted(path.parent for path in folder.glob(f"*/*/*/{CHECKPOINT}"))
    return {path.relative_to(folder).as_posix(): path for path in found}
