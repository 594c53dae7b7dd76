"""``case-exchange publish``: publish files once, and end."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.ending import run_until_asked
from adapters.edge.profile import load_profile
from adapters.edge.restoring import former_positions, spool_missing
from adapters.gateway.outbound import Outbound, TakenIn
from adapters.ownfiles import is_sealed
from adapters.reading import Attachments, open_source
from adapters.terminal import (
    FILE,
    further_facts,
    issue_facts,
    json_option,
    print_issues,
    print_json,
    profile_option,
)
from broker import telemetry
from broker.client.publisher import Published

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from adapters.edge.profile import GatewayProfile, Route
    from adapters.edge.sending import Settled
    from adapters.ownfiles import OwnFiles
    from broker.core.errors import CaseExchangeError


@click.command()
@profile_option
@click.argument("files", nargs=-1, type=FILE)
@click.option("--again", is_flag=True, help="First, publish again the records that the log has lost.")
@json_option
def publish(profile_path: Path, *, files: tuple[Path, ...], again: bool, as_json: bool) -> None:
    """Publish the records of files.

    They are decoded and signed, and the position of each is printed. The same file counts once.

    With --again, the broker is asked about our records that got a receipt in the last keep_days. Those that its log
    does not have are published again, each with its first receipt. So they are accepted also if they have expired
    since. Use it when the exchange's operator has restored an old copy of the log.

    Every record is in the profile's spool before it is sent. After a failure, or if a record waits, run the command
    again or start the gateway.

    Exit codes: 0 every record has its receipt, 1 something was refused, or waits, or the broker did not answer, 2 wrong
    settings, 130 Ctrl-C.

    Example:  case-exchange publish --profile shanxi.toml rescued-children.csv
    """
    if not files and not again:
        message = "name files to publish, or give --again"
        raise click.UsageError(message)
    profile, routes = load_profile(profile_path)
    telemetry.configure("error")
    published: list[dict[str, str]] = []
    report = published.append if as_json else None
    taken, refused = run_until_asked(
        lambda: _publish(profile, routes, files, report, again=again), profile.gateway.drain_seconds
    )
    if as_json:
        issues = [issue for item in taken for issue in item.issues]
        further = [more for item in taken for more in item.further]
        facts = {"records": published, "issues": issue_facts(issues), "further_issues": further_facts(further)}
        print_json(facts)
    sys.exit(1 if refused or any(item.refused for item in taken) else 0)


async def _publish(
    profile: GatewayProfile,
    routes: Mapping[str, Route],
    files: Sequence[Path],
    report: Callable[[dict[str, str]], None] | None,
    *,
    again: bool,
) -> tuple[list[TakenIn], int]:
    """Take the files in and publish them. ``report`` is called for each accepted or refused record; None: print it.

    Returns:
        The result of taking in each file, and the number of records that the broker refused or that wait.
    """
    limits, taken, refused = Limits(), list[TakenIn](), 0
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, limits)
        if again:
            lost = await spool_missing(edge)
            if report is None:
                click.echo(f"{lost} records are not in the log any more")
        try:
            for path in files:
                taken.append(await asyncio.to_thread(_take, outbound, path, limits, edge.own_files))
                if report is None:
                    print_issues(taken[-1].issues, taken[-1].further)
        finally:
            outbound.stop()
        async for settled in outbound.publishing():
            refused += not isinstance(settled.result, Published)
            former = [str(position) for position in former_positions(edge, settled.record_id)]
            if report is None:
                click.echo(_line(settled, former))
            else:
                report(_facts(settled.result, former))
    return taken, refused


def _take(outbound: Outbound, path: Path, limits: Limits, own: OwnFiles) -> TakenIn:
    with open_source(path) as file:
        content = own.opened(file, limits.bytes) if is_sealed(path) else file
        return outbound.take(content, Attachments(path.parent, limits.bytes, own))


def _line(settled: Settled, former: Sequence[str] = ()) -> str:
    result = settled.result
    if isinstance(result, Published):
        before = f", before at {' and '.join(former)}" if former else ""
        return f"{result.statement.record_id} accepted at {result.statement.position}{before}"
    return f"{'waits' if settled.held else 'refused'}: {result.reason}: {result.message}. {result.remedy}"


def _facts(result: Published | CaseExchangeError, former: Sequence[str]) -> dict[str, str]:
    if isinstance(result, Published):
        facts = {"record_id": result.statement.record_id, "position": str(result.statement.position)}
        return {**facts, "former_positions": " ".join(former)} if former else facts
    return {"reason": result.reason, "message": result.message}
