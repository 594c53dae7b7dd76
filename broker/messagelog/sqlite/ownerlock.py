"""The lock of a database file: two processes on one embedded log would give out the same offsets."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from broker.core.errors import LogInUse, LogUnavailable
from broker.files import make_private

if TYPE_CHECKING:
    from pathlib import Path


def lock(path: Path) -> int:
    """Become the owner of a database file, and make its folder if it is missing. Returns a handle for ``unlock``.

    Raises:
        LogInUse: another process is its owner.
        LogUnavailable: the folder cannot be used.
    """
    try:
        make_private(path.parent)
        handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"the folder of the message log cannot be used: {error.strerror}"
        raise LogUnavailable(message, path=str(path.parent)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        message = "another process uses this message log"
        raise LogInUse(message, path=str(path)) from error
    return handle


def unlock(handle: int) -> None:
    """Stop being the owner. The end of the process does this too."""
    os.close(handle)
