"""``case-exchange open``: read one file that is sealed to the agency."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from adapters.base import Limits
from adapters.ownfiles import OwnFiles
from adapters.terminal import FILE
from broker.core.errors import InputRefused
from broker.files import make_file


@click.command("open")
@click.argument("file", type=FILE)
@click.option(
    "--identities",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Your key folder, with the age identities.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, for you alone. Without it: to standard output.",
)
def open_file(file: Path, *, identities: Path, out: Path | None) -> None:
    """Open a sealed file (.age) of your folders.

    Any other program for age does the same: `age -d -i FILE.identity FILE.age`. Files are opened in memory, so of at
    most 64 MiB; for a larger one use such a program.

    Exit codes: 0 opened, 1 it cannot be opened, 2 wrong usage, or no identity.

    Example:  case-exchange open gateway/outbox/Tip-….json.age --identities keys
    """
    try:
        with file.open("rb") as sealed:
            content = OwnFiles(identities).opened(sealed, Limits().bytes)
        if out is not None:
            make_file(out, content)
    except OSError as error:
        message = f"{error.filename or file} cannot be used: {error.strerror}"
        raise InputRefused(message) from error
    if out is None:
        sys.stdout.buffer.write(content)
