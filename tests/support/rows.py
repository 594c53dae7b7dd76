"""What somebody with access to the disk can do to the rows of an embedded log, while no broker has it open."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from broker.core.streams import AUDIT, DNA, Position
from broker.messagelog.sqlite.facts import OFFSET_BITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Rows(NamedTuple):
    """The open file of a log, and the places of one partition's entries in it."""

    file: sqlite3.Connection
    stream: str
    partition: int
    keys: list[int]

    def at(self, place: int) -> Position:
        return Position(self.stream, self.partition, self.keys[place] & ((1 << OFFSET_BITS) - 1))

    def value(self, place: int) -> bytes:
        (value,) = self.file.execute("SELECT value FROM entries WHERE position = ?", (self.keys[place],)).fetchone()
        assert isinstance(value, bytes)
        return value

    def set(self, place: int, column: str, value: object) -> Position:
        self.file.execute(f"UPDATE entries SET {column} = ? WHERE position = ?", (value, self.keys[place]))  # noqa: S608
        return self.at(place)

    def delete(self, *places: int) -> None:
        self.file.executemany("DELETE FROM entries WHERE position = ?", [(self.keys[place],) for place in places])


if TYPE_CHECKING:
    Do = Callable[[Rows], list[Position]]


def rows(file: sqlite3.Connection, stream: str) -> Rows:
    """The first partition of a stream with enough records."""
    (streams,) = file.execute("SELECT value FROM facts WHERE name = 'streams'").fetchone()
    names = [
        (name, number) for name, count in (item.split(":") for item in streams.split()) for number in range(int(count))
    ]
    for at, (name, number) in enumerate(names):
        low, high = at << OFFSET_BITS, (at + 1) << OFFSET_BITS
        query = "SELECT position FROM entries WHERE position >= ? AND position < ? ORDER BY position"
        keys = [key for (key,) in file.execute(query, (low, high))]
        if name == stream and len(keys) >= (5 if stream != AUDIT else 1):
            return Rows(file, name, number, keys)
    raise AssertionError


def damage(folder: Path, do: Do, stream: str = DNA) -> list[Position]:
    with closing(sqlite3.connect(folder / "log.db")) as file, file:
        return do(rows(file, stream))


def flip(place: int, marker: bytes, back: int) -> Do:
    """Flip a bit some bytes before a marker."""

    def do(found: Rows) -> list[Position]:
        value = found.value(place)
        at = value.rindex(marker) - back
        return [found.set(place, "value", value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :])]

    return do


def set_to(place: int, column: str, value: object) -> Do:
    return lambda found: [found.set(place, column, value)]
