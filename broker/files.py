"""Files that may be replaced while a process runs, and how to replace one."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644
PRIVATE_FOLDER: Final = 0o700


class FileState(NamedTuple):
    """The state of a file. It changes when the file is replaced or rewritten."""

    mtime_ns: int
    inode: int
    size: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of the file now. Take it before reading. Then a change during the read is noticed the next time."""
        status = path.stat()
        return cls(status.st_mtime_ns, status.st_ino, status.st_size)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a file of at most ``max_bytes``.

    Raises:
        OSError: it cannot be read; EFBIG if it is larger.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data


def replace_file(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Replace a file atomically and durably. Readers see the old bytes or the new ones, also after a power cut.

    Raises:
        OSError: it cannot be written. The old file stays.
    """
    # mkstemp makes the file with mode 0600, so a private file is never open to others.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_private(folder: Path) -> None:
    """Make a folder, and each folder above it that does not exist. Only their owner can open them.

    Raises:
        OSError
    """
    # mkdir gives its mode only to the last folder.
    for missing in (*reversed(folder.parents), folder):
        if not missing.exists():
            missing.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
