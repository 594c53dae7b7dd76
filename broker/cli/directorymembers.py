"""``case-exchange directory add-agency``, ``add-certificate``, ``diff`` and ``lint``: governance prepares a version."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli.directoryfiles import read_bytes, read_either, write_file
from broker.cli.main import REFUSED
from broker.cli.options import json_option, root_option
from broker.core.enrolment import enrol, next_version, with_certificate
from broker.core.errors import CertificateInvalid
from broker.trust.certificates import der, load_certificates, principal_of, signing_validity
from broker.trust.directory import open_directory
from broker.trust.directory_diff import differences
from broker.trust.directory_incarnations import check_incarnations
from broker.trust.directory_lint import lint as found_by_lint
from broker.trust.directory_payload import directory_payload, parse_payload
from broker.trust.governance import Governance
from broker.trust.keyring import signing_authorities
from broker.trust.recordkeys import record_key
from broker.trust.requests import key_sha256, read_request
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.identity import Principal
    from broker.core.policy import Directory

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MS_A_DAY = 24 * 3_600_000

_request_option = click.option(
    "--request", "request", required=True, type=_FILE, help="The agency's request for its signing certificate (.csr)."
)
_certificate_option = click.option(
    "--certificate", type=_FILE, help="What the authority made of it. Without it: beside the request, with .pem."
)
_out_option = click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The payload to write."
)
_days_option = click.option(
    "--days", type=click.IntRange(1), help="How long the version is in force. Without it: as long as the former one."
)
_optional_root = click.option(
    "--root", "roots", multiple=True, type=_FILE, help="The governance public key (PEM) that you pin, if it is signed."
)


@click.command("add-agency")
@click.argument("document", type=_FILE)
@root_option
@_request_option
@_certificate_option
@click.option("--name", required=True, help="The agency's name, for people.")
@click.option("--rights-like", "like", required=True, metavar="AGENCY", help="It stands wherever this agency stands.")
@_days_option
@_out_option
def add_agency(
    document: Path,
    *,
    roots: tuple[Path, ...],
    request: Path,
    certificate: Path | None,
    name: str,
    like: str,
    days: int | None,
    out: Path,
) -> None:
    """Prepare a next version with a new agency.

    This writes its payload. The new agency gets the rights and quotas of another one, and every agency that may
    address or hear the other one may do so with the new one. The two get no rights with each other. Edit the payload
    if that is not what you mean.

    The signing authority must have certified the very key of the request. Compare the fingerprint that this prints with
    what the agency tells you, before you sign.

    Example:  case-exchange directory add-agency directory.json --root governance.pem --request signing.csr
    --name "Gansu police" --rights-like shanxi-police --out payload.json
    """
    directory = open_directory(read_bytes(document), Governance.load(*roots))
    principal, data = certified(request, certificate, directory.signing_authorities, directory.trust_domain)
    _write(enrol(directory, principal.agency, name, data, like=like), days, out)


@click.command("add-certificate")
@click.argument("document", type=_FILE)
@root_option
@_request_option
@_certificate_option
@_days_option
@_out_option
def add_certificate(
    document: Path,
    *,
    roots: tuple[Path, ...],
    request: Path,
    certificate: Path | None,
    days: int | None,
    out: Path,
) -> None:
    """Prepare a next version with a renewed certificate.

    This writes its payload. The agency's former ones stay in use. When the agency has changed over, leave them out:
    they are then kept as retired.

    Example:  case-exchange directory add-certificate directory.json --root governance.pem --request signing.next.csr
    --out payload.json
    """
    directory = open_directory(read_bytes(document), Governance.load(*roots))
    principal, data = certified(request, certificate, directory.signing_authorities, directory.trust_domain)
    _write(with_certificate(directory, principal.agency, data), days, out)


@click.command()
@click.argument("first", type=_FILE)
@click.argument("second", type=_FILE)
@_optional_root
@json_option
def diff(first: Path, second: Path, *, roots: tuple[Path, ...], as_json: bool) -> None:
    """Show what differs between two directories.

    Each is a signed document, or a payload to be signed.

    Example:  case-exchange directory diff directory.json payload.json --root governance.pem
    """
    found = differences(read_either(first, roots), read_either(second, roots))
    if as_json:
        click.echo(json.dumps([one._asdict() for one in found], indent=2, ensure_ascii=False))
        return
    for one in found:
        click.echo(f"{one.sign} {one.path}: {one.value}")


@click.command()
@click.argument("file", type=_FILE)
@_optional_root
def lint(file: Path, *, roots: tuple[Path, ...]) -> None:
    """Say what governance may not have meant.

    It is a payload to be signed, or a signed document. `sign` says the same.

    Exit codes: 0 nothing found, 1 warnings, 2 it cannot be used.

    Example:  case-exchange directory lint payload.json
    """
    directory = read_either(file, roots)
    if warn(directory):
        sys.exit(REFUSED)
    click.echo(f"{file}: nothing found")


def warn(directory: Directory) -> bool:
    """Say what governance may not have meant. Return whether there is something.

    Raises:
        DirectoryInvalid: nobody could use it.
    """
    check_incarnations(directory)
    found = found_by_lint(directory, SystemClock().now_ms())
    for text in found:
        click.echo(f"warning: {text}", err=True)
    return bool(found)


def certified(
    request: Path, certificate: Path | None, authorities: Sequence[bytes], trust_domain: str
) -> tuple[Principal, bytes]:
    """Whose certificate a request became, and the certificate (DER).

    Args:
        request: its file.
        certificate: what the authority made of it. None: beside the request, with .pem.
        authorities: the signing authorities' certificates (DER).
        trust_domain: the exchange's.

    Raises:
        RequestInvalid: nobody has shown to have its key, or it names no principal.
        CertificateInvalid: there is no certificate, or it has another key or principal than the request.
        SignerCertificateInvalid: it is no signing certificate of an authority that the directory lists.
    """
    asked, path = read_request(request), certificate or request.with_suffix(".pem")
    if not path.exists():
        message = f"{path.name} is not there: first the signing authority signs the request (case-exchange certs sign)"
        raise CertificateInvalid(message)
    found = load_certificates(path)[0]
    # An authority that certified another key could sign as this agency.
    if record_key(found) != asked.key or principal_of(found) != asked.principal:
        message = f"{path.name} is not the certificate of the key and the principal in {request.name}"
        raise CertificateInvalid(message)
    if asked.principal.trust_domain != trust_domain:
        message = f"{request.name} is of another exchange: {asked.principal.trust_domain}"
        raise CertificateInvalid(message)
    signing_validity(found, signing_authorities(authorities))
    click.echo(f"{asked.principal.agency}: its key is {key_sha256(asked.key)}")
    return asked.principal, der(found)


def _write(directory: Directory, days: int | None, out: Path) -> None:
    life_ms = None if days is None else days * _MS_A_DAY
    payload = directory_payload(next_version(directory, SystemClock().now_ms() // 1000 * 1000, life_ms))
    parse_payload(payload, document=b"")
    write_file(out, payload)
    click.echo(f"{out}: the payload of version {directory.version + 1}. Next: case-exchange directory diff, lint, sign")
