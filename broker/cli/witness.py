"""``case-exchange witness``."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from broker import telemetry
from broker.bootstrap.witness import load_cosigner, serve_witness
from broker.cli.interrupts import INTERRUPTED
from broker.config.loader import load
from broker.config.witness import WitnessConfig


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--new", is_flag=True, help="Start for the first time: make the file of what it has cosigned.")
@click.option("--show-key", is_flag=True, help="Print the public key for the directory, and end.")
def witness(config: Path, *, new: bool, show_key: bool) -> None:
    """Run a witness until SIGTERM. It cosigns the checkpoints of logs.

    A log cannot show two people two different histories if both trust this witness: it cosigns a checkpoint only
    if that continues the one before. Agencies and auditors run one each, on their own machines.

    It answers over HTTPS, as C2SP tlog-witness says. It writes down what it cosigns before it answers. Do not
    restore that file from a copy. If it is lost, make a new key with a new name, and ask governance to put it into
    the directory.

    When it is ready, it prints one line with its address. It logs JSON lines on standard error.

    Exit codes: 0 stopped normally, 1 the file of what it cosigned failed, 2 the configuration or a file in it cannot
    be used, 130 Ctrl-C.

    Example:  case-exchange witness witness.toml --new
    """
    settings = load(WitnessConfig, config)
    if show_key:
        click.echo(str(load_cosigner(settings).key))
        return
    telemetry.configure(settings.logging.level)
    host = settings.server.address.rpartition(":")[0]

    def ready(port: int) -> None:
        click.echo(f"serving on https://{host}:{port}")

    ended_by = asyncio.run(serve_witness(settings, ready, new=new))
    sys.exit(INTERRUPTED if ended_by == signal.SIGINT else 0)
