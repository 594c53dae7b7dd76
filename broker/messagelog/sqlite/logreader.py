"""Reads an embedded log beside the process that owns it, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.entries import Entries
from broker.messagelog.sqlite.facts import OFFSET_BITS, Former, read_facts
from broker.messagelog.sqlite.schema import LOG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.entry import LogEntry
    from broker.core.streams import Position, StreamPartition

_END = (1 << OFFSET_BITS) - 1


class SqliteLogReader:
    """A ``LogReader`` of one SQLite file. Made by ``open``."""

    def __init__(
        self, database: Database, log_id: str, partitions: Sequence[StreamPartition], formers: Sequence[Former]
    ) -> None:
        self._database = database
        self._log_id = log_id
        self._partitions = tuple(partitions)
        self._entries = Entries(log_id, partitions, formers)

    @classmethod
    async def open(cls, path: Path) -> SqliteLogReader:
        """Open the log.

        Raises:
            LogCorrupt, LogSchemaUnsupported, LogUnavailable
        """
        database = Database(path, LOG, read_only=True)
        try:
            return cls(database, *await database.read(read_facts))
        except BaseException:
            await database.close()
            raise

    def log_id(self, stream: str) -> str:  # noqa: ARG002 - one file holds all streams
        """See ``LogReader``."""
        return self._log_id

    def partitions(self, stream: str) -> int:
        """See ``LogReader``."""
        return sum(partition.stream == stream for partition in self._partitions)

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool = True
    ) -> list[LogEntry]:
        """See ``LogReader``."""
        return await self._database.read(
            lambda connection: self._entries.read(
                connection,
                partition,
                range(offset, _END),
                max_records=max_records,
                max_bytes=max_bytes,
                values=values,
            )
        )

    async def not_indexed(self, entries: Sequence[LogEntry]) -> list[Position]:
        """See ``LogReader``."""
        return await self._database.read(lambda connection: self._entries.not_indexed(connection, entries))

    async def close(self) -> None:
        """See ``LogReader``."""
        await self._database.close()
