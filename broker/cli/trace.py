"""``case-exchange trace``: what became of records."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from broker.bootstrap.edge import connect
from broker.cli.options import json_option, profile_option
from broker.cli.recordtext import record_facts, record_lines, time_text
from broker.client.trace import Trace, TraceClient
from broker.config.edge import load_edge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.config.edge import EdgeConfig
    from broker.core.trace import TracedEvent, TracedRecord
    from broker.ports import UnprocessedRecord


@click.command()
@profile_option
@click.argument("record_id", default="")
@click.option("--case", "case_id", default="", help="All records of this case (its id on the exchange) instead.")
@click.option("--unprocessed", is_flag=True, help="List instead what was refused, or is a dead letter.")
@click.option("--to-the-end", is_flag=True, help="Go on whenever the broker stops at its limit. This may take long.")
@json_option
def trace(profile: Path, *, record_id: str, case_id: str, unprocessed: bool, to_the_end: bool, as_json: bool) -> None:
    """Show what became of a record.

    It says what its recipients did with it, or why it did not arrive. The publisher sees every recipient, a recipient
    only itself, an auditor everything. With --unprocessed, it lists refused
    records that the agency published or received, and dead letters of records that it published.

    Not recorded, so not shown: that a gateway gave a record back, or that its lease ended. The number of the next
    delivery shows it. Nor that a subscription was deleted.

    Exit codes: 0 done, 1 refused or not found, 2 wrong settings.

    Example:  case-exchange trace --profile shanxi.toml 01990000-0000-7000-8000-000000000001
    """
    if sum(map(bool, (record_id, case_id, unprocessed))) != 1:
        message = "give a record's id, or --case, or --unprocessed"
        raise click.UsageError(message)
    config = load_edge(profile)
    if unprocessed:
        _print_unprocessed(asyncio.run(_unprocessed(config)), as_json=as_json)
        return
    found = asyncio.run(_trace(config, record_id, case_id, to_the_end=to_the_end))
    if as_json:
        click.echo(json.dumps(_facts(found), indent=2))
    else:
        _print(found)


async def _unprocessed(config: EdgeConfig) -> list[UnprocessedRecord]:
    async with connect(config) as channel:
        return [record async for record in TraceClient(channel).unprocessed()]


async def _trace(config: EdgeConfig, record_id: str, case_id: str, *, to_the_end: bool) -> Trace:
    async with connect(config) as channel:
        client = TraceClient(channel)
        if record_id:
            return await client.of_record(record_id, to_the_end=to_the_end)
        return await client.of_case(case_id, to_the_end=to_the_end)


def _print_unprocessed(records: Sequence[UnprocessedRecord], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_unprocessed_facts(record) for record in records], indent=2))
        return
    for record in records:
        why = record.reason or record.code or f"{record.attempts} attempts"
        what = f"dead letter ({why})" if record.dead_letter else f"refused ({why})"
        click.echo(
            f"{record.record_id or 'the log has lost it'} {record.position}: {what} "
            f"by {record.subscription.agency}/{record.subscription.name}, {time_text(record.at_ms)}"
        )
    click.echo(f"{len(records)} not processed")


def _print(found: Trace) -> None:
    for record in found.records:
        for line in record_lines(record, _of(record, found), complete=found.complete):
            click.echo(line)
    if found.go_on_at:
        click.echo(f"This is not all: the broker read its audit stream up to {time_text(found.read_to_ms)}.")
        click.echo("With --to-the-end it goes on.")
    elif not found.complete:
        click.echo(
            "This is not all: a part of the log is damaged, or the case has too many records. Trace one by its id."
        )


def _facts(found: Trace) -> dict[str, Any]:
    return {
        "complete": found.complete,
        "read_to": time_text(found.read_to_ms),
        "stopped_early": bool(found.go_on_at),
        "damaged": found.damaged,
        "records": [record_facts(record, _of(record, found), complete=found.complete) for record in found.records],
    }


def _of(record: TracedRecord, found: Trace) -> list[TracedEvent]:
    return [event for event in found.events if event.position == record.position]


def _unprocessed_facts(record: UnprocessedRecord) -> dict[str, Any]:
    return {
        "publisher": record.publisher,
        "agency": record.subscription.agency,
        "subscription": record.subscription.name,
        "position": str(record.position),
        "record_id": record.record_id,
        "at": time_text(record.at_ms),
        "code": record.code,
        "dead_letter": record.dead_letter,
        "attempts": record.attempts,
        "reason": record.reason,
    }
