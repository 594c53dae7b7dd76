"""``case-exchange incarnation``: prepare the declaration of a log that was restored or made anew."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click

from broker.bootstrap.declaring import prepare_declarations
from broker.cli.main import REFUSED
from broker.config.broker import BrokerConfig
from broker.config.loader import config_path, load
from broker.core.errors import SetupInvalid
from broker.files import PUBLIC_FILE, replace_file
from broker.trust.directory_incarnations import INCARNATIONS, incarnation_fields


@click.command()
@click.option("--config", "path", type=click.Path(dir_okay=False, path_type=Path), help="The broker's configuration.")
@click.option("--reason", required=True, help="What happened, for governance and auditors.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option(
    "--seen",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A checkpoint that an agency saw, or a folder of them (`receipts checkpoints`). May be repeated.",
)
@click.option("--restored", is_flag=True, help="The log is an old copy, also if nothing is known to be missing in it.")
def incarnation(path: Path | None, *, reason: str, out: Path, seen: tuple[Path, ...], restored: bool) -> None:
    """Prepare the declaration of a new log.

    Use it after the log was restored from an old copy (LOG_ROLLED_BACK), or after a Kafka topic was made anew. Stop the
    broker first. Then send the file to governance, which signs it with `directory sign --incarnations`. Start the
    broker with the new directory. It goes on as a new log, and agencies publish again what is lost.

    Exit codes: 0 written, 1 nothing is missing, or the log cannot be read, 2 wrong settings.

    Example:  case-exchange incarnation --config broker.toml --reason "disk lost" --out incarnations.json
    """
    declared = asyncio.run(prepare_declarations(load(BrokerConfig, config_path(path)), seen, reason, restored=restored))
    if not declared:
        click.echo("nothing that the exchange signed is missing in the log: there is nothing to declare", err=True)
        sys.exit(REFUSED)
    text = json.dumps({INCARNATIONS: [incarnation_fields(each) for each in declared]}, indent=1, ensure_ascii=False)
    try:
        replace_file(out, text.encode() + b"\n", PUBLIC_FILE)
    except OSError as error:
        message = f"{out.name} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error
    for each in declared:
        last = each.last.checkpoint.size
        click.echo(f"{each.partition}: {each.survives} of {last} records survive, {last - each.survives} are missing")
    click.echo(f"{out}: written; next, governance: case-exchange directory sign PAYLOAD --incarnations {out}")
