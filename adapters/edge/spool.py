"""What an agency's edge must not forget: records going out, receipts, numbers, references, directory versions.

One SQLite file, written durably before anything is told to anybody. What comes from one source file goes in by one
transaction: after a crash it is there whole or not at all, so nothing is published twice under two ids, and a recipient
sees no gap in the publisher's numbers.

The file is the agency's own: it holds its records in the clear, and stays on its own machine with mode 0600.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from broker.core.errors import SpoolUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (sha256 BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS source_records (
    sha256 BLOB NOT NULL, place TEXT NOT NULL, record_id TEXT NOT NULL UNIQUE, PRIMARY KEY (sha256, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outgoing (
    number INTEGER PRIMARY KEY AUTOINCREMENT, record_id TEXT NOT NULL UNIQUE, envelope BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS receipts (record_id TEXT PRIMARY KEY, receipt BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sequences (recipient TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS case_references (
    reference TEXT PRIMARY KEY, case_id TEXT NOT NULL, record_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS own_references (
    reference TEXT PRIMARY KEY, case_id TEXT NOT NULL, record_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivered (record_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS directories (version INTEGER PRIMARY KEY, document BLOB NOT NULL);
"""
_SECRET_BYTES: Final = 32
_UUID_VERSION_8: Final = 0x8 << 76
_UUID_VARIANT: Final = 0x2 << 62


class Outgoing(NamedTuple):
    """A signed record that has no receipt yet. ``envelope`` is its serialised envelope."""

    record_id: str
    envelope: bytes


class CaseReference(NamedTuple):
    """What a number stands for in the exchange: a case, and the record that told of it."""

    case_id: str
    record_id: str


