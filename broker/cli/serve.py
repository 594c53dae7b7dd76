"""``case-exchange serve``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from broker import telemetry
from broker.bootstrap.broker import serve as run_broker
from broker.config.broker import BrokerConfig
from broker.config.loader import config_path, load


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file; or set CASE_EXCHANGE_CONFIG.",
)
def serve(path: Path | None) -> None:
    """Run a broker until SIGTERM, on the embedded log or on Kafka ([log] backend).

    Prints one line with its address once it answers; logs are JSON lines on standard error. Exit codes: 0 stopped in
    good order, 1 the log failed, 2 the configuration or a file that it names cannot be used.

    Example:  case-exchange serve --config deploy/broker.toml
    """
    config = load(BrokerConfig, config_path(path))
    telemetry.configure(config.logging.level)
    host = config.server.address.rpartition(":")[0]
    asyncio.run(run_broker(config, lambda port: click.echo(f"serving on {host}:{port}")))
