"""``case-exchange subscribe``: print the records of a subscription."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from typing import TYPE_CHECKING, Any

import click
from google.protobuf import json_format

from adapters.edge.edge import open_edge
from adapters.edge.ending import run_until_asked
from adapters.edge.profile import load_profile
from adapters.edge.receiving import Receiver, finish
from adapters.folders import make
from adapters.terminal import profile_option
from broker import telemetry
from broker.client.subscriber import SubscribeOptions
from broker.core.errors import InputRefused
from broker.core.streams import KINDS
from broker.core.strict import unknown
from broker.core.subscriptions import StartPoint

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.edge.opening import Opened
    from adapters.edge.profile import GatewayProfile
    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.core.streams import Position


class _Kind(click.Choice[str]):
    """A kind of record. A misspelt one is named with the right one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """See ``click.Choice``."""
        del ctx
        return f"there is no kind of record {unknown(str(value), self.choices)}"


@click.command()
@profile_option
@click.option("--kind", "kinds", multiple=True, required=True, type=_Kind(sorted(KINDS)), help="May be repeated.")
@click.option("--name", default="terminal", show_default=True, help="The name of the durable subscription.")
@click.option(
    "--start",
    callback=lambda _, option, text: _start(option, text),
    default="earliest",
    show_default=True,
    help="Where a new subscription or a new kind begins: earliest, latest, or a time.",
)
@click.option("--count", type=click.IntRange(1), help="Stop after this many records. Without it: run until Ctrl-C.")
@click.option("--idle", type=click.FloatRange(0.1), help="Stop after this many seconds without a record.")
def subscribe(
    profile_path: Path, *, kinds: tuple[str, ...], name: str, start: StartPoint, count: int | None, idle: float | None
) -> None:
    """Print verified records, one JSON line each.

    Each is acknowledged after it was printed.

    A record that can never be used is kept in the gateway's quarantine/, then refused. While a fault of this side lasts
    (its disk, its spool, its files of trust), the record comes again.

    Exit codes: 0 done, 1 refused, or a record was refused or still waits, 2 wrong settings.

    Example:  case-exchange subscribe --profile lab.toml --kind SampleRequest --count 1
    """
    profile, _ = load_profile(profile_path)
    telemetry.configure("error")
    options = SubscribeOptions(name, frozenset(kinds), max_outstanding_records=count or 100, start=start)
    good = run_until_asked(lambda: _print_all(profile, options, count, idle), profile.gateway.drain_seconds)
    sys.exit(0 if good else 1)


def _start(option: click.Parameter, text: str) -> StartPoint:
    try:
        return StartPoint.parse(text)
    except InputRefused as error:
        raise click.BadParameter(error.message, param=option) from error


async def _print_all(profile: GatewayProfile, options: SubscribeOptions, count: int | None, idle: float | None) -> bool:
    now, done = asyncio.get_running_loop().time, 0
    waiting: set[Position] = set()
    quarantine = profile.folder / "quarantine"
    async with open_edge(profile) as edge, edge.subscriber.subscribe(options) as stream:
        make(quarantine)
        receiver = Receiver(edge, quarantine, profile.gateway.retry_seconds)
        batches, last = aiter(stream), now()
        while count is None or done < count:
            try:
                # A record that waits comes again and again. That is no news.
                async with asyncio.timeout_at(None if idle is None else last + idle):
                    batch = await anext(batches)
            except TimeoutError:
                break
            for delivered in batch:
                if done == count:
                    break
                if await _finished(receiver, stream, delivered):
                    done, last = done + 1, now()
                    waiting.discard(delivered.position)
                else:
                    waiting.add(delivered.position)
    return not receiver.refused and not waiting


async def _finished(receiver: Receiver, stream: SubscriptionStream, delivered: Delivered) -> bool:
    """Whether a delivery was printed or refused. If not, it was given back."""
    refused = receiver.refused
    facts = await receiver.take(stream, delivered, functools.partial(_facts, delivered))
    if facts is None:
        return receiver.refused > refused
    click.echo(json.dumps(facts, ensure_ascii=False))
    await finish(delivered, stream.ack([delivered.delivery_id]))
    return True


async def _facts(delivered: Delivered, opened: Opened) -> dict[str, Any]:
    body = opened.verified.body
    return {
        "position": str(delivered.position),
        "attempt": delivered.attempt,
        "record_id": body.record_id,
        "supplements": "" if body.supplements is None else body.original_id,
        "kind": body.kind,
        "case_id": body.case_id,
        "publisher": body.publisher,
        "not_obeyed": opened.not_obeyed,
        "withheld_sections": list(opened.verified.withheld_sections),
        "erased_sections": list(opened.verified.erased_sections),
        "record": json_format.MessageToDict(opened.record),
    }
