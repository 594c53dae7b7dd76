"""``case-exchange directory first``: governance prepares the first version of an exchange's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from broker.cli.directoryfiles import write_file
from broker.cli.directorymembers import certified
from broker.core.errors import DirectoryInvalid
from broker.core.policy import Agency, Directory
from broker.trust.certificates import der, load_certificates
from broker.trust.directory_payload import directory_payload, parse_payload
from broker.trust.signing import load_verifier_key
from broker.trust.system import SystemClock

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_MS_A_DAY: Final = 24 * 3_600_000


@click.command("first")
@click.option("--trust-domain", required=True, help="The exchange's SPIFFE trust domain, such as exchange.example.")
@click.option("--authority", required=True, type=_FILE, help="The signing authority's certificate (signing-ca.pem).")
@click.option(
    "--exchange",
    required=True,
    type=(_FILE, str),
    metavar="REQUEST NAME",
    help="The broker's request for its signing certificate (.csr), and the exchange's name for people.",
)
@click.option(
    "--agency",
    "agencies",
    type=(_FILE, str),
    multiple=True,
    metavar="REQUEST NAME",
    help="The same of an agency. It gets no rights: edit the payload. May be repeated.",
)
@click.option("--checkpoint-key", required=True, type=_FILE, help="The broker's public checkpoint key (Ed25519, PEM).")
@click.option("--checkpoint-key-name", required=True, help="Its name, as in the broker's configuration.")
@click.option("--purpose", "purposes", required=True, multiple=True, help="A purpose of records. May be repeated.")
@click.option("--days", type=click.IntRange(1), default=365, show_default=True, help="How long it is in force.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The payload to write.")
def first(
    *,
    trust_domain: str,
    authority: Path,
    exchange: tuple[Path, str],
    agencies: tuple[tuple[Path, str], ...],
    checkpoint_key: Path,
    checkpoint_key_name: str,
    purposes: tuple[str, ...],
    days: int,
    out: Path,
) -> None:
    """Prepare the first version of an exchange's directory.

    This writes its payload. It lists who there is, and grants nothing. Write the rights of the agencies into it
    (docs/directory.md). The authority's answers (.pem) are read beside the requests. Compare the fingerprints that this
    prints with what their owners tell you, before you sign. An existing payload is never replaced.

    Example:  case-exchange directory first --trust-domain exchange.example --authority signing-ca.pem --exchange
    broker/signing.csr "The exchange" --checkpoint-key checkpoint.pem --checkpoint-key-name exchange.example/log
    --purpose child-rescue --out payload.json
    """
    if out.exists():
        message = f"{out.name} exists already: it is the payload of another run, perhaps with rights that you wrote"
        raise DirectoryInvalid(message)
    now_ms = SystemClock().now_ms() // 1000 * 1000
    members: dict[str, Agency] = {}
    roots = (der(load_certificates(authority)[0]),)
    for request, name in (exchange, *agencies):
        principal, data = certified(request, None, roots, trust_domain)
        if principal.agency in members:
            message = f"{principal.agency} is named twice"
            raise DirectoryInvalid(message)
        members[principal.agency] = Agency(
            id=principal.agency, name=name, signing_certificates=(data,), publish={}, receive={}, replay={}
        )
    payload = directory_payload(
        Directory(
            version=1,
            trust_domain=trust_domain,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + days * _MS_A_DAY,
            exchange=next(iter(members)),
            signing_authorities=roots,
            log_keys=(str(load_verifier_key(checkpoint_key_name, checkpoint_key)),),
            purposes=frozenset(purposes),
            agencies=members,
            document=b"",
        )
    )
    parse_payload(payload, document=b"")
    write_file(out, payload)
    click.echo(f"{out}: the payload of version 1. Next: write the rights of agencies, then lint, sign")
