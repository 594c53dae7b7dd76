"""Files that may be replaced while a process runs."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class FileState(NamedTuple):
    """What tells a replaced or rewritten file from the one that was read."""

    mtime_ns: int
    inode: int
    size: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of the file now. Take it before reading: a change in between is then seen the next time."""
        status = path.stat()
        return cls(status.st_mtime_ns, status.st_ino, status.st_size)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a file, but no more than ``max_bytes``.

    Raises:
        OSError: it cannot be read; EFBIG where it is larger.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data
