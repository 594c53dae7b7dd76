"""The part of the spool with the newest checkpoint that was seen of each partition: notes, signed as they are.

The file belongs to one log of the exchange for each partition, named by its origin. When the operator accepted a loss,
the checkpoint that proves it is set aside and never deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager

NOTES_TABLES: Final = """
CREATE TABLE checkpoints (origin TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE lost_checkpoints (note BLOB PRIMARY KEY) WITHOUT ROWID
"""


class Notes:
    """See the module. Each change is durable when it returns.

    Raises (every method):
        SpoolUnavailable: the file cannot be used, or its disk is full. Nothing was changed.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        locked: Callable[[], AbstractContextManager[None]],
        transaction: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._locked = locked
        self._transaction = transaction

    def newest(self) -> dict[str, bytes]:
        """The newest checkpoint of each log and partition, by origin."""
        with self._locked():
            return dict(self._connection.execute("SELECT origin, note FROM checkpoints ORDER BY origin").fetchall())

    def keep(self, notes: dict[str, bytes]) -> None:
        """Keep these, by origin, instead of those that were kept before."""
        with self._transaction():
            self._connection.executemany("REPLACE INTO checkpoints VALUES (?, ?)", notes.items())

    def set_aside(self, origin: str) -> None:
        """The operator accepted the loss that this checkpoint proves."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR IGNORE INTO lost_checkpoints SELECT note FROM checkpoints WHERE origin = ?", (origin,)
            )
            self._connection.execute("DELETE FROM checkpoints WHERE origin = ?", (origin,))
