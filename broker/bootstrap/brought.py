"""Read what an auditor brings to a bundle: files of receipts, and checkpoints that were seen elsewhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.bootstrap.judges import Newer
from broker.bootstrap.receiptbook import TemporaryReceiptBook
from broker.core.audit.brought import Brought, BroughtCheckpoint
from broker.core.audit.receipts import ReceiptCheck
from broker.core.errors import CaseExchangeError, EvidenceFileInvalid, ReceiptInvalid
from broker.core.tree.checkpoint import MAX_NOTE_BYTES, Checkpoint, parse_note, verify_note
from broker.core.tree.leaf import Leaf
from broker.core.tree.merkle import MAX_SIZE, leaf_hash
from broker.core.tree.origin import origin_of
from broker.files import read_file
from broker.sqlitefile import trouble_as
from broker.trust.directory import MAX_DIRECTORY_BYTES
from broker.trust.logkeys import log_verifiers
from broker.trust.revocation_files import MAX_LIST_FILE_BYTES
from broker.trust.system import SystemClock
from broker.wire.receiptfile import read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from broker.core.inforce import DirectoryVersion
    from broker.core.receipt import Receipt, ReceiptStatement
    from broker.core.tree.checkpoint import SignatureCheck

SUFFIX: Final = ".checkpoint"
"""How the files end that hold one checkpoint each."""
_AT_ONCE: Final = 1000


def read_newer(directory: Path | None, revocation_lists: Sequence[Path]) -> Newer:
    """Read the directory and the revocation lists that an auditor brings. Nothing in them is checked.

    Raises:
        OSError: a file cannot be read, or is too large.
    """
    document = None if directory is None else read_file(directory, MAX_DIRECTORY_BYTES)
    lists = tuple(read_file(path, MAX_LIST_FILE_BYTES) for path in revocation_lists)
    return Newer(document, lists, SystemClock().now_ms())


@contextlib.contextmanager
def bring(
    receipts: Sequence[Path],
    checkpoints: Sequence[Path],
    versions: Sequence[DirectoryVersion],
    verifiers: Mapping[tuple[str, bytes], SignatureCheck],
    made_at_ms: int,
    *,
    read_version: Callable[[bytes], DirectoryVersion],
    covered_within_ms: int | None = None,
) -> Iterator[Brought]:
    """Read the files, and check every signature with what the bundle's directories list.

    Args:
        receipts: files of receipts (broker/wire/receiptfile.py).
        checkpoints: files with one signed checkpoint each, or folders of such files (``*.checkpoint``).
        versions: the directory versions of the bundle that count.
        verifiers: the log keys that they list, by name and id.
        made_at_ms: when the bundle was made: milliseconds since the Unix epoch, UTC.
        read_version: reads a signed directory in a file of receipts, or raises why it does not count.
        covered_within_ms: a record that was accepted so long before that must be covered. None: see ``Brought``.

    Raises:
        EvidenceFileInvalid: a file is not a file of receipts, or a folder has no checkpoint.
        OSError: a file cannot be read.
    """
    directories = [version.directory for version in versions]
    known = _read_checkpoints(checkpoints, verifiers, directories[-1].trust_domain)
    ended = _read_checkpoints(
        known.unproved, log_verifiers(directories, beyond_ends=True), directories[-1].trust_domain
    )
    beyond = tuple((each.partition, each.checkpoint.size) for each in ended.seen)
    brought = Brought(None, known.seen, len(ended.unproved), covered_within_ms, beyond)
    if not receipts:
        yield brought
        return
    with (
        trouble_as(EvidenceFileInvalid, "the temporary file of the receipts"),
        contextlib.closing(TemporaryReceiptBook()) as book,
    ):
        for path in receipts:
            _read_receipts(path, _FileCheck(versions, made_at_ms, read_version), book)
        book.ready()
        yield brought._replace(receipts=book)


class _FileCheck:
    """Checks a file's receipts, by the bundle's directories, and if they do not list the key, by those of the file."""

    def __init__(
        self, versions: Sequence[DirectoryVersion], made_at_ms: int, read_version: Callable[[bytes], DirectoryVersion]
    ) -> None:
        self._check = ReceiptCheck(versions, made_at_ms)
        self._made_at_ms = made_at_ms
        self._read_version = read_version
        self._own: list[DirectoryVersion] = []
        self._own_check: ReceiptCheck | None = None

    def learn(self, document: bytes) -> None:
        """Take a directory of the file. It counts only if the pinned governance signed it."""
        with contextlib.suppress(CaseExchangeError):
            self._own.append(self._read_version(document))
            self._own.sort(key=lambda version: version.in_force_from_ms)
            self._own_check = ReceiptCheck(self._own, self._made_at_ms)

    def check(self, receipt: Receipt, said: ReceiptStatement) -> None:
        """Check a receipt, or raise ReceiptInvalid."""
        try:
            self._check.check(receipt, said)
        except ReceiptInvalid:
            if self._own_check is None:
                raise
            self._own_check.check(receipt, said)


def _read_receipts(path: Path, check: _FileCheck, book: TemporaryReceiptBook) -> None:
    statements: list[tuple[bytes, ReceiptStatement]] = []
    with path.open("rb") as file:
        for line in read_lines(file):
            if line.directory is not None:
                check.learn(line.directory)
                continue
            if line.receipt is None or line.statement is None:
                book.unproved += line.unreadable
                continue
            try:
                check.check(line.receipt, line.statement)
                statements.append((_leaf_of(line.statement), line.statement))
            except ReceiptInvalid:
                book.unproved += 1
            if len(statements) == _AT_ONCE:
                book.add(statements)
                statements.clear()
    book.add(statements)


def _leaf_of(said: ReceiptStatement) -> bytes:
    if not 0 <= said.position.offset <= MAX_SIZE:
        message = "the receipt's position is out of range"
        raise ReceiptInvalid(message)
    leaf = Leaf(said.position, said.log_id, said.epoch, said.record_id, said.record_sha256, said.accepted_at_ms)
    try:
        # Only what ``parse`` accepts can stand in a tree. The exchange may sign anything.
        return leaf_hash(Leaf.parse(leaf.marshal()).marshal())
    except (CaseExchangeError, ValueError) as error:
        message = "the receipt names what cannot stand in a log"
        raise ReceiptInvalid(message) from error


class _ReadCheckpoints(NamedTuple):
    """The checkpoints that these keys signed, and the files of all others."""

    seen: tuple[BroughtCheckpoint, ...]
    unproved: list[Path]


def _read_checkpoints(
    paths: Iterable[Path], verifiers: Mapping[tuple[str, bytes], SignatureCheck], trust_domain: str
) -> _ReadCheckpoints:
    seen: list[BroughtCheckpoint] = []
    unproved: list[Path] = []
    for path in files_in(paths):
        try:
            with path.open("rb") as file:
                note = parse_note(file.read(MAX_NOTE_BYTES + 1))
            verify_note(note, verifiers)
            checkpoint = Checkpoint.parse(note.text)
            seen.append(BroughtCheckpoint(*origin_of(checkpoint, trust_domain), checkpoint, note))
        except CaseExchangeError:
            unproved.append(path)
    return _ReadCheckpoints(tuple(seen), unproved)


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """The files of checkpoints: each that is named, and those of each folder.

    Raises:
        EvidenceFileInvalid: a folder has none.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(path.glob(f"*{SUFFIX}"))
        if not inside:
            message = f"{path.name} has no file *{SUFFIX}"
            raise EvidenceFileInvalid(message)
        yield from inside
