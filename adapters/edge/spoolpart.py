"""What the parts of the spool share: its one connection, and how it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class SpoolPart:
    """A part of the spool with tables of its own. Each change is durable when it returns.

    Raises (every method):
        SpoolUnavailable: the file cannot be used, or its disk is full. Nothing was changed.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        locked: Callable[[], AbstractContextManager[None]],
        transaction: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._locked = locked
        self._transaction = transaction
