"""``case-exchange countersign``: the second principal looks at a record, and signs it. File in, file out."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapters.edge.countersigning import ANSWER, REQUEST, load_signer
from adapters.terminal import FILE
from broker.client.opening import Opening, plain_contents
from broker.client.signing import countersign as sign
from broker.client.signing import outstanding
from broker.core.errors import InputRefused, SealKeyMissing, SetupInvalid
from broker.core.sections import check_sections
from broker.files import PRIVATE_FILE, make_private, read_file, replace_file
from broker.trust.certificates import principal_of
from broker.trust.keyfolder import FolderKeys
from broker.trust.sealing import AesGcmCipher
from broker.trust.system import forbid_core_dumps
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.body import Body
    from broker.core.envelope import Envelope

_MAX_ENVELOPE_BYTES = 8 << 20


@click.command()
@click.argument("request", type=FILE)
@click.option(
    "--certificate",
    "certificates",
    type=FILE,
    multiple=True,
    required=True,
    help="Your signing certificate. Its key has the same name with the suffix .key. May be repeated.",
)
@click.option(
    "--keys",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The agency's key folder with its archive key, to read what is sealed.",
)
@click.option(
    "--show", type=click.Path(file_okay=False, path_type=Path), help="Write what is in the record here; sign nothing."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The answer. Without it: beside REQUEST.")
@click.option("--sha256", help="Sign this body only: its SHA-256, as --show printed it.")
@click.option("--yes", is_flag=True, help="Do not ask: you have seen what is in the record.")
def countersign(
    request: Path,
    *,
    certificates: tuple[Path, ...],
    keys: Path | None,
    show: Path | None,
    out: Path | None,
    sha256: str | None,
    yes: bool,
) -> None:
    """Sign a record of your agency as the second principal.

    REQUEST is the file RECORD_ID.envelope that the gateway laid into its folder countersign. Look at it first (--show),
    then sign: --sha256 says which body you saw, so no other is signed. Lay the answer into the same folder: the gateway
    checks it, and sends the record.

    Exit codes: 0 done, 1 you did not agree, or it cannot be signed, 2 wrong settings.

    Example:  case-exchange countersign RECORD_ID.envelope --certificate chief/signing.pem --keys encryption --show look
    """
    forbid_core_dumps()
    if show is None and sha256 is None:
        message = "to sign, give --sha256, the digest that --show printed"
        raise click.UsageError(message)
    signers = [load_signer(path) for path in certificates]
    codec = ProtobufCodec()
    try:
        envelope = codec.decode_envelope(read_file(request, _MAX_ENVELOPE_BYTES))
    except OSError as error:
        message = f"{request.name} cannot be read: {error.strerror}"
        raise InputRefused(message) from error
    body = codec.parse_body(envelope.body)
    principal = principal_of(signers[0].certificate)
    if principal.agency != body.publisher:
        message = f"{request.name} is a record of {body.publisher}, and your certificate is of {principal.agency}"
        raise InputRefused(message)
    click.echo("\n".join(_facts(body, len(outstanding(envelope, body)))))
    click.echo(f"SHA-256 of its body: {hashlib.sha256(envelope.body).hexdigest()}")
    contents = _contents(principal.trust_domain, body, envelope, keys)
    if show is not None:
        _write(contents, show)
        unread = [section.name for section in body.sections if section.name not in contents]
        click.echo(
            f"not to be read without the agency's archive key: {', '.join(unread)}" if unread else "all is there"
        )
        return
    if hashlib.sha256(envelope.body).hexdigest() != sha256:
        message = (
            f"{request.name} is not the record that you saw: its body has another SHA-256. Look at it again (--show)"
        )
        raise InputRefused(message)
    if not yes:
        click.confirm("Have you seen what is in it, and do you sign it?", abort=True, err=True)
    answer = sign(envelope, body, signers)
    target = out or request.with_name(f"{body.record_id}.{signers[0].certificate_sha256.hex()[:16]}{ANSWER}")
    try:
        replace_file(target, answer, PRIVATE_FILE)
    except OSError as error:
        message = f"{target.name} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error
    click.echo(f"{target}: signed. Lay it beside {body.record_id}{REQUEST}, in the gateway's folder countersign")


def _facts(body: Body, missing: int) -> list[str]:
    issued = datetime.fromtimestamp(body.issued_at_ms / 1000, UTC).isoformat(timespec="seconds")
    original = "" if body.supplements is None else body.supplements.record_id
    related = (("replies to", body.in_reply_to), ("replaces", body.supersedes), ("supplements", original))
    return [
        f"record {body.record_id}: {body.kind} in case {body.case_id}",
        f"from {body.publisher}/{body.system}, issued at {issued}, purpose {body.purpose}",
        f"to {', '.join(recipient.agency for recipient in body.recipients)}",
        *(f"{name} {value}" for name, value in related if value),
        *(f"section {each.name}, for {', '.join(sorted(each.audience)) or 'all of them'}" for each in body.sections),
        f"signatures: {len(body.signers) - missing} of {len(body.signers)}",
    ]


def _contents(trust_domain: str, body: Body, envelope: Envelope, keys: Path | None) -> Mapping[str, bytes]:
    """What can be read of the record: without the archive key, only what is not sealed."""
    if keys is not None:
        with contextlib.suppress(SealKeyMissing):
            return Opening(AesGcmCipher(), FolderKeys(keys)).open_own(trust_domain, body, envelope).contents
    check_sections(body, envelope.sections, complete=True)
    return plain_contents(body, envelope)


def _write(contents: Mapping[str, bytes], folder: Path) -> None:
    try:
        make_private(folder)
        for name, content in contents.items():
            replace_file(folder / f"section-{name}", content, PRIVATE_FILE)
    except OSError as error:
        message = f"the folder {folder.name} cannot be used: {error.strerror}"
        raise SetupInvalid(message) from error
