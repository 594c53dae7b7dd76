"""``case-exchange trace``: what became of records."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from broker.bootstrap.edge import connect
from broker.cli.options import json_option, profile_option
from broker.client.trace import Trace, TraceClient
from broker.config.edge import load_edge
from broker.core.trace import Step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.config.edge import EdgeConfig
    from broker.core.trace import TracedEvent, TracedRecord
    from broker.ports import UnprocessedRecord

_WORDS: Final = {
    Step.PROCESSED: "processed",
    Step.REFUSED: "refused",
    Step.PARKED: "parked behind a dead letter of its case",
    Step.REDRIVEN: "redriven",
    Step.DISCARDED: "discarded",
    Step.ENDED: "finished after it was set aside",
    Step.SKIPPED: "skipped: the subscription begins after it now",
    Step.ORDERED: "to be made a dead letter",
}


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
            f"by {record.subscription.agency}/{record.subscription.name}, {_time(record.at_ms)}"
        )
    click.echo(f"{len(records)} not processed")


def _print(found: Trace) -> None:
    for record in found.records:
        publisher = record.publisher or "nobody can say who: it is damaged"
        click.echo(f"{record.record_id} {record.kind} {record.position}, case {record.case_id}")
        click.echo(f"  accepted {_time(record.accepted_at_ms)} from {publisher}")
        for agency, name, events in _lines(record, found):
            click.echo(f"  {agency}{'/' if name else ''}{name}: {_standing(record, agency, events, found)}")
            for event in events:
                click.echo(f"    {_time(event.at_ms)}  {_words(event)}")
    if found.go_on_at:
        click.echo(f"This is not all: the broker read its audit stream up to {_time(found.read_to_ms)}.")
        click.echo("With --to-the-end it goes on.")
    elif not found.complete:
        click.echo(
            "This is not all: a part of the log is damaged, or the case has too many records. Trace one by its id."
        )


def _lines(record: TracedRecord, found: Trace) -> list[tuple[str, str, list[TracedEvent]]]:
    """What happened at each subscription. One without a name stands for a recipient that was handed nothing."""
    by_subscription: dict[tuple[str, str], list[TracedEvent]] = {}
    for event in found.events:
        if event.position == record.position:
            by_subscription.setdefault((event.agency, event.subscription), []).append(event)
    known = {agency for agency, _ in by_subscription}
    for recipient in record.recipients:
        if recipient.agency not in known:
            by_subscription[recipient.agency, ""] = []
    return [(agency, name, events) for (agency, name), events in sorted(by_subscription.items())]


def _standing(record: TracedRecord, agency: str, events: Sequence[TracedEvent], found: Trace) -> str:
    """How things stand at a subscription, in words."""
    steps = [event for event in events if event.step is not Step.ENDED]
    if steps and steps[-1].step is not Step.DELIVERED:
        return _words(steps[-1]) if steps[-1].step is not Step.REDRIVEN else "waits to be delivered again"
    if agency in {recipient.agency for recipient in record.recipients if not recipient.allowed}:
        return "does not get it: the directory in force does not allow it, or the record is damaged"
    if not found.complete:
        return "not known: the trace stopped early"
    if not steps:
        return "waiting: no subscription of this agency was handed it"
    return f"waiting: handed over {sum(each.step is Step.DELIVERED for each in steps)} times, and not answered for good"


def _words(event: TracedEvent) -> str:
    if event.step is Step.DELIVERED:
        withheld = f", without {', '.join(event.withheld_sections)}" if event.withheld_sections else ""
        return f"delivered, attempt {event.attempt}{withheld}"
    if event.step is Step.DEAD_LETTER:
        why = event.reason or (f"ordered: {event.code}" if event.code else f"{event.attempt} attempts")
        return f"dead letter ({why})"
    if event.step is Step.SKIPPED:
        return f"{_WORDS[event.step]}, by its start {event.reason}"
    return f"{_WORDS[event.step]} ({event.code})" if event.code else _WORDS[event.step]


def _facts(found: Trace) -> dict[str, Any]:
    return {
        "complete": found.complete,
        "read_to": _time(found.read_to_ms),
        "stopped_early": bool(found.go_on_at),
        "damaged": found.damaged,
        "records": [
            {
                "record_id": record.record_id,
                "kind": record.kind,
                "case_id": record.case_id,
                "publisher": record.publisher,
                "position": str(record.position),
                "accepted_at": _time(record.accepted_at_ms),
                "recipients": [recipient._asdict() for recipient in record.recipients],
                "subscriptions": [
                    {
                        "agency": agency,
                        "subscription": name,
                        "standing": _standing(record, agency, events, found),
                        "events": [_event_facts(event) for event in events],
                    }
                    for agency, name, events in _lines(record, found)
                ],
            }
            for record in found.records
        ],
    }


def _event_facts(event: TracedEvent) -> dict[str, Any]:
    return {
        "at": _time(event.at_ms),
        "step": event.step.name,
        "attempt": event.attempt,
        "withheld_sections": list(event.withheld_sections),
        "code": event.code,
        "reason": event.reason,
    }


def _unprocessed_facts(record: UnprocessedRecord) -> dict[str, Any]:
    return {
        "publisher": record.publisher,
        "agency": record.subscription.agency,
        "subscription": record.subscription.name,
        "position": str(record.position),
        "record_id": record.record_id,
        "at": _time(record.at_ms),
        "code": record.code,
        "dead_letter": record.dead_letter,
        "attempts": record.attempts,
        "reason": record.reason,
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
