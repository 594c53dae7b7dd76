"""``case-exchange certs``: commands for the person who runs the certificate authorities, and for agencies.

Errors are raised as CaseExchangeError. The main program prints each as one line.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from broker.core.errors import CertificateInvalid
from broker.core.identity import Principal
from broker.trust.certificates import fingerprint
from certs import development, operations
from certs.authorities import found
from certs.authority import REASONS
from certs.folder import AUTHORITY_KINDS, PkiFolder
from certs.options import days_option, json_option, lifetime_of, now_utc, pki_option, print_facts
from certs.profiles import LOCAL_NAMES, PROFILES, SIGNING, SIGNING_ML_DSA_65, profile_of
from certs.requesting import renew, request, sign
from certs.rights import EXCHANGE, TRUST_DOMAIN
from certs.show import describe


@click.group(no_args_is_help=True)
def certs() -> None:
    """Request, sign, renew, revoke and show certificates.

    Start with:  case-exchange certs init   (a PKI for development), or docs/enrolment.md (an exchange)
    """


@certs.command()
@pki_option
@click.option("--force", is_flag=True, help="Delete the existing PKI first, with its private keys.")
@json_option
def init(root: Path, *, force: bool, as_json: bool) -> None:
    """Make a complete PKI for development.

    It has authorities, all sample agencies, revocation lists and a signed directory.

    Example:  case-exchange certs init --pki .dev/pki
    """
    pki = development.create(root, now_utc(), force=force)
    members = sorted(folder.name for folder in (root / "agencies").iterdir())
    facts = {"pki": str(root), "directory": str(pki.directory), "agencies": members}
    print_facts(facts, as_json=as_json)


@certs.command()
@click.option("--trust-domain", required=True, help="The exchange's SPIFFE trust domain, such as exchange.example.")
@click.option("--pki", "root", required=True, type=click.Path(file_okay=False, path_type=Path), help="A new folder.")
@json_option
def authority(*, trust_domain: str, root: Path, as_json: bool) -> None:
    """Make the authorities of a new exchange.

    They are for TLS, signing and Kafka, with their first revocation lists. The private keys are in the folder
    authorities, and never leave this machine. Give what is in the folder trust to everybody, and tell the fingerprints
    in another way, such as by telephone. What is there is never replaced.

    Example:  case-exchange certs authority --trust-domain exchange.example --pki authority
    """
    pki, made = PkiFolder(root), found(root, trust_domain, now_utc())
    facts: dict[str, Any] = {f"{kind}_sha256": fingerprint(one.certificate).hex() for kind, one in made.items()}
    facts["not_after"] = made["tls"].certificate.not_valid_after_utc.isoformat()
    facts["publish"] = sorted(str(path) for path in pki.trust.iterdir())
    print_facts(facts, as_json=as_json)


@certs.command()
@click.option("--agency", required=True, help="The agency's id, such as hebei-police.")
@click.option("--system", required=True, help="The system of the agency, such as gateway.")
@click.option("--profile", type=click.Choice(sorted(PROFILES)), required=True, help="What the certificate is for.")
@click.option("--trust-domain", default=TRUST_DOMAIN, show_default=True, help="The exchange's SPIFFE trust domain.")
@click.option(
    "--name",
    "server_names",
    multiple=True,
    help=f"DNS name or address of a TLS server. May be repeated. Without it: {', '.join(LOCAL_NAMES)}.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="The folder. Without it: the agency's folder."
)
@days_option
@pki_option
@json_option
def issue(
    root: Path,
    *,
    agency: str,
    system: str,
    profile: str,
    trust_domain: str,
    server_names: tuple[str, ...],
    out: Path | None,
    days: int | None,
    as_json: bool,
) -> None:
    """In a development PKI: make a new key and certificate. An existing one is never replaced.

    In an exchange the key stays with the agency: certs request, then certs sign.

    Example:  case-exchange certs issue --agency hebei-police --system archive --profile tls-client --out archive
    """
    principal = Principal.parse(f"spiffe://{trust_domain}/agency/{agency}/{system}")
    credential = operations.issue(
        PkiFolder(root),
        PROFILES[profile],
        principal,
        now_utc(),
        folder=out,
        server_names=server_names or LOCAL_NAMES,
        lifetime=lifetime_of(days, PROFILES[profile]),
    )
    _print_credential(credential, as_json=as_json)


@certs.command()
@click.argument(
    "certificate", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="[CERTIFICATE]", required=False
)
@click.option("--serial", help="The serial number, in hexadecimal, instead of a file.")
@click.option("--agency", help="An agency's id instead of a file: all its certificates.")
@click.option("--reason", type=click.Choice(sorted(REASONS)), required=True, help="Why (RFC 5280 section 5.3.1).")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    help="The time from which nobody may trust it (UTC). Without it: now.",
)
@click.option("--yes", is_flag=True, help="Do not ask before the exchange itself is revoked.")
@pki_option
@json_option
def revoke(
    root: Path,
    *,
    certificate: Path | None,
    serial: str | None,
    agency: str | None,
    reason: str,
    since: datetime | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Revoke certificates in their authorities' next lists.

    They are those of a file, of a serial number, or all of an agency. The lists are published at once: give them to all
    brokers and edges. For Kafka nobody reads a list: take the rights of the principal away there.

    Example:  case-exchange certs revoke --agency hebei-police --reason cessationOfOperation
    """
    pki, now = PkiFolder(root), now_utc()
    since = now if since is None else since.replace(tzinfo=UTC)
    if since > now:
        message = "a certificate cannot be revoked from a time in the future; revoke it at that time"
        raise CertificateInvalid(message)
    match certificate, serial, agency:
        case Path() as path, None, None:
            find = partial(operations.by_file, pki, path)
        case None, str(text), None:
            find = partial(operations.by_serial, pki, _serial(text))
        case None, None, str(name):
            if name == EXCHANGE and not yes:
                click.confirm(
                    "This revokes the exchange itself: no broker can serve then. Go on?", abort=True, err=True
                )
            find = partial(operations.by_agency, pki, name, since)
        case _:
            message = "give one of a certificate's file, --serial and --agency"
            raise click.UsageError(message)
    revoked = operations.revoke(pki, find, now, reason, since=since)
    facts = {
        "revoked": [f"{one.entry.serial} ({one.entry.principal}, {one.entry.profile})" for one in revoked],
        "since": since.isoformat(),
        "publish": [str(pki.revocation_list(kind)) for kind in sorted({one.kind for one in revoked})],
    }
    print_facts(facts, as_json=as_json)


