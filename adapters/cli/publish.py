"""``case-exchange publish``: files to receipts, once."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from adapters.base import Limits
from adapters.cli.options import FILE, issue_facts, json_option, print_issues, print_json, profile_option, read_file
from adapters.edge import open_edge
from adapters.outbound import Attachments, Outbound, Taken
from adapters.profile import load_profile
from broker import telemetry
from broker.client.publisher import Published

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adapters.profile import GatewayProfile, Route
    from broker.core.errors import CaseExchangeError


@click.command()
@profile_option
@click.argument("files", nargs=-1, required=True, type=FILE)
@json_option
def publish(profile_path: Path, *, files: tuple[Path, ...], as_json: bool) -> None:
    """Decode files, sign their records, publish them, and print where each stands. A repeated file is taken in once.

    Records are in the profile's spool before they are sent: after a failure, run it again, or start the gateway.
    Exit codes: 0 every record has its receipt, 1 something was refused or the broker did not answer, 2 wrong settings.

    Example:  case-exchange publish --profile shanxi.toml rescued-children.csv
    """
    profile, routes = load_profile(profile_path)
    telemetry.configure("error")
    taken, results = asyncio.run(_publish(profile, routes, files))
    refused = [result for result in results if not isinstance(result, Published)]
    if as_json:
        issues = [issue for item in taken for issue in item.issues]
        print_json({"records": [_facts(result) for result in results], "issues": issue_facts(issues)})
    else:
        for item in taken:
            print_issues(item.issues)
        for result in results:
            click.echo(_line(result))
    sys.exit(1 if refused or any(item.refused for item in taken) else 0)


async def _publish(
    profile: GatewayProfile, routes: Mapping[str, Route], files: Sequence[Path]
) -> tuple[list[Taken], list[Published | CaseExchangeError]]:
    limits = Limits()
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, limits)
        taken = [outbound.take(read_file(path, limits.bytes), Attachments(path.parent, limits.bytes)) for path in files]
        return taken, await outbound.publish_spooled()


def _line(result: Published | CaseExchangeError) -> str:
    if isinstance(result, Published):
        return f"{result.statement.record_id} accepted at {result.statement.position}"
    return f"refused: {result.reason}: {result.message}. {result.remedy}"


def _facts(result: Published | CaseExchangeError) -> dict[str, str]:
    if isinstance(result, Published):
        return {"record_id": result.statement.record_id, "position": str(result.statement.position)}
    return {"reason": result.reason, "message": result.message}
