"""What one process knows of subscriptions and what they set aside: a small SQLite file, folded from the audit stream.

The audit stream is the truth. This file is a copy of what it says now, with the last audit record that was folded into
it. So a start reads only what is new. A file that is lost, damaged, of another log, or of a log that went back is made
again from the beginning.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from broker.core.errors import LogUnavailable
from broker.core.events import (
    AuditEvent,
    Pointer,
    TakenOver,
)
from broker.core.reigns import is_over, of_reign
from broker.core.streams import Position
from broker.ports import DeadLetterState, SubscriptionKey
from broker.services import refusalrows, setasiderows
from broker.services.auditindexschema import SCHEMA, TABLES
from broker.services.setasidereading import PAGE_ROWS, read_pages
from broker.services.subscriptionindex import SubscriptionTable
from broker.sqlitefile import FileTrouble, Trouble, open_file, transaction, trouble_as

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from broker.core.streams import StreamPartition
    from broker.services.refusalrows import Refusal, Refusals
    from broker.services.setaside import SetAside

_log = structlog.get_logger("broker.deadletters")
_BEHIND: Final = (
    "(SELECT count(*) FROM set_aside AS behind WHERE behind.parked = 1 AND (behind.agency, behind.subscription, "
    "behind.stream, behind.partition, behind.case_id) = (set_aside.agency, set_aside.subscription, set_aside.stream, "
    "set_aside.partition, set_aside.case_id))"
)
_READ: Final = (
    f"agency, subscription, stream, partition, position, case_id, attempts, principal, since_ms, {_BEHIND}, reason, "
    "publisher, code"
)
_REMADE: Final = (Trouble.DAMAGED, Trouble.NEWER)
_FILE: Final = "the index of the audit stream"


class Scope(NamedTuple):
    """Whose dead letters are meant. Empty: of every agency, of every subscription, of every publisher's records."""

    agency: str = ""
    subscription: str = ""
    publisher: str = ""


class Tally(NamedTuple):
    """How many dead letters there are, how many records are parked behind them, and since when the oldest is one.

    ``oldest_ms`` is in milliseconds since the Unix epoch; None: there is none.
    """

    dead_letters: int
    parked: int
    oldest_ms: int | None


class Folded(NamedTuple):
    """The last audit record that was folded: its offset and its id."""

    offset: int
    record_id: bytes


