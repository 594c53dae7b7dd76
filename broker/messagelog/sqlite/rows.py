"""Many rows in one statement: each step of a statement releases and retakes the interpreter lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_T = TypeVar("_T")
_AT_ONCE: Final = (64, 32, 16, 8, 4, 2, 1)
"""How many rows a statement has. Few different statements: SQLite's module keeps 128 prepared."""


def insert_rows(connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows into a table. Each has a value for every column. ``table`` is a constant of the caller."""
    for chunk in _chunks(rows):
        marks = ", ".join([f"({', '.join('?' * len(chunk[0]))})"] * len(chunk))
        values = [value for row in chunk for value in row]
        connection.execute(f"INSERT INTO {table} VALUES {marks}", values)  # noqa: S608 - constants and placeholders


def entries_with_ids(
    connection: sqlite3.Connection, columns: str, record_ids: Sequence[bytes]
) -> Iterator[tuple[Any, ...]]:
    """The rows of the table of entries with these record ids, the last position of an id first.

    ``columns`` is a constant of the caller.
    """
    for chunk in _chunks(record_ids):
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT {columns} FROM entries WHERE record_id IN ({marks}) ORDER BY position DESC"  # noqa: S608 - constants and placeholders
        yield from connection.execute(query, chunk)


def values_present(connection: sqlite3.Connection, table: str, column: str, values: Sequence[bytes]) -> Iterator[bytes]:
    """Those of the values that the table has in a column. ``table`` and ``column`` are constants of the caller."""
    for chunk in _chunks(values):
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT {column} FROM {table} WHERE {column} IN ({marks})"  # noqa: S608 - constants and placeholders
        yield from (value for (value,) in connection.execute(query, chunk))


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    at = 0
    for size in _AT_ONCE:
        while len(items) - at >= size:
            yield items[at : at + size]
            at += size
