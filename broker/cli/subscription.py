"""``case-exchange subscription``: where an agency's subscriptions stand, and orders about them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from broker.bootstrap.edge import connect
from broker.cli.options import json_option, profile_option
from broker.client.subscriptions import SubscriptionsClient
from broker.config.edge import load_edge
from broker.core.errors import InputRefused
from broker.core.subscriptions import EARLIEST, Closed, StartPoint

if TYPE_CHECKING:
    from pathlib import Path

    from broker.config.edge import EdgeConfig
    from broker.ports import SubscriptionState


class _StartType(click.ParamType[StartPoint]):
    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StartPoint:
        try:
            return StartPoint.parse(value)
        except InputRefused as error:
            self.fail(error.message, param, ctx)


_name: Final = click.argument("name")


@click.group(no_args_is_help=True)
def subscription() -> None:
    """Show where subscriptions stand; move or delete them.

    An agency moves and deletes its own.

    Example:  case-exchange subscription list --profile shanxi.toml
    """


@subscription.command("list")
@profile_option
@click.option("--agency", default="", help="Another agency. For auditors of the audit stream only.")
@json_option
def listed(profile: Path, *, agency: str, as_json: bool) -> None:
    """List the subscriptions of the profile's agency. An auditor gets those of every agency.

    Exit codes: 0 done (also if there are none), 1 refused, 2 wrong settings.

    Example:  case-exchange subscription list --profile shanxi.toml
    """
    found = asyncio.run(_listed(load_edge(profile), agency))
    if as_json:
        click.echo(json.dumps([_facts(state) for state in found], indent=2))
        return
    for state in found:
        facts = _facts(state)
        oldest = f", the oldest of {facts['oldest']}" if facts["oldest"] else ""
        click.echo(
            f"{state.key.agency}/{state.key.name}: {'open' if state.readers else 'not open'}, "
            f"{facts['behind']} records behind{oldest}, {state.dead_letters} dead letters, {state.parked} parked, "
            f"{state.skipped} skipped by order; {' '.join(facts['kinds'])}"
        )
        for place in facts["places"]:
            click.echo(f"  {place['floor']}: {place['behind']} behind")
    click.echo(f"{len(found)} subscriptions")


@subscription.command()
@profile_option
@_name
@click.option("--to", type=_StartType(), required=True, help="earliest, latest, or a time: 2026-01-31T08:00:00+08:00.")
def seek(profile: Path, *, name: str, to: StartPoint) -> None:
    """Move a subscription that nobody has open, forward or back. If back, records are delivered again.

    Its dead letters, and what is parked behind them, stay as they are.

    Exit codes: 0 the order is durable, 1 refused or not found, 2 wrong settings.

    Example:  case-exchange subscription seek --profile shanxi.toml gateway --to 2026-01-31T08:00:00+08:00
    """
    skipped = asyncio.run(_sought(load_edge(profile), name, to))
    where = "the first record" if to == EARLIEST else to
    click.echo(f"{name} goes on from {where}; {skipped} records that it had not finished are not delivered")


@subscription.command()
@profile_option
@_name
def delete(profile: Path, *, name: str) -> None:
    """End a subscription that nobody has open.

    Its dead letters and what is parked behind them end with it. A subscription that is opened later by this name is
    new.

    Exit codes: 0 the order is durable, 1 refused or not found, 2 wrong settings.

    Example:  case-exchange subscription delete --profile shanxi.toml terminal
    """
    closed = asyncio.run(_deleted(load_edge(profile), name))
    more = f"{closed.set_aside} dead letters and parked records are closed"
    click.echo(f"{name} is deleted; it had not finished {closed.skipped} records, and {more}")


async def _listed(config: EdgeConfig, agency: str) -> list[SubscriptionState]:
    async with connect(config) as channel:
        return [state async for state in SubscriptionsClient(channel).listed(agency)]


async def _sought(config: EdgeConfig, name: str, to: StartPoint) -> int:
    async with connect(config) as channel:
        return await SubscriptionsClient(channel).seek(name, to)


async def _deleted(config: EdgeConfig, name: str) -> Closed:
    async with connect(config) as channel:
        return await SubscriptionsClient(channel).delete(name)


def _facts(state: SubscriptionState) -> dict[str, Any]:
    oldest = [place.oldest_ms for place in state.places if place.oldest_ms is not None]
    return {
        "agency": state.key.agency,
        "name": state.key.name,
        "kinds": sorted(state.kinds),
        "created": _time(state.created_ms),
        "generation": state.generation,
        "readers": state.readers,
        "behind": sum(place.behind for place in state.places),
        "oldest": _time(min(oldest)) if oldest else None,
        "dead_letters": state.dead_letters,
        "parked": state.parked,
        "skipped": state.skipped,
        "places": [{"floor": f"{place.partition}/{place.floor}", "behind": place.behind} for place in state.places],
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
