"""Many rows in one statement: each step of a statement releases and retakes the interpreter lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_AT_ONCE: Final = 64


def insert_rows(connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows into a table. Each has a value for every column. ``table`` is a constant of the caller."""
    for at in range(0, len(rows), _AT_ONCE):
        chunk = rows[at : at + _AT_ONCE]
        marks = ", ".join([f"({', '.join('?' * len(chunk[0]))})"] * len(chunk))
        values = [value for row in chunk for value in row]
        connection.execute(f"INSERT INTO {table} VALUES {marks}", values)  # noqa: S608 - constants and placeholders


def entries_with_ids(
    connection: sqlite3.Connection, columns: str, record_ids: Sequence[bytes]
) -> Iterator[tuple[Any, ...]]:
    """The rows of the table of entries with these record ids, the last position of an id first.

    ``columns`` is a constant of the caller.
    """
    for at in range(0, len(record_ids), _AT_ONCE):
        chunk = record_ids[at : at + _AT_ONCE]
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT {columns} FROM entries WHERE record_id IN ({marks}) ORDER BY position DESC"  # noqa: S608 - constants and placeholders
        yield from connection.execute(query, chunk)


def values_present(connection: sqlite3.Connection, table: str, column: str, values: Sequence[bytes]) -> Iterator[bytes]:
    """Those of the values that the table has in a column. ``table`` and ``column`` are constants of the caller."""
    for at in range(0, len(values), _AT_ONCE):
        chunk = values[at : at + _AT_ONCE]
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT {column} FROM {table} WHERE {column} IN ({marks})"  # noqa: S608 - constants and placeholders
        yield from (value for (value,) in connection.execute(query, chunk))