class AuditIndex:
    """See the module. Its methods block for a moment. One process at a time may have the file open.

    Raises (every method):
        LogUnavailable: the file cannot be read or written.
    """

    def __init__(self, path: Path | None, log_id: str) -> None:
        """Open the file, or make it again. ``path`` None: in memory. ``log_id`` is that of the audit stream."""
        with _used():
            self._connection = _opened(path)
            self.subscriptions: Final = SubscriptionTable(self._connection)
            if self._fact("log_id") != log_id:
                with transaction(self._connection):
                    self._clear()
                    self._connection.execute("INSERT INTO facts VALUES ('log_id', ?)", (log_id,))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._connection.close()

    @property
    def folded(self) -> Folded | None:
        """How far the audit stream was folded. None: nothing of it."""
        with _used():
            offset, record_id = self._fact("offset"), self._fact("record_id")
        return Folded(offset, record_id) if isinstance(offset, int) and isinstance(record_id, bytes) else None

    def start_again(self) -> None:
        """Forget everything that was folded."""
        with _used(), transaction(self._connection):
            log_id = self._fact("log_id")
            self._clear()
            self._connection.execute("INSERT INTO facts VALUES ('log_id', ?)", (log_id,))

    def forget(self, events: Iterable[AuditEvent], rows: int = PAGE_ROWS) -> Iterator[None]:
        """Remove what was set aside by the subscriptions that these events delete, at most so many rows in each step.

        Call it before ``fold`` with the same events. Until that, the file counts as folded by nobody. So after a crash
        in between it is made again.
        """
        for told in events:
            key = self.subscriptions.deleted(told)
            removed = rows
            while key is not None and removed == rows:
                with _used(), transaction(self._connection):
                    removed = setasiderows.forget_some(self._connection, key, rows)
                    if removed:
                        self._connection.execute("DELETE FROM facts WHERE name IN ('offset', 'record_id')")
                yield

    def fold(self, events: Iterable[AuditEvent], folded: Folded) -> list[AuditEvent]:
        """Take in the events of the next audit records, up to and with this one. All of it, or nothing.

        Returns:
            The events that changed something.
        """
        with _used(), transaction(self._connection):
            changes, void = [], []
            for told in events:
                if isinstance(told.event, Pointer | TakenOver) and self._is_void(told.event):
                    void += [told.event] if isinstance(told.event, Pointer) else []
                    continue
                before = self._connection.total_changes
                setasiderows.fold(self._connection, told)
                self.subscriptions.fold(told, folded.offset)
                if self._connection.total_changes > before:
                    changes.append(told)
            self._connection.executemany("REPLACE INTO facts VALUES (?, ?)", zip(Folded._fields, folded, strict=True))
        for event in void[:1]:
            _log.warning(
                "a process set records aside in a partition that another one had taken over: that is void",
                agency=event.agency,
                subscription=event.subscription,
                partition=str(of_reign(event).partition),
                events=len(void),
            )
        return changes

    def tally(self, scope: Scope) -> Tally:
        """Count them."""
        where, parameters = _where(scope)
        count = f"SELECT count(*), min(since_ms) FROM set_aside WHERE {where} AND parked = "  # noqa: S608 - our own columns
        with _used():
            dead, oldest_ms = self._connection.execute(f"{count} 0", parameters).fetchone()
            parked, _ = self._connection.execute(f"{count} 1", parameters).fetchone()
        return Tally(dead, parked, oldest_ms)

    def page(self, scope: Scope, after: DeadLetterState | None, limit: int) -> list[DeadLetterState]:
        """The next ones after this one, in the order of agency, subscription and position."""
        where, parameters = _where(scope)
        where += " AND NOT parked"
        key = "(agency, subscription, stream, partition, position)"
        if after is not None:
            where += f" AND {key} > (?, ?, ?, ?, ?)"
            parameters += (*after.subscription, *after.position)
        sql = f"SELECT {_READ} FROM set_aside WHERE {where} ORDER BY {key[1:-1]} LIMIT ?"  # noqa: S608 - our own columns
        with _used():
            return [_state(row) for row in self._connection.execute(sql, (*parameters, limit))]

    def get(self, subscription: SubscriptionKey, position: Position) -> DeadLetterState | None:
        """The dead letter of a subscription at a position, if there is one."""
        sql = f"SELECT {_READ} FROM set_aside WHERE NOT parked AND agency = ? AND subscription = ?"  # noqa: S608 - our own columns
        sql += " AND stream = ? AND partition = ? AND position = ?"
        with _used():
            row = self._connection.execute(sql, (*subscription, *position)).fetchone()
        return None if row is None else _state(row)

    def of_reason(self, reason: str, positions: Iterable[Position]) -> list[DeadLetterState]:
        """The dead letters of a reason at some positions, of every subscription."""
        sql = f"SELECT {_READ} FROM set_aside WHERE NOT parked AND reason != '' AND reason = ?"  # noqa: S608 - our own columns
        sql += " AND stream = ? AND partition = ? AND position = ?"
        with _used():
            rows = (self._connection.execute(sql, (reason, *position)).fetchall() for position in positions)
            return [_state(row) for found in rows for row in found]

    def refusals(self, agency: str, after: int, limit: int) -> list[Refusal]:
        """See ``refusalrows.page``."""
        with _used():
            return refusalrows.page(self._connection, agency, after, limit)

    def count_refusals(self, publisher: str) -> Refusals:
        """See ``refusalrows.count``."""
        with _used():
            return refusalrows.count(self._connection, publisher)

    def reign(self, subscription: SubscriptionKey, partition: StreamPartition) -> int:
        """The latest reign of a subscription in a partition. 0: there was none."""
        sql = "SELECT reign FROM reigns WHERE agency = ? AND subscription = ? AND stream = ? AND partition = ?"
        with _used():
            row = self._connection.execute(sql, (*subscription, *partition)).fetchone()
        return 0 if row is None else int(row[0])

    def set_aside(
        self,
        subscription: SubscriptionKey,
        partition: StreamPartition,
        floor: int,
        found: SetAside,
        rows: int = PAGE_ROWS,
    ) -> Iterator[None]:
        """Read what a subscription has set aside in a partition. See ``setasidereading.read_pages``."""
        with _used():
            yield from read_pages(self._connection, (*subscription, *partition), floor, found, rows)

    def first(self, subscription: SubscriptionKey, partition: StreamPartition, case_id: str) -> tuple[int, bool] | None:
        """The first offset that a case has set aside, and whether that one is parked."""
        sql = "SELECT position, parked FROM set_aside WHERE agency = ? AND subscription = ? AND stream = ?"
        sql += f" AND partition = ? AND case_id = ? AND {setasiderows.WAITS} ORDER BY position LIMIT 1"
        with _used():
            row = self._connection.execute(sql, (*subscription, *partition, case_id)).fetchone()
        return None if row is None else (row[0], bool(row[1]))

    def _is_void(self, event: Pointer | TakenOver) -> bool:
        agency, name, partition, reign = of_reign(event)
        latest = self.reign(SubscriptionKey(agency, name), partition)
        if reign > latest:
            self._connection.execute("REPLACE INTO reigns VALUES (?, ?, ?, ?, ?)", (agency, name, *partition, reign))
        return is_over(reign, latest)

    def _fact(self, name: str) -> str | int | bytes | None:
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def _clear(self) -> None:
        for table in TABLES:
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own tables


def _opened(path: Path | None) -> sqlite3.Connection:
    # What a power cut undoes is folded again. So no transaction waits for the disk.
    try:
        return open_file(path, SCHEMA, durable=False, exclusive=True)
    except FileTrouble as error:
        if path is None or error.trouble not in _REMADE:
            raise
        _log.warning("the index of the audit stream is made again", cause=str(error))
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return open_file(path, SCHEMA, durable=False, exclusive=True)


@contextlib.contextmanager
def _used() -> Iterator[None]:
    with trouble_as(LogUnavailable, _FILE):
        yield


def _where(scope: Scope) -> tuple[str, tuple[str | int, ...]]:
    asked = {name: value for name, value in scope._asdict().items() if value}
    return " AND ".join(["1", *(f"{name} = ?" for name in asked)]), tuple(asked.values())


def _state(row: tuple[str, str, str, int, int, str, int, str, int, int, str, str, str]) -> DeadLetterState:
    return DeadLetterState(SubscriptionKey(*row[:2]), Position(*row[2:5]), *row[5:])
