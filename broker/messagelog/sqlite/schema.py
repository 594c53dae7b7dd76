"""The tables of the embedded log, and of a witness."""

from __future__ import annotations

from typing import Final

from broker.messagelog.sqlite import destinations
from broker.sqlitefile import Schema

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
            destinations.TABLE,
            """CREATE TABLE ack_states (
                agency TEXT NOT NULL,
                subscription TEXT NOT NULL,
                partition INTEGER NOT NULL,
                state TEXT NOT NULL,
                PRIMARY KEY (agency, subscription, partition)
            ) WITHOUT ROWID""",
        ),
        # The generation of the subscription in which the state was committed.
        ("ALTER TABLE ack_states ADD COLUMN generation INTEGER NOT NULL DEFAULT 0",),
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
        (
            """CREATE TABLE scrubs (
                partition INTEGER PRIMARY KEY,
                unread INTEGER NOT NULL,
                next INTEGER NOT NULL
            )""",
        ),
    ),
)

WITNESS: Final = Schema(
    application_id=0x43585754,  # "CXWT"
    migrations=(
        (
            """CREATE TABLE cosigned (
                origin_sha256 BLOB PRIMARY KEY,
                origin TEXT NOT NULL,
                size INTEGER NOT NULL,
                root BLOB NOT NULL,
                note BLOB NOT NULL
            ) WITHOUT ROWID""",
        ),
    ),
)

COSIGNED: Final = Schema(
    application_id=0x4358434F,  # "CXCO"
    migrations=(("CREATE TABLE cosigned (origin TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID",),),
)

TIMESTAMPS: Final = Schema(
    application_id=0x43585453,  # "CXTS"
    migrations=(
        (
            """CREATE TABLE timestamps (
                origin TEXT NOT NULL,
                size INTEGER NOT NULL,
                checkpoint BLOB NOT NULL,
                response BLOB NOT NULL,
                PRIMARY KEY (origin, size)
            ) WITHOUT ROWID""",
        ),
    ),
)
