"""A copy of what governance signed last, so that no restart goes back to an older version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.files import make_private, read_file, replace_file

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger("broker.trust")


class Kept:
    """The copy. Whoever can write to this file can only make the program forget: the reader checks signatures."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def read(self) -> bytes:
        """The copy, or nothing if there is none."""
        try:
            return read_file(self._path, self._max_bytes)
        except FileNotFoundError:
            return b""
        except OSError as error:
            _log.error("the copy of what was in force cannot be read", file=self._path.name, cause=error.strerror)
            return b""

    def write(self, data: bytes) -> None:
        """Replace the copy. If it cannot be written, this is logged: the program must use what governance signed."""
        try:
            make_private(self._path.parent)
            replace_file(self._path, data)
        except OSError as error:
            _log.error("the copy of what is in force cannot be written", file=self._path.name, cause=error.strerror)
