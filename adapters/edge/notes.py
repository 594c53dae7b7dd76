"""The part of the spool with the newest checkpoint that was seen of each partition: notes, signed as they are.

The file belongs to one log of the exchange for each partition, named by its origin. When the directory declares that
another log took its place, the checkpoint is set aside and never deleted.
"""

from __future__ import annotations

from typing import Final

from adapters.edge.spoolpart import SpoolPart

NOTES_TABLES: Final = """
CREATE TABLE checkpoints (origin TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE lost_checkpoints (note BLOB PRIMARY KEY) WITHOUT ROWID
"""


class Notes(SpoolPart):
    """See the module."""

    def newest(self) -> dict[str, bytes]:
        """The newest checkpoint of each log and partition, by origin."""
        with self._locked():
            return dict(self._connection.execute("SELECT origin, note FROM checkpoints ORDER BY origin").fetchall())

    def keep(self, notes: dict[str, bytes]) -> None:
        """Keep these, by origin, instead of those that were kept before."""
        with self._transaction():
            self._connection.executemany("REPLACE INTO checkpoints VALUES (?, ?)", notes.items())

    def set_aside(self, origin: str) -> None:
        """The directory declares what took the place of the log of this checkpoint."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR IGNORE INTO lost_checkpoints SELECT note FROM checkpoints WHERE origin = ?", (origin,)
            )
            self._connection.execute("DELETE FROM checkpoints WHERE origin = ?", (origin,))
