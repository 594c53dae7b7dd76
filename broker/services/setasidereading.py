"""Read what a subscription has set aside in a partition, page by page: it may be a million records.

Between two pages the index may change. The partition has one reader, who begins with it now, so only what the agency
decides changes what is read here. Each decision is about one record. Whoever reads the pages is told of it too, and
applies it after the last page (services/parking). To apply one that the pages have shown already changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.services.setasiderows import DISCARDED, WAITS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from broker.services.setaside import SetAside

PAGE_ROWS: Final = 1000
"""Some milliseconds, so that other work is never held up for long."""
_HERE: Final = "FROM set_aside WHERE agency = ? AND subscription = ? AND stream = ? AND partition = ?"
_OFFSETS: Final = (
    f"SELECT position, {WAITS} OR parked = {DISCARDED} {_HERE} AND position >= ? ORDER BY position LIMIT ?"
)
_CASES: Final = (
    f"SELECT case_id, position, parked, {WAITS} {_HERE} AND (case_id, position) > (?, ?) "
    "ORDER BY case_id, position LIMIT ?"
)
_ORDERS: Final = (
    "SELECT position, code FROM orders WHERE agency = ? AND subscription = ? AND stream = ? AND partition = ? "
    "ORDER BY position DESC LIMIT 1000"
)
"""An order that came too late stays, so only the last ones are looked at."""
_BEHIND_ALL: Final = (1 << 63) - 1


def read_pages(
    connection: sqlite3.Connection, key: tuple[str, str, str, int], floor: int, found: SetAside, rows: int
) -> Iterator[None]:
    """Fill ``found``, at most so many rows of the index in each step. It is complete at the end, and not before.

    Args:
        connection: to the index.
        key: agency, subscription, stream and partition.
        floor: the offset from which on the subscription reads everything again.
        found: empty.
        rows: of one step.

    Raises:
        sqlite3.Error
    """
    while True:
        page = connection.execute(_OFFSETS, (*key, floor, rows)).fetchall()
        here = [offset for offset, is_here in page if is_here]
        found.offsets.update(dict.fromkeys(here))
        found.read_again_to = here[-1] + 1 if here else found.read_again_to
        if len(page) < rows:
            break
        floor = page[-1][0] + 1
        yield
    due, after = [], ("", -1)
    while True:
        yield
        page = connection.execute(_CASES, (*key, *after, rows)).fetchall()
        for case_id, offset, parked, waits in page:
            if waits and case_id not in found.cases:
                found.cases[case_id] = offset
                due += [case_id] if parked else []
        if len(page) < rows:
            break
        case_id, offset, *_ = page[-1]
        # The first one of a case is enough. The others may be very many.
        after = (case_id, _BEHIND_ALL if case_id in found.cases else offset)
    found.due = due
    found.orders = dict(connection.execute(_ORDERS, key))
