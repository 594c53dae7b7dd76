"""``case-exchange keys``: an agency makes, changes, ends and destroys its own encryption keys.

Nothing here needs a broker. The statements that these commands write take effect when governance has put them into the
directory (``case-exchange directory sign --key-statement``).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from broker.bootstrap.ownkeys import DAY_MS, OwnKeys
from broker.cli.keysidentity import identity
from broker.cli.lostkeys import lost
from broker.cli.options import json_option, profile_option
from broker.core.encryptionkeys import ARCHIVE, MAX_IN_FORCE, MLKEM768_X25519, PUBLIC_KEY_BYTES, RECORDS, USES
from broker.core.keyuri import KeyUri
from broker.trust.directory_fields import rfc3339
from broker.trust.keyfolder import alone, destroy_private, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.core.encryptionkeys import EncryptionKey
from broker.trust.keyfolder import FolderEntry

_LEAST_DIGITS: Final = 8
_TIME: Final = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])
_suite_option = click.option(
    "--suite",
    type=click.Choice(sorted(PUBLIC_KEY_BYTES)),
    default=MLKEM768_X25519,
    show_default=True,
    help="P256 is the one of keys in a token.",
)
_token_option = click.option(
    "--in-token",
    "uri",
    metavar="URI",
    callback=lambda _, __, text: None if text is None else KeyUri.parse(text),
    help="The key of this name in a PKCS #11 token (P256): it is made there if it is not there (docs/keys.md).",
)
_days_option = click.option(
    "--days", type=click.IntRange(1, 1095), default=365, show_default=True, help="How long the key is in force at most."
)
_key_argument = click.argument("key_id", metavar="KEY_ID")


def _making(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that make a key."""
    return _suite_option(_days_option(_token_option(command)))


@click.group(no_args_is_help=True)
def keys() -> None:
    """Make, change, end and destroy your agency's encryption keys.

    Example:  case-exchange keys make --profile edge.toml
    """


keys.add_command(identity)


@keys.command()
@profile_option
@_making
def make(profile: Path, *, suite: str, days: int, uri: KeyUri | None) -> None:
    """Make your first key for records.

    Publishers seal to it what they send to you. Nothing becomes unreadable. Copy the private file to each of your
    systems and to a safe backup: without it nobody can open what was sealed to you.

    Example:  case-exchange keys make --profile edge.toml
    """
    _first(OwnKeys.load(profile), RECORDS, suite, days, uri)


@keys.command()
@profile_option
@_making
def archive(profile: Path, *, suite: str, days: int, uri: KeyUri | None) -> None:
    """Make your first archive key.

    You seal to it all that you publish, so that you can open it again later. Nothing becomes
    unreadable. Keep the private file apart from your other systems: nothing that runs there needs it.

    Example:  case-exchange keys archive --profile edge.toml
    """
    _first(OwnKeys.load(profile), ARCHIVE, suite, days, uri)


@keys.command()
@profile_option
@click.option("--use", type=click.Choice(sorted(USES)), default=RECORDS, show_default=True, help="Which key to follow.")
@click.option(
    "--overlap-days",
    type=click.IntRange(0, 90),
    default=7,
    show_default=True,
    help="How long publishers may still seal to the former key.",
)
@_making
def rotate(profile: Path, *, use: str, overlap_days: int, suite: str, days: int, uri: KeyUri | None) -> None:
    """Make a new key, and retire the one before it.

    Both are in force during an overlap. Nothing becomes unreadable. The private file of the former key stays: you need
    it as long as you want to open what was sealed to it.

    Example:  case-exchange keys rotate --profile edge.toml --overlap-days 14
    """
    own = OwnKeys.load(profile)
    with alone(own.folder):
        _rotate(own, use, overlap_days, lambda: own.make(use, suite, days, uri))


