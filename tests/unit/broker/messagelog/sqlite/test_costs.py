"""What the embedded log and its checkpoints cost, in reads and writes of files. Counts do not depend on a busy machine.

The bounds are about twice what was measured, or more where a busy machine can change a count.
tests/integration/test_costs.py counts for a whole broker.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from bench.processes import FileUse
from broker.core.entry import Interest, NewEntry
from broker.core.streams import StreamPartition
from broker.messagelog.sqlite import SoleFollower, SqliteCheckpointStore, SqliteLog
from broker.services.checkpointing import CheckpointFollower, CheckpointSettings
from broker.trust.system import SystemClock
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from broker.core.errors import CaseExchangeError

DNA_0 = StreamPartition("dna", 0)
VALUE = bytes(1024)
RECORDS = 200
SHORT, LONG, NEW = 1_000, 20_000, 100
LAB = "lab"
WANTED = Interest("police", frozenset({"SampleRequest"}))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


def entries(begin: int, end: int, value: bytes = VALUE) -> list[NewEntry]:
    made = []
    for number in range(begin, end):
        digest = hashlib.sha256(b"%d" % number).digest()
        # Ids grow with time, as the composers make them.
        made.append(NewEntry(DNA_0, number.to_bytes(16), "SampleRequest", "case", (LAB,), digest, value))
    return made


async def spent(work: Callable[[], Awaitable[object]]) -> FileUse:
    before = FileUse.of(os.getpid())
    await work()
    return FileUse.of(os.getpid()).since(before)


def failed(error: CaseExchangeError) -> None:
    raise error


async def followed(pki: SamplePki, log: SqliteLog, folder: Path) -> None:
    store = SqliteCheckpointStore(folder / "checkpoints.db")
    follower = CheckpointFollower(
        log=log,
        store=store,
        board=SoleFollower(),
        signer=pki.note_signer,
        trust_domain="case-exchange.example",
        clock=SystemClock(),
        settings=CheckpointSettings(),
        report=failed,
    )
    await follower.first_pass()
    await store.close()


async def test_records_that_wait_share_a_commit(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "log.db", SystemClock())
    await log.append(entries(0, 1))
    in_one_batch = await spent(lambda: log.append(entries(1, RECORDS + 1)))
    others = entries(RECORDS + 1, 2 * RECORDS + 1)
    at_a_time = await spent(lambda: asyncio.gather(*(log.append([each]) for each in others)))
    await log.close()
    # Measured: 0.8 and 1,550 for both, of which the value is 1,024. One after the other: 7.9 and 16,200.
    assert in_one_batch.calls / RECORDS < 1.6
    assert in_one_batch.written / RECORDS < 2_400
    # On a busy machine the writer may begin with a few of them.
    assert at_a_time.calls / RECORDS < 3.2
    assert at_a_time.written / RECORDS < 6_000


async def test_a_longer_log_costs_no_more_to_start_and_to_subscribe_to(pki: SamplePki, tmp_path: Path) -> None:
    found = []
    for count in (SHORT, LONG):
        folder = tmp_path / str(count)
        log = await SqliteLog.open(folder / "log.db", SystemClock())
        for begin in range(0, count, SHORT):
            await log.append(entries(begin, begin + SHORT, b"value"))
        await followed(pki, log, folder)
        newest = entries(count, count + NEW, b"value")
        newest[-1] = newest[-1]._replace(recipients=(WANTED.agency,))
        await log.append(newest)
        await log.close()

        async def start(folder: Path = folder, last: int = count + NEW - 1) -> None:
            log = await SqliteLog.open(folder / "log.db", SystemClock())
            await followed(pki, log, folder)
            page = await log.read_wanted(DNA_0, 0, WANTED, NEW, 1 << 20)
            await log.close()
            assert [entry.position.offset for entry in page.entries] == [last]

        found.append(await spent(start))
    short, long = found
    # Measured: 1.1 and 1.5 times, because trees grow by levels. A start that reads every entry: 9 and 12 times.
    assert long.calls < 2 * short.calls
    assert long.read < 2 * short.read
