"""The part of the spool with the records that have their receipt: signed, as they were sent, for some days.

If the log loses them, they can be published again (``case-exchange publish --again``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from adapters.edge.spoolpart import SpoolPart
from broker.core.errors import SpoolUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from broker.ports import Clock

_log = structlog.get_logger("adapters.edge.sent")
SENT_TABLES: Final = """
CREATE TABLE sent (
    number INTEGER PRIMARY KEY AUTOINCREMENT, record_id TEXT NOT NULL UNIQUE, case_id TEXT NOT NULL,
    sent_ms INTEGER NOT NULL, envelope BLOB NOT NULL
);
CREATE INDEX sent_by_time ON sent (sent_ms);
CREATE TABLE former_receipts (
    record_id TEXT NOT NULL, receipt BLOB NOT NULL, PRIMARY KEY (record_id, receipt)
) WITHOUT ROWID
"""
_AT_ONCE: Final = 100
"""The most records that one transaction deletes."""
_DAY_MS: Final = 86_400_000
_SWEEP_SECONDS: Final = 3600.0


class Sent(SpoolPart):
    """See the module. Times are milliseconds since the Unix epoch, UTC."""

    def keep(self, record_id: str, now_ms: int) -> None:
        """Keep an outgoing record that gets its receipt now. Call it in the same transaction, before ``add_receipt``.

        A record that was sent again keeps its place among the others, and is kept as long as they.
        """
        with self._locked():
            self._connection.execute(
                "INSERT OR IGNORE INTO sent (record_id, case_id, sent_ms, envelope)"
                " SELECT record_id, case_id, ?, envelope FROM outgoing WHERE record_id = ?",
                (now_ms, record_id),
            )

    def expire(self, before_ms: int) -> None:
        """Delete the records that were sent before a time, a few at a time."""
        deleted = 1
        while deleted:
            with self._transaction():
                deleted = self._connection.execute(
                    "DELETE FROM sent WHERE number IN (SELECT number FROM sent WHERE sent_ms < ? LIMIT ?)",
                    (before_ms, _AT_ONCE),
                ).rowcount

    def after(self, number: int, most: int) -> list[tuple[int, str]]:
        """Numbers and ids of the next records after a number, in the order in which they got their receipts."""
        query = "SELECT number, record_id FROM sent WHERE number > ? ORDER BY number LIMIT ?"
        with self._locked():
            return list(self._connection.execute(query, (number, most)).fetchall())

    def send_again(self, record_ids: Sequence[str], with_receipt: Callable[[bytes, Sequence[bytes]], bytes]) -> None:
        """Put records back among the outgoing ones, ahead of those that wait there, in this order.

        Their former receipts are never deleted: they prove what the log had. One transaction: all or none.

        Args:
            record_ids: the records.
            with_receipt: makes of a serialised envelope, and of every receipt that the record had, the envelope to be
                sent.
        """
        with self._transaction():
            (first,) = self._connection.execute("SELECT coalesce(min(number), 1) FROM outgoing").fetchone()
            for number, record_id in enumerate(record_ids, first - len(record_ids)):
                self._connection.execute(
                    "INSERT OR IGNORE INTO former_receipts SELECT record_id, receipt FROM receipts WHERE record_id = ?",
                    (record_id,),
                )
                query = "SELECT case_id, envelope FROM sent WHERE record_id = ?"
                for case_id, envelope in self._connection.execute(query, (record_id,)).fetchall():
                    self._connection.execute(
                        "INSERT OR IGNORE INTO outgoing (number, record_id, case_id, is_next, envelope)"
                        " VALUES (?, ?, ?, 0, ?)",
                        (number, record_id, case_id, with_receipt(envelope, self.former_receipts(record_id))),
                    )
            # Of each case, the oldest goes next.
            self._connection.execute("UPDATE outgoing SET is_next = 0 WHERE is_next")
            self._connection.execute(
                "UPDATE outgoing SET is_next = 1 WHERE number IN (SELECT min(number) FROM outgoing GROUP BY case_id)"
            )

    def all_receipts(self, at_once: int = 1000) -> Iterator[bytes]:
        """Every receipt that was kept, also former ones, by record id. A few are read at a time."""
        for table in ("receipts", "former_receipts"):
            last: tuple[str, bytes] | None = ("", b"")
            while last is not None:
                query = (
                    f"SELECT record_id, receipt FROM {table} WHERE (record_id, receipt) > (?, ?) ORDER BY 1, 2 LIMIT ?"  # noqa: S608
                )
                with self._locked():
                    rows = self._connection.execute(query, (*last, at_once)).fetchall()
                yield from (bytes(row[1]) for row in rows)
                last = rows[-1] if rows else None

    def former_receipts(self, record_id: str) -> list[bytes]:
        """The receipts that a record had before it was sent again."""
        query = "SELECT receipt FROM former_receipts WHERE record_id = ?"
        with self._locked():
            return [bytes(row[0]) for row in self._connection.execute(query, (record_id,)).fetchall()]


async def sweep(sent: Sent, clock: Clock, keep_days: float) -> None:
    """Delete what was kept for so many days, now and every hour, until cancelled."""
    while True:
        before_ms = clock.now_ms() - int(keep_days * _DAY_MS)
        try:
            await asyncio.to_thread(sent.expire, before_ms)
        except SpoolUnavailable as error:
            _log.error("records that were kept long enough stay", reason=error.reason, remedy=error.remedy)
        await asyncio.sleep(_SWEEP_SECONDS)
