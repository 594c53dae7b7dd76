"""The newest revocation lists are found in the audit stream, however much else stands behind and before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.core.events import AuditEvent, RefusalMade
from broker.core.streams import AUDIT, StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.services import revocationlists as module
from broker.services.audittrail import AuditTrailService
from broker.services.revocationlists import newest_lists
from broker.trust.system import SystemEntropy
from tests.support.damage import DamagedLog, without_value
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def log(pki: SamplePki) -> AsyncIterator[SqliteLog]:
    log = await SqliteLog.open(None, ManualClock(pki.now_ms), partitions={AUDIT: 1})
    yield log
    await log.close()


@pytest.fixture
def trail(pki: SamplePki, log: SqliteLog) -> AuditTrailService:
    return AuditTrailService(
        directory=FixedDirectory(pki.directory),
        system="broker",
        signer=pki.signer("exchange"),
        codec=CODEC,
        log=log,
        entropy=SystemEntropy(),
        clock=ManualClock(pki.now_ms),
    )


async def others(trail: AuditTrailService, count: int) -> None:
    for _ in range(count):
        await trail.record([AuditEvent(0, "spiffe://a", RefusalMade("RIGHT_DENIED", ""))])


@pytest.mark.parametrize("behind", [0, 1, 40])
async def test_the_newest_are_found_wherever_they_stand(
    log: SqliteLog, trail: AuditTrailService, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    monkeypatch.setattr(module, "_FIRST_SPAN", 2)
    monkeypatch.setattr(module, "_PAGE_RECORDS", 3)
    assert await newest_lists(log, CODEC) == []
    await others(trail, 5)
    for number in range(20):
        await trail.trust_in_force(b"list %d" % number)
        await trail.trust_in_force(b"list %d" % number)
    await others(trail, behind)
    found = await newest_lists(log, CODEC)
    assert found == [b"list %d" % number for number in range(20)][-len(found) :]
    assert 1 <= len(found) <= 8


async def test_nothing_to_keep_writes_nothing_and_a_lost_record_is_left_out(
    log: SqliteLog, trail: AuditTrailService
) -> None:
    await trail.trust_in_force(b"")
    assert await newest_lists(log, CODEC) == []
    for content in (b"one", b"two", b"three"):
        await trail.trust_in_force(content)
    (lost,) = await log.read(StreamPartition(AUDIT, 0), 2, 1, 1)
    damaged = DamagedLog(log, lambda entry: without_value(entry) if entry.position == lost.position else entry)
    assert await newest_lists(damaged, CODEC) == [b"one", b"three"]
