"""``case-exchange noticeboard``: make the public web site from the records that a gateway received."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from adapters.base import IssueList, Limits
from adapters.ownfiles import OwnFiles
from adapters.public_notice.defects import without_failing
from adapters.public_notice.history import fold
from adapters.public_notice.noticeboard.folder import replace_folder
from adapters.public_notice.noticeboard.frame import Settings
from adapters.public_notice.noticeboard.outbox import read_outbox
from adapters.public_notice.noticeboard.pages import slug
from adapters.public_notice.noticeboard.site import make_site
from adapters.registry import adapter
from adapters.terminal import identities_option, print_issues
from broker.core.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.base import Issue
    from caseexchange.records.v1.notice_pb2 import PublicNotice

_PERSONS: Final = "pfif"
"""The format of the feed for other lists of missing people, and the name of its file."""


@click.command()
@click.option(
    "--from",
    "outbox",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The outbox of a gateway with outbox_format record-json.",
)
@click.option(
    "--to", "site", required=True, type=click.Path(path_type=Path), help="The site's folder. It is made as a link."
)
@identities_option
@click.option("--url", default="", help="The site's address, https://…/, for the feeds and alerts.")
@click.option("--exercise", is_flag=True, help="Say on every page and in every alert that everything is invented.")
def noticeboard(outbox: Path, *, site: Path, identities: Path, url: str, exercise: bool) -> None:
    """Make the notice board.

    It has pages in Chinese and English, Atom and PFIF feeds, and CAP alerts. The whole site is replaced at once. Run
    the command after every delivery, or every minute: one run removes what was withdrawn or has expired. If the outbox
    holds no *.about.json file, the command refuses it, and the old site stays. If the program fails on a notice, it
    names that notice and leaves it out; it shows the others.

    Exit codes: 0 done, 1 done, but something was left out, 2 the folders cannot be used.

    Example:  case-exchange noticeboard --from gateway/outbox --to site --url https://notices.example/
    """
    if url and not url.startswith(("https://", "http://")):
        message = "--url must begin with https:// or http://"
        raise SetupInvalid(message)
    now = datetime.now(UTC)
    try:
        found = read_outbox(outbox, Limits(), OwnFiles(identities))
        board = fold(found.filed, now, found.unreadable, found.others)
        made = make_site(board, Settings(url if not url or url.endswith("/") else f"{url}/", now, exercise))
        persons, refused = _persons(made.notices)
        replace_folder(site, {**made.files, f"{_PERSONS}.xml": persons})
    except OSError as error:
        message = f"{error.filename or site} cannot be used: {error.strerror}"
        raise SetupInvalid(message) from error
    issues = (*found.issues, *made.issues, *refused)
    print_issues(issues)
    click.echo(f"notices shown: {made.shown}, gone: {len(board.gone)}; {len(made.files) + 1} files in {site}")
    sys.exit(1 if any(issue.refuses for issue in issues) else 0)


def _persons(notices: Sequence[PublicNotice]) -> tuple[bytes, list[Issue]]:
    """The feed for other lists of missing people, and the issues of the notices that it refuses."""
    issues = IssueList()

    def failed(notice: PublicNotice, defect: Exception) -> None:
        message = f"the program failed on this notice, and it is not in the feed: {type(defect).__name__}"
        issues.reject_record("ADAPTER_FAILED", f"{_PERSONS}.xml, {slug(notice.notice_id)}", message)

    found = without_failing(notices, lambda some: adapter(_PERSONS).encode(some, Limits()), failed)
    # A field without a place in this format is still on the pages. Only refusals need attention.
    return found.content, [*issues.items, *(issue for issue in found.issues if issue.refuses)]
