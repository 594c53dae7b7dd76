"""A reserve of disk: what is left of it when there is little is for the audit stream, and not for more records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from broker.core.errors import LogFull, LogUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.errors import CaseExchangeError


class DiskReserve:
    """So many bytes of the disk of a folder are kept free. For one thread."""

    def __init__(self, folder: Path, reserve_bytes: int) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._room: int | None = None

    def look_again(self) -> None:
        """Read anew how much is free, when the next one asks."""
        self._room = None

    def take(self, size: int) -> CaseExchangeError | None:
        """Count bytes that are about to be written. Return why they may not be: the reserve would not stay free."""
        if self._room is None:
            try:
                disk = os.statvfs(self._folder)
            except OSError:
                return LogUnavailable("the free disk space of the message log's folder cannot be read")
            self._room = disk.f_bavail * disk.f_frsize - self._reserve_bytes
        if size > self._room:
            message = f"the last {self._reserve_bytes} bytes of the message log's disk are for the audit stream"
            return LogFull(message)
        self._room -= size
        return None
