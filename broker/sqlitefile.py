"""Opens SQLite files in one way: the broker's log, an edge's spool, and a laboratory's profiles.

``PRAGMA application_id`` says what a file is. ``PRAGMA user_version`` says how many of its migrations were applied. New
migrations are added only at the end. Each runs in one transaction.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.files import PRIVATE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.core.errors import CaseExchangeError

_PRIMARY: Final = 0xFF
"""SQLite's extended result codes have the primary code in the low byte."""


class Schema(NamedTuple):
    """One kind of database file.

    Attributes:
        application_id: the id in its header.
        migrations: the statements of each migration, in order.
        unmarked: whether a file with tables but no id is accepted. The first migration must then keep its tables.
    """

    application_id: int
    migrations: Sequence[Sequence[str]]
    unmarked: bool = False


class Trouble(StrEnum):
    """Why a file cannot be used."""

    DAMAGED = "it is damaged, or no database"
    FOREIGN = "it belongs to another program, or to another part of this one"
    FULL = "its disk is full"
    IN_USE = "another process uses it"
    NEWER = "a newer release wrote it"
    OLDER = "an older release wrote it, and no broker of this one has opened it yet"
    OTHER = "it cannot be read or written"


_TROUBLES: Final = {
    sqlite3.SQLITE_BUSY: Trouble.IN_USE,
    sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_NOTADB: Trouble.DAMAGED,
}


class FileTrouble(sqlite3.Error):
    """A file cannot be used. The text says why."""

    def __init__(self, trouble: Trouble, code: str) -> None:
        super().__init__(f"{trouble} ({code})")
        self.trouble = trouble

    @classmethod
    def of(cls, error: sqlite3.Error) -> FileTrouble:
        """The trouble behind an error of SQLite. SQLite's text can contain values, so only the code's name is kept."""
        if isinstance(error, FileTrouble):
            return error
        trouble = _TROUBLES.get(getattr(error, "sqlite_errorcode", 0) & _PRIMARY, Trouble.OTHER)
        return cls(trouble, getattr(error, "sqlite_errorname", type(error).__name__))


@contextlib.contextmanager
def trouble_as(kind: type[CaseExchangeError], what: str) -> Iterator[None]:
    """Turn an error of SQLite inside the block into an error of this kind. ``what`` names the file."""
    try:
        yield
    except sqlite3.Error as error:
        message = f"{what} cannot be used: {FileTrouble.of(error)}"
        raise kind(message) from error


def open_file(
    path: Path | None,
    schema: Schema,
    *,
    durable: bool = True,
    exclusive: bool = False,
    read_only: bool = False,
) -> sqlite3.Connection:
    """Open a file with mode 0600, and bring its tables up to date.

    Args:
        path: the file, which is made if it is missing. None: a database in memory.
        schema: the kind of file.
        durable: whether a commit waits for the disk. If not, a power cut may undo the newest commits: each as a whole,
            and the newest first.
        exclusive: whether no other connection can use the file while this one is open.
        read_only: change nothing. The file may belong to another process, and must have the tables of this release.

    Returns:
        A connection that begins no transaction by itself. Threads may share it, one at a time.

    Raises:
        FileTrouble
    """
    if path is not None and read_only:
        return _open_to_read(path, schema)
    pragmas = ["journal_mode = WAL", f"synchronous = {'FULL' if durable else 'NORMAL'}", "trusted_schema = OFF"]
    if exclusive:
        pragmas.append("locking_mode = EXCLUSIVE")
    try:
        if path is not None:
            # The file has its mode before anything is written.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE))
        with contextlib.ExitStack() as stack:
            connection = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            stack.callback(connection.close)
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
            _bring_up_to_date(connection, schema)
            stack.pop_all()
            return connection
    except OSError as error:
        raise FileTrouble(Trouble.OTHER, error.strerror or type(error).__name__) from error
    except sqlite3.Error as error:
        raise FileTrouble.of(error) from error


def was_made(path: Path) -> bool:
    """Whether ``open_file`` has made tables in this file. True also for one that cannot be read: opening tells why.

    Another process may use the file.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            return bool(version)
    except sqlite3.Error:
        return True


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the changes of the block at its end. If the block raises, undo them.

    Raises:
        sqlite3.Error
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _open_to_read(path: Path, schema: Schema) -> sqlite3.Connection:
    try:
        with contextlib.ExitStack() as stack:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            stack.callback(connection.close)
            connection.execute("PRAGMA trusted_schema = OFF")
            version = _version(connection, schema)
            if version < len(schema.migrations):
                raise FileTrouble(Trouble.OLDER, f"version {version} of {len(schema.migrations)}")
            stack.pop_all()
            return connection
    except sqlite3.Error as error:
        raise FileTrouble.of(error) from error


def _bring_up_to_date(connection: sqlite3.Connection, schema: Schema) -> None:
    version = _version(connection, schema)
    for number, statements in enumerate(schema.migrations[version:], start=version + 1):
        with transaction(connection):
            for statement in statements:
                connection.execute(statement)
            # PRAGMA takes no parameters. Both numbers are our own constants.
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {number}")


def _version(connection: sqlite3.Connection, schema: Schema) -> int:
    """How many migrations the file has. It is of this kind, or new."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != schema.application_id and (application_id or (tables and not schema.unmarked)):
        raise FileTrouble(Trouble.FOREIGN, f"id {application_id}")
    if version > len(schema.migrations):
        raise FileTrouble(Trouble.NEWER, f"version {version}, known up to {len(schema.migrations)}")
    return int(version)
