"""The index of the audit stream follows the audit stream, and is made again when it does not belong to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import pytest
from structlog.testing import capture_logs

from broker.core.errors import DeadLetterUnknown, LogCorrupt, RightDenied
from broker.core.events import (
    AuditEvent,
    Cause,
    DeadLetterMade,
    RecordsParked,
    RefusalMade,
    SubscriptionBegun,
    SubscriptionDeleted,
)
from broker.core.identity import Principal
from broker.core.streams import AUDIT, DEAD_LETTER_EVENTS, Position, StreamPartition
from broker.core.subscriptions import EARLIEST
from broker.messagelog.sqlite import SqliteLog
from broker.ports import DeadLetterState, SubscriptionKey
from broker.services.auditfold import LINES, AuditFold
from broker.services.auditindex import AuditIndex, Folded, Scope, Tally
from broker.services.deadletters import DeadLetters
from broker.services.erasureorders import ErasureOrders
from broker.trust.system import SystemEntropy
from tests.support.damage import DamagedLog, rewritten, without_value
from tests.support.fakes import FixedDirectory
from tests.support.letters import audit_trail
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CASE, CODEC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from broker.core.entry import Interest, LogEntry, Page
    from broker.ports import MessageLog
    from broker.services.audittrail import AuditTrailService

LAB = Principal("case-exchange.example", "national-dna-database", "gateway")
NGO = Principal("case-exchange.example", "child-aid-ngo", "gateway")
AUDITOR = Principal("case-exchange.example", "national-audit", "gateway")
AUDIT_0 = StreamPartition(AUDIT, 0)
EVERYONE = Scope()


class Stage(NamedTuple):
    """An audit stream, and the indexes of processes that follow it."""

    pki: SamplePki
    clock: ManualClock
    log: SqliteLog
    folder: Path

    async def give_up(self, *offsets: int, principal: Principal = LAB, subscription: str = "samples") -> None:
        """The audit stream says that these records are dead letters, and something else."""
        letters = [
            AuditEvent(
                self.clock.now_ms(),
                principal.spiffe_id,
                DeadLetterMade(Position("dna", 0, offset), subscription, 3, principal.agency, CASE),
            )
            for offset in offsets
        ]
        await self.trail().record(
            [*letters, AuditEvent(self.clock.now_ms(), "spiffe://a", RefusalMade("RIGHT_DENIED", ""))]
        )

    def trail(self) -> AuditTrailService:
        return audit_trail(self.pki, self.log, self.clock)

    def process(self, log: MessageLog | None = None, log_id: str = "") -> Process:
        index = AuditIndex(self.folder / "audit-index.db", log_id or self.log.log_id(AUDIT))
        letters = DeadLetters(
            index=index,
            log=log or self.log,
            audit=self.trail(),
            codec=CODEC,
            orders=ErasureOrders(),
            directory=FixedDirectory(self.pki.directory),
            entropy=SystemEntropy(),
            clock=self.clock,
            fold=AuditFold(index, log or self.log, CODEC),
        )
        return Process(index, letters)


class Process(NamedTuple):
    file: AuditIndex
    letters: DeadLetters

    async def known(self) -> list[int]:
        """The offsets of everyone's dead letters, after this process has caught up and ended."""
        await self.letters.start()
        found = [state.position.offset async for page in self.letters.listed(AUDITOR, EVERYONE) for state in page]
        assert len(found) == self.letters.count(AUDITOR, EVERYONE).dead_letters
        self.file.close()
        return found


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def stage(pki: SamplePki, tmp_path: Path) -> AsyncIterator[Stage]:
    clock = ManualClock(pki.now_ms)
    log = await SqliteLog.open(None, clock, partitions={AUDIT: 1, "dna": 1})
    yield Stage(pki, clock, log, tmp_path)
    await log.close()


