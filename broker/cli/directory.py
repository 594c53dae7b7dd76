"""``case-exchange directory``: sign the directory (governance), and show it (everyone)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli.options import json_option
from broker.core.errors import CertificatesUnlisted, DirectoryInvalid, SetupInvalid
from broker.files import PUBLIC_FILE, read_file, replace_file
from broker.trust.directory import MAX_DIRECTORY_BYTES, open_directory, sign_directory
from broker.trust.directory_payload import directory_payload, parse_payload
from broker.trust.keys import load_signing_key, load_verification_key
from broker.trust.retirement import keep_former_certificates
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.policy import Agency, Directory

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(no_args_is_help=True)
def directory() -> None:
    """Show and sign the list of agencies. It has their keys and rights."""


@directory.command()
@click.argument("document", type=_FILE)
@click.option("--root", required=True, type=_FILE, help="The governance public key (PEM) that you pin.")
@json_option
def show(document: Path, *, root: Path, as_json: bool) -> None:
    """Verify a directory and show the rights that it grants. With --json: print the payload, to edit and sign again.

    Example:  case-exchange directory show .dev/pki/trust/directory.json --root .dev/pki/trust/governance.pem
    """
    opened = open_directory(_read(document), load_verification_key(root))
    if as_json:
        click.echo(json.dumps(json.loads(directory_payload(opened)), indent=2, ensure_ascii=False))
        return
    _print(opened)


@directory.command()
@click.argument("payload", type=_FILE)
@click.option("--key", required=True, type=_FILE, help="The governance private key (PEM, mode 0600).")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The document to write.")
@click.option("--previous", type=_FILE, help="The previous signed version. Without it: the file --out.")
@click.option(
    "--drop",
    "dropped",
    multiple=True,
    metavar="AGENCY|SHA256",
    help="Drop all former certificates of this agency, or the one with this fingerprint. May be repeated.",
)
def sign(payload: Path, *, key: Path, out: Path, previous: Path | None, dropped: tuple[str, ...]) -> None:
    """Check a payload and sign it. Raise its version first: nobody accepts an old version, or a changed one.

    The previous version may list signing certificates that the new one does not. These are kept as retired, because
    records that they signed must still verify. To drop them for ever, use --drop.

    Example:  case-exchange directory sign payload.json --key governance.key --out directory.json
    """
    governance_key, content = load_signing_key(key), _read(payload)
    directory = parse_payload(content, document=b"")
    before = previous or (out if out.exists() else None)
    if before is not None:
        former = open_directory(_read(before), governance_key.public_key())
        amended, retirements = keep_former_certificates(directory, former, SystemClock().now_ms(), frozenset(dropped))
        if amended != directory:
            content = directory_payload(amended)
        for agency, fingerprint in retirements:
            click.echo(f"{agency}: the certificate {fingerprint} is retired from now on")
    elif directory.version > 1 or dropped:
        message = f"the version before {directory.version} is not known, so its certificates are not known"
        raise CertificatesUnlisted(message)
    document = sign_directory(content, governance_key)
    try:
        replace_file(out, document, PUBLIC_FILE)
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error
    click.echo(f"{out}: signed")


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_DIRECTORY_BYTES)
    except OSError as error:
        message = f"{path.name} cannot be read: {error.strerror}"
        raise DirectoryInvalid(message) from error


def _print(opened: Directory) -> None:
    until = datetime.fromtimestamp(opened.expires_at_ms / 1000, UTC).date()
    click.echo(f"{opened.trust_domain}: version {opened.version}, in force until {until}")
    click.echo(f"purposes: {', '.join(sorted(opened.purposes))}")
    for kind, agencies in sorted(opened.may_correct.items()):
        click.echo(f"may correct others' {kind}: {', '.join(sorted(agencies))}")
    for agency in sorted(opened.agencies.values(), key=lambda item: item.id):
        in_use, retired = len(agency.signing_certificates), len(agency.retired_certificates)
        former = f" and {retired} retired" if retired else ""
        click.echo(f"{agency.id}: {agency.name}, {in_use} signing certificates in use{former}")
        _print_rights(agency)


def _print_rights(agency: Agency) -> None:
    publish: Mapping[str, frozenset[str]] = {kind: right.recipients for kind, right in agency.publish.items()}
    for kind, recipients in sorted(publish.items()):
        click.echo(f"  publishes {kind} to {', '.join(sorted(recipients))}{_of(agency.publish[kind].sections)}")
    for kind, heard in sorted(agency.receive.items()):
        click.echo(f"  receives {kind} from {', '.join(sorted(heard.publishers))}{_of(heard.sections)}")
    for stream, right in sorted(agency.replay.items()):
        click.echo(f"  replays {stream}{_of(right.sections)}")


def _of(sections: frozenset[str]) -> str:
    names = ", ".join(sorted(sections)) or "none: signatures and digests only"
    return "" if sections == {"*"} else f" (sections: {names})"
