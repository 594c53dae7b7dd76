"""Refused records in the index: each once, page by page, also in an index that an older broker made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.core.events import AuditEvent, DeadLetterMade, DeliveryRefused
from broker.core.identity import Principal
from broker.core.streams import AUDIT, Position
from broker.messagelog.sqlite import SqliteLog
from broker.services.auditindex import AuditIndex, Folded
from broker.services.auditindexschema import SCHEMA
from broker.services.unprocessed import Unprocessed, UnprocessedTally
from broker.sqlitefile import Schema, open_file
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CASE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SHANXI, HEBEI, LAB, AUDITOR = (
    Principal("case-exchange.example", agency, "gateway")
    for agency in ("shanxi-police", "hebei-police", "national-dna-database", "national-audit")
)


def refused(offset: int, publisher: Principal, by: Principal, at_ms: int = 1, *more: int) -> AuditEvent:
    event = DeliveryRefused(Position("dna", 0, offset), "samples", "KIT_LOST", more, publisher.agency, by.agency)
    return AuditEvent(at_ms, by.spiffe_id, event)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def log(pki: SamplePki) -> AsyncIterator[SqliteLog]:
    log = await SqliteLog.open(None, ManualClock(pki.now_ms), partitions={AUDIT: 1, "dna": 1})
    yield log
    await log.close()


async def offsets(unprocessed: Unprocessed, principal: Principal) -> list[int]:
    return [record.position.offset async for page in unprocessed.listed(principal) for record in page]


async def test_refusals_are_listed_page_by_page_each_once_and_counted_for_their_publisher(
    pki: SamplePki, log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.services.unprocessed._LISTED", 3)
    index = AuditIndex(None, "log")
    told = [
        refused(1, SHANXI, LAB, 5, 2, 3, 4),
        refused(5, SHANXI, HEBEI),
        refused(6, HEBEI, SHANXI),
        refused(7, SHANXI, LAB),
    ]
    told.append(refused(8, LAB, LAB))
    # The commit of this one was lost, so it was refused again.
    told.append(refused(1, SHANXI, LAB, 9))
    index.fold(told, Folded(1, b""))
    unprocessed = Unprocessed(index=index, log=log, directory=FixedDirectory(pki.directory))
    assert await offsets(unprocessed, SHANXI) == [2, 3, 4, 5, 6, 7, 1]
    assert await offsets(unprocessed, HEBEI) == [5, 6]
    assert await offsets(unprocessed, LAB) == [2, 3, 4, 7, 8, 1]
    assert await offsets(unprocessed, AUDITOR) == [2, 3, 4, 5, 6, 7, 8, 1]
    assert unprocessed.count(SHANXI) == UnprocessedTally(6, 1, 0)
    assert unprocessed.count(HEBEI) == UnprocessedTally(1, 1, 0)
    assert unprocessed.count(AUDITOR).refused == 8
    index.close()


async def test_an_index_of_an_older_broker_is_made_again(pki: SamplePki, log: SqliteLog, tmp_path: Path) -> None:
    path = tmp_path / "audit-index.db"
    older = open_file(path, Schema(SCHEMA.application_id, SCHEMA.migrations[:2]), durable=False, exclusive=True)
    older.execute("INSERT INTO facts VALUES ('log_id', 'log')")
    row = (LAB.agency, "samples", "dna", 0, 3, CASE, 0, 2, LAB.spiffe_id, 7, "")
    older.execute("INSERT INTO set_aside VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    older.close()
    index = AuditIndex(path, "log")
    assert index.folded is None
    dead = DeadLetterMade(Position("dna", 0, 4), "samples", 2, LAB.agency, CASE, publisher=SHANXI.agency)
    index.fold([AuditEvent(8, LAB.spiffe_id, dead)], Folded(1, b""))
    unprocessed = Unprocessed(index=index, log=log, directory=FixedDirectory(pki.directory))
    assert await offsets(unprocessed, AUDITOR) == [4]
    assert await offsets(unprocessed, SHANXI) == [4]
    assert unprocessed.count(SHANXI) == UnprocessedTally(0, None, 1)
    index.close()
