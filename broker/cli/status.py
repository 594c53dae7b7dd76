"""``case-exchange status``."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from broker.bootstrap.edge import connect
from broker.cli.main import REFUSED
from broker.cli.options import json_option, profile_option
from broker.client.auditor import Auditor
from broker.client.deadletters import DeadLettersClient
from broker.client.directories import directories_in_force
from broker.client.operator import is_serving
from broker.client.trace import TraceClient
from broker.config.edge import load_edge
from broker.core.checkpoint import Checkpoint, parse_note
from broker.core.errors import PositionUnknown
from broker.core.streams import STREAMS, StreamPartition
from broker.trust.directory import open_directory
from broker.trust.governance import Governance
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

    from broker.config.edge import EdgeConfig


@click.command()
@profile_option
@json_option
def status(profile: Path, *, as_json: bool) -> None:
    """Show whether the broker accepts records.

    It also shows the directory version, dead letters, refusals, and the newest checkpoints. Dead letters are those of
    the agency's subscriptions. Below them stand refusals and dead letters of the records that it published. An
    auditor gets those of every agency.

    Exit codes: 0 it accepts records, 1 it does not accept records or did not answer, 2 wrong settings.

    Example:  case-exchange status --profile shanxi.toml
    """
    config = load_edge(profile)
    facts = asyncio.run(_status(config))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(f"broker {config.broker.address}: {'accepts records' if facts['serving'] else 'NOT SERVING'}")
        soon = " (EXPIRES SOON)" if facts["directory_expires_soon"] else ""
        until = f"{facts['directory_expires_at']}{soon}"
        click.echo(f"directory: version {facts['directory_version']}, in force until {until}")
        letters = facts["dead_letters"]
        more = f", {letters['parked']} records parked behind them, the oldest since {letters['oldest']}"
        since = f"{more}: case-exchange deadletter list" if letters["count"] else ""
        click.echo(f"dead letters: {letters['count']}{since}")
        told = facts["unprocessed"]
        since = f" since {told['refused_since']}: case-exchange trace --unprocessed" if told["refused"] else ""
        click.echo(f"of what was published: {told['dead_letters']} dead letters, {told['refused']} refused{since}")
        for name, size in facts["checkpoints"].items():
            click.echo(f"  {name:12} {size} records under a signed checkpoint")
    sys.exit(0 if facts["serving"] else REFUSED)


async def _status(config: EdgeConfig) -> dict[str, Any]:
    governance = Governance.load(config.trust.governance_key)
    async with connect(config) as channel:
        serving = await is_serving(channel)
        documents = await directories_in_force(channel)
        directory = open_directory(documents[0] if documents else b"", governance)
        letters = await DeadLettersClient(channel).count()
        unprocessed = await TraceClient(channel).count_unprocessed()
        return {
            "serving": serving,
            "directory_version": directory.version,
            "directory_expires_at": _time(directory.expires_at_ms),
            "directory_expires_soon": directory.expires_soon(SystemClock().now_ms()),
            "dead_letters": {
                "count": letters.dead_letters,
                "parked": letters.parked,
                "oldest": None if letters.oldest_ms is None else _time(letters.oldest_ms),
            },
            "unprocessed": {
                "refused": unprocessed.refused,
                "refused_since": None if unprocessed.refused_since_ms is None else _time(unprocessed.refused_since_ms),
                "dead_letters": unprocessed.dead_letters,
            },
            "checkpoints": await _sizes(channel),
        }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


async def _sizes(channel: grpc.aio.Channel) -> dict[str, int]:
    """The size in each partition's newest checkpoint. Only an audit can check whether it is true."""
    auditor, sizes = Auditor(channel), {}
    for stream in STREAMS:
        number = 0
        while True:
            partition = StreamPartition(stream, number)
            try:
                note = await auditor.checkpoint(partition)
            except PositionUnknown:
                break
            sizes[str(partition)] = Checkpoint.parse(parse_note(note).text).size
            number += 1
    return sizes
