"""The directory versions in the audit stream, found by their time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from broker.core.events import AuditEvent, RefusalMade
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS
from broker.core.streams import AUDIT, DIRECTORY_VERSION, StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.services import versions as module
from broker.services.audittrail import AuditTrailService
from broker.services.versions import DirectoryVersions
from broker.trust.directory import open_directory
from broker.trust.system import SystemEntropy
from tests.support.damage import DamagedLog, without_value
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.bundle import DirectoryDocument
    from broker.core.entry import LogEntry

NEAR = CHANGE_OF_DIRECTORY_MS
HOUR = 3_600_000


class Kept(NamedTuple):
    """Versions 1, 2 and 3, each in force for an hour, with other audit records between them."""

    pki: SamplePki
    log: SqliteLog
    clock: ManualClock
    began_ms: int

    async def put_in_force(self, number: int) -> None:
        directory = replace(self.pki.directory, version=number)
        trail = AuditTrailService(
            directory=FixedDirectory(replace(directory, document=self.pki.sign(directory))),
            system="broker",
            signer=self.pki.signer("exchange"),
            codec=CODEC,
            log=self.log,
            entropy=SystemEntropy(),
            clock=self.clock,
        )
        await trail.directory_in_force()
        await trail.record([AuditEvent(self.clock.now_ms(), "spiffe://a", RefusalMade("RIGHT_DENIED", ""))])

    def numbers(self, documents: list[DirectoryDocument]) -> list[int]:
        return [open_directory(item.document, self.pki.governance).version for item in documents]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def kept(pki: SamplePki, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setattr(module, "_PAGE_RECORDS", 2)
    clock = ManualClock(pki.now_ms)
    kept = Kept(pki, await SqliteLog.open(None, clock, partitions={AUDIT: 1}), clock, pki.now_ms)
    for number in (1, 2, 3):
        await kept.put_in_force(number)
        clock.value_ms += HOUR
    yield kept
    await kept.log.close()


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [
        pytest.param(-NEAR - 1, [], id="before the first"),
        pytest.param(-NEAR, [1], id="just before the first"),
        pytest.param(0, [1], id="at the first"),
        pytest.param(HOUR - NEAR - 1, [1], id="not yet near a change"),
        pytest.param(HOUR - NEAR, [1, 2], id="near, before"),
        pytest.param(HOUR, [1, 2], id="at a change"),
        pytest.param(HOUR + NEAR, [1, 2], id="near, after"),
        pytest.param(HOUR + NEAR + 1, [2], id="no longer near"),
        pytest.param(9 * HOUR, [3], id="after all"),
    ],
)
async def test_a_time_has_the_version_that_was_in_force_and_around_a_change_both(
    kept: Kept, at_ms: int, expected: list[int]
) -> None:
    versions = DirectoryVersions(kept.log, CODEC)
    assert kept.numbers(await versions.in_force_at(kept.began_ms + at_ms)) == expected


async def test_only_the_versions_of_a_time_are_read(kept: Kept) -> None:
    read: list[int] = []

    class ReadLog(DamagedLog):
        async def read(self, partition: StreamPartition, offset: int, *arguments: Any, **named: Any) -> list[LogEntry]:
            read.append(offset)
            return await super().read(partition, offset, *arguments, **named)

    versions = DirectoryVersions(ReadLog(kept.log), CODEC)
    assert kept.numbers(await versions.in_force_at(kept.began_ms + HOUR + HOUR // 2)) == [2]
    assert len(read) == 1


async def test_what_comes_later_is_found_and_nothing_twice(kept: Kept) -> None:
    versions = DirectoryVersions(kept.log, CODEC)
    assert kept.numbers(await versions.of_period(None, None)) == [1, 2, 3]
    await kept.put_in_force(4)
    assert kept.numbers(await versions.of_period(None, None)) == [1, 2, 3, 4]
    assert kept.numbers(await versions.in_force_at(kept.clock.now_ms())) == [3, 4]


async def test_a_version_that_the_log_has_lost_is_not_made_up(kept: Kept) -> None:
    def lost(entry: LogEntry) -> LogEntry | None:
        return None if entry.position.offset == 0 else entry

    versions = DirectoryVersions(DamagedLog(kept.log, lost, []), CODEC)
    assert await versions.in_force_at(kept.began_ms + HOUR // 2) == []
    assert kept.numbers(await versions.of_period(None, kept.began_ms + HOUR // 2)) == [2]


async def test_of_the_audit_stream_nothing_is_read_but_the_versions(kept: Kept) -> None:
    read: list[str] = []

    def seen(entry: LogEntry) -> LogEntry:
        read.append(entry.kind)
        return entry

    versions = DirectoryVersions(DamagedLog(kept.log, seen), CODEC)
    assert kept.numbers(await versions.of_period(None, None)) == [1, 2, 3]
    assert set(read) == {DIRECTORY_VERSION}


async def test_a_log_that_has_lost_the_bytes_of_one_version_gives_the_others(kept: Kept) -> None:
    end = await kept.log.end_offset(StreamPartition(AUDIT, 0))
    stored = await kept.log.read(StreamPartition(AUDIT, 0), 0, end, 1 << 30)
    second = [entry.position for entry in stored if entry.kind == DIRECTORY_VERSION][1]

    def lost(entry: LogEntry) -> LogEntry:
        return without_value(entry) if entry.position == second else entry

    versions = DirectoryVersions(DamagedLog(kept.log, lost), CODEC)
    assert kept.numbers(await versions.of_period(None, None)) == [1, 3]
