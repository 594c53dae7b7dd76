"""The part of the spool that says which records with a receipt are not proved to be under a checkpoint yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.edge.spoolpart import SpoolPart

if TYPE_CHECKING:
    from collections.abc import Sequence

UNPROVED_TABLES: Final = """
CREATE TABLE unproved (
    record_id TEXT PRIMARY KEY, broken INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX unproved_broken ON unproved (broken)
"""


class Unproved(SpoolPart):
    """See the module."""

    def after(self, record_id: str, most: int) -> list[tuple[str, bytes]]:
        """The next records after an id, by id, each with its receipt."""
        query = (
            "SELECT record_id, receipt FROM unproved JOIN receipts USING (record_id)"
            " WHERE record_id > ? ORDER BY record_id LIMIT ?"
        )
        with self._locked():
            return [(str(row[0]), bytes(row[1])) for row in self._connection.execute(query, (record_id, most))]

    def proved(self, record_ids: Sequence[str]) -> None:
        """The log has the records."""
        with self._transaction():
            self._connection.executemany("DELETE FROM unproved WHERE record_id = ?", ((each,) for each in record_ids))

    def break_off(self, record_id: str) -> bool:
        """The log does not keep the receipt. Returns whether this is new."""
        with self._transaction():
            query = "UPDATE unproved SET broken = 1 WHERE record_id = ? AND NOT broken"
            return self._connection.execute(query, (record_id,)).rowcount > 0

    def broken(self) -> int:
        """How many receipts the log does not keep."""
        with self._locked():
            return int(self._connection.execute("SELECT count(*) FROM unproved WHERE broken").fetchone()[0])
