"""``case-exchange log-key``: what governance writes when a log key ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from broker.bootstrap.declaring import prepare_end
from broker.config.broker import BrokerConfig
from broker.config.loader import config_path, load
from broker.trust.directory_log_keys import ended_log_key_fields


@click.command(name="log-key")
@click.option("--config", "path", type=click.Path(dir_okay=False, path_type=Path), help="The broker's configuration.")
@click.option("--key", required=True, help="The verifier key that ended, as it stands in log_keys of the directory.")
@click.option(
    "--seen",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A checkpoint that somebody else saw, or a folder of them (*.checkpoint). May be given again.",
)
def log_key(path: Path | None, *, key: str, seen: tuple[Path, ...]) -> None:
    """Print where a log key ends.

    Stop the broker first. Use this when no broker signs with the key any more. Put what is printed into
    `ended_log_keys` of the directory. Nobody accepts what the key signs after this end.

    If the log went back, or a checkpoint of --seen is larger, nothing is printed: the end would hide the loss. Declare
    it first (`case-exchange incarnation`).

    Exit codes: 0 printed, 1 the log cannot be read, 2 wrong settings, or a key that the directory does not list.

    Example:  case-exchange log-key --config broker.toml --key "exchange.example/log+1a2b3c4d+AbCd..."
    """
    ended = asyncio.run(prepare_end(load(BrokerConfig, config_path(path)), key, seen))
    click.echo(json.dumps(ended_log_key_fields(ended), indent=1, ensure_ascii=False))
