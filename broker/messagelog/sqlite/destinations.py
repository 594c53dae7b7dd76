"""An index of entries by agency and kind, so that a subscription reads only what it wants.

Both logs keep it in their database: one row for each recipient of an entry, and one for an entry without recipients. A
destination is stored as a digest of agency and kind in 32 bits, so that a row is small (about 17 bytes on the disk).
Two destinations may share a digest, so the caller checks each entry that it reads.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.messagelog.sqlite.rows import insert_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from broker.core.entry import Interest, LogEntry, NewEntry

TABLE: Final = (
    "CREATE TABLE destinations (destination INTEGER NOT NULL, position INTEGER NOT NULL, "
    "PRIMARY KEY (destination, position)) WITHOUT ROWID"
)


class Selection(NamedTuple):
    """An SQL query for positions in ascending order, and its parameters."""

    sql: str
    parameters: tuple[int, ...]


def insert_destinations(connection: sqlite3.Connection, entries: Sequence[tuple[int, LogEntry]]) -> None:
    """Add entries, each with its position: the key of its row in the table of entries."""
    rows = [(_number(agency, entry.kind), key) for key, entry in entries for agency in set(entry.readers)]
    insert_rows(connection, "destinations", rows)


def index_again(connection: sqlite3.Connection, key: int, entry: NewEntry) -> None:
    """Add what is missing of an entry."""
    rows = [(_number(agency, entry.kind), key) for agency in entry.recipients]
    connection.executemany("INSERT OR IGNORE INTO destinations VALUES (?, ?)", rows)


def wanted(interest: Interest, first: int, end: int, limit: int) -> Selection:
    """At most ``limit`` positions of what an interest concerns, from ``first`` on and below ``end``.

    SQLite merges one ordered run for each kind, so the time goes by what is wanted.
    """
    run = "SELECT position FROM destinations WHERE destination = ? AND position >= ? AND position < ?"
    kinds = sorted(interest.kinds)
    sql = " UNION ".join([run] * len(kinds)) + " ORDER BY position LIMIT ?"
    bounds = [number for kind in kinds for number in (_number(interest.agency, kind), first, end)]
    return Selection(sql, (*bounds, limit))


def count_wanted(connection: sqlite3.Connection, first: int, offsets: Sequence[range], interest: Interest) -> int:
    """How many positions at these offsets an interest concerns. ``first`` is the position of offset 0."""
    query = "SELECT count(*) FROM destinations WHERE destination = ? AND position >= ? AND position < ?"
    return sum(
        connection.execute(query, (_number(interest.agency, kind), first + each.start, first + each.stop)).fetchone()[0]
        for kind in interest.kinds
        for each in offsets
    )


def wanted_or_damaged(interest: Interest, entry: LogEntry) -> LogEntry | None:
    """An entry at a wanted position: itself if it is wanted, without its value if it is damaged, otherwise None.

    The index says that it is wanted. If its own facts say something else, and no destination of it shares the digest of
    a wanted one, then one of the two was changed.
    """
    if interest.concerns(entry):
        return entry
    shared = {_number(agency, entry.kind) for agency in entry.readers}
    if shared & {_number(interest.agency, kind) for kind in interest.kinds}:
        return None
    return entry._replace(value=b"")


def missing(connection: sqlite3.Connection, entries: Sequence[tuple[int, LogEntry]]) -> list[LogEntry]:
    """Those of the entries that are not in the index for each of their readers."""
    query = "SELECT count(*) FROM destinations WHERE destination = ? AND position = ?"
    return [
        entry
        for key, entry in entries
        if not all(
            connection.execute(query, (_number(agency, entry.kind), key)).fetchone()[0] for agency in entry.readers
        )
    ]


@lru_cache(maxsize=4096)
def _number(agency: str, kind: str) -> int:
    return int.from_bytes(sha256(f"{agency} {kind}".encode()).digest()[:4], signed=True)
