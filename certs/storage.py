"""Writes the authority's files: whole or not at all, and private if they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import SetupInvalid
from broker.files import PRIVATE_FILE, PUBLIC_FILE, replace_file

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_FOLDER: Final = 0o700


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read. See ``write_public``."""
    _write(path, data, PRIVATE_FILE)


def write_public(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably: readers see the old bytes or the new bytes, also after a power cut.

    Raises:
        SetupInvalid: it cannot be written.
    """
    _write(path, data, PUBLIC_FILE)


def make_folder(path: Path) -> Path:
    """Make a folder that only its owner can open, and the folders above it. An existing folder is not changed.

    Raises:
        SetupInvalid: it cannot be made.
    """
    try:
        for folder in (*reversed(path.parents), path):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    except OSError as error:
        message = f"the folder {path.name} cannot be made: {error.strerror}"
        raise SetupInvalid(message) from error
    return path


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        replace_file(path, data, mode)
    except OSError as error:
        message = f"{path.name} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error