def _rotate(own: OwnKeys, use: str, overlap_days: int, make_next: Callable[[], FolderEntry]) -> None:
    former = own.in_force(use, own.now_ms)
    if not former:
        _refuse(f"no key for {use} is in force: make one (`case-exchange keys {_command(use)}`)")
    if len(former) >= MAX_IN_FORCE:
        ends = min(entry.key.ends_at_ms for entry in former)
        _refuse(f"{len(former)} keys for {use} are in force already; wait until {rfc3339(ends)}, or retire one now")
    retired_ms = own.now_ms + overlap_days * DAY_MS
    click.echo("nothing becomes unreadable: the private file of the former key stays")
    _tell_new(make_next())
    for entry in former:
        if retired_ms < entry.key.ends_at_ms:
            own.retire(entry, retired_ms)
            _tell_retired(entry, retired_ms)


@keys.command()
@_key_argument
@profile_option
@click.option("--at", type=_TIME, help="From when on nothing may be sealed to it (UTC). Without it: from now on.")
def retire(key_id: str, profile: Path, *, at: datetime | None) -> None:
    """State that nothing may be sealed to a key any more. Nothing becomes unreadable by this.

    The private key need not be here: this also ends a key that is lost, or that is not yours.

    If somebody else may have the private key: retire it now, make another one, and destroy this one when you have read
    what is on its way.

    Example:  case-exchange keys retire 3f9a12bc --profile edge.toml
    """
    own = OwnKeys.load(profile)
    entry = _find(own, key_id)
    at_ms = own.now_ms if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)
    if at_ms < own.now_ms:
        _refuse("a key cannot be retired from a time in the past: what was sealed to it since then was right")
    listed = own.listed().get(entry.key.key_id)
    # A retirement that the directory does not list may have to be stated again.
    if entry.key.not_after_ms <= at_ms or (listed is not None and listed.ends_at_ms <= at_ms):
        _refuse(f"nothing may be sealed to the key from {rfc3339(entry.key.ends_at_ms)} on, so it need not be retired")
    click.echo("nothing becomes unreadable: the private file stays")
    if all(other.key.key_id == entry.key.key_id for other in own.in_force(entry.key.use, at_ms)):
        what = (
            "nobody can seal anything to you" if entry.key.use == RECORDS else "you cannot open again what you publish"
        )
        click.echo(f"warning: no other key for {entry.key.use} is in force then: {what} until you state one", err=True)
    own.retire(entry, at_ms)
    _tell_retired(entry, at_ms)


@keys.command()
@_key_argument
@profile_option
@click.option("--confirm", is_flag=True, help="Really destroy it. Without this, it is only said what would happen.")
def destroy(key_id: str, profile: Path, *, confirm: bool) -> None:
    """Destroy a private key that is no longer in force. What was sealed to it becomes unreadable, for ever.

    It says first what that is. Signatures, proofs and the log stay valid: `verify` needs no key.

    Example:  case-exchange keys destroy 3f9a12bc --profile edge.toml --confirm
    """
    own = OwnKeys.load(profile)
    entry = _find(own, key_id)
    if not entry.has_private:
        _refuse("the private key is not in this folder: there is nothing to destroy")
    if own.now_ms < entry.key.ends_at_ms:
        _refuse(f"publishers may seal to this key until {rfc3339(entry.key.ends_at_ms)}: retire it first")
    listed = own.listed().get(entry.key.key_id)
    if listed is not None and listed.in_force(own.now_ms):
        _refuse("by the directory, publishers may still seal to this key: give governance the retirement first")
    for line in lost(own, entry.key):
        click.echo(line)
    if not confirm:
        _refuse("nothing was destroyed: add --confirm to destroy the key")
    in_token = entry.token_key() is not None
    destroy_private(entry)
    click.echo(f"{entry.private_file}: destroyed{', and the key in its token' if in_token else ''}")


