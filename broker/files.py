"""Files that may be replaced while a process runs, and how to replace one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644
PRIVATE_FOLDER: Final = 0o700
_CHUNK_BYTES: Final = 1024 * 1024
_RETRY_SECONDS: Final = 0.02


class FileState(NamedTuple):
    """The state of a file. It changes when the file is replaced or rewritten."""

    mtime_ns: int
    inode: int
    size: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of the file now. Take it before reading. Then a change during the read is noticed the next time."""
        status = path.stat()
        # Who writes to a file can set the time of the change, but not the one at which its inode changed.
        return cls(status.st_mtime_ns, status.st_ino, status.st_size, status.st_ctime_ns)


class HashedReader:
    """Reads a file from its beginning, and hashes what it reads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0
        """So many bytes were read."""

    def read(self, size: int) -> bytes:
        """As in BinaryIO."""
        data = self._file.read(size)
        self._sha256.update(data)
        self.size += len(data)
        return data

    def finish(self) -> str:
        """Read what is left of the file. Return the SHA-256 of the whole file, in hexadecimal."""
        while self.read(_CHUNK_BYTES):
            pass
        return self._sha256.hexdigest()


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


def replace_file(path: Path, data: bytes | Callable[[BinaryIO], object], mode: int = PRIVATE_FILE) -> None:
    """Replace a file atomically and durably. Readers see the old bytes or the new ones, also after a power cut.

    ``data`` may be a function that writes them, for what is too large for the memory. What it raises ends the attempt.

    Raises:
        OSError: it cannot be written. The old file stays.
    """
    temporary = _written(path, data, mode)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _written(path: Path, data: bytes | Callable[[BinaryIO], object], mode: int) -> Path:
    """Write a temporary file beside ``path``, durably."""
    # mkstemp makes the file with mode 0600, so a private file is never open to others.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                data(file)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def make_file(path: Path, data: bytes) -> None:
    """Make a private file of these bytes, durably. Nobody ever sees a part of it.

    Raises:
        FileExistsError: there is something of this name already. It stays as it is.
        OSError: it cannot be written.
    """
    temporary = _written(path, data, PRIVATE_FILE)
    try:
        # Unlike a rename, a link never takes the place of another file.
        os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def destroy_file(path: Path) -> None:
    """Overwrite and remove a file, durably. The disk may keep the old bytes elsewhere (flash memory, snapshots).

    Raises:
        OSError: the file is still there, or it is not certain that it is gone.
    """
    with path.open("r+b") as file:
        file.write(bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
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


@contextlib.contextmanager
def exclusive(folder: Path, wait_seconds: float | None = None) -> Iterator[None]:
    """Be the only one that changes a folder, among those that ask so. The end of the process gives it up.

    Args:
        folder: it exists. Nothing is written for this.
        wait_seconds: how long to wait for another. None: until it is done.

    Raises:
        OSError: it cannot be opened; EWOULDBLOCK if another did not end in time.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if wait_seconds is None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        else:
            _lock_within(descriptor, wait_seconds)
        yield
    finally:
        os.close(descriptor)


def _lock_within(descriptor: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return
