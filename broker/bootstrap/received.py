"""Read the files in which recipients say what they were handed."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

from broker.bootstrap.temporarybook import TemporaryBook
from broker.core.audit.received import FoundCopy, ReceivedCopy, SignedCopies, check_copies
from broker.core.errors import EvidenceFileInvalid, ReceiptInvalid
from broker.core.streams import Position
from broker.sqlitefile import trouble_as
from broker.wire.receiptfile import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from broker.core.audit.findings import EntryFacts
    from broker.core.inforce import DirectoryVersion

_TABLE: Final = """
CREATE TABLE received (
    agency TEXT NOT NULL, record_id TEXT NOT NULL, told TEXT NOT NULL, sha256 BLOB NOT NULL, stream TEXT, part INTEGER,
    place INTEGER, same INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (agency, record_id, told)
) WITHOUT ROWID
"""
_LARGEST: Final = (1 << 63) - 1


class TemporaryReceivedBook(TemporaryBook):
    """The port ReceivedBook, in a temporary file."""

    def __init__(self) -> None:
        super().__init__(_TABLE)

    def add(self, signed: SignedCopies) -> None:
        """Take a list that its agency signed. A copy that comes twice counts once."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO received (agency, record_id, told, sha256) VALUES (?, ?, ?, ?)",
            (
                (signed.agency, copy.record_id, json.dumps((*copy.position, *copy[3:])), copy.record_sha256)
                for copy in signed.copies
            ),
        )

    def ready(self) -> None:
        """Call when every list was added."""
        self._connection.execute("CREATE INDEX by_record ON received (record_id)")

    @property
    def copies(self) -> int:
        """See ``ReceivedBook``."""
        return int(self._connection.execute("SELECT count(*) FROM received").fetchone()[0])

    def meet(self, facts: Iterable[EntryFacts]) -> None:
        """See ``ReceivedBook``."""
        self._connection.executemany(
            "UPDATE received SET stream = ?, part = ?, place = ?, same = (sha256 = ?) WHERE record_id = ?",
            (
                (*each.position, each.record_sha256, each.record_id)
                for each in facts
                if each.position.offset <= _LARGEST
            ),
        )

    def found(self) -> Iterator[FoundCopy]:
        """See ``ReceivedBook``."""
        query = "SELECT agency, record_id, told, sha256, stream, part, place, same FROM received"
        for agency, record_id, told, sha256, stream, part, place, same in self._connection.execute(query):
            said_stream, said_part, said_offset, received_at_ms, sections = json.loads(told)
            position = Position(said_stream, said_part, said_offset)
            copy = ReceivedCopy(record_id, bytes(sha256), position, received_at_ms, tuple(sections))
            here = None if stream is None else Position(stream, part, place)
            yield FoundCopy(agency, copy, here, same=bool(same))


@contextlib.contextmanager
def bring_received(
    paths: Sequence[Path], versions: Sequence[DirectoryVersion], made_at_ms: int
) -> Iterator[TemporaryReceivedBook | None]:
    """Read the files, and check every signature with what the bundle's directories list.

    Args:
        paths: files of receipts with lists of what their agencies got (broker/wire/receiptfile.py).
        versions: the directory versions of the bundle that count.
        made_at_ms: when the bundle was made: milliseconds since the Unix epoch, UTC.

    Raises:
        EvidenceFileInvalid: a file is not a file of receipts.
        OSError: a file cannot be read.
    """
    if not paths:
        yield None
        return
    with (
        trouble_as(EvidenceFileInvalid, "the temporary file of what agencies got"),
        contextlib.closing(TemporaryReceivedBook()) as book,
    ):
        for path in paths:
            _read(path, versions, made_at_ms, book)
        book.ready()
        yield book


def _read(path: Path, versions: Sequence[DirectoryVersion], made_at_ms: int, book: TemporaryReceivedBook) -> None:
    with path.open("rb") as file:
        for line in read_lines(file):
            if line.received is None:
                book.unproved += line.unreadable
                continue
            try:
                check_copies(line.received, versions, made_at_ms)
                book.add(line.received)
            except ReceiptInvalid:
                book.unproved += 1
