"""The tables of the index of the audit stream (services/auditindex)."""

from __future__ import annotations

from typing import Final

from broker.services.subscriptionindex import TABLE
from broker.sqlitefile import Schema

SCHEMA: Final = Schema(
    application_id=0x4358444C,  # "CXDL"
    migrations=(
        (
            "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
            """CREATE TABLE set_aside (
                agency TEXT NOT NULL,
                subscription TEXT NOT NULL,
                stream TEXT NOT NULL,
                partition INTEGER NOT NULL,
                position INTEGER NOT NULL,
                case_id TEXT NOT NULL,
                parked INTEGER NOT NULL,
                attempts INTEGER NOT NULL,
                principal TEXT NOT NULL,
                since_ms INTEGER NOT NULL,
                reason TEXT NOT NULL,
                PRIMARY KEY (agency, subscription, stream, partition, position)
            ) WITHOUT ROWID""",
            "CREATE INDEX cases ON set_aside (agency, subscription, stream, partition, case_id, position)",
        ),
        # A file from before has passed over the events of subscriptions. Without its facts it is made again.
        (TABLE, "DELETE FROM facts"),
        # What was folded before named no publisher, and had no refusal and no order.
        (
            "ALTER TABLE set_aside ADD COLUMN publisher TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE set_aside ADD COLUMN code TEXT NOT NULL DEFAULT ''",
            "CREATE INDEX publishers ON set_aside (publisher)",
            """CREATE TABLE refusals (
                id INTEGER PRIMARY KEY,
                publisher TEXT NOT NULL,
                agency TEXT NOT NULL,
                subscription TEXT NOT NULL,
                stream TEXT NOT NULL,
                partition INTEGER NOT NULL,
                position INTEGER NOT NULL,
                code TEXT NOT NULL,
                at_ms INTEGER NOT NULL,
                UNIQUE (agency, subscription, stream, partition, position)
            )""",
            "CREATE INDEX refused_publishers ON refusals (publisher, id)",
            "CREATE INDEX refused_agencies ON refusals (agency, id)",
            """CREATE TABLE orders (
                agency TEXT NOT NULL,
                subscription TEXT NOT NULL,
                stream TEXT NOT NULL,
                partition INTEGER NOT NULL,
                position INTEGER NOT NULL,
                code TEXT NOT NULL,
                PRIMARY KEY (agency, subscription, stream, partition, position)
            ) WITHOUT ROWID""",
        ),
        # A file from before may have passed over the beginning of a reign. Without its facts it is made again.
        (
            """CREATE TABLE reigns (
                agency TEXT NOT NULL,
                subscription TEXT NOT NULL,
                stream TEXT NOT NULL,
                partition INTEGER NOT NULL,
                reign INTEGER NOT NULL,
                PRIMARY KEY (agency, subscription, stream, partition)
            ) WITHOUT ROWID""",
            "DELETE FROM facts",
        ),
        # So that counting reads an index and no row, however many records are parked.
        (
            "CREATE INDEX counted ON set_aside (agency, subscription, parked, since_ms)",
            "DROP INDEX publishers",
            "CREATE INDEX publishers ON set_aside (publisher, parked, since_ms)",
        ),
        # Few: the dead letters that no delivery failed for. Each record that is published again is looked for.
        ("CREATE INDEX reasons ON set_aside (reason, stream, partition, position) WHERE reason != ''",),
    ),
)
TABLES: Final = ("facts", "set_aside", "refusals", "orders", "reigns", "subscriptions")
