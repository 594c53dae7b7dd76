"""What one process knows of subscriptions: a table beside the dead letters, folded from the same audit stream.

A subscription that was deleted keeps its row, because its next generation needs another number.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import LogUnavailable
from broker.core.events import SubscriptionBegun, SubscriptionDeleted
from broker.core.streams import StreamPartition
from broker.core.subscriptions import Generation, KindsStart, has_effect
from broker.ports import SubscriptionKey
from broker.sqlitefile import trouble_as

if TYPE_CHECKING:
    import sqlite3

    from broker.core.events import AuditEvent

TABLE: Final = """CREATE TABLE subscriptions (
    agency TEXT NOT NULL,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    told_at INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    kinds TEXT NOT NULL,
    starts TEXT NOT NULL,
    skipped INTEGER NOT NULL,
    PRIMARY KEY (agency, name)
) WITHOUT ROWID"""
_COLUMNS: Final = "agency, name, generation, told_at, deleted, created_ms, kinds, starts, skipped"
_FILE: Final = "the index of subscriptions"


class Known(NamedTuple):
    """A subscription as the audit stream has it.

    ``skipped`` counts the records that it was not sent by its agency's orders, since it was made at ``created_ms``
    (milliseconds since the Unix epoch).
    """

    key: SubscriptionKey
    generation: Generation
    deleted: bool
    created_ms: int
    kinds: frozenset[str]
    skipped: int


class SubscriptionTable:
    """See the module. Its methods block for a moment.

    Raises (every method):
        LogUnavailable: the file cannot be read or written.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: SubscriptionKey) -> Known | None:
        """A subscription, also one that was deleted."""
        sql = f"SELECT {_COLUMNS} FROM subscriptions WHERE agency = ? AND name = ?"  # noqa: S608 - our own columns
        with trouble_as(LogUnavailable, _FILE):
            row = self._connection.execute(sql, key).fetchone()
        return None if row is None else _known(row)

    def listed(self, agency: str) -> list[Known]:
        """Those of an agency, or all of them if it is empty, in the order of agency and name. None that was deleted."""
        sql = f"SELECT {_COLUMNS} FROM subscriptions WHERE NOT deleted"  # noqa: S608 - our own columns
        sql += " AND agency = ?" if agency else ""
        with trouble_as(LogUnavailable, _FILE):
            rows = self._connection.execute(sql + " ORDER BY agency, name", (agency,) if agency else ()).fetchall()
        return [_known(row) for row in rows]

    def count(self, agency: str) -> int:
        """How many subscriptions an agency has that were not deleted."""
        sql = "SELECT count(*) FROM subscriptions WHERE NOT deleted AND agency = ?"
        with trouble_as(LogUnavailable, _FILE):
            return int(self._connection.execute(sql, (agency,)).fetchone()[0])

    def deleted(self, told: AuditEvent) -> SubscriptionKey | None:
        """The subscription that an event deletes, if it comes next. None: it deletes none."""
        event = told.event
        if not isinstance(event, SubscriptionDeleted):
            return None
        before = self.get(key := SubscriptionKey(event.agency, event.subscription))
        return None if before is None or not has_effect(event.generation, before.generation.number) else key

    # --- inside a transaction ---

    def fold(self, told: AuditEvent, told_at: int) -> None:
        """Take in an event of the audit record at this offset. One that is late changes nothing."""
        event = told.event
        if not isinstance(event, SubscriptionBegun | SubscriptionDeleted):
            return
        before = self.get(SubscriptionKey(event.agency, event.subscription))
        if not has_effect(event.generation, None if before is None else before.generation.number):
            return
        if isinstance(event, SubscriptionDeleted):
            if before is None:
                return
            key = (event.agency, event.subscription)
            sql = "UPDATE subscriptions SET deleted = 1, generation = ? WHERE agency = ? AND name = ?"
            self._connection.execute(sql, (event.generation, *key))
            self._connection.execute("DELETE FROM set_aside WHERE agency = ? AND subscription = ?", key)
            return
        skipped = sum(moved.skipped for moved in event.moved)
        created_ms = told.at_ms
        if before is not None and not before.deleted:
            skipped, created_ms = skipped + before.skipped, before.created_ms
        starts = json.dumps([[*start.partition, start.kinds, start.offset] for start in event.starts])
        row = (event.agency, event.subscription, event.generation, told_at, 0, created_ms, " ".join(event.kinds))
        self._connection.execute(
            f"REPLACE INTO subscriptions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own columns
            (*row, starts, skipped),
        )


def _known(row: tuple[str, str, int, int, int, int, str, str, int]) -> Known:
    agency, name, number, told_at, deleted, created_ms, kinds, starts, skipped = row
    begins = tuple(
        KindsStart(StreamPartition(stream, partition), tuple(each), offset)
        for stream, partition, each, offset in json.loads(starts)
    )
    # The first generation has no earlier life. A subscription from before the events has acknowledged records before
    # its event.
    generation = Generation(number, told_at if number else 0, begins)
    return Known(
        SubscriptionKey(agency, name), generation, bool(deleted), created_ms, frozenset(kinds.split()), skipped
    )
