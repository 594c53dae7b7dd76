"""The part of the spool with the drafts of a file that is being taken in: records that have no number and no signature.

A file can be large, and its reading takes long. So its drafts are added in small transactions, between which everything
else uses the spool. When the whole file was read, ``complete`` makes it certain that its records are published. Then
they are signed, again a few at a time. The drafts of a file that was not read to its end are swept, now or at the next
start: nothing of it was published, and no number was used.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.edge.spoolpart import SpoolPart
from broker.sqlitefile import FileTrouble, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

DRAFTS_AT_ONCE: Final = 100
"""The most drafts in one transaction."""
_BYTES_AT_ONCE: Final = 1 << 20
"""With so many bytes of drafts, a transaction takes no further one."""
STAGING_TABLES: Final = """
CREATE TABLE staged_files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, sha256 BLOB NOT NULL, is_whole INTEGER NOT NULL DEFAULT 0,
    is_refused INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE drafts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL, place TEXT NOT NULL, locator TEXT NOT NULL,
    case_reference TEXT NOT NULL, kind TEXT NOT NULL, record BLOB NOT NULL
);
CREATE INDEX drafts_of_file ON drafts (file, number)
"""
_PLACES_TABLE: Final = "CREATE TABLE places (place BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID"


class StagedDraft(NamedTuple):
    """A record of a file, not signed. ``record`` is its serialised message.

    ``place`` names it within the file, for ``Spool.add_record``. ``locator`` is what an adapter says of its place.
    """

    place: str
    locator: str
    case_reference: str
    kind: str
    record: bytes


class StagedFile(NamedTuple):
    """A file that was read to its end. ``refused``: whether one of its records was refused so far."""

    number: int
    sha256: bytes
    refused: bool


class Staging(SpoolPart):
    """See the module."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        locked: Callable[[], AbstractContextManager[None]],
        transaction: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__(connection, locked, transaction)
        # A nameless file on disk, so that memory does not grow with a source file. It goes with the connection. Nobody
        # can tell the places from it: the key is only in memory.
        self._places: Final = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._places.execute(_PLACES_TABLE)
        self._key: Final = secrets.token_bytes(32)
        self._is_to_forget = True

    def close(self) -> None:
        """Release the file of the places. Idempotent."""
        self._places.close()

    def begin(self, sha256: bytes) -> int:
        """Begin with a file of this digest. Returns its number here."""
        with self._transaction():
            self._places.execute("DELETE FROM places")
            row = self._connection.execute(
                "INSERT INTO staged_files (sha256) VALUES (?) RETURNING number", (sha256,)
            ).fetchone()
        return int(row[0])

    def place(self, where: str) -> str:
        """A name for the record there: the place, and how many records of this file were there before, with this one.

        One file at a time: ``begin`` counts anew.
        """
        digest = hashlib.blake2b(where.encode(), key=self._key, digest_size=32).digest()
        query = "INSERT INTO places VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times"
        with self._locked():
            (times,) = self._places.execute(query, (digest,)).fetchone()
        return f"{where}, {times}"

    def add(self, file: int, drafts: Sequence[StagedDraft]) -> None:
        """Add drafts in one transaction. ``full`` says when it is time."""
        query = "INSERT INTO drafts (file, place, locator, case_reference, kind, record) VALUES (?, ?, ?, ?, ?, ?)"
        with self._transaction():
            self._connection.executemany(query, [(file, *draft) for draft in drafts])

    def complete(self, file: int, *, refused: bool) -> None:
        """The file was read to its end. From now on its records are published, whatever happens."""
        with self._transaction():
            self._connection.execute(
                "UPDATE staged_files SET is_whole = 1, is_refused = ? WHERE number = ?", (refused, file)
            )

    def whole(self) -> list[StagedFile]:
        """The files that were read to their end, and whose records are not all signed."""
        with self._locked():
            rows = self._connection.execute(
                "SELECT number, sha256, is_refused FROM staged_files WHERE is_whole ORDER BY number"
            ).fetchall()
        return [StagedFile(number, sha256, bool(refused)) for number, sha256, refused in rows]

    def take(self, file: int) -> list[StagedDraft]:
        """Take out the first drafts of a file, as many as one transaction may have. Call it inside a transaction."""
        query = (
            "SELECT number, place, locator, case_reference, kind, record FROM drafts WHERE file = ?"
            " ORDER BY number LIMIT ?"
        )
        taken: list[StagedDraft] = []
        last = 0
        with self._locked():
            self._is_to_forget = True
            with contextlib.closing(self._connection.execute(query, (file, DRAFTS_AT_ONCE))) as rows:
                for number, *draft in rows:
                    taken.append(StagedDraft(*draft))
                    last = number
                    if full(taken):
                        break
            self._connection.execute("DELETE FROM drafts WHERE file = ? AND number <= ?", (file, last))
        return taken

    def refuse(self, file: int) -> None:
        """A record of the file was refused. Call it inside a transaction."""
        with self._locked():
            self._connection.execute("UPDATE staged_files SET is_refused = 1 WHERE number = ?", (file,))

    def finish(self, file: int) -> None:
        """All records of the file are signed. Call it inside a transaction."""
        with self._locked():
            self._connection.execute("DELETE FROM staged_files WHERE number = ?", (file,))

    def discard(self, file: int, most_parts: int | None = None) -> None:
        """Delete a file with its drafts, a few at a time.

        ``most_parts``: how many transactions at most. What is left then is swept at the next start.
        """
        self._is_to_forget = True
        deleted = DRAFTS_AT_ONCE
        parts = 0
        while deleted == DRAFTS_AT_ONCE and parts != most_parts:
            with self._transaction():
                deleted = self._connection.execute(
                    "DELETE FROM drafts WHERE number IN (SELECT number FROM drafts WHERE file = ? LIMIT ?)",
                    (file, DRAFTS_AT_ONCE),
                ).rowcount
                if deleted < DRAFTS_AT_ONCE:
                    self.finish(file)
            parts += 1
        self.forget()

    def forget(self) -> None:
        """Leave nothing of deleted drafts in the spool's files. Call it outside a transaction.

        SQLite overwrites what is deleted, but its write-ahead log still has the pages of before. The disk itself may
        keep old blocks. If it was done since drafts were deleted, nothing is done. If it fails, call it again.
        """
        with self._locked():
            if not self._is_to_forget:
                return
            (is_busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise FileTrouble(Trouble.IN_USE, "wal_checkpoint")
            self._is_to_forget = False

    def sweep(self) -> None:
        """Delete the files that an earlier process did not read to their end, and forget what it had signed."""
        with self._locked():
            rows = self._connection.execute("SELECT number FROM staged_files WHERE NOT is_whole").fetchall()
        for (file,) in rows:
            self.discard(file)
        self.forget()


def full(drafts: Sequence[StagedDraft]) -> bool:
    """Whether one transaction takes no more than these."""
    return len(drafts) >= DRAFTS_AT_ONCE or sum(len(draft.record) for draft in drafts) >= _BYTES_AT_ONCE