@keys.command("list")
@profile_option
@json_option
def list_keys(profile: Path, *, as_json: bool) -> None:
    """Show your keys, and whether the directory lists them. It also names keys that the directory lists as yours alone.

    Example:  case-exchange keys list --profile edge.toml
    """
    own = OwnKeys.load(profile)
    listed, entries = own.listed(), own.entries()
    rows = [_row(own, entry, listed) for entry in entries]
    strange = sorted(key_id.hex() for key_id in listed.keys() - {entry.key.key_id for entry in entries})
    if as_json:
        facts = {"agency": own.agency, "keys": rows, "not_here": strange}
        click.echo(json.dumps(facts, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['key_id'][:16]}  {row['use']:8} {row['suite']:16} {row['state']}, from {row['not_before']} until "
            f"{row['ends_at']}; private key {'here' if row['private_key'] else 'NOT here'}; "
            f"the directory {row['directory']}"
        )
    for key_id in strange:
        text = f"warning: the directory lists {key_id[:16]} as a key of {own.agency}, and it is not in this folder"
        click.echo(f"{text}. If it is not yours at all, tell governance and retire it", err=True)


def _first(own: OwnKeys, use: str, suite: str, days: int, uri: KeyUri | None) -> None:
    if own.in_force(use, own.now_ms):
        _refuse(f"a key for {use} is in force already: to follow it, use `case-exchange keys rotate --use {use}`")
    click.echo("nothing becomes unreadable")
    _tell_new(own.make(use, suite, days, uri))


def _tell_new(entry: FolderEntry) -> None:
    key = entry.key
    click.echo(f"{key.key_id.hex()}: made, for {key.use}, {key.suite}, in force until {rfc3339(key.ends_at_ms)}")
    where = entry.private_file if entry.token_key() is None else f"in its token, which {entry.private_file} names"
    click.echo(f"private key: {where} (keep a backup)")
    click.echo(f"for governance: {entry.statement_file}")


def _tell_retired(entry: FolderEntry, at_ms: int) -> None:
    click.echo(f"{entry.key.key_id.hex()}: nothing may be sealed to it from {rfc3339(at_ms)} on")
    click.echo(f"for governance: {entry.retirement_file}")


def _find(own: OwnKeys, key_id: str) -> FolderEntry:
    """The one key whose id begins like this: in the folder, or among those that the directory lists as the agency's."""
    known = {key.key_id: entry_of(own.folder, key) for key in own.listed().values()}
    known.update((entry.key.key_id, entry) for entry in own.entries())
    found = [entry for known_id, entry in known.items() if known_id.hex().startswith(key_id.lower())]
    if len(found) != 1 or len(key_id) < _LEAST_DIGITS:
        message = f"{len(found)} of your keys have an id that begins with {key_id}"
        _refuse(f"{message}: give at least {_LEAST_DIGITS} digits of one (`case-exchange keys list`)")
    return found[0]


def _row(own: OwnKeys, entry: FolderEntry, listed: dict[bytes, EncryptionKey]) -> dict[str, Any]:
    key = entry.key
    there = listed.get(key.key_id)
    says = "does not list it" if there is None else "lists it"
    if there is not None and there.retired_at_ms != key.retired_at_ms:
        says = "lists it without the retirement here"
    return {
        "key_id": key.key_id.hex(),
        "use": key.use,
        "suite": key.suite,
        "state": _state(key, own.now_ms),
        "not_before": rfc3339(key.not_before_ms),
        "ends_at": rfc3339(key.ends_at_ms),
        "private_key": entry.has_private,
        "directory": says,
    }


def _state(key: EncryptionKey, now_ms: int) -> str:
    if key.in_force(now_ms):
        return "in force"
    if now_ms < key.not_before_ms:
        return "not yet in force"
    return "retired" if key.retired_at_ms is not None and key.retired_at_ms <= now_ms else "expired"


def _command(use: str) -> str:
    return "make" if use == RECORDS else "archive"


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(message)
