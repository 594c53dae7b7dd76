"""One SQLite file with its own threads: a writer with group commit, and a reader with a second connection.

The writer takes every job that waits, runs them in one transaction and commits once. So concurrent publishers share one
fsync. The next group gathers meanwhile. X-Road's BatchSigner schedules in the same way. In WAL mode with
``synchronous=FULL``, each commit is durable before its jobs get their results.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from broker.core.errors import (
    CaseExchangeError,
    Internal,
    LogCorrupt,
    LogError,
    LogFull,
    LogSchemaUnsupported,
    LogUnavailable,
)
from broker.messagelog.sqlite.jobs import Failures, Job, settle
from broker.messagelog.sqlite.ownerlock import lock, unlock
from broker.messagelog.sqlite.reserve import DiskReserve
from broker.sqlitefile import FileTrouble, Trouble, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from broker.sqlitefile import Schema

_P = TypeVar("_P")
_T = TypeVar("_T")
_MAX_GROUP: Final = 256
_WAL_PAGES: Final = 4000
"""Pages in the write-ahead log before SQLite moves them into the file. The default is 1000: more and smaller moves."""
_ERRORS: Final[Mapping[Trouble, type[CaseExchangeError]]] = {
    Trouble.DAMAGED: LogCorrupt,
    Trouble.FOREIGN: LogCorrupt,
    Trouble.FULL: LogFull,
    Trouble.NEWER: LogSchemaUnsupported,
}


def translate(error: sqlite3.Error) -> CaseExchangeError:
    """The typed error for an error of SQLite."""
    found = FileTrouble.of(error)
    return _ERRORS.get(found.trouble, LogUnavailable)(f"the message log's file cannot be used: {found}")


class Database:
    """A database in a file or in memory, with its threads. Methods belong to one event loop.

    Args:
        path: the file, or None for a database in memory. That has one connection for everything.
        schema: the tables of the file.
        durable: whether a commit waits for the disk. If not, a power cut may undo the newest commits: each as a whole,
            and the newest first. That is enough for a file that holds only copies.
        reserve_bytes: disk that stays free of writes with ``room``. A database in memory has no reserve.
        read_only: the file may belong to another process. Then nothing can be written.
    """

    def __init__(
        self,
        path: Path | None,
        schema: Schema,
        *,
        durable: bool = True,
        reserve_bytes: int = 0,
        read_only: bool = False,
    ) -> None:
        self._path = path
        self._durable = durable
        self._schema = schema
        self._read_only = read_only
        self._lock_file = lock(path) if path is not None and not read_only else None
        self._closed = False
        self._with_room, self._from_reserve = Failures(), Failures()
        try:
            if path is None or read_only:
                self._reader = _Worker("alone", self._connect, transactions=not read_only, reopens=read_only)
                self._writer = self._reader
            else:
                stem, reserve, connect = path.stem, DiskReserve(path.parent, reserve_bytes), self._connect
                self._writer = _Worker(f"{stem}-writer", connect, transactions=True, reopens=True, reserve=reserve)
                self._reader = _Worker(f"{stem}-reader", connect, transactions=False, reopens=True)
        except BaseException:
            self._unlock()
            raise

    async def write(
        self,
        run: Callable[[sqlite3.Connection], _T],
        committed: Callable[[_T], None] | None = None,
        *,
        room: int | None = None,
    ) -> _T:
        """Run a job in a transaction that other jobs may share. Return its result when the result is durable.

        Args:
            run: the job. It must not commit, and must be safe to run again: if one job of a group fails, the whole
                group is rolled back. Writes that were asked for before this was known fail too, so writes keep their
                order: those with ``room``, and those without it.
            committed: called in the event loop with the result, in the order of the commits, even if the caller was
                cancelled.
            room: how many bytes of disk the job may take. If that would not leave the reserve free, it fails, and those
                without room go on. None: it may use the reserve.

        Raises:
            LogFull, LogCorrupt, LogUnavailable: the whole group was rolled back. After LogUnavailable the file system
                may still have kept it, if it crashed.
        """
        return await self.write_together(lambda connection, _: [run(connection)], None, committed, room=room)

    async def write_together(
        self,
        run: Callable[[sqlite3.Connection, Sequence[_P]], Sequence[_T]],
        part: _P,
        committed: Callable[[_T], None] | None = None,
        *,
        room: int | None = None,
    ) -> _T:
        """As ``write``, but jobs with the same ``run`` that follow each other in a group run in one call.

        Args:
            run: the job. It gets the part of each caller, in order, and returns the result of each.
            part: what this caller wants done.
            committed: as for ``write``.
            room: as for ``write``.

        Raises:
            As ``write``.
        """
        failures = self._from_reserve if room is None else self._with_room
        return await self._submit(self._writer, run, part, committed, failures=failures, room=room)

    async def read(self, run: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a job that only reads.

        Raises:
            LogCorrupt, LogUnavailable
        """
        return await self._submit(self._reader, lambda connection, _: [run(connection)], None)

    async def _submit(
        self,
        worker: _Worker,
        run: Callable[[sqlite3.Connection, Sequence[_P]], Sequence[_T]],
        part: _P,
        committed: Callable[[_T], None] | None = None,
        *,
        failures: Failures | None = None,
        room: int | None = None,
    ) -> _T:
        if self._closed:
            message = "the message log is closed"
            raise LogUnavailable(message)
        loop = asyncio.get_running_loop()
        generation = failures.known if failures is not None else 0
        job = Job(run, part, committed, loop, loop.create_future(), failures, generation, room)
        worker.jobs.put(job)
        try:
            result: _T = await job.future
        except CaseExchangeError:
            job.know()
            raise
        return result

    async def close(self) -> None:
        """Finish the jobs that wait, then release the file. Idempotent."""
        if not self._closed:
            self._closed = True
            for worker in {self._reader, self._writer}:
                await asyncio.to_thread(worker.stop)
            self._unlock()

    def _unlock(self) -> None:
        if self._lock_file is not None:
            unlock(self._lock_file)
            self._lock_file = None

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = open_file(self._path, self._schema, durable=self._durable, read_only=self._read_only)
            connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            connection.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten
        except sqlite3.Error as error:
            raise translate(error) from error
        # Another program may have put bytes into the file that are not text. One such name must not hide all others.
        connection.text_factory = _text
        return connection


