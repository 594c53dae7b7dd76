"""A book in a temporary file, for what an auditor brings: its memory does not grow with what is in it."""

from __future__ import annotations

import sqlite3


class TemporaryBook:
    """A table in a file that SQLite deletes. ``unproved`` counts what was brought and does not count."""

    def __init__(self, table: str) -> None:
        # SQLite keeps a database without a name in a file of its own that it has already unlinked.
        self._connection = sqlite3.connect("", isolation_level=None)
        for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", table, "BEGIN"):
            self._connection.execute(statement)
        self.unproved = 0

    def close(self) -> None:
        """Delete everything."""
        self._connection.close()
