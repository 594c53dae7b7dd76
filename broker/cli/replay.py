"""``case-exchange replay``."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.bootstrap.edge import connect
from broker.cli.bundlefile import refuse_existing, write_bundle
from broker.cli.options import profile_option
from broker.client.auditor import Auditor
from broker.config.edge import load_edge
from broker.core.streams import STREAMS
from broker.extras import needed
from broker.services.replay import ReplayRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.config.edge import EdgeConfig
    from broker.core.bundle import SerializedFrame

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


@click.command()
@profile_option
@click.option("--purpose", required=True, help="Why you read the log. It is written to the audit stream.")
@click.option(
    "--from-kafka",
    is_flag=True,
    help="Read the message log directly, with the profile's [kafka] section. No broker takes part.",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The bundle file to write.")
@click.option(
    "--stream", "streams", multiple=True, type=click.Choice(STREAMS), help="May be repeated. Without it: all allowed."
)
@click.option("--from", "begin", type=_TIME, help="Records accepted at or after this time (UTC).")
@click.option("--until", type=_TIME, help="Records accepted before this time (UTC).")
def replay(
    profile: Path,
    *,
    purpose: str,
    from_kafka: bool,
    out: Path,
    streams: tuple[str, ...],
    begin: datetime | None,
    until: datetime | None,
) -> None:
    """Copy the log into one bundle file. Check the bundle offline with `case-exchange verify`.

    The broker records in the audit stream who replayed what, and why. With --from-kafka no broker takes part: only
    Kafka's own logs show the reading, and the bundle has no signature of a broker. `verify` reports this.

    Exit codes: 0 the bundle is complete, 1 refused or interrupted (no file is left), 2 wrong settings.

    Example:  case-exchange replay --profile auditor.toml --purpose 'audit 2026-Q3' --out 2026-q3.bundle
    """
    if begin is not None and until is not None and begin >= until:
        message = "--from is not before --until, so no record can be in between"
        raise click.UsageError(message)
    config = load_edge(profile)
    refuse_existing(out)
    request = ReplayRequest(purpose, streams, _ms(begin), _ms(until))
    frames = _read_kafka(config, request) if from_kafka else _ask_broker(config, request)
    records = asyncio.run(write_bundle(frames, out))
    click.echo(f"{out}: {records} records; next: case-exchange verify {out} --root governance.pem")


def _read_kafka(config: EdgeConfig, request: ReplayRequest) -> AsyncIterator[SerializedFrame]:
    with needed():
        from broker.bootstrap.directreplay import replay_from_kafka  # noqa: PLC0415 - only who reads Kafka needs it
    return replay_from_kafka(config, request)


async def _ask_broker(config: EdgeConfig, request: ReplayRequest) -> AsyncIterator[SerializedFrame]:
    async with connect(config) as channel:
        async for frame in Auditor(channel).replay(
            request.purpose,
            streams=request.streams,
            accepted_from_ms=request.accepted_from_ms,
            accepted_until_ms=request.accepted_until_ms,
        ):
            yield frame


def _ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.replace(tzinfo=UTC).timestamp() * 1000)
