"""The tables of the local index. The index can be rebuilt, so a newer schema can also replace the file."""

from __future__ import annotations

from typing import Final

from broker.messagelog.sqlite import destinations
from broker.sqlitefile import Schema

INDEX: Final = Schema(
    application_id=0x43584B50,  # "CXKP": an index of packs
    migrations=(
        (
            "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
            """CREATE TABLE entries (
                position INTEGER PRIMARY KEY,
                record_id BLOB NOT NULL,
                kind TEXT NOT NULL,
                ordering_key TEXT NOT NULL,
                recipients TEXT NOT NULL,
                record_sha256 BLOB NOT NULL,
                accepted_at_ms INTEGER NOT NULL,
                epoch INTEGER NOT NULL,
                value_sha256 BLOB NOT NULL
            )""",
            "CREATE INDEX entries_by_record_id ON entries (record_id)",
            destinations.TABLE,
            "CREATE TABLE packs (pack BLOB PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE strays (position INTEGER PRIMARY KEY, reason TEXT NOT NULL, value BLOB NOT NULL)",
            """CREATE TABLE progress (
                partition INTEGER PRIMARY KEY,
                next_offset INTEGER NOT NULL,
                accepted_at_ms INTEGER NOT NULL,
                epoch INTEGER NOT NULL
            )""",
        ),
        # Strays had their bytes here, so that a stranger could fill the disk. Everything is read again.
        (
            "DROP TABLE strays",
            """CREATE TABLE strays (
                position INTEGER PRIMARY KEY,
                reason TEXT NOT NULL,
                size INTEGER NOT NULL,
                sha256 BLOB NOT NULL
            )""",
            "DELETE FROM entries",
            "DELETE FROM destinations",
            "DELETE FROM packs",
            "DELETE FROM progress",
        ),
        # Copies stand in for entries that are damaged, and a damaged entry is an entry. Everything is read again.
        (
            """CREATE TABLE copies (
                position INTEGER NOT NULL,
                copy INTEGER NOT NULL,
                value_sha256 BLOB NOT NULL,
                PRIMARY KEY (position, copy)
            ) WITHOUT ROWID""",
            "DELETE FROM entries",
            "DELETE FROM destinations",
            "DELETE FROM packs",
            "DELETE FROM strays",
            "DELETE FROM progress",
        ),
    ),
)
