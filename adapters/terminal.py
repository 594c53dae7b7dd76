"""Options and printing for the agencies' commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from adapters.ownfiles import is_sealed
from broker.core.errors import InputRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.base import Issue
    from adapters.ownfiles import OwnFiles
    from adapters.reading import Further

profile_option: Final = click.option(
    "--profile",
    "profile_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The gateway profile: which broker, which agency, which keys, formats and routes (docs/configuration.md).",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
mapping_option: Final = click.option(
    "--mapping", type=FILE, help="TOML file that explains the file's own columns (docs/police-tables.md)."
)

identities_option: Final = click.option(
    "--identities",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    show_default=False,
    help="Your key folder, with the age identities that open what is sealed to you (docs/keys.md).",
)


def read_file(path: Path, limit: int, own: OwnFiles | None = None) -> bytes:
    """Read at most one byte more than the limit. From this byte the adapter sees that the file is too large.

    With ``own`` a sealed file is opened.

    Raises:
        InputRefused: it cannot be read or opened.
        AgeIdentityMissing, KeyInvalid, ExtraMissing: from ``own``.
    """
    try:
        with path.open("rb") as file:
            return own.opened(file, limit) if own is not None and is_sealed(path) else file.read(limit + 1)
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
        raise InputRefused(message) from error


def issue_facts(issues: Sequence[Issue]) -> list[dict[str, Any]]:
    """Issues as JSON."""
    return [
        {"severity": item.severity.value, "code": item.code, "where": item.locator, "message": item.message}
        for item in issues
    ]


def further_facts(further: Sequence[Further]) -> list[dict[str, Any]]:
    """The counts of the issues that are not listed, as JSON."""
    return [{"severity": item.severity.value, "code": item.code, "count": item.times} for item in further]


def print_issues(issues: Sequence[Issue], further: Sequence[Further] = ()) -> None:
    """Print each issue as a line on standard error, then the counts of the issues that are not listed."""
    for item in issues:
        click.echo(f"{item.severity.value}: {item.code} at {item.locator}: {item.message}", err=True)
    for more in further:
        click.echo(f"{more.severity.value}: {more.code} {more.times} more times, not listed", err=True)


def print_json(facts: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
