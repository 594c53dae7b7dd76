"""``case-exchange directory``: prepare and sign the directory (governance), and show it (everyone)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli.directoryfiles import read_bytes, write_file
from broker.cli.directoryfirst import first
from broker.cli.directorykeys import directory_keys
from broker.cli.directorymembers import add_agency, add_certificate, diff, lint, warn
from broker.cli.options import json_option, root_option
from broker.core.encryptionkeys import ARCHIVE, RECORDS
from broker.core.errors import CertificatesUnlisted, KeyInvalid
from broker.core.keyhistory import check_successor
from broker.core.policy import keys_in_force
from broker.core.tree.witnesspolicy import parse_directory_policy
from broker.trust.carriedkeys import keep_former_statements, with_statements
from broker.trust.directory import open_directory, sign_directory, successions_of
from broker.trust.directory_diff import NO_SECTIONS
from broker.trust.directory_incarnations import with_incarnations
from broker.trust.directory_payload import directory_payload, parse_payload
from broker.trust.governance import Governance, public_key_of, state_succession
from broker.trust.keys import load_signing_key, load_verification_keys
from broker.trust.retirement import keep_former_certificates
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from broker.core.policy import Agency, Directory
    from broker.trust.governance import EitherKey

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(no_args_is_help=True)
def directory() -> None:
    """Show, change and sign the list of agencies. It has their keys and rights."""


for _command in (first, add_agency, add_certificate, diff, lint, directory_keys):
    directory.add_command(_command)


@directory.command()
@click.argument("document", type=_FILE)
@root_option
@json_option
def show(document: Path, *, roots: tuple[Path, ...], as_json: bool) -> None:
    """Verify a directory and show the rights that it grants. With --json: print the payload, to edit and sign again.

    Example:  case-exchange directory show .dev/pki/trust/directory.json --root .dev/pki/trust/governance.pem
    """
    opened = open_directory(read_bytes(document), Governance.load(*roots))
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
@click.option("--incarnations", type=_FILE, help="Declarations to add, as `case-exchange incarnation` wrote them.")
@click.option(
    "--key-statement",
    "statements",
    type=_FILE,
    multiple=True,
    help="A statement of an agency about its encryption key, to add (`case-exchange keys`). May be repeated.",
)
@click.option("--former-key", type=_FILE, help="The private key that hands over to --key with this version.")
@click.option("--lost-key", type=_FILE, help="The public key (PEM) of a lost key, which --key replaces.")
def sign(
    payload: Path,
    *,
    key: Path,
    out: Path,
    previous: Path | None,
    dropped: tuple[str, ...],
    incarnations: Path | None,
    statements: tuple[Path, ...],
    former_key: Path | None,
    lost_key: Path | None,
) -> None:
    """Check a payload and sign it. Raise its version first: nobody accepts an old version, or a changed one.

    The previous version may list signing certificates that the new one does not. These are kept as retired, because
    records that they signed must still verify. To drop them for ever, use --drop. Key statements that have not ended
    are kept, too: only their agency can end them.

    To change governance's key, sign with the new one and name the former one with --former-key. Nobody has to pin the
    new key. If the former key is lost or stolen, use --lost-key instead. Then everybody must pin the new key.

    Example:  case-exchange directory sign payload.json --key governance.key --out directory.json
    """
    governance_key, content = load_signing_key(key), read_bytes(payload)
    directory = parse_payload(content, document=b"", draft=True)
    if incarnations is not None:
        directory = with_incarnations(directory, read_bytes(incarnations), SystemClock().now_ms())
        content = directory_payload(directory)
    warn(directory)
    before = previous or (out if out.exists() else None)
    handing_over = _former_key(former_key, lost_key)
    successions: list[dict[str, Any]] = []
    stated = [*map(read_bytes, statements)]
    if before is not None:
        known = [governance_key.public_key(), *map(public_key_of, handing_over)]
        former = open_directory(read_bytes(before), Governance(*known))
        successions = successions_of(former.document)
        for one in former.incarnations:
            if one not in directory.incarnations:
                click.echo(f"warning: a declared incarnation of {one.partition} is dropped or changed", err=True)
        amended, retirements = keep_former_certificates(directory, former, SystemClock().now_ms(), frozenset(dropped))
        amended = keep_former_statements(with_statements(amended, stated), former)
        check_successor(former, amended)
        for agency, fingerprint in retirements:
            click.echo(f"{agency}: the certificate {fingerprint} is retired from now on")
    elif directory.version > 1 or dropped:
        message = f"the version before {directory.version} is not known, so its certificates are not known"
        raise CertificatesUnlisted(message)
    else:
        amended = with_statements(directory, stated)
    if amended != directory:
        content = directory_payload(amended)
    successions += [state_succession(directory, one, governance_key) for one in handing_over]
    document = sign_directory(content, governance_key, successions)
    # Nobody could use a document that its own statements contradict.
    open_directory(document, Governance(governance_key.public_key()))
    write_file(out, document)
    click.echo(f"{out}: signed")


def _former_key(former: Path | None, lost: Path | None) -> list[EitherKey]:
    if former is not None and lost is not None:
        message = "a key is handed over with --former-key or replaced with --lost-key, not both"
        raise click.UsageError(message)
    if former is not None:
        return [load_signing_key(former)]
    if lost is None:
        return []
    keys = load_verification_keys(lost)
    if len(keys) > 1:
        message = f"{lost.name} has {len(keys)} keys: give a file with only the key that is lost"
        raise KeyInvalid(message)
    return list(keys)


def _print(opened: Directory) -> None:
    until, now_ms = _date(opened.expires_at_ms), SystemClock().now_ms()
    click.echo(f"{opened.trust_domain}: version {opened.version}, in force until {until}{_soon(opened)}")
    click.echo(f"purposes: {', '.join(sorted(opened.purposes))}")
    for kind, agencies in sorted(opened.may_correct.items()):
        click.echo(f"may correct others' {kind}: {', '.join(sorted(agencies))}")
    if (policy := parse_directory_policy(opened.witness_policy, opened.log_keys)) is not None:
        names = ", ".join(witness.key.name for witness in policy.witnesses)
        click.echo(f"witnesses: {names}; at least {policy.fewest} must cosign")
    if opened.timestamp_authorities:
        click.echo(f"timestamp authorities: {len(opened.timestamp_authorities)}")
    for ended in opened.ended_log_keys:
        click.echo(f"log key {ended.key.partition('+')[0]}: ended {_date(ended.ended_at_ms)}, see ended_log_keys")
    for one in opened.incarnations:
        click.echo(
            f"{one.partition}: a new log since {_date(one.declared_at_ms)}: {one.survives} records survive of ",
            nl=False,
        )
        click.echo(f"{one.last.checkpoint.size}: {one.reason}")
    for agency in sorted(opened.agencies.values(), key=lambda item: item.id):
        in_use, retired = len(agency.signing_certificates), len(agency.retired_certificates)
        former = f" and {retired} retired" if retired else ""
        click.echo(f"{agency.id}: {agency.name}, {in_use} signing certificates in use{former}")
        for key in keys_in_force(agency, now_ms, RECORDS) + keys_in_force(agency, now_ms, ARCHIVE):
            click.echo(f"  encryption key {key.key_id.hex()[:16]} for {key.use} until {_date(key.ends_at_ms)}")
        _print_rights(agency)


def _date(ms: int) -> date:
    return datetime.fromtimestamp(ms / 1000, UTC).date()


def _soon(opened: Directory) -> str:
    return " (EXPIRES SOON)" if opened.expires_soon(SystemClock().now_ms()) else ""


def _print_rights(agency: Agency) -> None:
    for kind, told in sorted(agency.publish.items()):
        plain = f", plain: {', '.join(sorted(told.plain))}" if told.plain else ""
        click.echo(f"  publishes {kind} to {', '.join(sorted(told.recipients))}{_of(told.sections)}{plain}")
    for kind, heard in sorted(agency.receive.items()):
        click.echo(f"  receives {kind} from {', '.join(sorted(heard.publishers))}{_of(heard.sections)}")
    for stream, right in sorted(agency.replay.items()):
        click.echo(f"  replays {stream}{_of(right.sections)}")


def _of(sections: frozenset[str]) -> str:
    names = ", ".join(sorted(sections)) or NO_SECTIONS
    return "" if sections == {"*"} else f" (sections: {names})"