@certs.command()
@click.option(
    "--authority",
    "kinds",
    type=click.Choice(AUTHORITY_KINDS),
    multiple=True,
    default=AUTHORITY_KINDS,
    show_default=True,
    help="The authority of the list. May be repeated.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 90),
    default=operations.LIST_LIFETIME.days,
    show_default=True,
    help="Days until the next list must be published.",
)
@pki_option
@json_option
def crl(root: Path, *, kinds: tuple[Any, ...], days: int, as_json: bool) -> None:
    """Publish new revocation lists. Run it long before the next update of the last lists: later, nobody can connect.

    Example:  case-exchange certs crl --days 2
    """
    authorities = operations.publish_lists(PkiFolder(root), kinds, now_utc(), valid_for=timedelta(days=days))
    print_facts({kind: f"number {authority.crl_number}" for kind, authority in authorities.items()}, as_json=as_json)


@certs.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def show(*, file: Path, as_json: bool) -> None:
    """Show what is in a certificate, revocation list or key file.

    Example:  case-exchange certs show .dev/pki/broker/tls.pem
    """
    items = describe(file)
    if as_json:
        click.echo(json.dumps(items, indent=2))
        return
    for item in items:
        print_facts(item, as_json=False)


def _print_credential(credential: operations.Credential, *, as_json: bool) -> None:
    facts = {
        "certificate": str(credential.certificate_path),
        "key": str(credential.key_path),
        "not_after": credential.certificate.not_valid_after_utc.isoformat(),
    }
    if profile_of(credential.certificate) in (SIGNING, SIGNING_ML_DSA_65):
        facts["directory"] = "lists it"
    print_facts(facts, as_json=as_json)


def _serial(text: str) -> int:
    try:
        return int(text.replace(":", ""), 16)
    except ValueError:
        message = "a serial number has hexadecimal digits"
        raise click.BadParameter(message, param_hint="--serial") from None


for command in (request, sign, renew):
    certs.add_command(command)
