"""``case-exchange receipts``: what a publisher can prove, in files that an auditor takes."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from adapters.edge.profile import load_any
from adapters.edge.spool import Spool
from adapters.terminal import FILE, json_option, print_json, profile_option
from broker.core.audit.receipts import ReceiptCheck
from broker.core.audit.received import check_copies
from broker.core.envelope import RECEIVED_TYPE, Signature, pae
from broker.core.errors import DirectoryInvalid, ReceiptInvalid, SetupInvalid
from broker.core.inforce import DirectoryVersion
from broker.files import make_private, read_file
from broker.trust.certificates import principal_of
from broker.trust.directory import MAX_DIRECTORY_BYTES, learn_successions, open_directory
from broker.trust.governance import Governance
from broker.trust.keyring import DirectoryKeyring
from broker.trust.revocation import RevocationLists
from broker.trust.signing import EcdsaSigner
from broker.trust.system import SystemClock
from broker.wire.receiptfile import read_lines, write_receipts
from broker.wire.receivedcopies import copies_bytes, signed_copies_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapters.edge.profile import GatewayProfile, ProgramProfile
    from broker.core.audit.received import SignedCopies
    from broker.wire.receiptfile import Line

_MOST_LISTED: Final = 20


@click.group(no_args_is_help=True)
def receipts() -> None:
    """Export, show and check an agency's receipts.

    Example:  case-exchange receipts export --profile shanxi.toml --out shanxi.receipts
    """


@receipts.command()
@profile_option
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
def export(profile_path: Path, *, out: Path) -> None:
    """Write every receipt of a spool to a file.

    What the agency was handed is in it too.

    The directories that they need are in it too. Of each copy that the agency was handed, the file has the record id,
    the digest and the names of the sections, signed by the agency.

    Stop the gateway or the program first: only one process can use a spool.

    Exit codes: 0 written, 1 the spool cannot be used now, 2 wrong settings.

    Example:  case-exchange receipts export --profile shanxi.toml --out shanxi.receipts
    """
    profile = load_any(profile_path)
    signed = _Signed(profile)
    with closing(_spool(profile)) as spool, _new_file(out).open("xb") as file:
        directories, received = _directories(profile, spool), signed.lists(spool)
        written = write_receipts(file, directories, spool.sent.all_receipts(), received)
        file.flush()
        os.fsync(file.fileno())
    options = f"--receipts {out}" + (f" --delivered {out}" if signed.copies else "")
    click.echo(
        f"{out}: {written} receipts, {signed.copies} copies that the agency was handed; "
        f"next: case-exchange verify BUNDLE {options} --root governance.pem"
    )


@receipts.command()
@profile_option
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder to write.")
def checkpoints(profile_path: Path, *, out: Path) -> None:
    """Write the newest checkpoints that this edge saw.

    There is one of each partition, each in a file of its own.

    Stop the gateway or the program first: only one process can use a spool.

    Exit codes: 0 written, 1 the spool cannot be used now, 2 wrong settings.

    Example:  case-exchange receipts checkpoints --profile shanxi.toml --out seen
    """
    with closing(_spool(load_any(profile_path))) as spool:
        notes = list(spool.notes.newest().values())
    make_private(_new_file(out))
    for number, note in enumerate(notes):
        # The origin in the note says which partition it is of.
        (out / f"{number:04d}.checkpoint").write_bytes(note)
    click.echo(
        f"{out}: {len(notes)} checkpoints; next: case-exchange verify BUNDLE --since {out} --root governance.pem"
    )


@receipts.command()
@click.argument("file", type=FILE)
@json_option
def show(file: Path, *, as_json: bool) -> None:
    """Print the receipts in a file. Nothing is checked: use `receipts verify` for that.

    Exit codes: 0 printed, 1 the file is not one of receipts, 2 wrong usage.

    Example:  case-exchange receipts show shanxi.receipts
    """
    shown = [facts for line in _lines(file) if line.directory is None for facts in _facts(line)]
    if as_json:
        print_json({"receipts": shown})
        return
    for facts in shown:
        if "record_id" in facts:
            said = f"{facts['record_id']} at {facts['position']}, "
            if "received_at" in facts:
                said += f"handed to {facts['received_by']} {facts['received_at']} with {','.join(facts['sections'])}"
            else:
                said += f"accepted {facts['accepted_at']}, by {facts['publisher']}"
            click.echo("".join(character if character.isprintable() else "?" for character in said))
        else:
            click.echo(f"line {facts['line']} cannot be read")


@receipts.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option(
    "--root",
    "roots",
    required=True,
    multiple=True,
    type=FILE,
    help="The governance public key (PEM) that you pin. May be repeated.",
)
@click.option(
    "--revocations", multiple=True, type=FILE, help="Revocation lists. Without them, no revoked key is recognised."
)
@json_option
def verify(files: tuple[Path, ...], *, roots: tuple[Path, ...], revocations: tuple[Path, ...], as_json: bool) -> None:
    """Check offline that the exchange signed receipts.

    The lists of what an agency got must be signed by the agency. The log itself is not asked.

    Exit codes: 0 all are what they say, 1 one is not, or a file cannot be used, 2 wrong usage.

    Example:  case-exchange receipts verify shanxi.receipts --root governance.pem
    """
    valid, lists, wrong = 0, 0, list[dict[str, Any]]()
    documents = [path.read_bytes() for path in revocations]
    for file in files:
        versions, now_ms = _versions(file, roots, documents), SystemClock().now_ms()
        check = ReceiptCheck(versions, now_ms)
        for line in _lines(file):
            if line.directory is None:
                reason = _fault(check, line) if line.received is None else _list_fault(line.received, versions, now_ms)
                lists += line.received is not None and not reason
                valid += line.received is None and not reason
                if reason:
                    wrong.append({"file": file.name, "line": line.number, "reason": reason})
    if as_json:
        print_json({"valid": valid, "lists": lists, "wrong": wrong})
    else:
        for item in wrong[:_MOST_LISTED]:
            click.echo(f"{item['file']}, line {item['line']}: {item['reason']}")
        if len(wrong) > _MOST_LISTED:
            click.echo(f"and {len(wrong) - _MOST_LISTED} more; --json lists all")
        of_lists = f", {lists} lists are the agency's" if lists else ""
        click.echo(f"{valid} receipts are the exchange's{of_lists}, {len(wrong)} are not")
    sys.exit(1 if wrong else 0)


class _Signed:
    """Signs what an agency was handed. ``copies`` counts."""

    def __init__(self, profile: GatewayProfile | ProgramProfile) -> None:
        self._signer = EcdsaSigner.load(profile.agency.signing_key, profile.agency.signing_certificate)
        self.copies = 0

    def lists(self, spool: Spool) -> Iterator[bytes]:
        """The lists, each serialised with its signature."""
        agency = principal_of(self._signer.certificate).agency
        for copies in spool.received.all():
            self.copies += len(copies)
            data = copies_bytes(agency, copies)
            value = self._signer.sign(pae(RECEIVED_TYPE, data))
            yield signed_copies_bytes(data, Signature(self._signer.certificate_sha256, value))


def _fault(check: ReceiptCheck, line: Line) -> str:
    if line.receipt is None or line.statement is None:
        return "the line cannot be read"
    try:
        check.check(line.receipt, line.statement)
    except ReceiptInvalid as refused:
        return refused.message
    return ""


def _list_fault(signed: SignedCopies, versions: Sequence[DirectoryVersion], now_ms: int) -> str:
    try:
        check_copies(signed, versions, now_ms)
    except ReceiptInvalid as refused:
        return refused.message
    return ""


def _versions(file: Path, roots: Sequence[Path], revocations: Sequence[bytes]) -> list[DirectoryVersion]:
    """The directory versions in a file that governance signed, by the times at which they were issued."""
    documents = [line.directory for line in _lines(file) if line.directory is not None]
    governance = Governance.load(*roots)
    learn_successions(documents, governance)
    opened = [open_directory(document, governance) for document in documents]
    if not opened:
        message = f"{file.name} has no directory, so nothing in it can be checked"
        raise DirectoryInvalid(message)
    return [
        DirectoryVersion(
            directory.issued_at_ms,
            directory,
            DirectoryKeyring(directory, RevocationLists(revocations, directory.signing_authorities, grace_ms=0)),
        )
        for directory in sorted(opened, key=lambda directory: directory.version)
    ]


def _lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        yield from read_lines(file)


def _facts(line: Line) -> Iterator[dict[str, Any]]:
    said = line.statement
    if line.received is not None:
        for copy in line.received.copies:
            yield {
                "record_id": copy.record_id,
                "position": str(copy.position),
                "received_at": _time(copy.received_at_ms),
                "received_by": line.received.agency,
                "record_sha256": copy.record_sha256.hex(),
                "sections": list(copy.sections),
            }
        return
    if said is None:
        yield {"line": line.number}
        return
    yield {
        "record_id": said.record_id,
        "position": str(said.position),
        "accepted_at": _time(said.accepted_at_ms),
        "log_id": said.log_id,
        "epoch": said.epoch,
        "record_sha256": said.record_sha256.hex(),
        "publisher": said.publisher,
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _directories(profile: GatewayProfile | ProgramProfile, spool: Spool) -> list[bytes]:
    """The versions that this edge has seen, and the one that it has now."""
    newest = read_file(profile.trust.directory, MAX_DIRECTORY_BYTES)
    return list(dict.fromkeys([*spool.directories(), newest]))


def _spool(profile: GatewayProfile | ProgramProfile) -> Spool:
    path = profile.folder / "spool.db"
    if not path.exists():
        message = f"there is no spool at {path}"
        raise SetupInvalid(message)
    return Spool(path)


def _new_file(path: Path) -> Path:
    if path.exists():
        message = f"{path} exists already; evidence is never overwritten"
        raise SetupInvalid(message)
    return path
