"""``case-exchange keys identity``: the identities to which an agency seals its own files (the age format)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import click

from broker.bootstrap.ownkeys import OwnKeys
from broker.cli.options import profile_option
from broker.core.errors import KeyInvalid
from broker.files import destroy_file
from broker.trust.agefiles import identities, make_identity
from broker.trust.directory_fields import rfc3339

if TYPE_CHECKING:
    from pathlib import Path

    from broker.trust.agefiles import AgeIdentity

_LEAST_DIGITS = 8


@click.group(no_args_is_help=True)
def identity() -> None:
    """Make, list and destroy keys for your own files.

    A gateway with seal_files seals what it keeps in its folders to the newest.

    Example:  case-exchange keys identity make --profile edge.toml
    """


@identity.command()
@profile_option
def make(profile: Path) -> None:
    """Make an identity. From now on your files are sealed to it; the former ones still open the files before.

    Nothing becomes unreadable. Copy the file to each of your systems and to a safe backup, before the gateway seals
    anything to it: stop the gateway first if the systems do not share the folder.

    Example:  case-exchange keys identity make --profile edge.toml
    """
    made = make_identity(OwnKeys.load(profile).folder, datetime.now(UTC))
    click.echo("nothing becomes unreadable: the former identities stay")
    click.echo(f"{made.identity_id}: made, {made.recipient}")
    click.echo(f"identity: {made.path} (keep a backup)")


@identity.command("list")
@profile_option
def list_identities(profile: Path) -> None:
    """Show your identities, the newest first.

    Files are sealed to the newest.

    Example:  case-exchange keys identity list --profile edge.toml
    """
    for number, one in enumerate(identities(OwnKeys.load(profile).folder)):
        use = "opens" if number else "seals and opens"
        click.echo(f"{one.identity_id}  {use}, made {_time(one.created)}, {one.recipient}")


@identity.command()
@click.argument("identity_id", metavar="IDENTITY_ID")
@profile_option
@click.option("--confirm", is_flag=True, help="Really destroy it. Without this, it is only said what would happen.")
def destroy(identity_id: str, profile: Path, *, confirm: bool) -> None:
    """Destroy an identity. Files that were sealed to it become unreadable, for ever.

    It says first what that is.

    Example:  case-exchange keys identity destroy 3f9a12bc --profile edge.toml --confirm
    """
    known = identities(OwnKeys.load(profile).folder)
    found = [one for one in known if one.identity_id.startswith(identity_id.lower())]
    if len(found) != 1 or len(identity_id) < _LEAST_DIGITS:
        _refuse(
            f"{len(found)} identities begin with {identity_id}: give at least {_LEAST_DIGITS} digits of one "
            "(`case-exchange keys identity list`)"
        )
    for line in _lost(found[0], known):
        click.echo(line)
    if not confirm:
        _refuse("nothing was destroyed: add --confirm to destroy the identity")
    try:
        destroy_file(found[0].path)
    except OSError as error:
        message = f"{found[0].path.name} cannot be destroyed: {error.strerror}"
        raise KeyInvalid(message) from error
    click.echo(f"{found[0].path}: destroyed")


def _lost(one: AgeIdentity, known: list[AgeIdentity]) -> list[str]:
    newer = list(itertools.takewhile(lambda other: other != one, known))
    until = _time(newer[-1].created) if newer else "now"
    told = [
        f"files that were sealed to it from {_time(one.created)} until {until} cannot be opened any more, for ever",
        "these are in outbox/, done/ and quarantine/ of every system of yours, and in backups",
        "retention: records in outbox/ that nobody can open go with their own case, and are kept for no other one",
        "what still opens them: every copy of this identity (other systems, backups)",
        "what others published can be asked for again; what you published, your archive key opens",
    ]
    if not newer and len(known) > 1:
        told.append("from now on your files are sealed to the one before it")
    elif not newer:
        told.append("it is your only one: a gateway with seal_files neither starts nor writes until you make another")
    return told


def _time(at: datetime) -> str:
    return rfc3339(int(at.timestamp() * 1000))


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(message)
