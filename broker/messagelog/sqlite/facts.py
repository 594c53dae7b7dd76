"""What an embedded log is: its id, its partitions, and the incarnations that it continues. Inside a transaction."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import LogCorrupt
from broker.core.streams import StreamPartition

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

OFFSET_BITS: Final = 40
_FORMERS: Final = "former_logs"


class Former(NamedTuple):
    """An incarnation that this log continues. Entries below these offsets, by the number of the partition, are its."""

    log_id: str
    ends: tuple[int, ...]


class Facts(NamedTuple):
    """What the log is, and one more than the last offset of each partition. ``formers``: the oldest first."""

    log_id: str
    partitions: tuple[StreamPartition, ...]
    ends: dict[StreamPartition, int]
    formers: tuple[Former, ...] = ()


def open_facts(connection: sqlite3.Connection, wanted: Mapping[str, int]) -> Facts:
    """What the log is and where each partition ends. ``wanted`` says how many partitions a new log gets."""
    if connection.execute("SELECT count(*) FROM facts").fetchone()[0] == 0:
        streams = " ".join(f"{stream}:{count}" for stream, count in wanted.items())
        rows = [("log_id", secrets.token_hex(16)), ("streams", streams)]
        connection.executemany("INSERT INTO facts VALUES (?, ?)", rows)
    log_id, partitions, formers = read_facts(connection)
    ends = {}
    for number, partition in enumerate(partitions):
        first = number << OFFSET_BITS
        (last,) = connection.execute(
            "SELECT max(position) FROM entries WHERE position >= ? AND position < ?",
            (first, first + (1 << OFFSET_BITS)),
        ).fetchone()
        ends[partition] = 0 if last is None else last - first + 1
    return Facts(log_id, partitions, ends, formers)


def read_facts(connection: sqlite3.Connection) -> tuple[str, tuple[StreamPartition, ...], tuple[Former, ...]]:
    """The id of a log, its partitions in the order of their numbers, and the incarnations that it continues.

    Raises:
        LogCorrupt: the file holds no log.
    """
    facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
    if not facts:
        message = "the file holds no log yet"
        raise LogCorrupt(message)
    partitions = tuple(
        StreamPartition(stream, number)
        for stream, count in (item.split(":") for item in facts["streams"].split())
        for number in range(int(count))
    )
    formers = tuple(Former(log_id, tuple(at)) for log_id, at in json.loads(facts.get(_FORMERS, "[]")))
    return facts["log_id"], partitions, formers


def begin_incarnation(connection: sqlite3.Connection, facts: Facts, log_id: str) -> Facts:
    """Go on as another log. What is there now stays what it is: entries of the former one."""
    formers = (*facts.formers, Former(facts.log_id, tuple(facts.ends[each] for each in facts.partitions)))
    rows = [("log_id", log_id), (_FORMERS, json.dumps(formers))]
    connection.executemany("REPLACE INTO facts VALUES (?, ?)", rows)
    return facts._replace(log_id=log_id, formers=formers)