class _Worker:
    """A thread with a connection.

    If it ``reopens``, it opens a new connection after an error of the file: a failed fsync may leave pages in memory
    that are not on the disk. A database in memory does not reopen, because it would be lost.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], sqlite3.Connection],
        *,
        transactions: bool,
        reopens: bool,
        reserve: DiskReserve | None = None,
    ) -> None:
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connect = connect
        self._transactions = transactions
        self._reopens = reopens
        self._reserve = reserve
        self._connection: sqlite3.Connection | None = connect()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        stopping = False
        while not stopping:
            group: list[Job] = []
            job = self.jobs.get()
            while job is not None:
                group.append(job)
                if len(group) == _MAX_GROUP:
                    break
                try:
                    job = self.jobs.get_nowait()
                except queue.Empty:
                    break
            stopping = job is None
            if group:
                self._run_group(group)
        if self._connection is not None:
            self._connection.close()

    def _run_group(self, group: list[Job]) -> None:
        if self._reserve is not None:
            self._reserve.look_again()
        for job in group:
            job.refuse(self._reserve)
        self._run_together([job for job in group if job.error is None])
        # Methods belong to one event loop. If it is closed, no caller waits.
        with contextlib.suppress(RuntimeError):
            group[0].loop.call_soon_threadsafe(settle, group)

    def _run_together(self, group: list[Job]) -> None:
        try:
            if self._connection is None:
                self._connection = self._connect()
            if self._transactions:
                self._connection.execute("BEGIN IMMEDIATE")
            for run, together in groupby(group, key=attrgetter("run")):
                jobs = list(together)
                for job, result in zip(jobs, run(self._connection, [job.part for job in jobs]), strict=True):
                    job.result = result
            if self._transactions:
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(group, translate(error))
        except CaseExchangeError as error:
            self._fail(group, error)
        except Exception as error:  # noqa: BLE001 - a defect must reach the callers, or they wait for ever
            failure = Internal("a job of the message log failed")
            failure.__cause__ = error
            self._fail(group, failure)

    def _fail(self, group: list[Job], error: CaseExchangeError) -> None:
        for job in group:
            job.error = error
            if job.failures is not None:
                job.failures.fail(job.generation, error)
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.rollback()
            broken = isinstance(error, LogUnavailable | LogError) and not isinstance(error, LogFull)
        except sqlite3.Error:
            broken = True
        if broken and self._reopens:
            connection.close()
            self._connection = None


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
