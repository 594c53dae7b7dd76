"""The newest cosigned checkpoint of each partition, in one SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.schema import COSIGNED

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


class SqliteCosignedStore:
    """A ``CosignedStore`` in one file, or in memory."""

    def __init__(self, path: Path | None) -> None:
        """Open the file. Create it if there is none.

        Raises:
            LogInUse, LogCorrupt, LogSchemaUnsupported, LogFull, LogUnavailable
        """
        self._database = Database(path, COSIGNED)

    async def cosigned(self, origin: str) -> bytes | None:
        """See ``CosignedStore``."""
        row = await self._database.read(
            lambda connection: connection.execute("SELECT note FROM cosigned WHERE origin = ?", (origin,)).fetchone()
        )
        return None if row is None else row[0]

    async def put(self, origin: str, note: bytes) -> None:
        """See ``CosignedStore``."""

        def replace(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO cosigned VALUES (?, ?)", (origin, note))

        await self._database.write(replace)

    async def close(self) -> None:
        """See ``CosignedStore``."""
        await self._database.close()
