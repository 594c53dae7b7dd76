"""The embedded log: SQLite files in one folder. One broker process owns it. And the file of a witness."""

from __future__ import annotations

from broker.messagelog.sqlite.board import SoleFollower
from broker.messagelog.sqlite.checkpoints import SqliteCheckpointStore
from broker.messagelog.sqlite.cosigned import SqliteCosignedStore
from broker.messagelog.sqlite.log import SqliteLog
from broker.messagelog.sqlite.logreader import SqliteLogReader
from broker.messagelog.sqlite.witness import SqliteWitnessStore

__all__ = [
    "SoleFollower",
    "SqliteCheckpointStore",
    "SqliteCosignedStore",
    "SqliteLog",
    "SqliteLogReader",
    "SqliteWitnessStore",
]
