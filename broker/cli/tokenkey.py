"""``case-exchange token-key``: make a private key in a PKCS #11 token, and the key file that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from broker.core.errors import KeyInvalid
from broker.core.keyuri import KeyUri
from broker.files import PUBLIC_FILE, make_file, replace_file
from broker.trust.keys import public_key_pem
from broker.trust.requests import key_sha256
from broker.trust.signing import Ed25519NoteSigner
from broker.trust.tokenkeys import TokenEcKey, TokenEd25519Key, make_checkpoint_key, make_signing_key

_SIGNING: Final = "signing"
_CHECKPOINTS: Final = "checkpoints"
_OUT: Final = click.Path(dir_okay=False, path_type=Path)


@click.command(name="token-key")
@click.argument("uri", metavar="URI")
@click.option(
    "--use",
    type=click.Choice([_SIGNING, _CHECKPOINTS]),
    default=_SIGNING,
    show_default=True,
    help="signing: P-256, for records or directories. checkpoints: Ed25519, for a broker or a witness.",
)
@click.option("--out", required=True, type=_OUT, help="The key file to write. It names the key, and has no secret.")
@click.option("--public", type=_OUT, help="Write the public key, too (PEM), such as governance.pem.")
@click.option("--name", help="The name of a checkpoint key: print its verifier key for log_keys of the directory.")
def token_key(*, uri: str, use: str, out: Path, public: Path | None, name: str | None) -> None:
    """Make a private key in a token, and its key file.

    If there is a key of this name already, the file names that one. Whatever takes a private key file takes this file:
    signing_key and checkpoint_key in settings, --key of `directory sign`. A new key never leaves the token. For an
    agency's keys: `certs request --in-token`, `keys make --in-token`.

    The URI (RFC 7512) names token, key, module and the file of the PIN. It never has a PIN itself.

    Example:  case-exchange token-key "pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:/pin" --out signing.key
    """
    where = KeyUri.parse(uri)
    if name is not None and use != _CHECKPOINTS:
        message = "--name is the name of a checkpoint key: give --use checkpoints, too"
        raise click.UsageError(message)
    key: TokenEcKey | TokenEd25519Key
    key = make_checkpoint_key(where) if use == _CHECKPOINTS else make_signing_key(where)
    try:
        make_file(out, key.reference())
        if public is not None:
            replace_file(public, public_key_pem(key.public_key()), PUBLIC_FILE)
    except OSError as error:
        message = f"the key file cannot be written: {error.strerror}"
        raise KeyInvalid(message) from error
    click.echo(f"{out}: names {where.label}")
    if isinstance(key, TokenEcKey):
        click.echo(f"key_sha256: {key_sha256(key.public_key())}")
    elif name is not None:
        click.echo(f"verifier key: {Ed25519NoteSigner(name, key).vkey}")
