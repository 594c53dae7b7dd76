"""``case-exchange deadletter``: the records that an agency's subscriptions have given up."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from broker.bootstrap.edge import connect
from broker.cli.options import json_option, profile_option
from broker.client.deadletters import DeadLettersClient
from broker.config.edge import load_edge
from broker.core.streams import Position
from broker.ports import SubscriptionKey

if TYPE_CHECKING:
    from pathlib import Path

    from broker.client.deadletters import ShownDeadLetter
    from broker.config.edge import EdgeConfig
    from broker.ports import DeadLetterState

_POSITION: Final = re.compile(r"([a-z]{1,20})/(\d{1,9})/(\d{1,18})")


class _PositionType(click.ParamType[Position]):
    name = "position"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        found = _POSITION.fullmatch(value)
        if found is None:
            self.fail("a position is stream/partition/offset, as `deadletter list` prints it", param, ctx)
        return Position(found[1], int(found[2]), int(found[3]))


_subscription: Final = click.argument("subscription")
_position: Final = click.argument("position", type=_PositionType())
_agency: Final = click.option("--agency", default="", help="Another agency. For auditors of the audit stream only.")


@click.group(no_args_is_help=True)
def deadletter() -> None:
    """Show dead letters, and decide about them.

    A dead letter is a record that a subscription gave up, after its last attempt or because it is damaged.

    Example:  case-exchange deadletter list --profile shanxi.toml
    """


@deadletter.command("list")
@profile_option
@_agency
@click.option("--subscription", default="", help="Only those of this subscription.")
@json_option
def listed(profile: Path, *, agency: str, subscription: str, as_json: bool) -> None:
    """List the dead letters of the profile's agency. An auditor gets those of every agency.

    Exit codes: 0 done (also if there are none), 1 refused, 2 wrong settings.

    Example:  case-exchange deadletter list --profile shanxi.toml
    """
    found = asyncio.run(_listed(load_edge(profile), agency, subscription))
    if as_json:
        click.echo(json.dumps([_facts(state) for state in found], indent=2))
        return
    for state in found:
        key, why = state.subscription, state.reason or state.code or f"{state.attempts} attempts"
        click.echo(
            f"{key.agency}/{key.name} {state.position}: case {state.case_id}, {why}, "
            f"{state.parked} records parked behind it, since {_time(state.since_ms)}"
        )
    click.echo(f"{len(found)} dead letters")


@deadletter.command()
@profile_option
@_agency
@_subscription
@_position
@json_option
def show(profile: Path, *, agency: str, subscription: str, position: Position, as_json: bool) -> None:
    """Show one dead letter, by its subscription and its position.

    Exit codes: 0 done, 1 refused or not found, 2 wrong settings.

    Example:  case-exchange deadletter show --profile shanxi.toml cases cases/0/17
    """
    shown = asyncio.run(_shown(load_edge(profile), SubscriptionKey(agency, subscription), position))
    facts = {
        **_facts(shown.state),
        "record_id": shown.record_id,
        "kind": shown.kind,
        "accepted_at": None if shown.accepted_at_ms is None else _time(shown.accepted_at_ms),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' ')}: {'the log has lost it' if value is None else value}")


@deadletter.command()
@profile_option
@_subscription
@_position
def redrive(profile: Path, *, subscription: str, position: Position) -> None:
    """Deliver a dead letter again, then what is parked behind it.

    The parked records come in order, each when the one before it is processed.

    Exit codes: 0 the order is durable, 1 refused or not found, 2 wrong settings.

    Example:  case-exchange deadletter redrive --profile shanxi.toml cases cases/0/17
    """
    asyncio.run(_decided(load_edge(profile), subscription, position, None))
    click.echo(f"{position} is delivered again when the subscription is open")


@deadletter.command()
@profile_option
@click.option("--code", required=True, help="Why: capital letters, digits and underscores. It goes to auditors.")
@_subscription
@_position
def discard(profile: Path, *, code: str, subscription: str, position: Position) -> None:
    """Give a dead letter up for good. What is parked behind it is delivered, in order.

    Exit codes: 0 the order is durable, 1 refused or not found, 2 wrong settings.

    Example:  case-exchange deadletter discard --profile shanxi.toml --code DUPLICATE cases cases/0/17
    """
    asyncio.run(_decided(load_edge(profile), subscription, position, code))
    click.echo(f"{position} is given up for good")


@deadletter.command()
@profile_option
@click.option("--code", required=True, help="Why: capital letters, digits and underscores. It goes to auditors.")
@_subscription
@_position
def make(profile: Path, *, code: str, subscription: str, position: Position) -> None:
    """Make a dead letter of a record that waits.

    For example, a gateway has given it back for days. Later records of its case are parked behind it.
    `deadletter redrive` brings it back.

    Exit codes: 0 the order is durable, 1 refused or not found, 2 wrong settings.

    Example:  case-exchange deadletter make --profile shanxi.toml --code SPOOL_BROKEN cases cases/0/17
    """
    asyncio.run(_made(load_edge(profile), subscription, position, code))
    click.echo(f"{position} is made a dead letter when it is the first of its case and nobody holds it")


async def _made(config: EdgeConfig, subscription: str, position: Position, code: str) -> None:
    async with connect(config) as channel:
        await DeadLettersClient(channel).make(subscription, position, code)


async def _decided(config: EdgeConfig, subscription: str, position: Position, code: str | None) -> None:
    async with connect(config) as channel:
        client = DeadLettersClient(channel)
        if code is None:
            await client.redrive(subscription, position)
        else:
            await client.discard(subscription, position, code)


async def _listed(config: EdgeConfig, agency: str, subscription: str) -> list[DeadLetterState]:
    async with connect(config) as channel:
        return [state async for state in DeadLettersClient(channel).listed(agency, subscription)]


async def _shown(config: EdgeConfig, subscription: SubscriptionKey, position: Position) -> ShownDeadLetter:
    async with connect(config) as channel:
        return await DeadLettersClient(channel).shown(subscription, position)


def _facts(state: DeadLetterState) -> dict[str, Any]:
    return {
        "agency": state.subscription.agency,
        "subscription": state.subscription.name,
        "position": str(state.position),
        "case_id": state.case_id,
        "attempts": state.attempts,
        "reason": state.reason,
        "code": state.code,
        "last_held_by": state.principal,
        "since": _time(state.since_ms),
        "parked": state.parked,
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
