"""``case-exchange certs``: commands for the person who runs the certificate authorities.

Errors are raised as CaseExchangeError. The main program prints each as one line.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from broker.core.errors import CertificateInvalid
from broker.core.identity import Principal
from certs import development, operations
from certs.authority import REASONS
from certs.folder import AUTHORITY_KINDS, PkiFolder
from certs.profiles import LOCAL_NAMES, PROFILES, SIGNING, profile_of
from certs.rights import TRUST_DOMAIN
from certs.show import describe

DEFAULT_FOLDER: Final = ".dev/pki"

pki_option = click.option(
    "--pki",
    "root",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="The PKI folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
certificate_argument = click.argument(
    "certificate", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="CERTIFICATE"
)


@click.group(no_args_is_help=True)
def certs() -> None:
    """Issue, renew, revoke and show certificates.

    Start with:  case-exchange certs init
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
    pki = development.create(root, _now(), force=force)
    members = sorted(folder.name for folder in (root / "agencies").iterdir())
    facts = {"pki": str(root), "directory": str(pki.directory), "agencies": members}
    _print(facts, as_json=as_json)


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
    as_json: bool,
) -> None:
    """Make a new key and certificate. An existing one is never replaced.

    Example:  case-exchange certs issue --agency hebei-police --system archive --profile tls-client --out archive
    """
    principal = Principal.parse(f"spiffe://{trust_domain}/agency/{agency}/{system}")
    credential = operations.issue(
        PkiFolder(root), PROFILES[profile], principal, _now(), folder=out, server_names=server_names or LOCAL_NAMES
    )
    _print_credential(credential, as_json=as_json)


@certs.command()
@certificate_argument
@pki_option
@json_option
def renew(root: Path, *, certificate: Path, as_json: bool) -> None:
    """Replace a certificate and its key. The old certificate is not revoked: what it signed stays valid.

    Example:  case-exchange certs renew .dev/pki/agencies/hebei-police/tls.pem
    """
    credential = operations.renew(PkiFolder(root), certificate, _now())
    _print_credential(credential, as_json=as_json)


@certs.command()
@certificate_argument
@click.option("--reason", type=click.Choice(sorted(REASONS)), required=True, help="Why (RFC 5280 section 5.3.1).")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    help="The time from which nobody may trust it (UTC). Without it: now.",
)
@pki_option
@json_option
def revoke(root: Path, *, certificate: Path, reason: str, since: datetime | None, as_json: bool) -> None:
    """Revoke a certificate in its authority's next list.

    The list is published at once.

    Example:  case-exchange certs revoke .dev/pki/agencies/hebei-police/tls.pem --reason keyCompromise
    """
    now = _now()
    since = now if since is None else since.replace(tzinfo=UTC)
    if since > now:
        message = "a certificate cannot be revoked from a time in the future; revoke it at that time"
        raise CertificateInvalid(message)
    revoked = operations.revoke(PkiFolder(root), certificate, now, reason, since=since)
    facts = {"revoked": revoked.serial, "principal": revoked.principal, "since": since.isoformat()}
    _print(facts, as_json=as_json)


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
    authorities = operations.publish_lists(PkiFolder(root), kinds, _now(), valid_for=timedelta(days=days))
    _print({kind: f"number {authority.crl_number}" for kind, authority in authorities.items()}, as_json=as_json)


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
        _print(item, as_json=False)


def _print_credential(credential: operations.Credential, *, as_json: bool) -> None:
    facts = {
        "certificate": str(credential.certificate_path),
        "key": str(credential.key_path),
        "not_after": credential.certificate.not_valid_after_utc.isoformat(),
    }
    if profile_of(credential.certificate) is SIGNING:
        facts["directory"] = (
            "lists it" if credential.listed else "does not list it yet. Governance: run case-exchange directory sign"
        )
    _print(facts, as_json=as_json)


def _print(facts: Any, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
