"""The tables of the embedded log, and the update of older files.

``PRAGMA application_id`` says that a file is ours. ``PRAGMA user_version`` says how many of the migrations below were
applied to it. New migrations are added only at the end. Each runs in one transaction.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import LogCorrupt, LogSchemaUnsupported
from broker.messagelog.sqlite import routes

if TYPE_CHECKING:
    from collections.abc import Sequence


class Schema(NamedTuple):
    """One kind of database file: the id in its header, and its migrations in order."""

    application_id: int
    migrations: Sequence[Sequence[str]]


LOG: Final = Schema(
    application_id=0x43584C47,  # "CXLG"
    migrations=(
        (
            "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
            # The large value is the last column, so that reading the other columns never touches its overflow pages.
            """CREATE TABLE entries (
                position INTEGER PRIMARY KEY,
                record_id BLOB NOT NULL UNIQUE,
                kind TEXT NOT NULL,
                ordering_key TEXT NOT NULL,
                recipients TEXT NOT NULL,
                record_sha256 BLOB NOT NULL,
                accepted_at_ms INTEGER NOT NULL,
                value BLOB NOT NULL
            )""",
            routes.TABLE,
            """CREATE TABLE ack_states (
                agency TEXT NOT NULL,
                subscription TEXT NOT NULL,
                partition INTEGER NOT NULL,
                state TEXT NOT NULL,
                PRIMARY KEY (agency, subscription, partition)
            ) WITHOUT ROWID""",
        ),
    ),
)

CHECKPOINTS: Final = Schema(
    application_id=0x43584350,  # "CXCP"
    migrations=(
        (
            """CREATE TABLE heads (
                partition INTEGER PRIMARY KEY,
                size INTEGER NOT NULL,
                next_offset INTEGER NOT NULL,
                note BLOB NOT NULL,
                signed_at_ms INTEGER NOT NULL
            )""",
            # Tiles as in C2SP tlog-tiles: 256 hashes of one level. The last tile of a level may hold fewer.
            """CREATE TABLE tiles (
                partition INTEGER NOT NULL,
                level INTEGER NOT NULL,
                tile INTEGER NOT NULL,
                hashes BLOB NOT NULL,
                PRIMARY KEY (partition, level, tile)
            ) WITHOUT ROWID""",
            # For each level-0 tile: the offset and the time of each leaf's entry, as big-endian 64-bit numbers.
            """CREATE TABLE leaves (
                partition INTEGER NOT NULL,
                tile INTEGER NOT NULL,
                first_offset INTEGER NOT NULL,
                first_accepted_at_ms INTEGER NOT NULL,
                offsets BLOB NOT NULL,
                accepted_at_ms BLOB NOT NULL,
                PRIMARY KEY (partition, tile)
            ) WITHOUT ROWID""",
            "CREATE INDEX leaves_by_offset ON leaves (partition, first_offset)",
            "CREATE INDEX leaves_by_time ON leaves (partition, first_accepted_at_ms)",
        ),
    ),
)


def bring_up_to_date(connection: sqlite3.Connection, schema: Schema) -> None:
    """Create the tables of a new file, or run the migrations that an older file lacks.

    Raises:
        LogSchemaUnsupported: a newer version of the broker wrote the file.
        LogCorrupt: the file is another program's database.
        sqlite3.Error: not translated; the caller does that.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != schema.application_id and (application_id or tables):
        message = "the database file belongs to another program, or to another part of this one"
        raise LogCorrupt(message)
    if version > len(schema.migrations):
        message = f"the file has schema version {version}; this broker knows up to {len(schema.migrations)}"
        raise LogSchemaUnsupported(message)
    for number, statements in enumerate(schema.migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            # PRAGMA takes no parameters. Both numbers are our own constants.
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {number}")
        except sqlite3.Error:
            connection.rollback()
            raise
        connection.commit()
