"""What a witness has cosigned, in one SQLite file. One process owns it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from broker.core.errors import CaseExchangeError
from broker.core.tree.addcheckpoint import Cosigned
from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.schema import WITNESS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from broker.ports import WitnessedNote


class SqliteWitnessStore:
    """A ``WitnessStore`` in one file, or in memory."""

    def __init__(self, path: Path | None) -> None:
        """Open the file. Create it if there is none.

        Raises:
            LogInUse, LogCorrupt, LogSchemaUnsupported, LogFull, LogUnavailable
        """
        self._database = Database(path, WITNESS)

    async def advance(self, origin: str, judge: Callable[[Cosigned], WitnessedNote]) -> WitnessedNote:
        """See ``WitnessStore``."""
        # Judgement and storing are one job of the only thread that writes, in one transaction. A refusal is a result:
        # as an error it would undo the jobs of others in the same transaction.
        result = await self._database.write(lambda connection: _advance(connection, origin, judge))
        if isinstance(result, CaseExchangeError):
            raise result
        return result

    async def note(self, origin_sha256: bytes) -> bytes | None:
        """See ``WitnessStore``."""
        row = await self._database.read(
            lambda connection: connection.execute(
                "SELECT note FROM cosigned WHERE origin_sha256 = ?", (origin_sha256,)
            ).fetchone()
        )
        return None if row is None else row[0]

    async def close(self) -> None:
        """See ``WitnessStore``."""
        await self._database.close()


def _advance(
    connection: sqlite3.Connection, origin: str, judge: Callable[[Cosigned], WitnessedNote]
) -> WitnessedNote | CaseExchangeError:
    key = sha256(origin.encode()).digest()
    row = connection.execute("SELECT size, root FROM cosigned WHERE origin_sha256 = ?", (key,)).fetchone()
    try:
        stored = judge(Cosigned() if row is None else Cosigned(*row))
    except CaseExchangeError as refusal:
        return refusal
    connection.execute("INSERT OR REPLACE INTO cosigned VALUES (?, ?, ?, ?, ?)", (key, origin, *stored))
    return stored
