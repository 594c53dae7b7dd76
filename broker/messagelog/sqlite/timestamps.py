"""The timestamps over each partition's checkpoints, in one SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.schema import TIMESTAMPS
from broker.ports import KeptTimestamp

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_OF: Final = """
SELECT size, checkpoint, response FROM timestamps WHERE origin = :origin AND size <= :most
AND size >= COALESCE((SELECT MAX(size) FROM timestamps WHERE origin = :origin AND size <= :first), 0)
AND size <= COALESCE((SELECT MIN(size) FROM timestamps WHERE origin = :origin AND size >= :end), :most)
ORDER BY size
"""


class SqliteTimestampStore:
    """A ``TimestampStore`` in one file, or in memory."""

    def __init__(self, path: Path | None) -> None:
        """Open the file. Create it if there is none.

        Raises:
            LogInUse, LogCorrupt, LogSchemaUnsupported, LogFull, LogUnavailable
        """
        self._database = Database(path, TIMESTAMPS)

    async def put(self, origin: str, kept: KeptTimestamp) -> None:
        """See ``TimestampStore``."""

        def insert(connection: sqlite3.Connection) -> None:
            # The first one proves most.
            connection.execute("INSERT OR IGNORE INTO timestamps VALUES (?, ?, ?, ?)", (origin, *kept))

        await self._database.write(insert)

    async def newest_size(self, origin: str) -> int | None:
        """See ``TimestampStore``."""
        (size,) = await self._database.read(
            lambda connection: connection.execute(
                "SELECT MAX(size) FROM timestamps WHERE origin = ?", (origin,)
            ).fetchone()
        )
        return None if size is None else int(size)

    async def of(self, origin: str, first: int, end: int, most: int) -> list[KeptTimestamp]:
        """See ``TimestampStore``."""
        asked = {"origin": origin, "first": first, "end": end, "most": most}
        rows = await self._database.read(lambda connection: connection.execute(_OF, asked).fetchall())
        return [KeptTimestamp(*row) for row in rows]

    async def close(self) -> None:
        """See ``TimestampStore``."""
        await self._database.close()
