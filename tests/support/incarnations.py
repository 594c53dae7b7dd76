"""The operator prepares the declaration of a new incarnation, and governance signs it, with the product's commands."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from broker.cli.directory import directory
from broker.cli.incarnation import incarnation
from tests.support.process import write_toml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import click

    from tests.support.pki import SamplePki


async def invoked(command: click.Command, *arguments: object, code: int = 0) -> str:
    """What a command prints. In a thread, because it may have an event loop of its own."""
    done = await asyncio.to_thread(CliRunner().invoke, command, [str(each) for each in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


async def prepared(folder: Path, tables: dict[str, Any], seen: Sequence[Path] = (), *more: str) -> Path:
    """The file that the operator sends to governance."""
    out = folder / "incarnations.json"
    brought = [option for path in seen for option in ("--seen", path)]
    config = write_toml(folder / "operator.toml", tables)
    await invoked(incarnation, "--config", config, "--reason", "a disk was lost", "--out", out, *brought, *more)
    return out


async def signed(pki: SamplePki, folder: Path, declarations: Path) -> None:
    """Governance signs the next version of the directory, with the declarations, and publishes it."""
    root, document = pki.folder.trust / "governance.pem", pki.folder.directory
    payload = json.loads(await invoked(directory, "show", document, "--root", root, "--json"))
    path = folder / "payload.json"
    path.write_text(json.dumps({**payload, "version": payload["version"] + 1}), encoding="utf-8")
    key = pki.folder.governance_key
    await invoked(directory, "sign", path, "--key", key, "--out", document, "--incarnations", declarations)


async def declare(
    pki: SamplePki, folder: Path, tables: dict[str, Any], *notes: bytes, more: Sequence[str] = ()
) -> None:
    """Operator and governance declare the incarnation that goes on from a log, as these notes show what it lost."""
    seen = await asyncio.to_thread(_written, folder / "seen", notes)
    await signed(pki, folder, await prepared(folder, tables, [seen] if notes else [], *more))


def _written(folder: Path, notes: Sequence[bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, note in enumerate(notes):
        (folder / f"{number}.checkpoint").write_bytes(note)
    return folder
