"""The embedded log: SQLite files in one folder. One broker process owns it."""

from __future__ import annotations

from broker.messagelog.sqlite.board import SoleFollower
from broker.messagelog.sqlite.checkpoints import SqliteCheckpointStore
from broker.messagelog.sqlite.log import SqliteLog

__all__ = ["SoleFollower", "SqliteCheckpointStore", "SqliteLog"]
