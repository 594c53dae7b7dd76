"""Where a subscription stands follows from the audit stream. Nothing that it did not finish is passed over."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.core.entry import Interest, NewEntry
from broker.core.errors import LogCorrupt
from broker.core.events import (
    AuditEvent,
    DeadLetterMade,
    DeliveryConfirmed,
    DeliveryMade,
    DeliveryRefused,
    RecordsParked,
    TakenOver,
)
from broker.core.groupseal import SEAL_TEXT_BYTES
from broker.core.leasing.ackstate import MAX_TEXT_BYTES, AckState
from broker.core.seal import Sealing, value_digest
from broker.core.streams import AUDIT, Position, StreamPartition
from broker.core.subscriptions import FIRST, Generation, KindsStart
from broker.messagelog.kafka.index import KafkaIndex
from broker.messagelog.kafka.judge import SealedEntry, SealedPack
from broker.messagelog.kafka.packs import Packed
from broker.messagelog.kafka.positions import offset_of, position_of
from broker.messagelog.kafka.rebuilding import Rebuilding
from broker.messagelog.sqlite import SqliteLog
from broker.ports import SubscriptionKey
from broker.services.audittrail import AuditTrailService
from broker.trust.system import SystemEntropy
from tests.support.damage import DamagedLog, rewritten, without_value
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.entry import LogEntry
    from broker.core.events import Event

DNA_0, DNA_1 = StreamPartition("dna", 0), StreamPartition("dna", 1)
AUDIT_0 = StreamPartition(AUDIT, 0)
LAB = SubscriptionKey("national-dna-database", "samples")
GATEWAY = "spiffe://case-exchange.example/agency/national-dna-database/gateway"
WANTED = Interest(LAB.agency, frozenset({"SampleRequest"}))


class History(NamedTuple):
    """Records of two partitions in a real index, and an audit stream in a real log."""

    entries: KafkaIndex
    log: SqliteLog
    trail: AuditTrailService
    ends: dict[StreamPartition, int]

    async def accept(self, count: int, partition: StreamPartition = DNA_0, *, kinds: Sequence[str]) -> list[int]:
        """Records, each in a pack of its own. Return the offsets of those that the laboratory wants."""
        first = offset_of(self.ends[partition]) + 1
        packs: list[SealedPack] = []
        found: list[int] = []
        for number in range(first, first + count):
            kind = kinds[number % len(kinds)]
            name = b"%d of %a" % (number, partition)
            record_id = sha256(name).digest()[:16]
            entry = NewEntry(partition, record_id, kind, "case", (LAB.agency,), sha256(name).digest(), name)
            sealing = Sealing(record_id, 1000)
            entries = [SealedEntry(position_of(number), Packed(entry, value_digest(name)))]
            packs.append(SealedPack(partition, number, 0, sealing, record_id + bytes(4), entries, [], b""))
            if kind in WANTED.kinds:
                found.append(position_of(number))
        await self.entries.apply(packs, {partition: first + count})
        self.ends[partition] = position_of(first + count - 1) + 1
        return found

    async def tell(self, *events: Event, by: str = GATEWAY) -> None:
        await self.trail.record([AuditEvent(1000, by, event) for event in events])

    async def rebuilt(self, log: SqliteLog | DamagedLog | None = None, generation: Generation = FIRST) -> AckState:
        ends = {**self.ends, AUDIT_0: await self.log.end_offset(AUDIT_0)}
        states = await Rebuilding(log or self.log, self.entries, ends, CODEC).states(LAB, WANTED, generation, [DNA_0])
        assert list(states) == [DNA_0]
        return states[DNA_0]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def history(pki: SamplePki) -> AsyncIterator[History]:
    clock = ManualClock(pki.now_ms)
    log = await SqliteLog.open(None, clock, partitions={AUDIT: 1})
    index = KafkaIndex(None, (DNA_0, DNA_1, AUDIT_0), {"dna": "dna-topic", AUDIT: "audit-topic"})
    await index.open()
    trail = AuditTrailService(
        directory=FixedDirectory(pki.directory),
        system="broker",
        signer=pki.signer("exchange"),
        codec=CODEC,
        log=log,
        entropy=SystemEntropy(),
        clock=clock,
    )
    await trail.directory_in_force()
    yield History(index, log, trail, {DNA_0: 0, DNA_1: 0})
    await index.close()
    await log.close()


def confirmed(offset: int, *more: int, partition: StreamPartition = DNA_0, name: str = LAB.name) -> DeliveryConfirmed:
    return DeliveryConfirmed(Position(*partition, offset), name, more)


def done(state: AckState, offsets: Sequence[int]) -> list[int]:
    return [offset for offset in offsets if state.is_done(offset)]


@pytest.mark.parametrize("seed", range(4))
async def test_exactly_what_the_audit_stream_calls_finished_is_done(history: History, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a repeatable choice of cases, not a secret
    finished: set[int] = set()
    undone: list[int] = []
    every: list[int] = []
    for _ in range(12):
        new = await history.accept(rng.randint(1, 60), kinds=["SampleRequest", "StrProfile", "SampleRequest"])
        every += new
        undone += new
        chosen = rng.sample(undone, min(len(undone), rng.randint(0, 50)))
        for at in range(0, len(chosen), 7):
            first, *more = chosen[at : at + 7]
            position = Position(*DNA_0, first)
            told: list[Event] = [DeliveryMade(position, LAB.name, 1, (), tuple(more))]
            if not more:
                told.append(DeadLetterMade(position, LAB.name, 10, LAB.agency, "case"))
            elif rng.random() < 0.5:
                told.append(DeliveryRefused(position, LAB.name, "UNREADABLE", tuple(more)))
            else:
                told.append(confirmed(first, *more))
            await history.tell(*told)
        finished |= set(chosen)
        undone = [offset for offset in undone if offset not in finished]
    state = await history.rebuilt()
    assert done(state, every) == sorted(finished)
    assert AckState.decode(state.encode()) == state


async def test_what_others_finished_is_not_done(history: History) -> None:
    wanted = await history.accept(8, kinds=["SampleRequest"])
    await history.accept(8, DNA_1, kinds=["SampleRequest"])
    await history.tell(confirmed(wanted[0], name="others"))
    await history.tell(confirmed(wanted[1], partition=DNA_1))
    await history.tell(confirmed(wanted[2], partition=StreamPartition("cases", 0)))
    for stranger in (GATEWAY.replace("national-dna-database", "ministry"), "", "a text"):
        await history.tell(confirmed(wanted[3]), by=stranger)
    await history.tell(confirmed(wanted[4]))
    assert done(await history.rebuilt(), wanted) == [wanted[4]]


async def test_a_record_that_was_set_aside_as_damaged_is_not_done(history: History) -> None:
    wanted = await history.accept(4, kinds=["SampleRequest"])
    damaged, given_up, parked, _ = (Position(*DNA_0, offset) for offset in wanted)
    await history.tell(
        DeadLetterMade(damaged, LAB.name, 0, LAB.agency, "case", LogCorrupt.reason),
        DeadLetterMade(given_up, LAB.name, 10, LAB.agency, "case"),
        RecordsParked(parked, LAB.name, LAB.agency, "case"),
    )
    assert done(await history.rebuilt(), wanted) == [given_up.offset, parked.offset]


async def test_a_generation_begins_at_its_starts_and_with_its_event(history: History) -> None:
    wanted = await history.accept(6, kinds=["SampleRequest"])
    await history.tell(confirmed(wanted[3]))
    told_at = await history.log.end_offset(AUDIT_0)
    await history.tell(confirmed(wanted[4]))
    starts = (KindsStart(DNA_0, ("SampleRequest",), wanted[2]),)
    state = await history.rebuilt(generation=Generation(1, told_at, starts))
    # What is before the start does not come. What an earlier generation finished does.
    assert done(state, wanted) == [*wanted[:2], wanted[4]]
    other = Generation(1, told_at, (KindsStart(DNA_0, ("StrProfile",), wanted[2]),))
    assert done(await history.rebuilt(generation=other), wanted) == [wanted[4]]


async def test_what_was_set_aside_under_a_reign_that_is_over_is_not_done(history: History) -> None:
    wanted = await history.accept(4, kinds=["SampleRequest"])
    before, late, parked_late, after = (Position(*DNA_0, offset) for offset in wanted)
    await history.tell(
        TakenOver(DNA_0, LAB.name, LAB.agency, 1),
        DeadLetterMade(before, LAB.name, 10, LAB.agency, "case", reign=1),
        TakenOver(DNA_0, LAB.name, LAB.agency, 2),
    )
    await history.tell(
        DeadLetterMade(late, LAB.name, 10, LAB.agency, "case", reign=1),
        RecordsParked(parked_late, LAB.name, LAB.agency, "case", reign=1),
        DeadLetterMade(after, LAB.name, 10, LAB.agency, "case", reign=2),
    )
    assert done(await history.rebuilt(), wanted) == [before.offset, after.offset]


async def test_a_position_beyond_the_log_finishes_nothing(history: History) -> None:
    wanted = await history.accept(3, kinds=["SampleRequest"])
    await history.tell(confirmed(wanted[0]), confirmed(wanted[-1] + 4096, 2**62))
    state = await history.rebuilt()
    assert done(state, wanted) == wanted[:1]
    assert state.floor <= wanted[1]


async def test_without_a_word_in_the_audit_stream_everything_comes(history: History) -> None:
    await history.accept(3, kinds=["SampleRequest"])
    assert await history.rebuilt() == AckState()


async def test_what_the_audit_stream_has_lost_or_has_in_another_form_finishes_nothing(history: History) -> None:
    wanted = await history.accept(4, kinds=["SampleRequest"])
    for offset in wanted:
        await history.tell(confirmed(offset))

    def changed(entry: LogEntry) -> LogEntry | None:
        # The first record of the audit stream is the directory.
        section = CODEC.decode_envelope(entry.value).sections[0]
        return {
            1: without_value(entry),
            2: rewritten(entry, sections=(section._replace(content=section.content + b"\0"),)),
            3: rewritten(entry, body=b"another"),
        }.get(entry.position.offset, entry)

    assert done(await history.rebuilt(DamagedLog(history.log, changed)), wanted) == wanted[3:]


async def test_more_undone_records_than_a_window_holds_pass_over_nothing_and_the_state_fits(history: History) -> None:
    """The subscription once wanted other kinds. So it finished records behind hundreds that it has never seen."""
    early = await history.accept(1500, kinds=["SampleRequest"])
    late = await history.accept(10, kinds=["SampleRequest"])
    await history.tell(confirmed(early[0], *early[2:20:2]), confirmed(late[0], *late[1:]))
    state = await history.rebuilt()
    assert done(state, early) == [early[0], *early[2:20:2]]
    assert done(state, late) == []
    assert len(state.encode()) <= MAX_TEXT_BYTES - SEAL_TEXT_BYTES
