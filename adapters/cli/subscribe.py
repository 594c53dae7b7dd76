"""``case-exchange subscribe``: print the records of a subscription."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import click
from google.protobuf import json_format

from adapters.edge.edge import open_edge
from adapters.edge.ending import run_until_asked
from adapters.edge.profile import load_profile
from adapters.edge.receiving import contained
from adapters.records.sections import join
from adapters.terminal import profile_option
from broker import telemetry
from broker.client.subscriber import SubscribeOptions
from broker.core.errors import CaseExchangeError, Unavailable
from broker.core.streams import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.edge.edge import Edge
    from adapters.edge.profile import GatewayProfile
    from broker.client.subscriber import Delivered


@click.command()
@profile_option
@click.option(
    "--kind", "kinds", multiple=True, required=True, type=click.Choice(sorted(KINDS)), help="May be repeated."
)
@click.option("--name", default="terminal", show_default=True, help="The name of the durable subscription.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many records. Without it: run until Ctrl-C.")
@click.option("--idle", type=click.FloatRange(0.1), help="Stop after this many seconds without a record.")
def subscribe(profile_path: Path, *, kinds: tuple[str, ...], name: str, count: int | None, idle: float | None) -> None:
    """Verify records, print each as one JSON line, then acknowledge it.

    Exit codes: 0 done, 1 refused, or a record did not verify, 2 wrong settings.

    Example:  case-exchange subscribe --profile lab.toml --kind SampleRequest --count 1
    """
    profile, _ = load_profile(profile_path)
    telemetry.configure("error")
    options = SubscribeOptions(name, frozenset(kinds), max_outstanding_records=count or 100)
    good = run_until_asked(lambda: _print_all(profile, options, count, idle), profile.gateway.drain_seconds)
    sys.exit(0 if good else 1)


async def _print_all(profile: GatewayProfile, options: SubscribeOptions, count: int | None, idle: float | None) -> bool:
    good, printed = True, 0
    async with open_edge(profile) as edge, edge.subscriber.subscribe(options) as stream:
        batches = aiter(stream)
        while count is None or printed < count:
            try:
                async with asyncio.timeout(idle):
                    batch = await anext(batches)
            except TimeoutError:
                return good
            for delivered in batch[: None if count is None else count - printed]:
                facts, verified = await _facts(edge, delivered)
                click.echo(json.dumps(facts, ensure_ascii=False))
                good, printed = good and verified, printed + 1
                await stream.ack([delivered.delivery_id])
    return good


async def _facts(edge: Edge, delivered: Delivered) -> tuple[dict[str, Any], bool]:
    where = {"position": str(delivered.position), "attempt": delivered.attempt}
    try:
        with contained():
            verified = await edge.verify(delivered)
            record = json_format.MessageToDict(join(verified.body.kind, verified.sections))
    except Unavailable:
        # The record is not at fault. It is not acknowledged, so it comes again.
        raise
    except CaseExchangeError as error:
        return {**where, "refused": error.reason, "message": error.message}, False
    return {
        **where,
        "record_id": verified.body.record_id,
        "kind": verified.body.kind,
        "case_id": verified.body.case_id,
        "publisher": verified.body.publisher,
        "withheld_sections": list(verified.withheld_sections),
        "record": record,
    }, True