async def test_an_agency_sees_its_own_and_an_auditor_everyones(stage: Stage) -> None:
    await stage.give_up(5, 3)
    await stage.give_up(3, principal=NGO, subscription="children")
    index, letters = stage.process()
    await letters.catch_up()
    own = [state async for page in letters.listed(LAB, EVERYONE) for state in page]
    key, since_ms = SubscriptionKey(LAB.agency, "samples"), stage.clock.now_ms()
    assert own == [
        DeadLetterState(key, Position("dna", 0, offset), CASE, 3, LAB.spiffe_id, since_ms, 0, "") for offset in (3, 5)
    ]
    assert letters.count(LAB, EVERYONE) == Tally(2, 0, since_ms)
    assert letters.count(LAB, Scope(subscription="others")) == Tally(0, 0, None)
    assert letters.count(AUDITOR, EVERYONE).dead_letters == 3
    assert letters.count(AUDITOR, Scope(NGO.agency)).dead_letters == 1
    assert (await letters.shown(AUDITOR, key, Position("dna", 0, 5))).state == own[1]
    with pytest.raises(RightDenied):
        letters.count(NGO, Scope(LAB.agency))
    with pytest.raises(RightDenied):
        await letters.shown(NGO, key, Position("dna", 0, 5))
    with pytest.raises(DeadLetterUnknown):
        await letters.shown(NGO, key._replace(agency=""), Position("dna", 0, 5))
    index.close()


async def test_many_are_listed_page_by_page_each_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.services.deadletters._LISTED", 3)
    await stage.give_up(*range(10))
    assert await stage.process().known() == list(range(10))


async def test_a_start_reads_only_what_is_new(stage: Stage) -> None:
    read: list[LogEntry] = []

    def seen(entry: LogEntry) -> LogEntry:
        read.append(entry)
        return entry

    await stage.give_up(1)
    await stage.give_up(2)
    assert await stage.process().known() == [1, 2]
    await stage.give_up(3)
    assert await stage.process(DamagedLog(stage.log, seen)).known() == [1, 2, 3]
    # The last one that it had folded, to see that the log is still the same, and the new one.
    assert len(read) == 2
    assert {entry.kind for entry in read} == {DEAD_LETTER_EVENTS}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.unlink(), id="lost"),
        pytest.param(lambda path: path.write_bytes(b"no database at all" * 300), id="damaged"),
    ],
)
async def test_an_index_that_is_lost_is_made_again(stage: Stage, spoil: Callable[[Path], None]) -> None:
    await stage.give_up(1, 2)
    assert await stage.process().known() == [1, 2]
    spoil(stage.folder / "audit-index.db")
    assert await stage.process().known() == [1, 2]


async def test_an_index_of_another_log_is_made_again(stage: Stage) -> None:
    await stage.give_up(1, 2)
    assert await stage.process(log_id="another").known() == [1, 2]
    index, letters = stage.process()
    assert letters.count(AUDITOR, EVERYONE).dead_letters == 0
    index.close()


async def test_if_the_log_went_back_the_index_follows(stage: Stage) -> None:
    """An old copy of the log was restored, and it went on otherwise."""
    await stage.give_up(1, 2)
    await stage.give_up(7)
    assert await stage.process().known() == [1, 2, 7]
    restored = await SqliteLog.open(None, stage.clock, partitions={AUDIT: 1, "dna": 1})
    other = stage._replace(log=restored)
    for offset in range(1, 5):
        await other.give_up(offset)
    with capture_logs() as lines:
        assert await other.process(log_id=stage.log.log_id(AUDIT)).known() == [1, 2, 3, 4]
    assert "the log went back, so the index of the audit stream is made again" in {line["event"] for line in lines}
    await restored.close()


class StrictLog(DamagedLog):
    """As the log on Kafka: what is wanted has the value that was accepted, or nothing is returned."""

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        page = await super().read_wanted(partition, offset, interest, max_records, max_bytes)
        if not all(entry.value for entry in page.entries):
            message = "the log has lost an entry"
            raise LogCorrupt(message)
        return page


def of_the_second(entries: list[LogEntry], change: Callable[[LogEntry], LogEntry]) -> Callable[[LogEntry], LogEntry]:
    second = [entry.position for entry in entries if entry.kind == DEAD_LETTER_EVENTS][1]
    return lambda entry: change(entry) if entry.position == second else entry


@pytest.mark.parametrize("kind", [DamagedLog, StrictLog])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(without_value, id="lost"),
        pytest.param(lambda entry: rewritten(entry, sections=()) if entry.value else entry, id="rewritten"),
    ],
)
async def test_a_damaged_audit_record_is_alarmed_and_holds_up_no_other(
    stage: Stage, kind: type[DamagedLog], change: Callable[[LogEntry], LogEntry]
) -> None:
    for offset in range(3):
        await stage.give_up(offset)
    stored = await stage.log.read(AUDIT_0, 0, 100, 1 << 30)
    with capture_logs() as lines:
        assert await stage.process(kind(stage.log, of_the_second(stored, change))).known() == [0, 2]
    damaged = [line for line in lines if "damaged" in line["event"]]
    assert [line["log_level"] for line in damaged] == ["error"]


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    with capture_logs() as captured:
        yield captured  # type: ignore[misc] # structlog's own type is a mutable mapping


