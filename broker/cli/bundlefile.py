"""Write a bundle from the frames of a broker or of the message log: whole, or not at all."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from broker.core.errors import BundleInvalid, SetupInvalid
from broker.files import sync_folder
from broker.wire.bundle import MAGIC, write_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.bundle import SerializedFrame


def refuse_existing(out: Path) -> None:
    """Refuse to write where something is.

    Raises:
        SetupInvalid
    """
    if out.exists():
        message = f"{out} exists already; a bundle is evidence and is never overwritten"
        raise SetupInvalid(message)


async def write_bundle(frames: AsyncIterator[SerializedFrame], out: Path) -> int:
    """Write a bundle whole, or leave nothing. Return how many records it has.

    Raises:
        BundleInvalid: the frames broke off.
        SetupInvalid: the file cannot be written.
    """
    partial = out.with_name(f".{out.name}.part")
    records, complete = 0, False
    try:
        with partial.open("xb") as file:
            file.write(MAGIC)
            async for frame in frames:
                write_frame(file, frame.data)
                records += frame.records
                complete = frame.last
                _show(records)
            file.flush()
            os.fsync(file.fileno())
        if sys.stderr.isatty():
            click.echo(err=True)
        if not complete:
            message = "the replay broke off before its last frame"
            raise BundleInvalid(message)
        partial.rename(out)
        sync_folder(out.parent)
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error
    finally:
        partial.unlink(missing_ok=True)
    return records


def _show(records: int) -> None:
    """Show progress, if standard error is a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\rreplaying: {records} records", nl=False, err=True)
