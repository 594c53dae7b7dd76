"""The edge's durable store: records to send, receipts, numbers, case references, directory versions, checkpoints.

It is one SQLite file. Everything is durable here before it is sent or reported. The records of one source file go in
whole: after a crash either all are there or none (``staging``). So no record is published twice with two ids, and a
recipient sees no gap in the publisher's numbers.

The file belongs to the agency, and stays on its machine with mode 0600. Signed records are in it as they are sent:
sealed, but for sections that the directory lets be plain. Drafts are plain until they are signed. Case numbers,
barcodes and the places of records in their files are plain for ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from adapters.edge.holds import HOLDS_TABLES, Holds, Outgoing
from adapters.edge.newer import NEWER_TABLES, Newer
from adapters.edge.notes import NOTES_TABLES, Notes
from adapters.edge.numbers import NUMBERS_TABLES, Numbers
from adapters.edge.received import RECEIVED_TABLES, Received
from adapters.edge.sent import SENT_TABLES, Sent
from adapters.edge.staging import STAGING_TABLES, Staging
from adapters.edge.turns import TurnLock
from adapters.edge.unproved import UNPROVED_TABLES, Unproved
from broker.core.errors import SpoolUnavailable
from broker.files import make_private
from broker.sqlitefile import Schema, open_file, transaction, trouble_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from adapters.edge.numbers import CaseReference

_TABLES: Final = """
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
_SCHEMA: Final = Schema(
    application_id=0x43585350,  # "CXSP"
    migrations=[
        tables.split(";")
        for tables in (
            _TABLES,
            NUMBERS_TABLES,
            HOLDS_TABLES,
            STAGING_TABLES,
            NOTES_TABLES,
            SENT_TABLES,
            UNPROVED_TABLES,
            RECEIVED_TABLES,
            NEWER_TABLES,
        )
    ],
    unmarked=True,  # as the first spools were
)
_translated: Final = partial(trouble_as, SpoolUnavailable, "the spool")
_SECRET_BYTES: Final = 32
_UUID_VERSION_8: Final = 0x8 << 76
_UUID_VARIANT: Final = 0x2 << 62


