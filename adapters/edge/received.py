"""The part of the spool that says what this agency was handed: which record, and which sections were in the copy.

An auditor compares it with what the exchange logged (``case-exchange receipts export``). It has no content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.edge.spoolpart import SpoolPart
from broker.core.audit.received import ReceivedCopy
from broker.core.streams import Position

if TYPE_CHECKING:
    from collections.abc import Iterator

RECEIVED_TABLES: Final = """
CREATE TABLE received (
    number INTEGER PRIMARY KEY, record_id TEXT NOT NULL, sha256 BLOB NOT NULL, sections TEXT NOT NULL,
    stream TEXT NOT NULL, part INTEGER NOT NULL, place INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    UNIQUE (record_id, sha256, sections)
)
"""


class Received(SpoolPart):
    """See the module."""

    def add(self, copy: ReceivedCopy) -> None:
        """Store that a copy came. One that came before, with the same sections, keeps its time.

        It may be a part of a transaction.
        """
        with self._locked():
            self._connection.execute(
                "INSERT OR IGNORE INTO received (record_id, sha256, sections, stream, part, place, received_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    copy.record_id,
                    copy.record_sha256,
                    ",".join(sorted(copy.sections)),
                    *copy.position,
                    copy.received_at_ms,
                ),
            )

    def digests(self, record_id: str) -> set[bytes]:
        """The digests of all copies of a record that came."""
        with self._locked():
            rows = self._connection.execute("SELECT sha256 FROM received WHERE record_id = ?", (record_id,)).fetchall()
        return {bytes(row[0]) for row in rows}

    def all(self, at_once: int = 1000) -> Iterator[list[ReceivedCopy]]:
        """Every copy, in the order in which they came, a few at a time."""
        last: int | None = 0
        while last is not None:
            query = (
                "SELECT number, record_id, sha256, sections, received_ms, stream, part, place FROM received"
                " WHERE number > ? ORDER BY number LIMIT ?"
            )
            with self._locked():
                rows = self._connection.execute(query, (last, at_once)).fetchall()
            if rows:
                yield [
                    ReceivedCopy(record_id, sha256, Position(*place), at_ms, tuple(filter(None, names.split(","))))
                    for _, record_id, sha256, names, at_ms, *place in rows
                ]
            last = rows[-1][0] if rows else None
