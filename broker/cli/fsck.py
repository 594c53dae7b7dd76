"""``case-exchange fsck``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker import telemetry
from broker.bootstrap.fsck import Where
from broker.bootstrap.fsck import fsck as check_logs
from broker.cli.main import COULD_NOT_CHECK, REFUSED, could_not
from broker.cli.options import json_option, root_option
from broker.config.broker import BrokerConfig
from broker.config.edge import load_edge
from broker.config.loader import load
from broker.core.errors import CaseExchangeError

if TYPE_CHECKING:
    from broker.services.fsck import LogReport

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@root_option
@click.option("--from", "place", metavar="URL|FOLDER", help="Where the tiles are: https://…, or a folder with a copy.")
@click.option("--config", type=_FILE, help="A broker's configuration: check its own log, also while the broker runs.")
@click.option("--profile", type=_FILE, help="The edge profile with your certificate, for https://.")
@click.option("--directory", type=_FILE, help="The signed directory. Without it: that of --profile or --config.")
@click.option(
    "--mirror", type=click.Path(file_okay=False, path_type=Path), help="Keep a copy of all that is read here."
)
@json_option
def fsck(
    roots: tuple[Path, ...],
    *,
    place: str | None,
    config: Path | None,
    profile: Path | None,
    directory: Path | None,
    mirror: Path | None,
    as_json: bool,
) -> None:
    """Check logs from their tiles: derive every root anew.

    It checks each checkpoint's signature, and names the first tile or entry of a log that is wrong.

    Every member gets the hash tiles of a broker that serves them (docs/tiles.md). Only auditors get the entries. If you
    get none, the report says so: then what the leaves stand for is not checked. With --config every record is read and
    compared with its entry, too. A folder is one that --mirror has filled, or another program for tlog-tiles.

    Exit codes: 0 nothing is wrong, 1 something is, 2 the logs could not be checked to their end, or the server does not
    show all of them. The report names those that are missing.

    Example:  case-exchange fsck --from https://broker.example:7445 --profile me.toml --root governance.pem
    """
    if (place is None) == (config is None):
        message = "give --from or --config, and not both"
        raise click.UsageError(message)
    edge = None if profile is None else load_edge(profile)
    broker = None if config is None else load(BrokerConfig, config)
    trust = broker.trust if broker is not None else None if edge is None else edge.trust
    if directory is None and trust is None:
        message = "name the signed directory with --directory, or a --profile that has it"
        raise click.UsageError(message)
    telemetry.configure("error")
    where = Where(place or "", None if edge is None else edge.agency, broker)
    try:
        known = directory or (trust.directory if trust is not None else Path())
        reports = asyncio.run(check_logs(where, roots, known, mirror, _Progress()))
        if sys.stderr.isatty():
            click.echo(err=True)
    except CaseExchangeError as error:
        could_not(error)
    if as_json:
        click.echo(json.dumps([_facts(report) for report in reports], indent=2))
    else:
        for report in reports:
            click.echo(_line(report))
        click.echo(_verdict(reports))
    if any(report.fault for report in reports):
        sys.exit(REFUSED)
    sys.exit(0 if all(report.shown for report in reports) else COULD_NOT_CHECK)


class _Progress:
    """Shows how many leaves were read, if standard error is a terminal."""

    def __init__(self) -> None:
        self._leaves = 0

    def __call__(self, leaves: int) -> None:
        """So many more."""
        self._leaves += leaves
        if sys.stderr.isatty():
            click.echo(f"\rchecking: {self._leaves} leaves", nl=False, err=True)


def _line(report: LogReport) -> str:
    name = report.name or "the folder"
    if report.fault is not None:
        fault = report.fault
        where = fault.path or "the checkpoint"
        place = "" if fault.place is None else f", number {fault.place}"
        position = "" if not fault.position else f" ({fault.position})"
        return f"{name}: WRONG at {where}{place}{position}: {fault.cause}"
    if not report.shown:
        return f"{name}: NOT SHOWN by the server"
    if not report.size:
        return f"{name}: 0 leaves"
    entries = "with all entries" if report.entries else "without entries"
    return f"{name}: {report.size} leaves, root {report.root}, {report.tiles} tiles, {entries}"


def _verdict(reports: list[LogReport]) -> str:
    wrong = sum(report.fault is not None for report in reports)
    if wrong:
        return f"{wrong} of {len(reports)} logs are wrong: keep a copy as evidence (--mirror) and report to governance"
    hidden = sum(not report.shown for report in reports)
    if hidden:
        return (
            f"{hidden} of {len(reports)} logs were not checked: the server does not show them, and every exchange has "
            "them. Ask another broker. If it shows them, report this to governance"
        )
    if all(report.entries or not report.size for report in reports):
        return f"nothing is wrong: the entries of {len(reports)} logs give the roots that were signed"
    return (
        f"nothing is wrong with the tiles of {len(reports)} logs: they give the roots that were signed. "
        "Where no entries were read, it is not known what the leaves stand for"
    )


def _facts(report: LogReport) -> dict[str, object]:
    facts: dict[str, object] = report._asdict()
    return facts | {"fault": None if report.fault is None else report.fault._asdict()}
