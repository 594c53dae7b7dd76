"""An embedded log is read beside the process that owns it, and nothing in it changes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from broker.core.entry import NewEntry
from broker.core.errors import LogCorrupt, LogUnavailable
from broker.core.streams import CASES, StreamPartition
from broker.messagelog.sqlite import SqliteCheckpointStore, SqliteLog, SqliteLogReader
from broker.messagelog.sqlite.database import Database
from broker.messagelog.sqlite.schema import LOG
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

CASES_0 = StreamPartition(CASES, 0)


def entry(number: int) -> NewEntry:
    digest = hashlib.sha256(b"%d" % number).digest()
    return NewEntry(CASES_0, number.to_bytes(16), "CaseRecord", "a case", ("an-ngo",), digest, b"value %d" % number)


async def test_it_reads_what_the_owner_has_appended_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    owner = await SqliteLog.open(path, SystemClock())
    await owner.append([entry(0)])
    reader = await SqliteLogReader.open(path)
    try:
        await owner.append([entry(1)])
        assert reader.log_id(CASES) == owner.log_id(CASES)
        assert reader.partitions(CASES) == owner.partitions(CASES) == 4
        for values in (False, True):
            read = await reader.read(CASES_0, 0, 10, 1 << 20, values=values)
            assert [one.value for one in read] == ([b"value 0", b"value 1"] if values else [b"", b""])
            assert [one._replace(value=b"") for one in read] == [
                one._replace(value=b"") for one in await owner.read(CASES_0, 0, 10, 1 << 20)
            ]
        assert await reader.not_indexed(await reader.read(CASES_0, 0, 10, 1 << 20)) == []
        # The owner goes on, and a later broker can open the log.
        await reader.close()
        await owner.append([entry(2)])
    finally:
        await reader.close()
        await owner.close()
    again = await SqliteLog.open(path, SystemClock())
    assert await again.end_offset(CASES_0) == 3
    await again.close()


async def test_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await (await SqliteLog.open(path, SystemClock())).close()
    database = Database(path, LOG, read_only=True)
    with pytest.raises(LogUnavailable):
        await database.write(lambda connection: connection.execute("DELETE FROM facts").rowcount)
    await database.close()
    reader = await SqliteLogReader.open(path)
    assert reader.partitions(CASES) == 4
    await reader.close()


async def test_a_file_that_is_missing_or_no_log_is_not_made_to_one(tmp_path: Path) -> None:
    missing = tmp_path / "log.db"
    with pytest.raises(LogUnavailable):
        await SqliteLogReader.open(missing)
    assert not missing.exists()
    await SqliteCheckpointStore(tmp_path / "checkpoints.db").close()
    with pytest.raises(LogCorrupt):
        await SqliteLogReader.open(tmp_path / "checkpoints.db")
    with pytest.raises(LogUnavailable):
        SqliteCheckpointStore(tmp_path / "none.db", read_only=True)