class Spool:
    """See the module. For one process, which may have several threads: a transaction keeps the others waiting.

    Raises (every method):
        SpoolUnavailable: the file cannot be used, or its disk is full. Nothing was changed.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made with its mode before anything is written into it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._lock = threading.RLock()
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            with self._locked():
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                # One gateway to a spool: the lock is held for as long as the connection is open.
                self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._connection.executescript(_SCHEMA)
                self._secret = self._fact("secret", lambda: secrets.token_bytes(_SECRET_BYTES))
        except OSError as error:
            message = f"the spool cannot be used: {error.strerror}"
            raise SpoolUnavailable(message) from error

    def close(self) -> None:
        """Release the file, once no other thread is within a transaction. Idempotent."""
        # SQLite ends the process where a connection is closed under another thread's feet.
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock, _translated():
            yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done inside is durable when it is left, or undone when it raises."""
        with self._locked():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside a transaction: what is done inside counts if it is left, and is undone alone when it raises."""
        with self._locked():
            self._connection.execute("SAVEPOINT attempt")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK TO attempt")
                raise
            finally:
                self._connection.execute("RELEASE attempt")

    # --- from the agency to the exchange ---

    def seen_source(self, sha256: bytes) -> bool:
        """Whether a source file of these bytes went in before, whole: nothing of it was refused, here or later."""
        return self._one("SELECT 1 FROM sources WHERE sha256 = ?", sha256) is not None

    def add_source(self, sha256: bytes) -> None:
        """Remember that a source file is in, whole. Inside the transaction that takes in its records."""
        with self._locked():
            self._connection.execute("INSERT INTO sources VALUES (?)", (sha256,))

    def seen_record(self, sha256: bytes, place: str) -> bool:
        """Whether the record at this place of a source file is in, and was not refused by the broker."""
        return self.record_at(sha256, place) is not None

    def record_at(self, sha256: bytes, place: str) -> str | None:
        """Which record stands at this place, if one does and the broker did not refuse it."""
        row = self._one("SELECT record_id FROM source_records WHERE sha256 = ? AND place = ?", sha256, place)
        return None if row is None else str(row[0])

    def add_record(self, sha256: bytes, place: str, record_id: str) -> None:
        """Remember which record stands at a place of a source file. Inside the transaction that takes it in."""
        with self._locked():
            self._connection.execute("INSERT INTO source_records VALUES (?, ?, ?)", (sha256, place, record_id))

    def next_sequence(self, recipient: str) -> int:
        """The next of our running numbers for this agency, from 1. Inside the transaction that takes in its record."""
        with self._locked():
            row = self._connection.execute(
                "INSERT INTO sequences VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
                (recipient,),
            ).fetchone()
        return int(row[0])

    def add_outgoing(self, record_id: str, envelope: bytes) -> None:
        """Take in a signed record to be published."""
        with self._locked():
            self._connection.execute("INSERT INTO outgoing (record_id, envelope) VALUES (?, ?)", (record_id, envelope))

    def outgoing(self, limit: int) -> list[Outgoing]:
        """The oldest records without a receipt, in the order in which they came in."""
        with self._locked():
            rows = self._connection.execute(
                "SELECT record_id, envelope FROM outgoing ORDER BY number LIMIT ?", (limit,)
            ).fetchall()
        return [Outgoing(*row) for row in rows]

    def outgoing_count(self) -> int:
        """How many records have no receipt."""
        row = self._one("SELECT count(*) FROM outgoing")
        return 0 if row is None else int(row[0])

    def add_receipt(self, record_id: str, receipt: bytes) -> None:
        """Keep a record's receipt; the record is no longer outgoing."""
        with self._locked():
            self._connection.execute("REPLACE INTO receipts VALUES (?, ?)", (record_id, receipt))
        self._drop_outgoing(record_id)

    def drop_refused(self, record_id: str) -> None:
        """Give up a record that the broker refused for good. Its source file may bring it again. In a transaction."""
        self._drop_outgoing(record_id)
        with self._locked():
            self._connection.execute(
                "DELETE FROM sources WHERE sha256 = (SELECT sha256 FROM source_records WHERE record_id = ?)",
                (record_id,),
            )
            self._connection.execute("DELETE FROM source_records WHERE record_id = ?", (record_id,))

    def _drop_outgoing(self, record_id: str) -> None:
        with self._locked():
            self._connection.execute("DELETE FROM outgoing WHERE record_id = ?", (record_id,))

    def receipt(self, record_id: str) -> bytes | None:
        """A record's receipt."""
        row = self._one("SELECT receipt FROM receipts WHERE record_id = ?", record_id)
        return None if row is None else bytes(row[0])

    # --- cases ---

    def case_id(self, reference: str, known: CaseReference | None) -> str:
        """The case that a number stands for, if it is ``known``.

        A number that no record has told of gets an opaque UUID: a keyed digest, so that it is the same every time and
        nobody without this spool's secret can guess the number from it (design decision 10).
        """
        if known is not None:
            return known.case_id
        digest = hmac.digest(self._secret, reference.encode(), hashlib.sha256)
        number = int.from_bytes(digest[:16]) & ~(0xF << 76) & ~(0x3 << 62) | _UUID_VERSION_8 | _UUID_VARIANT
        return str(UUID(int=number))

    def reference(self, reference: str) -> CaseReference | None:
        """What a number stands for, if a record has told of it: the newest of its case, whoever published it."""
        row = self._one("SELECT case_id, record_id FROM case_references WHERE reference = ?", reference)
        return None if row is None else CaseReference(*row)

    def own_reference(self, reference: str) -> CaseReference | None:
        """What a number stands for, if a record of our own has told of it: the newest of those."""
        row = self._one("SELECT case_id, record_id FROM own_references WHERE reference = ?", reference)
        return None if row is None else CaseReference(*row)

    def add_own_reference(self, reference: str, case_id: str, record_id: str) -> None:
        """Remember what a number stands for by a record of our own, whatever stood there."""
        with self._locked():
            row = (reference, case_id, record_id)
            self._connection.execute("REPLACE INTO own_references VALUES (?, ?, ?)", row)
            self._connection.execute("REPLACE INTO case_references VALUES (?, ?, ?)", row)

    def add_reference(self, reference: str, case_id: str, record_id: str) -> bool:
        """Remember what a number stands for by a record of another agency: never another case than it stands for.

        Returns:
            Whether it stands for this case.
        """
        with self._locked():
            changed = self._connection.execute(
                "INSERT INTO case_references VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET record_id = excluded.record_id"
                " WHERE case_id = excluded.case_id",
                (reference, case_id, record_id),
            ).rowcount
        return changed == 1

    # --- from the exchange to the agency ---

    def was_delivered(self, record_id: str) -> bool:
        """Whether the record reached the outbox before."""
        return self._one("SELECT 1 FROM delivered WHERE record_id = ?", record_id) is not None

    def add_delivered(self, record_id: str) -> None:
        """Remember that the record is in the outbox."""
        with self._locked():
            self._connection.execute("INSERT OR IGNORE INTO delivered VALUES (?)", (record_id,))

    def directories(self) -> list[bytes]:
        """The directory versions seen, as governance signed them, in the order of their versions."""
        with self._locked():
            rows = self._connection.execute("SELECT document FROM directories ORDER BY version").fetchall()
        return [bytes(row[0]) for row in rows]

    def add_directory(self, version: int, document: bytes) -> None:
        """Keep a directory version."""
        with self._locked():
            self._connection.execute("REPLACE INTO directories VALUES (?, ?)", (version, document))

    def _one(self, query: str, *arguments: object) -> tuple[Any, ...] | None:
        with self._locked():
            row: tuple[Any, ...] | None = self._connection.execute(query, arguments).fetchone()
        return row

    def _fact(self, name: str, make: Callable[[], bytes]) -> bytes:
        self._connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, make()))
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return bytes(row[0])


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # SQLite's own text can hold values, so only the code's name is kept.
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        message = "the spool is in use by another gateway" if "BUSY" in name else "the spool cannot be used"
        raise SpoolUnavailable(message, sqlite=name) from error
