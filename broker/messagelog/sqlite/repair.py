"""Change a row: put a damaged one back, from the same record that its publisher offers again, or erase what is in it.

All but the last function runs inside a transaction. Only what no leaf covers is put back: value, kind, case,
recipients and the index. The record id and the digest must be those of the row.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, TypeAlias

from broker.core.errors import LogCorrupt, LogUnavailable
from broker.core.leasing.ackstate import AckState
from broker.messagelog.sqlite.destinations import index_again, missing
from broker.ports import SubscriptionKey

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from broker.core.entry import LogEntry, NewEntry
    from broker.core.streams import Position
    from broker.messagelog.sqlite.database import Database
    from broker.messagelog.sqlite.entries import Entries

_EMPTY: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
_EMPTYING: Final = 30
"""How often this is tried, about once a second."""
_HELD_MS: Final = 200
"""So long one attempt waits for other connections. Meanwhile nobody writes: it holds the lock for that."""
_WAIT_SECONDS: Final = 1.0
_USUAL_MS: Final = 5000
Again: TypeAlias = "tuple[Position, NewEntry]"
"""A record that was offered again, and its position."""
StoredStates: TypeAlias = "dict[tuple[SubscriptionKey, int, int], AckState]"
"""How far each subscription is in each partition, by the partition's number and the subscription's generation."""


def damaged(
    connection: sqlite3.Connection, entries: Entries, again: Sequence[Again], sound: Callable[[LogEntry], bool]
) -> list[Again]:
    """Those whose row is damaged and has their id and digest."""
    found = []
    for position, entry in again:
        at = range(position.offset, position.offset + 1)
        for row in entries.read(connection, position.stream_partition, at, max_records=1, max_bytes=1, values=True):
            same = (row.record_id, row.record_sha256) == (entry.record_id, entry.record_sha256)
            if same and (not sound(row) or missing(connection, [(entries.key(position), row)])):
                found.append((position, entry))
    return found


def rewrite(
    connection: sqlite3.Connection,
    entries: Entries,
    position: Position,
    without_erased: Callable[[LogEntry], LogEntry],
) -> LogEntry | None:
    """Write an entry's value without what was erased. Return the entry, or None if nothing is to be removed."""
    at = range(position.offset, position.offset + 1)
    for row in entries.read(connection, position.stream_partition, at, max_records=1, max_bytes=1, values=True):
        entry = without_erased(row)
        if entry.value != row.value:
            connection.execute("UPDATE entries SET value = ? WHERE position = ?", (entry.value, entries.key(position)))
            return entry
    return None


def put_back(connection: sqlite3.Connection, entries: Entries, again: Sequence[Again]) -> StoredStates:
    """Write the rows, and let every subscription of their recipients read them again. Return how far each is."""
    states: StoredStates = {}
    for position, entry in again:
        key, number = entries.key(position), entries.number(position.stream_partition)
        row = (entry.kind, entry.ordering_key, " ".join(entry.recipients), entry.value, key)
        connection.execute(
            "UPDATE entries SET kind = ?, ordering_key = ?, recipients = ?, value = ? WHERE position = ?", row
        )
        index_again(connection, key, entry)
        query = "SELECT agency, subscription, generation, state FROM ack_states WHERE partition = ?"
        for agency, name, generation, text in connection.execute(query, (number,)).fetchall():
            with contextlib.suppress(LogCorrupt):
                state = AckState.decode(text)
                if agency in entry.recipients:
                    state = state.reopened(position.offset)
                    connection.execute(
                        "REPLACE INTO ack_states VALUES (?, ?, ?, ?, ?)",
                        (agency, name, number, state.encode(), generation),
                    )
                states[SubscriptionKey(agency, name), number, generation] = state
    return states


async def empty_write_ahead_log(database: Database) -> None:
    """Move everything that is committed into the file, and cut the write-ahead log to nothing.

    Raises:
        LogUnavailable: another program reads the file all the time. What is committed stays committed.
    """
    for attempt in range(_EMPTYING):
        if attempt:
            await asyncio.sleep(_WAIT_SECONDS)
        # On the connection that reads: the other one has a transaction open in between.
        if await database.read(_emptied):
            return
    message = "the write-ahead log cannot be emptied while another program reads the log's file"
    raise LogUnavailable(message)


def _emptied(connection: sqlite3.Connection) -> bool:
    connection.execute(f"PRAGMA busy_timeout = {_HELD_MS}")
    try:
        busy, *_ = connection.execute(_EMPTY).fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {_USUAL_MS}")
    return not busy
