"""The part of the spool that says which outgoing record goes next, and which are held.

Records of one case go one after another: the next goes only when the one before has its receipt, or was refused for
good. So a record that has to wait holds back its own case, and no other.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager

HOLDS_TABLES: Final = """
ALTER TABLE outgoing RENAME TO outgoing_before;
CREATE TABLE outgoing (
    number INTEGER PRIMARY KEY AUTOINCREMENT, record_id TEXT NOT NULL UNIQUE, case_id TEXT NOT NULL,
    is_next INTEGER NOT NULL, due_ms INTEGER NOT NULL DEFAULT 0, refused_issue_ms INTEGER NOT NULL DEFAULT 0,
    envelope BLOB NOT NULL
);
INSERT INTO outgoing (number, record_id, case_id, is_next, envelope)
    SELECT number, record_id, '', number = (SELECT min(number) FROM outgoing_before), envelope FROM outgoing_before;
DROP TABLE outgoing_before;
CREATE INDEX outgoing_of_case ON outgoing (case_id, number);
CREATE INDEX outgoing_next ON outgoing (number, due_ms, refused_issue_ms) WHERE is_next
"""
"""Records of an older spool have no case id here: they go one after another."""

_AT_ONCE: Final = 1000


class Outgoing(NamedTuple):
    """A signed record that has no receipt yet.

    Attributes:
        record_id: its id.
        envelope: its serialised envelope.
        refused_issue_ms: its time of issue, if the broker refused it because of this time and it was not sent since.
            Then it is in no log, and may be issued again. Otherwise 0.
    """

    record_id: str
    envelope: bytes
    refused_issue_ms: int = 0


class Holds:
    """See the module. Changes are part of the spool's transactions. Times are milliseconds.

    Raises (every method):
        SpoolUnavailable: the file cannot be used, or its disk is full. Nothing was changed.
    """

    def __init__(self, connection: sqlite3.Connection, locked: Callable[[], AbstractContextManager[None]]) -> None:
        self._connection = connection
        self._locked = locked
        # Held records are tried again at every start. The monotonic clock is another one then.
        connection.execute("UPDATE outgoing SET due_ms = 0 WHERE due_ms > 0")

    def ready(self, most: int, most_bytes: int, monotonic_ms: int, now_ms: int) -> list[Outgoing]:
        """The records that may go now, oldest first, at most one of each case.

        A record that is held goes when its hold ends; or when the clock was put right, so that its time of issue lies
        ahead.

        Args:
            most: how many at most.
            most_bytes: no further one, when their envelopes have so many bytes. One is always returned, if there is.
            monotonic_ms: the time on the clock that ``hold`` is given.
            now_ms: the time of day.
        """
        query = (
            "SELECT record_id, envelope, refused_issue_ms FROM outgoing INDEXED BY outgoing_next"
            " WHERE is_next AND (due_ms <= ? OR refused_issue_ms > ?) ORDER BY number LIMIT ?"
        )
        found: list[Outgoing] = []
        size = 0
        with self._locked(), contextlib.closing(self._connection.execute(query, (monotonic_ms, now_ms, most))) as rows:
            for row in rows:
                found.append(Outgoing(*row))
                size += len(found[-1].envelope)
                if size >= most_bytes:
                    break
        return found

    def hold(self, record_id: str, due_ms: int, refused_issue_ms: int = 0) -> None:
        """Hold a record that the broker refused until this time of the monotonic clock.

        ``refused_issue_ms``: see ``Outgoing``.
        """
        with self._locked():
            self._connection.execute(
                "UPDATE outgoing SET due_ms = ?, refused_issue_ms = ? WHERE record_id = ?",
                (due_ms, refused_issue_ms, record_id),
            )

    def release(self, record_id: str, envelope: bytes) -> None:
        """Store the bytes with which a held record is sent next: the same, or issued again.

        Call it before they are sent. If no answer comes, these bytes are sent again, and no others.
        """
        with self._locked():
            self._connection.execute(
                "UPDATE outgoing SET due_ms = 0, refused_issue_ms = 0, envelope = ? WHERE record_id = ?",
                (envelope, record_id),
            )

    def source_of(self, record_id: str) -> bytes:
        """The digest of the source file of a record, or empty."""
        query = "SELECT sha256 FROM source_records WHERE record_id = ?"
        with self._locked():
            row = self._connection.execute(query, (record_id,)).fetchone()
        return b"" if row is None else bytes(row[0])

    def sources(self) -> set[bytes]:
        """The digests of the source files with records that have neither a receipt nor a refusal.

        They are read a few at a time.
        """
        with self._locked():
            staged = self._connection.execute("SELECT sha256 FROM staged_files").fetchall()
        found = {bytes(row[0]) for row in staged}
        query = (
            "SELECT outgoing.number, sha256 FROM outgoing LEFT JOIN source_records USING (record_id)"
            " WHERE outgoing.number > ? ORDER BY outgoing.number LIMIT ?"
        )
        # Records that are sent again stand before the others, with numbers below zero too.
        last: int | None = -(1 << 63)
        while last is not None:
            with self._locked():
                rows = self._connection.execute(query, (last, _AT_ONCE)).fetchall()
            found |= {bytes(row[1]) for row in rows if row[1]}
            last = rows[-1][0] if rows else None
        return found

    def count(self) -> int:
        """How many records are held. Those behind them do not count."""
        with self._locked():
            query = "SELECT count(*) FROM outgoing INDEXED BY outgoing_next WHERE is_next AND due_ms > 0"
            return int(self._connection.execute(query).fetchone()[0])
