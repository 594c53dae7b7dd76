"""``case-exchange erase``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from broker.bootstrap.edge import connect
from broker.cli.options import profile_option
from broker.client.erasing import erase_sections
from broker.config.edge import load_edge

if TYPE_CHECKING:
    from pathlib import Path

    from broker.client.erasing import Erased
    from broker.config.edge import EdgeConfig


@click.command()
@click.argument("record_id")
@click.option("--section", "sections", required=True, multiple=True, help="The name of a section. May be repeated.")
@click.option("--reason", required=True, help="Why: capital letters, digits and underscores. It goes to auditors.")
@profile_option
@click.option("--confirm", is_flag=True, help="Really erase. Without this, it is only said what would happen.")
def erase(record_id: str, *, sections: tuple[str, ...], reason: str, profile: Path, confirm: bool) -> None:
    """Erase sections of your own record from the log, for ever.

    What you signed stays: the record's place, its receipt and its proofs stay valid, and `verify` says ERASED. Not
    erased are the operator's backups and the copies that others have: recipients, auditors, your own spool. A record
    that is published again does not bring the sections back. Asked again, it does what is still to be done.

    Exit codes: 0 the bytes are gone from the log, 1 refused or not found, 2 not confirmed, or wrong settings.

    Example:  case-exchange erase 01990000-0000-7000-8000-000000000001 --section identity --reason COURT_ORDER --profile shanxi.toml --confirm
    """  # noqa: E501 - an example is one line
    named = ", ".join(sections)
    if not confirm:
        click.echo(f"{named} of record {record_id} would go from the exchange's log, for ever")
        click.echo("not from backups of the log, and not from copies that recipients and auditors have")
        message = "nothing was erased: add --confirm to erase"
        raise click.UsageError(message)
    done = asyncio.run(_erased(load_edge(profile), record_id, sections, reason))
    before = "; it had been ordered before" if done.ordered_before else ""
    click.echo(f"{done.position}: {named} of record {record_id} erased from the log{before}")


async def _erased(config: EdgeConfig, record_id: str, sections: tuple[str, ...], reason: str) -> Erased:
    async with connect(config) as channel:
        return await erase_sections(channel, record_id, sections, reason)
