"""``case-exchange serve``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from broker import telemetry
from broker.bootstrap.loop import loop_factory
from broker.bootstrap.serving import serve as run_broker
from broker.config.broker import BrokerConfig
from broker.config.loader import config_path, load


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file. You can set CASE_EXCHANGE_CONFIG instead.",
)
@click.option("--clock-checked", is_flag=True, help="You have checked this machine's clock: the log is just old.")
def serve(path: Path | None, *, clock_checked: bool) -> None:
    """Run a broker until SIGTERM. Then it ends within server.drain_seconds and 20 seconds more, in whatever state.

    Its log is the embedded one or Kafka ([log] backend). When the broker is ready, it prints one line with its address.
    It logs JSON lines on standard error.

    Exit codes: 0 stopped normally, 1 the log failed, 2 the configuration or a file in it cannot be used, 130 Ctrl-C.

    Example:  case-exchange serve --config deploy/broker.toml
    """
    config = load(BrokerConfig, config_path(path))
    telemetry.configure(config.logging.level)
    host = config.server.address.rpartition(":")[0]
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        code = runner.run(
            run_broker(config, lambda port: click.echo(f"serving on {host}:{port}"), clock_checked=clock_checked)
        )
    sys.exit(code)
