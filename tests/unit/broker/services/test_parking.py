"""Behind a dead letter its case is parked, in the audit stream, and everything else flows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.core.errors import DeadLetterUnknown, InputRefused, LogUnavailable
from broker.core.events import (
    AuditEvent,
    DeadLetterDiscarded,
    DeadLetterEvent,
    DeadLetterMade,
    DeadLetterOrdered,
    DeadLetterRedriven,
    RecordsParked,
    SetAsideEnded,
    TakenOver,
)
from broker.core.identity import Principal
from broker.core.quota import QuotaLimits
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, DEAD_LETTER_EVENTS, StreamPartition, streams_of
from broker.messagelog.sqlite import SqliteLog
from broker.ports import Assigned
from broker.services.auditindex import Scope
from broker.services.deliveries import Deliveries, Ended, SubscribeLimits
from broker.services.erasureorders import ErasureOrders
from broker.services.quotas import Quotas
from broker.services.subscribe import SubscribeService, SubscriptionRequest
from broker.trust.system import SystemEntropy
from tests.support.fakes import FixedDirectory, NothingOrdered
from tests.support.letters import audit_trail, dead_letters
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CASE, CODEC, OTHER_CASE, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from broker.core.envelope import Envelope
    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import Position
    from broker.core.subscriptions import Generation
    from broker.ports import AssignmentChange, LogCursor, MessageLog, SubscriptionKey
    from broker.services.deadletters import DeadLetters
    from broker.services.deliveries import DeliveredCopy
    from broker.services.subscribe import SubscriberStream

SHANXI = Principal("case-exchange.example", "shanxi-police", "gateway")
LAB = Principal("case-exchange.example", "national-dna-database", "gateway")
WINDOW = 3
LIMITS = SubscribeLimits(
    lease_seconds=30, max_attempts=2, subscriptions=3, window_records=WINDOW, skip_commit_seconds=3600
)
REQUEST = SubscriptionRequest("samples", frozenset({"SampleRequest", "Correction"}), 100, 1 << 20, None)
BOUND = 60


class Process(NamedTuple):
    """One broker process: its subscriptions, and what it knows of dead letters."""

    subscribe: SubscribeService
    letters: DeadLetters
    following: asyncio.Task[None]

    async def open(self) -> SubscriberStream:
        return await self.subscribe.open(LAB, REQUEST)

    async def end(self) -> None:
        await self.subscribe.drain()
        self.following.cancel()


class Stage(NamedTuple):
    """A log, its publisher, and the processes on it."""

    pki: SamplePki
    clock: ManualClock
    log: SqliteLog
    maker: RecordMaker

    def process(
        self,
        log: MessageLog | None = None,
        directory: FixedDirectory | None = None,
        quota: QuotaLimits = QuotaLimits(),  # noqa: B008 - it cannot change
    ) -> Process:
        letters = dead_letters(self.pki, self.log, self.clock)
        service = SubscribeService(
            orders=ErasureOrders(),
            directory=directory or FixedDirectory(self.pki.directory),
            codec=CODEC,
            log=log or self.log,
            audit=audit_trail(self.pki, self.log, self.clock),
            entropy=SystemEntropy(),
            clock=self.clock,
            limits=LIMITS,
            quotas=Quotas(lambda _: quota, self.clock),
            letters=letters,
            subscriptions=NothingOrdered(),
        )
        return Process(service, letters, asyncio.create_task(letters.run()))

    async def publish(self, *envelopes: Envelope) -> list[Position]:
        """Where they are."""
        outcome = await publish_service(self.pki, self.log, self.clock).publish(SHANXI, envelopes)
        assert not [result for result in outcome.results if isinstance(result, Exception)]
        found = await self.log.lookup([CODEC.parse_body(envelope.body).record_id_bytes for envelope in envelopes])
        return [found[CODEC.parse_body(envelope.body).record_id_bytes].position for envelope in envelopes]

    async def told(self) -> list[AuditEvent]:
        """What the audit stream says of dead letters."""
        partition = StreamPartition(AUDIT, 0)
        entries = await self.log.read(partition, 0, 10_000, 1 << 30)
        return [
            event
            for entry in entries
            if entry.kind == DEAD_LETTER_EVENTS
            for section in CODEC.decode_envelope(entry.value).sections
            for event in CODEC.decode_audit_events(unsalted(section))
        ]

    async def events(self) -> list[DeadLetterEvent]:
        return [event.event for event in await self.told() if isinstance(event.event, DeadLetterEvent)]

    async def given_up(self, position: Position) -> int:
        """How often this record became a dead letter."""
        made = [event for event in await self.events() if isinstance(event, DeadLetterMade)]
        return len([event for event in made if event.position == position])

    async def parked(self) -> list[Position]:
        """Every pointer to a parked record, in order."""
        return [at for event in await self.events() if isinstance(event, RecordsParked) for at in event.positions()]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def stage(pki: SamplePki) -> AsyncIterator[Stage]:
    clock = ManualClock(pki.now_ms + 1000)
    log = await SqliteLog.open(None, clock)
    yield Stage(pki, clock, log, RecordMaker(pki, clock))
    await log.close()


async def copies_of(stream: SubscriberStream) -> list[DeliveredCopy]:
    """The next delivered copies."""
    async with asyncio.timeout(BOUND):
        while True:
            outgoing = await stream.next()
            if isinstance(outgoing, Deliveries):
                return list(outgoing.copies)


async def give_up(stage: Stage, stream: SubscriberStream, position: Position, failed: int = 0) -> list[Position]:
    """Give this record back until it is a dead letter, and take all others. Returns these."""
    taken, attempts = [], failed
    before = await stage.given_up(position)
    while attempts < LIMITS.max_attempts:
        for copy in await copies_of(stream):
            if copy.position == position:
                stream.nack(copy.delivery_id, 0)
                attempts += 1
            else:
                stream.ack([copy.delivery_id])
                taken.append(copy.position)
    async with asyncio.timeout(BOUND):
        while True:
            if await stage.given_up(position) > before:
                return taken
            await asyncio.sleep(0.01)


async def take(stream: SubscriberStream, *expected: Position) -> None:
    """Take these records, in this order, and no others."""
    taken: list[Position] = []
    while len(taken) < len(expected):
        for copy in await copies_of(stream):
            stream.ack([copy.delivery_id])
            taken.append(copy.position)
    assert taken == list(expected)


async def test_behind_a_dead_letter_its_case_is_parked_in_order_and_other_cases_flow(stage: Stage) -> None:
    maker = stage.maker
    dead, *later = await stage.publish(*(maker.make() for _ in range(WINDOW)))
    process = stage.process()
    stream = await process.open()
    assert await give_up(stage, stream, dead) == []
    # More than the window has room for, and then another case.
    later += await stage.publish(*(maker.make() for _ in range(3 * WINDOW)))
    others = await stage.publish(*(maker.make(case=OTHER_CASE) for _ in range(2)))
    await take(stream, *others)
    await process.end()
    assert await stage.parked() == later
    (made, *parked) = await stage.events()
    assert made == DeadLetterMade(dead, "samples", LIMITS.max_attempts, LAB.agency, CASE, publisher="shanxi-police")
    assert {(type(event), event.agency, event.subscription) for event in parked} == {
        (RecordsParked, LAB.agency, "samples")
    }


async def test_a_correction_overtakes_what_is_parked(stage: Stage) -> None:
    maker = stage.maker
    envelopes = [maker.make(), maker.make(), maker.make("Correction"), maker.make(), maker.make("Correction")]
    dead, first, correction, second, another = await stage.publish(*envelopes)
    process = stage.process()
    stream = await process.open()
    assert await give_up(stage, stream, dead) == []
    await take(stream, correction, another)
    (last,) = await stage.publish(maker.make("Correction"))
    await take(stream, last)
    await process.end()
    assert await stage.parked() == [first, second]


async def test_a_closure_overtakes_what_is_parked(stage: Stage) -> None:
    ministry = Principal("case-exchange.example", "ministry", "gateway")
    cases = [stage.maker.make("CaseRecord", "cases", to=("ministry",), purpose="child-rescue") for _ in range(2)]
    closing = stage.maker.make("Closure", "cases", to=("ministry",), purpose="case-closure")
    dead, parked, closure = await stage.publish(*cases, closing)
    process = stage.process()
    stream = await process.subscribe.open(ministry, REQUEST._replace(kinds=frozenset({"CaseRecord", "Closure"})))
    assert await give_up(stage, stream, dead) == []
    await take(stream, closure)
    await process.end()
    assert await stage.parked() == [parked]


async def test_nothing_waits_behind_a_record_that_was_refused(stage: Stage) -> None:
    refused, successor = await stage.publish(stage.maker.make(), stage.maker.make())
    process = stage.process()
    stream = await process.open()
    (copy,) = await copies_of(stream)
    assert copy.position == refused
    stream.ack([copy.delivery_id], {copy.delivery_id: "RECORD_INVALID"})
    await take(stream, successor)
    await process.end()
    assert await stage.events() == []


async def test_what_waits_behind_records_whose_right_was_withdrawn_comes_at_once(stage: Stage) -> None:
    directory = FixedDirectory(stage.pki.directory)
    process = stage.process(directory=directory)
    stream = await process.open()
    lab = stage.pki.directory.agency(LAB.agency)
    lab = replace(lab, receive={"SampleRequest": lab.receive["SampleRequest"]})
    directory.replace(replace(stage.pki.directory, agencies={**stage.pki.directory.agencies, LAB.agency: lab}))
    maker = stage.maker
    *_, last = await stage.publish(*(maker.make("Correction") for _ in range(3 * WINDOW)), maker.make())
    await take(stream, last)
    await process.end()


async def test_after_a_restart_the_case_still_waits_and_what_comes_is_parked(stage: Stage) -> None:
    dead, first = await stage.publish(stage.maker.make(), stage.maker.make())
    process = stage.process()
    await give_up(stage, await process.open(), dead)
    await process.end()
    (second,) = await stage.publish(stage.maker.make())
    (other,) = await stage.publish(stage.maker.make(case=OTHER_CASE))
    process = stage.process()
    await take(await process.open(), other)
    await process.end()
    assert await stage.parked() == [first, second]
    again = stage.process()
    await again.letters.catch_up()
    tally = again.letters.count(LAB, Scope())
    assert (tally.dead_letters, tally.parked) == (1, 2)
    await again.end()


class Unlucky:
    """A log on which the process dies: after its events of dead letters are durable, and before it commits."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def open_cursor(
        self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> LogCursor:
        cursor = await self._stage.log.open_cursor(subscription, kinds, generation)
        stored = cursor.commit

        async def commit(states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
            if await self._stage.told():
                message = "nothing was stored"
                raise LogUnavailable(message)
            return await stored(states)

        cursor.commit = commit  # type: ignore[method-assign] # only this object fails
        return cursor


async def crash(stream: SubscriberStream) -> Ended:
    """Wait until the subscription has ended with its error."""
    async with asyncio.timeout(BOUND):
        while True:
            if isinstance(outgoing := await stream.next(), Ended):
                return outgoing


async def test_after_a_crash_between_the_events_and_the_commit_nothing_is_told_twice(stage: Stage) -> None:
    maker = stage.maker
    dead, *later = await stage.publish(maker.make(), maker.make(), maker.make())
    process = stage.process(Unlucky(stage))  # type: ignore[arg-type] # nothing else of it is used
    stream = await process.open()
    await give_up(stage, stream, dead)
    await crash(stream)
    await process.end()
    before = await stage.told()
    assert await stage.parked() == later
    (other,) = await stage.publish(maker.make(case=OTHER_CASE))
    process = stage.process()
    # The dead letter and the parked ones are read again, and go to nobody.
    await take(await process.open(), other)
    await process.end()
    assert await stage.told() == before


class Shared:
    """A log that processes share, and that does not tell a process that it has lost its partitions."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def open_cursor(
        self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> LogCursor:
        cursor = await self._stage.log.open_cursor(subscription, kinds, generation)
        changes = cursor.assignment_changes

        def shared() -> list[AssignmentChange]:
            return [each._replace(shared=True) if isinstance(each, Assigned) else each for each in changes()]

        cursor.assignment_changes = shared  # type: ignore[method-assign] # only this object is shared
        return cursor


async def test_what_a_process_sets_aside_that_has_lost_its_partition_is_void(stage: Stage) -> None:
    made = await stage.publish(stage.maker.make(), stage.maker.make())
    paused, other = (stage.process(Shared(stage)) for _ in range(2))  # type: ignore[arg-type] # nothing else is used
    lost = await paused.open()
    for _ in range(LIMITS.max_attempts - 1):
        (copy,) = await copies_of(lost)
        lost.nack(copy.delivery_id, 0)
    (copy,) = await copies_of(lost)
    stream = await other.open()
    await take(stream, *made)
    # It goes on, and gives up what the other one has finished.
    lost.nack(copy.delivery_id, 0)
    assert isinstance((await crash(lost)).error, LogUnavailable)
    pointers = [event for event in await stage.events() if not isinstance(event, TakenOver)]
    assert [type(event) for event in pointers] == [DeadLetterMade, RecordsParked]
    made += await stage.publish(stage.maker.make())
    await take(stream, made[-1])
    await other.letters.catch_up()
    assert other.letters.count(LAB, Scope()) == (0, 0, None)
    await other.end()
    await paused.end()


async def test_an_assignment_begins_its_reigns_with_one_record_before_anything_is_read(stage: Stage) -> None:
    process = stage.process(Shared(stage))  # type: ignore[arg-type] # nothing else of it is used
    stream = await process.open()
    await take(stream, *await stage.publish(stage.maker.make()))
    await process.end()
    entries = await stage.log.read(StreamPartition(AUDIT, 0), 0, 10_000, 1 << 30)
    assert [entry.kind for entry in entries].count(DEAD_LETTER_EVENTS) == 1
    assert entries[0].kind == DEAD_LETTER_EVENTS
    taken = [event.partition for event in await stage.events() if isinstance(event, TakenOver)]
    expected = {
        StreamPartition(each, number)
        for each in streams_of(REQUEST.kinds)
        for number in range(stage.log.partitions(each))
    }
    assert (set(taken), len(taken)) == (expected, len(expected))
    assert len(expected) > 1


async def test_a_log_of_one_process_has_no_reigns(stage: Stage) -> None:
    process = stage.process()
    await take(await process.open(), *await stage.publish(stage.maker.make()))
    await process.end()
    assert await stage.events() == []


# --- redrive and discard ---


async def case_with_a_dead_letter(stage: Stage, stream: SubscriberStream, parked: int = 2) -> list[Position]:
    """A dead letter, and what is parked behind it."""
    made = await stage.publish(*(stage.maker.make() for _ in range(1 + parked)))
    assert await give_up(stage, stream, made[0]) == []
    return made


async def test_a_redriven_dead_letter_comes_again_and_then_what_is_parked_in_order_and_then_the_case_flows(
    stage: Stage,
) -> None:
    process = stage.process()
    stream = await process.open()
    made = await case_with_a_dead_letter(stage, stream)
    await process.letters.redrive(LAB, "samples", made[0])
    (copy,) = await copies_of(stream)
    assert (copy.position, copy.attempt) == (made[0], 1)
    # What comes now goes to the end.
    made += await stage.publish(stage.maker.make())
    stream.ack([copy.delivery_id])
    await take(stream, *made[1:])
    (flows,) = await stage.publish(stage.maker.make())
    await take(stream, flows)
    await process.end()
    assert await stage.parked() == made[1:]
    await process.letters.catch_up()
    assert process.letters.count(LAB, Scope()) == (0, 0, None)
    (redriven,) = [event for event in await stage.told() if isinstance(event.event, DeadLetterRedriven)]
    assert redriven.principal == LAB.spiffe_id
    ended = [at for event in await stage.events() if isinstance(event, SetAsideEnded) for at in event.positions()]
    assert ended == made
    # Nothing comes again after a restart.
    (last,) = await stage.publish(stage.maker.make())
    process = stage.process()
    await take(await process.open(), last)
    await process.end()


async def test_a_discarded_dead_letter_lets_its_parked_records_go(stage: Stage) -> None:
    process = stage.process()
    stream = await process.open()
    dead, *parked = await case_with_a_dead_letter(stage, stream)
    with pytest.raises(InputRefused):
        await process.letters.discard(LAB, "samples", dead, "no code")
    await process.letters.discard(LAB, "samples", dead, "DUPLICATE")
    await take(stream, *parked)
    (flows,) = await stage.publish(stage.maker.make())
    await take(stream, flows)
    await process.end()
    (discarded,) = [event.event for event in await stage.told() if isinstance(event.event, DeadLetterDiscarded)]
    assert discarded == DeadLetterDiscarded(dead, "samples", LAB.agency, CASE, "DUPLICATE")
    with pytest.raises(DeadLetterUnknown):
        await process.letters.redrive(LAB, "samples", dead)


async def test_only_the_agency_itself_decides(stage: Stage) -> None:
    process = stage.process()
    dead, *_ = await case_with_a_dead_letter(stage, await process.open())
    auditor = replace(LAB, agency="national-audit")
    for decide in (
        process.letters.redrive(auditor, "samples", dead),
        process.letters.discard(auditor, "samples", dead, "DUPLICATE"),
    ):
        with pytest.raises(DeadLetterUnknown):
            await decide
    await process.end()


async def test_a_redriven_record_may_become_a_dead_letter_again_and_its_case_waits_again(stage: Stage) -> None:
    process = stage.process()
    stream = await process.open()
    dead, *parked = await case_with_a_dead_letter(stage, stream)
    await process.letters.redrive(LAB, "samples", dead)
    # Its failed attempts count from zero.
    assert await give_up(stage, stream, dead) == []
    (other,) = await stage.publish(stage.maker.make(case=OTHER_CASE))
    await take(stream, other)
    await process.letters.catch_up()
    assert process.letters.count(LAB, Scope())[:2] == (1, len(parked))
    # One that was parked may become one too.
    await process.letters.discard(LAB, "samples", dead, "DUPLICATE")
    assert await give_up(stage, stream, parked[0]) == []
    await process.letters.redrive(LAB, "samples", parked[0])
    await take(stream, *parked)
    await process.end()
    await process.letters.catch_up()
    assert process.letters.count(LAB, Scope()) == (0, 0, None)


async def test_what_was_decided_while_the_subscription_was_closed_is_carried_out_when_it_opens(stage: Stage) -> None:
    process = stage.process()
    made = await case_with_a_dead_letter(stage, await process.open())
    await process.end()
    other = stage.process()
    await other.letters.redrive(LAB, "samples", made[0])
    stream = await other.open()
    (copy,) = await copies_of(stream)
    stream.ack([copy.delivery_id])
    # A crash: nothing is drained, and the next record of the case is leased to a process that is gone.
    await copies_of(stream)
    again = stage.process()
    await take(await again.open(), *made[1:])
    await again.end()
    await other.end()


async def test_what_another_process_was_told_is_carried_out_by_the_one_that_has_the_partition(stage: Stage) -> None:
    process, other = stage.process(), stage.process()
    stream = await process.open()
    made = await case_with_a_dead_letter(stage, stream)
    await other.letters.redrive(LAB, "samples", made[0])
    await take(stream, *made)
    await process.end()
    await other.end()


async def correction_before_a_parked_record(stage: Stage, stream: SubscriberStream) -> tuple[list[Position], int]:
    """A dead letter, a Correction that is leased, and a parked record, in this order; and the Correction's delivery."""
    made = await stage.publish(stage.maker.make(), stage.maker.make("Correction"), stage.maker.make())
    for _ in range(LIMITS.max_attempts):
        (copy,) = await copies_of(stream)
        assert copy.position == made[0]
        stream.nack(copy.delivery_id, 0)
    (copy,) = await copies_of(stream)
    assert copy.position == made[1]
    return made, copy.delivery_id


async def test_a_parked_record_waits_for_a_correction_that_came_before_it(stage: Stage) -> None:
    process = stage.process()
    stream = await process.open()
    (dead, correction, parked), delivery_id = await correction_before_a_parked_record(stage, stream)
    await process.letters.discard(LAB, "samples", dead, "DUPLICATE")
    # Everything that is ready goes out with this one.
    await take(stream, *await stage.publish(stage.maker.make(case=OTHER_CASE)))
    stream.nack(delivery_id, 0)
    # Now the Correction is a dead letter, and the case waits behind it again.
    assert await give_up(stage, stream, correction, failed=1) == []
    await take(stream, *await stage.publish(stage.maker.make(case=OTHER_CASE)))
    await process.letters.redrive(LAB, "samples", correction)
    await take(stream, correction, parked)
    await process.end()


async def test_after_a_restart_a_parked_record_waits_for_a_correction_that_came_before_it(stage: Stage) -> None:
    process = stage.process()
    (dead, *rest), _ = await correction_before_a_parked_record(stage, await process.open())
    await process.end()
    process = stage.process()
    await process.letters.discard(LAB, "samples", dead, "DUPLICATE")
    await take(await process.open(), *rest)
    await process.end()


async def test_what_was_discarded_does_not_come_back_if_a_crash_undid_its_commit(stage: Stage) -> None:
    dead, *later = await stage.publish(stage.maker.make(), stage.maker.make())
    process = stage.process(Unlucky(stage))  # type: ignore[arg-type] # nothing else of it is used
    stream = await process.open()
    await give_up(stage, stream, dead)
    await crash(stream)
    await process.end()
    process = stage.process()
    await process.letters.discard(LAB, "samples", dead, "DUPLICATE")
    stream = await process.open()
    await take(stream, *later)
    await take(stream, *await stage.publish(stage.maker.make()))
    await process.end()
    assert process.letters.count(LAB, Scope()) == (0, 0, None)


async def test_many_parked_records_and_cases_come_back_with_little_room(stage: Stage) -> None:
    cases = [CASE.replace("00a", f"0{number:02x}") for number in range(16, 16 + 2 * WINDOW)]
    process = stage.process()
    stream = await process.open()
    dead: dict[str, list[Position]] = {}
    for case in cases:
        dead[case] = await stage.publish(*(stage.maker.make(case=case) for _ in range(2)))
        await give_up(stage, stream, dead[case][0])
    for positions in dead.values():
        await process.letters.redrive(LAB, "samples", positions[0])
    taken: list[Position] = []
    while len(taken) < 2 * len(cases):
        for copy in await copies_of(stream):
            stream.ack([copy.delivery_id])
            taken.append(copy.position)
    for positions in dead.values():
        assert [position for position in taken if position in positions] == positions
    await process.end()


# --- dead letters that the agency orders ---


async def order(stage: Stage, *positions: Position) -> None:
    """The agency wants dead letters of these."""
    events = [
        AuditEvent(stage.clock.now_ms(), LAB.spiffe_id, DeadLetterOrdered(at, "samples", LAB.agency, CASE, "BROKEN"))
        for at in positions
    ]
    await audit_trail(stage.pki, stage.log, stage.clock).record(events)


async def made(stage: Stage, count: int) -> list[DeadLetterMade]:
    """The dead letters, when there are so many."""
    async with asyncio.timeout(BOUND):
        while True:
            found = [event for event in await stage.events() if isinstance(event, DeadLetterMade)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def test_an_ordered_dead_letter_waits_until_nobody_holds_the_record(stage: Stage) -> None:
    process = stage.process()
    stream = await process.open()
    first, later = await stage.publish(stage.maker.make(), stage.maker.make())
    (copy,) = await copies_of(stream)
    await order(stage, first)
    await process.letters.catch_up()
    # Other records come and go meanwhile.
    (other,) = await stage.publish(stage.maker.make(case=OTHER_CASE))
    await take(stream, other)
    assert await stage.given_up(first) == 0
    stream.nack(copy.delivery_id, 600, transient=True)
    assert await made(stage, 1) == [
        DeadLetterMade(first, "samples", 0, LAB.agency, CASE, publisher="shanxi-police", code="BROKEN")
    ]
    await process.end()
    assert await stage.parked() == [later]


async def test_an_order_for_a_record_that_is_processed_meanwhile_has_no_effect(stage: Stage) -> None:
    process = stage.process()
    stream = await process.open()
    first, later = await stage.publish(stage.maker.make(), stage.maker.make())
    (copy,) = await copies_of(stream)
    await order(stage, first)
    await process.letters.catch_up()
    stream.ack([copy.delivery_id])
    await take(stream, later)
    await process.end()
    assert await stage.events() == [DeadLetterOrdered(first, "samples", LAB.agency, CASE, "BROKEN")]


async def test_of_two_ordered_records_of_a_case_the_second_is_parked_and_given_up_when_its_turn_comes(
    stage: Stage,
) -> None:
    first, second = await stage.publish(stage.maker.make(), stage.maker.make())
    await order(stage, first, second)
    process = stage.process()
    stream = await process.open()
    assert [event.position for event in await made(stage, 1)] == [first]
    await process.letters.redrive(LAB, "samples", first)
    await take(stream, first)
    assert [event.position for event in await made(stage, 2)] == [first, second]
    assert await stage.parked() == [second]
    await process.letters.redrive(LAB, "samples", second)
    await take(stream, second)
    await process.end()


async def test_what_was_redriven_and_is_given_back_again_is_made_a_dead_letter_again(stage: Stage) -> None:
    (first,) = await stage.publish(stage.maker.make())
    await order(stage, first)
    process = stage.process()
    stream = await process.open()
    await made(stage, 1)
    await process.letters.redrive(LAB, "samples", first)
    (copy,) = await copies_of(stream)
    await order(stage, first)
    stream.nack(copy.delivery_id, 600, transient=True)
    assert [event.position for event in await made(stage, 2)] == [first, first]
    await process.end()


async def test_what_is_recalled_counts_as_undelivered_and_over_the_quota_it_comes_one_by_one(stage: Stage) -> None:
    cases = [CASE.replace("00a", f"0{number:02x}") for number in range(16, 20)]
    process = stage.process()
    stream = await process.open()
    dead: list[Position] = []
    for case in cases:
        dead += await stage.publish(stage.maker.make(case=case))
        await give_up(stage, stream, dead[-1])
    await process.end()
    process = stage.process(quota=QuotaLimits(undelivered_bytes=1))
    for position in dead:
        await process.letters.redrive(LAB, "samples", position)
    (later,) = await stage.publish(stage.maker.make(case=CASE))
    stream = await process.open()
    taken: list[Position] = []
    while len(taken) < 1 + len(dead):
        (copy,) = await copies_of(stream)
        stream.ack([copy.delivery_id])
        taken.append(copy.position)
    assert sorted(taken) == sorted([*dead, later])
    await process.end()
