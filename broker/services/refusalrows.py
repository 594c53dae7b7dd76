"""The refused records in the index of the audit stream: one row for each record and subscription that refused it.

If a record is refused again, because the commit of the first refusal was lost, its row is replaced. Rows stay: a
refusal is final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.streams import Position
from broker.ports import SubscriptionKey

if TYPE_CHECKING:
    import sqlite3

    from broker.core.events import AuditEvent, DeliveryRefused

_COLUMNS: Final = "publisher, agency, subscription, stream, partition, position, code, at_ms"
_PAGE: Final = f"SELECT id, {_COLUMNS} FROM refusals WHERE id %s ORDER BY id LIMIT :limit"  # noqa: S608 - our own columns
_OF_ALL: Final = _PAGE % "> :after"
# Each run stops at the limit, so a page costs what it has, however many rows the agency has.
_OF_ONE: Final = _PAGE % (
    "IN (SELECT * FROM (SELECT id FROM refusals WHERE publisher = :agency AND id > :after ORDER BY id LIMIT :limit)"
    " UNION SELECT * FROM (SELECT id FROM refusals WHERE agency = :agency AND id > :after ORDER BY id LIMIT :limit))"
)


class Refusal(NamedTuple):
    """A refused record. ``id`` ascends in the order of the audit stream. ``at_ms`` is in epoch milliseconds."""

    id: int
    publisher: str
    subscription: SubscriptionKey
    position: Position
    code: str
    at_ms: int


class Refusals(NamedTuple):
    """How many there are, and when the first was (epoch milliseconds; None: there is none)."""

    records: int
    since_ms: int | None


def insert(connection: sqlite3.Connection, told: AuditEvent, refused: DeliveryRefused) -> None:
    """Add what an event tells."""
    rest = (refused.code, told.at_ms)
    connection.executemany(
        f"REPLACE INTO refusals ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own columns
        [(refused.publisher, refused.agency, refused.subscription, *at, *rest) for at in refused.positions()],
    )


def count(connection: sqlite3.Connection, publisher: str) -> Refusals:
    """Those of a publisher's records, or all if it is empty."""
    sql = "SELECT count(*), min(at_ms) FROM refusals"
    if publisher:
        return Refusals(*connection.execute(f"{sql} WHERE publisher = ?", (publisher,)).fetchone())
    return Refusals(*connection.execute(sql).fetchone())


def page(connection: sqlite3.Connection, agency: str, after: int, limit: int) -> list[Refusal]:
    """The next ones with a higher id that concern an agency as publisher or recipient, or all if it is empty."""
    rows = connection.execute(_OF_ALL if not agency else _OF_ONE, {"agency": agency, "after": after, "limit": limit})
    return [_refusal(*row) for row in rows]


def _refusal(  # noqa: PLR0917 - one for each column
    key: int, publisher: str, agency: str, name: str, stream: str, partition: int, offset: int, code: str, at_ms: int
) -> Refusal:
    return Refusal(key, publisher, SubscriptionKey(agency, name), Position(stream, partition, offset), code, at_ms)