class Spool:
    """The store. For one process with any number of threads: during a transaction the other threads wait, in turn.

    Raises (every method):
        SpoolUnavailable: the file cannot be used, or its disk is full. Nothing was changed.
    """

    def __init__(self, path: Path) -> None:
        self._lock = TurnLock()
        try:
            make_private(path.parent)
        except OSError as error:
            message = f"the spool cannot be used: {error.strerror}"
            raise SpoolUnavailable(message) from error
        with self._locked():
            # One process for each spool: the lock is held while the connection is open.
            self._connection = open_file(path, _SCHEMA, exclusive=True)
            # What is deleted is overwritten: drafts are plain until their records are signed.
            self._connection.execute("PRAGMA secure_delete = ON")
            # The journal of a savepoint has pages as they were before. It is in no file.
            self._connection.execute("PRAGMA temp_store = MEMORY")
            self.numbers: Final = Numbers(self._connection, self._locked)
            self.holds: Final = Holds(self._connection, self._locked)
            self.staging: Final = Staging(self._connection, self._locked, self.transaction)
            self.staging.sweep()
            self.sent: Final = Sent(self._connection, self._locked, self.transaction)
            self.unproved: Final = Unproved(self._connection, self._locked, self.transaction)
            self.received: Final = Received(self._connection, self._locked, self.transaction)
            self.newer: Final = Newer(self._connection, self._locked, self.transaction)
            self.notes: Final = Notes(self._connection, self._locked, self.transaction)
            self._secret = self._fact("secret", lambda: secrets.token_bytes(_SECRET_BYTES))

    def close(self) -> None:
        """Release the file when no other thread is inside a transaction. Idempotent."""
        # SQLite crashes the process if a connection is closed while another thread uses it.
        with self._lock:
            self.staging.close()
            self._connection.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock, _translated():
            yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Changes inside are durable when it ends. If it raises, they are undone."""
        with self._locked(), transaction(self._connection):
            yield

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """A part of a transaction. If it raises, only the changes inside it are undone."""
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
        """Whether a source file with these bytes was taken in before, whole: no record was refused, here or later."""
        return self._one("SELECT 1 FROM sources WHERE sha256 = ?", sha256) is not None

    def add_source(self, sha256: bytes) -> None:
        """Store that a whole source file was taken in. Call it inside the transaction with its records."""
        with self._locked():
            self._connection.execute("INSERT INTO sources VALUES (?)", (sha256,))

    def seen_record(self, sha256: bytes, place: str) -> bool:
        """Whether the record at this place of a source file was taken in, and the broker did not refuse it."""
        return self.record_at(sha256, place) is not None

    def record_at(self, sha256: bytes, place: str) -> str | None:
        """The id of the record from this place, or None if there is none or the broker refused it."""
        row = self._one("SELECT record_id FROM source_records WHERE sha256 = ? AND place = ?", sha256, place)
        return None if row is None else str(row[0])

    def add_record(self, sha256: bytes, place: str, record_id: str) -> None:
        """Store which record came from a place of a source file. Call it inside the transaction with the record."""
        with self._locked():
            self._connection.execute("INSERT INTO source_records VALUES (?, ?, ?)", (sha256, place, record_id))

    def next_sequence(self, recipient: str) -> int:
        """Take our next sequence number for this agency, from 1. Call it inside the transaction with the record."""
        with self._locked():
            row = self._connection.execute(
                "INSERT INTO sequences VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
                (recipient,),
            ).fetchone()
        return int(row[0])

    def add_outgoing(self, record_id: str, case_id: str, envelope: bytes) -> None:
        """Store a signed record to be published."""
        with self._locked():
            self._connection.execute(
                "INSERT INTO outgoing (record_id, case_id, is_next, envelope)"
                " VALUES (?1, ?2, NOT EXISTS (SELECT 1 FROM outgoing WHERE case_id = ?2), ?3)",
                (record_id, case_id, envelope),
            )

    def outgoing(self, limit: int) -> list[Outgoing]:
        """The oldest records without a receipt, oldest first. ``holds`` says which of them may go."""
        with self._locked():
            rows = self._connection.execute(
                "SELECT record_id, envelope, refused_issue_ms FROM outgoing ORDER BY number LIMIT ?", (limit,)
            ).fetchall()
        return [Outgoing(*row) for row in rows]

    def outgoing_count(self) -> int:
        """How many records have no receipt."""
        row = self._one("SELECT count(*) FROM outgoing")
        return 0 if row is None else int(row[0])

    def add_receipt(self, record_id: str, receipt: bytes) -> None:
        """Store a record's receipt, and delete the record from the outgoing ones. Call it inside a transaction."""
        with self._locked():
            self._connection.execute("REPLACE INTO receipts VALUES (?, ?)", (record_id, receipt))
            self._connection.execute("REPLACE INTO unproved (record_id) VALUES (?)", (record_id,))
        self._drop_outgoing(record_id)

    def drop_refused(self, record_id: str) -> None:
        """Delete a record that the broker refused for good. Its source file may bring it again.

        Call it inside a transaction.
        """
        self._drop_outgoing(record_id)
        with self._locked():
            self._connection.execute(
                "DELETE FROM sources WHERE sha256 = (SELECT sha256 FROM source_records WHERE record_id = ?)",
                (record_id,),
            )
            self._connection.execute("DELETE FROM source_records WHERE record_id = ?", (record_id,))

    def _drop_outgoing(self, record_id: str) -> None:
        with self._locked():
            # The next record of its case may go now.
            for (case_id,) in self._connection.execute(
                "DELETE FROM outgoing WHERE record_id = ? RETURNING case_id", (record_id,)
            ).fetchall():
                self._connection.execute(
                    "UPDATE outgoing SET is_next = 1"
                    " WHERE number = (SELECT min(number) FROM outgoing WHERE case_id = ?)",
                    (case_id,),
                )

    def receipt(self, record_id: str) -> bytes | None:
        """A record's receipt, or None."""
        row = self._one("SELECT receipt FROM receipts WHERE record_id = ?", record_id)
        return None if row is None else bytes(row[0])

    def case_id(self, reference: str, known: CaseReference | None) -> str:
        """The case of a number: the ``known`` one, or a new id.

        The new id is an opaque UUID: a keyed digest of the number. It is the same every time. Nobody can guess
        the number from it without this spool's secret (design decision 10).
        """
        if known is not None:
            return known.case_id
        digest = hmac.digest(self._secret, reference.encode(), hashlib.sha256)
        number = int.from_bytes(digest[:16]) & ~(0xF << 76) & ~(0x3 << 62) | _UUID_VERSION_8 | _UUID_VARIANT
        return str(UUID(int=number))

    # --- from the exchange to the agency ---

    def was_delivered(self, record_id: str) -> bool:
        """Whether the record was written to the outbox before."""
        return self._one("SELECT 1 FROM delivered WHERE record_id = ?", record_id) is not None

    def add_delivered(self, record_id: str) -> None:
        """Store that the record is in the outbox."""
        with self._locked():
            self._connection.execute("INSERT OR IGNORE INTO delivered VALUES (?)", (record_id,))

    def directories(self) -> list[bytes]:
        """All directory versions seen, as governance signed them, lowest version first."""
        with self._locked():
            rows = self._connection.execute("SELECT document FROM directories ORDER BY version").fetchall()
        return [bytes(row[0]) for row in rows]

    def add_directory(self, version: int, document: bytes) -> None:
        """Store a directory version."""
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
