"""``case-exchange export``."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from broker.bootstrap.export import signed_record
from broker.cli.cmscommands import ONLY_THIS_AUTHORITY, WHO, cms_commands, seconds
from broker.cli.options import root_option
from broker.core.errors import SetupInvalid, TimestampInvalid
from broker.extras import needed
from broker.files import PRIVATE_FOLDER, read_file, replace_file, sync_folder
from broker.trust.certificates import pem, principal_of
from broker.trust.directory_fields import rfc3339
from broker.trust.exports import (
    check_cms,
    check_dsse,
    check_sigstore,
    cms_of,
    dsse_of,
    sigstore_of,
    sigstore_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.trust.exports import SignedRecord
    from broker.trust.timestamps import TimestampAuthority

_NPM_PACKAGES: Final = "@sigstore/bundle@4.0.0 @sigstore/protobuf-specs@0.5.2 @sigstore/verify@3.1.1"


class _Export(NamedTuple):
    """The files of an export beside those that each has, and the commands that verify them."""

    files: Mapping[str, bytes]
    commands: tuple[str, ...]


class _Stamp(NamedTuple):
    """A timestamp over the record's signature, and the pinned authority that gave it."""

    response: bytes
    authority: TimestampAuthority


@click.command()
@click.argument("record_id")
@click.option(
    "--from",
    "bundle",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The bundle with the record, from `case-exchange replay` or `case-exchange proof`.",
)
@root_option
@click.option(
    "--as",
    "form",
    required=True,
    type=click.Choice(["cms", "sigstore", "dsse"]),
    help="For OpenSSL, for @sigstore/verify, or for securesystemslib.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write. It must not exist.")
@click.option(
    "--timestamp",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only for sigstore: a timestamp response (RFC 3161) over the record's signature, the file signature.der.",
)
@click.option(
    "--tsa",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --timestamp: the certificates (PEM) of its authority, which you pin: the signer first, the root last.",
)
def export(
    record_id: str,
    *,
    bundle: Path,
    roots: tuple[Path, ...],
    form: str,
    out: Path,
    timestamp: Path | None,
    tsa: Path | None,
) -> None:
    """Write a record's signature for other programs.

    It is the publisher's own signature, in a format that they verify. No key is needed. The folder has all that they
    need, and the command that verifies it is printed. It proves who signed the record. Use `case-exchange verify` to
    check the log.

    Exit codes: 0 written, 1 the record is not there or its signature does not hold, 2 wrong settings.

    Example:  case-exchange export 01990000-0000-7000-8000-000000000001 --from 2026-q3.bundle --root governance.pem --as cms --out evidence
    """  # noqa: E501 - an example is one line
    if (timestamp is None) != (tsa is None) or (timestamp is not None and form != "sigstore"):
        message = "--timestamp and --tsa go together, and only with --as sigstore"
        raise click.UsageError(message)
    if out.exists():
        message = f"{out} exists already; an export is evidence and is never overwritten"
        raise SetupInvalid(message)
    stamp = None if timestamp is None or tsa is None else _stamp(timestamp, tsa)
    record = signed_record(bundle, roots, record_id)
    made = _sigstore(record, stamp) if form == "sigstore" else _MAKERS[form](record)
    _write(out, {**_common(record), **made.files})
    click.echo(f"{out}: record {record_id}, signed by {principal_of(record.certificate).agency},")
    click.echo(f"accepted at {rfc3339(record.accepted_at_ms)}. To verify it without case-exchange:")
    for command in (f"cd {shlex.quote(str(out))}", *made.commands):
        click.echo(f"  {command}")


def _stamp(timestamp: Path, tsa: Path) -> _Stamp:
    with needed():
        from broker.trust.timestamps import MAX_TIMESTAMP_BYTES, TimestampAuthority  # noqa: PLC0415 - only who has a timestamp needs it
    try:
        response = read_file(timestamp, MAX_TIMESTAMP_BYTES)
    except OSError as error:
        message = f"the timestamp cannot be read: {error.strerror}"
        raise TimestampInvalid(message) from error
    return _Stamp(response, TimestampAuthority.load(tsa))


def _common(record: SignedRecord) -> dict[str, bytes]:
    """What every export has: the signed bytes, the signature, who signed, and the sections of this copy."""
    sections = {f"section-{section.name}": section.content for section in record.envelope.sections}
    return {
        "record.pae": record.envelope.signed_bytes,
        "signature.der": record.signature,
        "signer.pem": pem(record.certificate),
        "authority.pem": pem(record.authority),
        **sections,
    }


# Each reads its own file back and checks it, before anything is written.


def _cms(record: SignedRecord) -> _Export:
    document = cms_of(record)
    check_cms(document, record.envelope.signed_bytes, record.signer)
    return _Export({"record.p7s": document}, cms_commands(record.accepted_at_ms))


def _dsse(record: SignedRecord) -> _Export:
    document = dsse_of(record)
    check_dsse(document, record.signer)
    files = {"record.dsse.json": document, "verify_dsse.py": _program("verify_dsse.py")}
    commands = (
        _verify_signer(record),
        WHO,
        "openssl x509 -in signer.pem -noout -pubkey -out signer.pub",
        "pip install 'securesystemslib[crypto]'",
        "python3 verify_dsse.py",
    )
    return _Export(files, commands)


def _sigstore(record: SignedRecord, stamp: _Stamp | None) -> _Export:
    if stamp is None:
        document, trusted = sigstore_of(record), sigstore_root(record.authority)
        check_sigstore(document, record.envelope.signed_bytes, record.signer)
    else:
        document = sigstore_of(record, stamp.response)
        trusted = sigstore_root(record.authority, stamp.authority.chain)
        check_sigstore(document, record.envelope.signed_bytes, record.signer, stamp.authority)
    files = {
        "record.sigstore.json": document,
        "trusted_root.json": trusted,
        "verify_sigstore.cjs": _program("verify_sigstore.cjs"),
    }
    verify = (f"npm install --ignore-scripts {_NPM_PACKAGES}", "node verify_sigstore.cjs")
    return _Export(files, (*verify, WHO) if stamp is not None else (*verify, _verify_signer(record), WHO))


_MAKERS: Final[Mapping[str, Callable[[SignedRecord], _Export]]] = {"cms": _cms, "dsse": _dsse}


def _verify_signer(record: SignedRecord) -> str:
    return f"openssl verify {ONLY_THIS_AUTHORITY} -attime {seconds(record.accepted_at_ms)} signer.pem"


def _program(name: str) -> bytes:
    return resources.files("broker.cli.verifiers").joinpath(name).read_bytes()


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder whole, or leave none of this name."""
    partial = out.with_name(f".{out.name}.part")
    partial.mkdir(mode=PRIVATE_FOLDER)
    try:
        for name, data in files.items():
            replace_file(partial / name, data)
        partial.rename(out)
    except BaseException:
        for name in files:
            (partial / name).unlink(missing_ok=True)
        partial.rmdir()
        raise
    sync_folder(out.parent)
