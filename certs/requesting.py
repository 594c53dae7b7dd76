"""``case-exchange certs request``, ``sign`` and ``renew``: an agency keeps its keys, and an authority signs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broker.core.identity import Principal
from broker.core.keyuri import KeyUri
from certs import enrolment, operations
from certs.folder import PkiFolder
from certs.options import days_option, json_option, lifetime_of, now_utc, pki_option, print_facts
from certs.profiles import LOCAL_NAMES, PROFILES, SIGNING, TLS_CLIENT
from certs.renewing import Prepared, prepare
from certs.rights import TRUST_DOMAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certs.profiles import Profile

_OF_AN_AGENCY: Final = (TLS_CLIENT.name, SIGNING.name)
_FOLDER: Final = click.Path(file_okay=False, path_type=Path)

_agency_option: Final = click.option("--agency", required=True, help="The agency's id, such as gansu-police.")
_system_option: Final = click.option(
    "--system", default="gateway", show_default=True, help="The system of the agency that has the keys."
)
_profiles_option: Final = click.option(
    "--profile",
    "profiles",
    type=click.Choice(sorted(PROFILES)),
    multiple=True,
    default=_OF_AN_AGENCY,
    show_default=True,
    help="What the certificate is for. May be repeated.",
)
_domain_option: Final = click.option(
    "--trust-domain", default=TRUST_DOMAIN, show_default=True, help="The exchange's SPIFFE trust domain."
)
_names_option: Final = click.option(
    "--name", "names", multiple=True, help="DNS name or address of a TLS server. May be repeated."
)


@click.command()
@_agency_option
@_system_option
@_profiles_option
@_domain_option
@_names_option
@click.option("--folder", required=True, type=_FOLDER, help="Where the keys are made, and stay.")
@click.option(
    "--in-token",
    "uri",
    metavar="URI",
    help="The signing key is the one of this name in a PKCS #11 token (docs/keys.md).",
)
@json_option
def request(
    *,
    agency: str,
    system: str,
    profiles: tuple[str, ...],
    trust_domain: str,
    names: tuple[str, ...],
    folder: Path,
    uri: str | None,
    as_json: bool,
) -> None:
    """Make keys, and requests for their certificates.

    The keys never leave the folder. Give the requests (.csr) to the authority and to governance. Tell them the
    fingerprints of the keys in another way, such as by telephone: a request itself does not prove whose it is.

    Example:  case-exchange certs request --agency gansu-police --folder keys
    """
    principal = Principal.parse(f"spiffe://{trust_domain}/agency/{agency}/{system}")
    named = None if uri is None else KeyUri.parse(uri)
    made = enrolment.make_all(folder, _profiles(profiles), principal, names or LOCAL_NAMES, named)
    _print_each([_requested(one) for one in made], as_json=as_json)


@click.command()
@click.argument(
    "requests",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    nargs=-1,
    required=True,
    metavar="REQUEST...",
)
@_agency_option
@_system_option
@_profiles_option
@_domain_option
@_names_option
@click.option("--out", type=_FOLDER, help="The folder of the certificates. Without it: that of each request.")
@days_option
@pki_option
@json_option
def sign(
    requests: tuple[Path, ...],
    *,
    agency: str,
    system: str,
    profiles: tuple[str, ...],
    trust_domain: str,
    names: tuple[str, ...],
    out: Path | None,
    days: int | None,
    root: Path,
    as_json: bool,
) -> None:
    """Sign requests, as the authority.

    Say whose they are and what for: what differs is refused.
    A key that was certified before is refused, too. Compare the fingerprints that this prints with those that the
    agency tells you, before you give the certificates to it.

    Example:  case-exchange certs sign keys/tls.csr keys/signing.csr --agency gansu-police
    """
    principal = Principal.parse(f"spiffe://{trust_domain}/agency/{agency}/{system}")
    allowed = _profiles(profiles)
    orders = [
        enrolment.Order(path, principal, allowed, names or LOCAL_NAMES, lifetime_of(days, *allowed), out)
        for path in requests
    ]
    pki, now = PkiFolder(root), now_utc()
    # All or none, as far as that can be known before.
    for order in orders:
        enrolment.check(pki, order)
    signed = [enrolment.sign(pki, order, now) for order in orders]
    facts = [
        {
            "certificate": str(one.path),
            "profile": one.profile.name,
            "not_after": one.certificate.not_valid_after_utc.isoformat(),
            "serial": f"{one.certificate.serial_number:x}",
            "key_sha256": one.key_sha256,
        }
        for one in signed
    ]
    _print_each(facts, as_json=as_json)


@click.command()
@click.argument("certificates", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option("--early", is_flag=True, help="Do not wait until two thirds of its life are over.")
@click.option("--anew", is_flag=True, help="Forget the key, request and answer that lie beside it: make others.")
@click.option(
    "--authorities",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The peers' TLS authorities, one of which must have signed the answer. Without it: the same one as before.",
)
@click.option("--pki", "root", type=_FOLDER, help="Only a development PKI: make a new key here, and sign it at once.")
@json_option
def renew(
    certificates: tuple[Path, ...],
    *,
    early: bool,
    anew: bool,
    authorities: Path | None,
    root: Path | None,
    as_json: bool,
) -> None:
    """Do what the renewal of certificates needs next. Run it every day where the keys are.

    From two thirds of a certificate's life on, a new key and a request are laid beside it (tls.next.key, tls.next.csr).
    When the authority's answer lies there (tls.next.pem), it takes the place of the former one. Programs that run take
    it up without a restart, and the former connection is drained. They do the same themselves, and take up a signing
    certificate when the directory lists it.

    The former certificate is not revoked: what it signed stays valid. A lost request is written again, for the same
    key. If the authority's answer is lost: --anew.

    Example:  case-exchange certs renew keys/tls.pem keys/signing.pem
    """
    now = now_utc()
    if root is None:
        facts = [
            _prepared(path, prepare(path, now, early=early, anew=anew, authorities=authorities))
            for path in certificates
        ]
    else:
        facts = [_renewed(operations.renew(PkiFolder(root), path, now)) for path in certificates]
    _print_each(facts, as_json=as_json)


def _profiles(names: Sequence[str]) -> list[Profile]:
    return [PROFILES[name] for name in names]


def _requested(made: enrolment.Requested) -> dict[str, str]:
    return {"request": str(made.request), "key": str(made.key), "key_sha256": made.key_sha256}


def _prepared(path: Path, prepared: Prepared) -> dict[str, str]:
    asked = _requested(prepared.requested) if prepared.requested else {}
    return {"certificate": str(path), "done": prepared.done, "next": prepared.next, **asked}


def _renewed(credential: operations.Credential) -> dict[str, str]:
    return {
        "certificate": str(credential.certificate_path),
        "key": str(credential.key_path),
        "not_after": credential.certificate.not_valid_after_utc.isoformat(),
    }


def _print_each(facts: Sequence[Any], *, as_json: bool) -> None:
    """As JSON: one object for each, in a list."""
    if as_json:
        print_facts(list(facts), as_json=True)
        return
    for one in facts:
        print_facts(one, as_json=False)
