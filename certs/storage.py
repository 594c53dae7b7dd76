"""Files of the authority: written whole or not at all, and private where they must be."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from broker.core.errors import SetupInvalid

PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644
PRIVATE_FOLDER: Final = 0o700


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read; see ``write_public``."""
    _write(path, data, PRIVATE_FILE)


def write_public(path: Path, data: bytes) -> None:
    """Put a file in place atomically and durably: readers see the old bytes or the new, also after a power cut.

    Raises:
        SetupInvalid: it cannot be written.
    """
    _write(path, data, PUBLIC_FILE)


def make_folder(path: Path) -> Path:
    """Make a folder, and those above it, that only the owner can look into. One that exists is left as it is.

    Raises:
        SetupInvalid: it cannot be made.
    """
    try:
        for folder in (*reversed(path.parents), path):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    except OSError as error:
        message = f"{path.name} cannot be made a folder: {error.strerror}"
        raise SetupInvalid(message) from error
    return path


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        # mkstemp makes the file with mode 0600, so a private key is at no time open to others.
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
        _sync_folder(path.parent)
    except OSError as error:
        message = f"{path.name} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
