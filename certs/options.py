"""Options and output that several commands of ``case-exchange certs`` share."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from certs.profiles import LONGEST

if TYPE_CHECKING:
    from certs.profiles import Profile

DEFAULT_FOLDER: Final = ".dev/pki"

pki_option: Final = click.option(
    "--pki",
    "root",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="The PKI folder.",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
days_option: Final = click.option(
    "--days", type=click.IntRange(1), help="The certificate's lifetime in days. Without it: the profile's."
)


def lifetime_of(days: int | None, *profiles: Profile) -> timedelta | None:
    """The lifetime that ``--days`` asks for, or None.

    Raises:
        click.BadParameter: a certificate of one of these profiles must not live so long.
    """
    if days is None:
        return None
    for profile in profiles:
        if timedelta(days=days) > LONGEST[profile.authority]:
            message = f"a {profile.name} certificate lives at most {LONGEST[profile.authority].days} days"
            raise click.BadParameter(message, param_hint="--days")
    return timedelta(days=days)


def print_facts(facts: Any, *, as_json: bool) -> None:
    """Print an object of facts: as JSON, or one line for each."""
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


def now_utc() -> datetime:
    """The time, in whole seconds, as certificates have it."""
    return datetime.now(UTC).replace(microsecond=0)
