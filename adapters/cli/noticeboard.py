"""``case-exchange noticeboard``: the public's web site, from what a gateway received."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from adapters.base import Limits
from adapters.cli.options import print_issues
from adapters.public_notice.folder import replace_folder
from adapters.public_notice.frame import Settings
from adapters.public_notice.history import fold
from adapters.public_notice.outbox import read_outbox
from adapters.public_notice.site import make_site
from broker.core.errors import SetupInvalid


@click.command()
@click.option(
    "--from",
    "outbox",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The outbox of a gateway whose outbox_format is record-json.",
)
@click.option("--to", "site", required=True, type=click.Path(path_type=Path), help="The site's folder; a link is made.")
@click.option("--url", default="", help="The site's address, https://…/: for the feeds and alerts.")
@click.option("--exercise", is_flag=True, help="Say on every page and in every alert that all of it is invented.")
def noticeboard(outbox: Path, *, site: Path, url: str, exercise: bool) -> None:
    """Make the notice board: pages in Chinese and English, Atom feeds, CAP alerts. Replaces the whole site at once.

    Run it after every delivery, or every minute: what was withdrawn or has expired is gone after one run.
    Exit codes: 0 done, 1 done, but something was left out, 2 the folders cannot be used.

    Example:  case-exchange noticeboard --from gateway/outbox --to site --url https://notices.example/
    """
    if url and not url.startswith(("https://", "http://")):
        message = "--url is an address that begins with https:// or http://"
        raise SetupInvalid(message)
    now = datetime.now(UTC)
    try:
        found = read_outbox(outbox, Limits())
        board = fold(found.filed, now, found.doubtful_cases)
        made = make_site(board, Settings(url if not url or url.endswith("/") else f"{url}/", now, exercise))
        replace_folder(site, made.files)
    except OSError as error:
        message = f"{error.filename or site} cannot be used: {error.strerror}"
        raise SetupInvalid(message) from error
    issues = (*found.issues, *made.issues)
    print_issues(issues)
    click.echo(f"notices shown: {made.shown}, gone: {len(board.gone)}; {len(made.files)} files in {site}")
    sys.exit(1 if any(issue.severity.value.startswith("reject") for issue in issues) else 0)
