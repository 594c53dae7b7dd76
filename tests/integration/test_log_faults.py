"""The embedded log on a disk that fails: no acknowledged record is lost, and the error says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from broker.core.entry import NewEntry
from broker.core.errors import Internal, LogCorrupt, LogFull, LogInUse, LogSchemaUnsupported
from broker.core.streams import StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.trust.system import SystemClock

DNA_0 = StreamPartition("dna", 0)
AUDIT_0 = StreamPartition("audit", 0)
ROOT = Path(__file__).parents[2]


def entry(number: int, size: int = 1000) -> NewEntry:
    digest = hashlib.sha256(b"%d" % number).digest()
    return NewEntry(DNA_0, digest[:16], "SampleRequest", "case", ("lab",), digest, bytes(size))


async def test_a_full_disk_refuses_whole_batches_and_the_log_goes_on_when_there_is_room(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock())
    await log.append([entry(0)])
    # For a file that may not grow, SQLite has the same error as for a full disk: SQLITE_FULL.
    await log._database.write(lambda connection: connection.execute("PRAGMA max_page_count = 40"))
    with pytest.raises(LogFull):
        await log.append([entry(number, 50_000) for number in range(1, 20)])
    assert await log.end_offset(DNA_0) == 1
    await log._database.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    await log.append([entry(number, 50_000) for number in range(1, 20)])
    assert await log.end_offset(DNA_0) == 20
    await log.close()


async def test_records_leave_the_reserve_of_the_disk_to_the_audit_stream(tmp_path: Path) -> None:
    ballast = tmp_path / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 512 << 20)
    disk = os.statvfs(tmp_path)
    # Records may take 32 MiB. They are counted twice, for the write-ahead log and for the file.
    reserve = disk.f_bavail * disk.f_frsize - (32 << 20)
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock(), disk_reserve_bytes=reserve)
    count = 0
    with contextlib.suppress(LogFull):
        while count < 300:
            await log.append([entry(count, 1 << 20)])
            count += 1
    assert 0 < count < 300
    assert await log.end_offset(DNA_0) == count
    with pytest.raises(LogFull):
        await log.ping()
    told = [entry(number, 1 << 20)._replace(partition=AUDIT_0) for number in range(1000, 1008)]
    for each in told:
        await log.append([each])
    assert await log.end_offset(AUDIT_0) == len(told)
    ballast.unlink()
    await log.ping()
    await log.append([entry(count, 1 << 20)])
    assert await log.end_offset(DNA_0) == count + 1
    await log.close()


async def test_every_commit_is_synced_before_it_is_reported(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock())
    rows = await log._database.write(
        lambda connection: [connection.execute(f"PRAGMA {name}").fetchone() for name in ("synchronous", "journal_mode")]
    )
    # 2 is FULL.
    assert rows == [(2,), ("wal",)]
    await log.close()


def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"this was a database once" * 1000)
    with pytest.raises(LogCorrupt):
        asyncio.run(SqliteLog.open(path, SystemClock()))
    assert path.read_bytes().startswith(b"this was")


async def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock())
    with pytest.raises(LogInUse):
        await SqliteLog.open(tmp_path / "log.db", SystemClock())
    await log.close()


async def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock())
    await log.close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LogSchemaUnsupported):
        await SqliteLog.open(tmp_path / "log.db", SystemClock())


async def test_what_somebody_wrote_with_another_type_is_read_with_its_own(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock())
    await log.append([entry(number) for number in range(6)])
    await log.close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        for offset, change in enumerate(
            (
                "value = 'text'",
                "value = 7, record_sha256 = 7",
                "record_id = 'text', record_sha256 = 'text'",
                "accepted_at_ms = 'soon'",
                "kind = CAST(x'ff' AS TEXT), ordering_key = CAST(x'ff' AS TEXT), recipients = CAST(x'ff' AS TEXT)",
            )
        ):
            connection.execute(f"UPDATE entries SET {change} WHERE position & 0xffff = ?", (offset,))  # noqa: S608
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock())
    read = await log.read(DNA_0, 0, 10, 1 << 20)
    await log.close()
    assert [item.position.offset for item in read] == list(range(6))
    for item in read:
        types = [
            type(part) for part in (item.record_id, item.kind, item.record_sha256, item.accepted_at_ms, item.value)
        ]
        assert types == [bytes, str, bytes, int, bytes]


async def test_a_defect_in_a_job_reaches_who_waits_for_it_and_the_log_goes_on(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock())
    for work in (log._database.read, log._database.write):
        with pytest.raises(Internal):
            await asyncio.wait_for(work(lambda _: int("no number")), 5)
    await log.append([entry(0)])
    assert await log.end_offset(DNA_0) == 1
    await log.close()


APPENDER = """
import asyncio, sys
from pathlib import Path
from broker.messagelog.sqlite import SqliteLog
from broker.trust.system import SystemClock
from tests.integration.test_log_faults import entry

async def main():
    log = await SqliteLog.open(Path(sys.argv[1]), SystemClock())
    number = int(sys.argv[2])
    while True:
        await log.append([entry(number)])
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


def test_what_was_acknowledged_before_a_kill_is_there_once(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "log.db", 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDER, path, str(acknowledged)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        goal = acknowledged + 20
        while acknowledged < goal:
            acknowledged = int(process.stdout.readline()) + 1
        process.send_signal(signal.SIGKILL)
        # What it reported before it died counts too.
        for line in process.stdout:
            acknowledged = int(line) + 1
        process.wait()
        process.stdout.close()

    async def look() -> None:
        log = await SqliteLog.open(path, SystemClock())
        known = await log.lookup([entry(number).record_id for number in range(acknowledged)])
        await log.close()
        assert len(known) == acknowledged
        assert len({item.position for item in known.values()}) == acknowledged

    asyncio.run(look())