async def test_the_operators_log_names_new_ones_and_at_a_start_counts_the_old(
    stage: Stage, lines: list[dict[str, object]]
) -> None:
    await stage.give_up(1)
    stage.clock.value_ms += 90 * 60_000
    first = stage.process()
    await first.letters.start()
    assert [(line["event"], line["count"], line["hours"]) for line in lines] == [("there are dead letters", 1, 1.5)]
    lines.clear()
    await stage.give_up(*range(2, 4 + LINES))
    await first.letters.catch_up()
    assert [line["position"] for line in lines[:-1]] == [f"dna/0/{offset}" for offset in range(2, 2 + LINES)]
    assert (lines[-1]["event"], lines[-1]["count"]) == ("more records are dead letters", 2)
    first.file.close()


@pytest.mark.parametrize("cases", [1, 20_000], ids=["one case", "many cases"])
@pytest.mark.parametrize("floor", [0, 20_000], ids=["read again", "passed"])
async def test_other_work_goes_on_while_very_much_that_is_set_aside_is_read(
    stage: Stage, cases: int, floor: int
) -> None:
    index, letters = stage.process()
    await letters.catch_up()
    key, dna = SubscriptionKey(LAB.agency, "samples"), StreamPartition("dna", 0)
    parked = [
        RecordsParked(Position(*dna, offset), key.name, key.agency, f"case-{offset % cases}")
        for offset in range(20_000)
    ]
    index.fold([AuditEvent(0, "", event) for event in parked], Folded(0, b""))
    passes = 0

    async def other_work() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(other_work())
    found = await letters.set_aside(key, dna, floor)
    working.cancel()
    pages = (floor == 0) * 20 + (cases > 1) * 20
    assert passes >= pages
    assert found.offsets.keys() == set(range(floor, 20_000))
    assert found.cases == {f"case-{number}": number for number in range(cases)}
    assert sorted(found.due) == sorted(found.cases)


async def test_other_work_goes_on_while_very_much_is_forgotten_with_its_subscription(stage: Stage) -> None:
    index, letters = stage.process()
    key, dna, trail = SubscriptionKey(LAB.agency, "samples"), StreamPartition("dna", 0), stage.trail()
    begun = SubscriptionBegun(key.name, key.agency, 1, Cause.CREATED, EARLIEST, ("SampleRequest",), (), ())
    await trail.record([AuditEvent(0, LAB.spiffe_id, begun)])
    await letters.catch_up()
    parked = [RecordsParked(Position(*dna, offset), key.name, key.agency, CASE) for offset in range(20_000)]
    other = RecordsParked(Position(*dna, 1), "others", key.agency, CASE)
    folded = index.folded
    assert folded is not None
    index.fold([AuditEvent(0, "", event) for event in (*parked, other)], folded)
    passes = 0

    async def other_work() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    gone = SubscriptionDeleted(key.name, key.agency, 2, (), 20_000)
    await trail.record([AuditEvent(0, LAB.spiffe_id, gone)])
    working = asyncio.create_task(other_work())
    await letters.catch_up()
    working.cancel()
    assert passes >= 20
    assert index.tally(EVERYONE).parked == 1
    index.close()


async def test_after_a_crash_while_a_subscription_is_forgotten_the_index_is_made_again(stage: Stage) -> None:
    await stage.give_up(1, 2, 3)
    index, letters = stage.process()
    key = SubscriptionKey(LAB.agency, "samples")
    begun = SubscriptionBegun(key.name, key.agency, 1, Cause.CREATED, EARLIEST, ("SampleRequest",), (), ())
    await stage.trail().record([AuditEvent(0, LAB.spiffe_id, begun)])
    await letters.catch_up()
    gone = AuditEvent(0, LAB.spiffe_id, SubscriptionDeleted(key.name, key.agency, 2, (), 3))
    # The first step, and then nothing more, as if the process had been killed. The log does not have the event.
    next(iter(index.forget([gone], rows=2)))
    assert index.tally(EVERYONE).dead_letters == 1
    index.close()
    assert await stage.process().known() == [1, 2, 3]
