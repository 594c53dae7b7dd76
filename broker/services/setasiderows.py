"""What the events of the audit stream do to the rows of the index of the audit stream (services/auditindex)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.events import (
    DeadLetterDiscarded,
    DeadLetterMade,
    DeadLetterOrdered,
    DeadLetterRedriven,
    DeliveryRefused,
    RecordsParked,
    SetAsideEnded,
)
from broker.services import refusalrows

if TYPE_CHECKING:
    import sqlite3

    from broker.core.events import AuditEvent

_COLUMNS: Final = (
    "agency, subscription, stream, partition, position, case_id, parked, attempts, principal, since_ms, reason, "
    "publisher, code"
)
_INSERT: Final = f"INTO set_aside ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
DISCARDED: Final = 2
"""In the column ``parked``. The row stays: a commit that was lost in a crash must not bring the record back."""
WAITS: Final = "(parked = 1 OR (NOT parked AND reason = ''))"
"""Nothing waits behind a damaged record, and if it is repaired, it is read again."""
_ONE: Final = "agency = ? AND subscription = ? AND stream = ? AND partition = ? AND position = ?"


def forget_some(connection: sqlite3.Connection, subscription: tuple[str, str], rows: int) -> int:
    """Remove at most so many rows of a subscription, inside a transaction. Return how many were removed."""
    key = "agency, subscription, stream, partition, position"
    some = f"SELECT {key} FROM set_aside WHERE agency = ? AND subscription = ? LIMIT ?"  # noqa: S608 - our own columns
    sql = f"DELETE FROM set_aside WHERE ({key}) IN ({some})"  # noqa: S608 - our own columns
    return connection.execute(sql, (*subscription, rows)).rowcount


def fold(connection: sqlite3.Connection, told: AuditEvent) -> None:
    """Take in one event that counts, inside a transaction."""
    match told.event:
        case DeadLetterMade() as dead:
            # A record that is given up again was redriven, or parked and let go.
            connection.execute(
                f"REPLACE {_INSERT}",
                (
                    dead.agency,
                    dead.subscription,
                    *dead.position,
                    dead.case_id,
                    0,
                    dead.attempts,
                    told.principal,
                    told.at_ms,
                    dead.reason,
                    dead.publisher,
                    dead.code,
                ),
            )
            sql = f"DELETE FROM orders WHERE {_ONE}"  # noqa: S608 - our own columns
            connection.execute(sql, (dead.agency, dead.subscription, *dead.position))
        case RecordsParked() as parked:
            # An event that is told twice changes nothing.
            key = (parked.agency, parked.subscription)
            rest = (parked.case_id, 1, 0, told.principal, told.at_ms, "", "", "")
            connection.executemany(f"INSERT OR IGNORE {_INSERT}", [(*key, *at, *rest) for at in parked.positions()])
        case DeadLetterRedriven() as again:
            # From now on it is parked, as the first of its case.
            sql = f"UPDATE set_aside SET parked = 1 WHERE NOT parked AND {_ONE}"  # noqa: S608 - our own columns
            connection.execute(sql, (again.agency, again.subscription, *again.position))
        case DeadLetterDiscarded() as gone:
            one = (gone.agency, gone.subscription, *gone.position)
            # One that is damaged comes again if it is repaired.
            sql = f"DELETE FROM set_aside WHERE NOT parked AND reason != '' AND {_ONE}"  # noqa: S608 - our own columns
            connection.execute(sql, one)
            sql = f"UPDATE set_aside SET parked = {DISCARDED} WHERE NOT parked AND {_ONE}"  # noqa: S608 - our own columns
            connection.execute(sql, one)
        case SetAsideEnded() as ended:
            # What another process has given up meanwhile stays a dead letter, so that its agency can decide.
            key = (ended.agency, ended.subscription)
            connection.executemany(
                f"DELETE FROM set_aside WHERE parked = 1 AND {_ONE}",  # noqa: S608 - our own columns
                [(*key, *at) for at in ended.positions()],
            )
        case DeliveryRefused() as refused:
            refusalrows.insert(connection, told, refused)
        case DeadLetterOrdered() as order:
            row = (order.agency, order.subscription, *order.position, order.code)
            connection.execute("REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?)", row)
