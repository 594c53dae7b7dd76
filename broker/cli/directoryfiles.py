"""Read a directory from a file: a document that governance signed, or a payload that is to be signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from broker.core.errors import DirectoryInvalid, SetupInvalid
from broker.files import PUBLIC_FILE, read_file, replace_file
from broker.trust.directory import MAX_DIRECTORY_BYTES, open_directory, unverified_payload
from broker.trust.directory_payload import parse_payload
from broker.trust.governance import Governance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.policy import Directory


def read_bytes(path: Path) -> bytes:
    """The bytes of a directory's file.

    Raises:
        DirectoryInvalid: it cannot be read.
    """
    try:
        return read_file(path, MAX_DIRECTORY_BYTES)
    except OSError as error:
        message = f"{path.name} cannot be read: {error.strerror}"
        raise DirectoryInvalid(message) from error


def write_file(path: Path, data: bytes) -> None:
    """Write a directory or a payload, durably.

    Raises:
        SetupInvalid: it cannot be written.
    """
    try:
        replace_file(path, data, PUBLIC_FILE)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error


def read_either(path: Path, roots: Sequence[Path]) -> Directory:
    """A signed document, verified with the pinned keys, or a payload.

    Raises:
        DirectoryInvalid: it is neither, or not signed by governance.
        click.UsageError: it is signed, and no key is pinned.
    """
    data = read_bytes(path)
    try:
        unverified_payload(data)
    except DirectoryInvalid:
        return parse_payload(data, document=b"")
    if not roots:
        message = f"{path.name} is signed: give the governance key that you pin with --root"
        raise click.UsageError(message)
    return open_directory(data, Governance.load(*roots))
