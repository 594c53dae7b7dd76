"""Files of the authority: written whole or not at all, and private where they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import SetupInvalid
from broker.files import PRIVATE_FILE, PUBLIC_FILE, replace_file

if TYPE_CHECKING:
    from pathlib import Path

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
        replace_file(path, data, mode)
    except OSError as error:
        message = f"{path.name} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error
