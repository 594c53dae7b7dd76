"""A trace says what it has read, and says so if that is not all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.core.errors import QuotaExceeded, RecordUnknown
from broker.core.events import (
    AuditEvent,
    Cause,
    DeadLetterEvent,
    DeliveryConfirmed,
    DeliveryMade,
    DeliveryRefused,
    SubscriptionBegun,
)
from broker.core.identity import Principal
from broker.core.quota import QuotaLimits
from broker.core.streams import AUDIT, AUDIT_EVENTS, StreamPartition
from broker.core.subscriptions import KindsStart, StartPoint
from broker.core.trace import Step, TracedEvent, TracedRecord, TraceEnd, joined
from broker.messagelog.sqlite import SqliteCheckpointStore, SqliteLog
from broker.services.erasureorders import ErasureOrders
from broker.services.quotas import Quotas
from broker.services.tracereading import TraceLimits
from broker.services.tracing import Tracer
from tests.support.damage import DamagedLog, without_value
from tests.support.fakes import FixedDirectory
from tests.support.letters import audit_trail
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CASE, CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.entry import LogEntry
    from broker.core.events import Event
    from broker.core.streams import Position
    from broker.ports import MessageLog
    from broker.services.tracing import TracePart

SHANXI, HEBEI, MINISTRY, LAB, AUDITOR = (
    Principal("case-exchange.example", agency, "gateway")
    for agency in ("shanxi-police", "hebei-police", "ministry", "national-dna-database", "national-audit")
)


class Stage(NamedTuple):
    pki: SamplePki
    clock: ManualClock
    log: SqliteLog
    store: SqliteCheckpointStore

    async def publish(self, publisher: Principal, *to: str, kind: str = "CaseRecord") -> tuple[str, Position]:
        """A record of the case: its id, and where it is."""
        maker = RecordMaker(self.pki, self.clock, publisher.agency)
        envelope = maker.make(kind, "cases", to=to)
        outcome = await publish_service(self.pki, self.log, self.clock).publish(publisher, [envelope])
        assert not [result for result in outcome.results if isinstance(result, Exception)]
        body = CODEC.parse_body(envelope.body)
        return body.record_id, (await self.log.lookup([body.record_id_bytes]))[body.record_id_bytes].position

    async def tell(self, principal: Principal, *events: Event) -> None:
        """The audit stream has these, each in a record of its own."""
        for event in events:
            told = AuditEvent(self.clock.now_ms(), principal.spiffe_id, event)
            await audit_trail(self.pki, self.log, self.clock).record([told])

    def tracer(self, log: MessageLog | None = None, limits: TraceLimits | None = None) -> Tracer:
        return Tracer(
            log=log or self.log,
            store=self.store,
            codec=CODEC,
            orders=ErasureOrders(),
            directory=FixedDirectory(self.pki.directory),
            quotas=Quotas(lambda _: QuotaLimits(), self.clock),
            clock=self.clock,
            limits=limits or TraceLimits(),
        )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def stage(pki: SamplePki) -> AsyncIterator[Stage]:
    clock = ManualClock(pki.now_ms + 1000)
    log, store = await SqliteLog.open(None, clock), SqliteCheckpointStore(None)
    yield Stage(pki, clock, log, store)
    await log.close()
    await store.close()


async def read(parts: AsyncIterator[TracePart]) -> tuple[list[TracedRecord], list[TracedEvent], bool]:
    """The records, what happened to them, and whether that is all."""
    records, events, end = await read_on(parts)
    return records, events, end.complete


async def read_on(parts: AsyncIterator[TracePart]) -> tuple[list[TracedRecord], list[TracedEvent], TraceEnd]:
    """The records, what happened to them, and the end."""
    records: list[TracedRecord] = []
    events: list[TracedEvent] = []
    end = TraceEnd(complete=False, read_to_ms=0)
    async for part in parts:
        if isinstance(part, TraceEnd):
            end = part
        else:
            records += [each for each in part if isinstance(each, TracedRecord)]
            events += [each for each in part if isinstance(each, TracedEvent)]
    return records, events, end


async def test_a_trace_that_stopped_goes_on_where_it_stopped(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.services.tracereading._PAGE_RECORDS", 1)
    record_id, at = await stage.publish(SHANXI, "hebei-police")
    await stage.tell(HEBEI, *(DeliveryMade(at, "cases", attempt, ()) for attempt in (1, 2, 3)))
    await stage.tell(HEBEI, DeliveryRefused(at, "cases", "PHOTO_UNREADABLE", (), SHANXI.agency, HEBEI.agency))
    tracer, events, ends, go_on_at = stage.tracer(limits=TraceLimits(60, 1)), list[TracedEvent](), list[bool](), 0
    while True:
        _, found, end = await read_on(tracer.of_record(SHANXI, record_id, go_on_at))
        events, go_on_at = joined(events, found), end.go_on_at
        ends.append(end.complete)
        if not go_on_at:
            break
    assert [(event.step, event.attempt) for event in events] == [
        (Step.DELIVERED, 1),
        (Step.DELIVERED, 2),
        (Step.DELIVERED, 3),
        (Step.REFUSED, 0),
    ]
    assert len(ends) > 2
    assert ends[-1]


async def test_a_trace_that_reaches_its_limit_says_so_and_has_the_refusals_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.services.tracereading._PAGE_RECORDS", 1)
    record_id, at = await stage.publish(SHANXI, "hebei-police")
    await stage.tell(HEBEI, DeliveryMade(at, "cases", 1, ()), DeliveryMade(at, "cases", 2, ()))
    await stage.tell(HEBEI, DeliveryRefused(at, "cases", "PHOTO_UNREADABLE", (), SHANXI.agency, HEBEI.agency))
    _, events, complete = await read(stage.tracer(limits=TraceLimits(60, 1)).of_record(SHANXI, record_id))
    assert ([(event.step, event.attempt) for event in events], complete) == (
        [(Step.DELIVERED, 1), (Step.REFUSED, 0)],
        False,
    )
    _, events, complete = await read(stage.tracer().of_record(SHANXI, record_id))
    assert [event.step for event in events] == [Step.DELIVERED, Step.DELIVERED, Step.REFUSED]
    assert complete


def begun(generation: int, start: int, at: Position) -> SubscriptionBegun:
    """The subscription of a police begins in its generation at an offset of this partition."""
    starts = (KindsStart(at.stream_partition, ("CaseRecord",), start),)
    cause = Cause.SOUGHT if generation else Cause.CREATED
    return SubscriptionBegun(
        "cases", HEBEI.agency, generation, cause, StartPoint(latest=True), ("CaseRecord",), starts, ()
    )


async def test_what_a_subscription_skips_is_shown_as_skipped_until_it_goes_back(stage: Stage) -> None:
    record_id, at = await stage.publish(SHANXI, "hebei-police", "ministry")
    await stage.tell(HEBEI, begun(0, at.offset + 1, at))
    _, events, complete = await read(stage.tracer().of_record(SHANXI, record_id))
    assert [(event.agency, event.subscription, event.step, event.reason) for event in events] == [
        (HEBEI.agency, "cases", Step.SKIPPED, "latest")
    ]
    assert complete
    # A recipient is told what concerns itself.
    _, events, _ = await read(stage.tracer().of_record(MINISTRY, record_id))
    assert events == []
    await stage.tell(HEBEI, begun(1, at.offset, at))
    _, events, _ = await read(stage.tracer().of_record(SHANXI, record_id))
    assert events == []
    await stage.tell(HEBEI, DeliveryMade(at, "cases", 1, ()), begun(2, at.offset + 1, at))
    _, events, _ = await read(stage.tracer().of_record(SHANXI, record_id))
    assert [event.step for event in events] == [Step.DELIVERED, Step.SKIPPED]


async def test_what_a_subscription_had_finished_before_it_began_behind_it_is_not_skipped(stage: Stage) -> None:
    record_id, at = await stage.publish(SHANXI, "hebei-police")
    await stage.tell(HEBEI, DeliveryMade(at, "cases", 1, ()), DeliveryConfirmed(at, "cases"))
    await stage.tell(HEBEI, begun(1, at.offset + 1, at))
    _, events, _ = await read(stage.tracer().of_record(SHANXI, record_id))
    assert [event.step for event in events] == [Step.DELIVERED, Step.PROCESSED]


async def test_a_damaged_audit_record_is_left_out_and_the_trace_is_not_complete(stage: Stage) -> None:
    record_id, at = await stage.publish(SHANXI, "hebei-police")
    await stage.tell(HEBEI, DeliveryMade(at, "cases", 1, ()), DeliveryConfirmed(at, "cases"))
    audit = [
        entry
        for number in range(stage.log.partitions(AUDIT))
        for entry in await stage.log.read(StreamPartition(AUDIT, number), 0, 10, 1 << 20)
    ]
    first = next(entry.position for entry in audit if entry.kind == AUDIT_EVENTS)

    def spoiled(entry: LogEntry) -> LogEntry:
        return without_value(entry) if entry.position == first else entry

    _, events, complete = await read(stage.tracer(DamagedLog(stage.log, spoiled)).of_record(SHANXI, record_id))
    assert ([event.step for event in events], complete) == ([Step.PROCESSED], False)


async def test_of_a_case_with_records_of_several_publishers_each_sees_others_only_at_its_own(stage: Stage) -> None:
    own_id, own = await stage.publish(SHANXI, "hebei-police", "ministry")
    other_id, other = await stage.publish(HEBEI, "shanxi-police", "ministry")
    for principal, at in ((HEBEI, own), (MINISTRY, own), (SHANXI, other), (MINISTRY, other)):
        await stage.tell(principal, DeliveryMade(at, "cases", 1, ()))
    seen = {}
    for asking in (SHANXI, HEBEI, MINISTRY, AUDITOR):
        records, events, complete = await read(stage.tracer().of_case(asking, CASE))
        assert complete
        assert {record.record_id for record in records} == {own_id, other_id}
        seen[asking.agency] = {(event.agency, event.position) for event in events}
    at_ministry = {(MINISTRY.agency, own), (MINISTRY.agency, other)}
    whole = {(HEBEI.agency, own), (SHANXI.agency, other), *at_ministry}
    assert seen == {
        SHANXI.agency: whole - {(MINISTRY.agency, other)},
        HEBEI.agency: whole - {(MINISTRY.agency, own)},
        MINISTRY.agency: at_ministry,
        AUDITOR.agency: whole,
    }


async def test_of_a_case_with_many_records_the_first_are_traced_and_the_trace_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.services.tracing.MOST_RECORDS", 2)
    ids = [(await stage.publish(SHANXI, "hebei-police"))[0] for _ in range(3)]
    records, _, complete = await read(stage.tracer().of_case(SHANXI, CASE))
    assert ([record.record_id for record in records], complete) == (ids[:2], False)


async def test_refusals_that_an_older_broker_wrote_are_traced(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    record_id, at = await stage.publish(SHANXI, "hebei-police")
    # It kept only the events of dead letters apart, and named neither publisher nor agency.
    monkeypatch.setattr("broker.services.audittrail.FollowedEvent", DeadLetterEvent)
    await stage.tell(HEBEI, DeliveryRefused(at, "cases", "PHOTO_UNREADABLE"))
    _, events, complete = await read(stage.tracer().of_record(SHANXI, record_id))
    assert [(event.agency, event.step, event.code) for event in events] == [
        (HEBEI.agency, Step.REFUSED, "PHOTO_UNREADABLE")
    ]
    assert complete


async def test_an_agency_has_one_trace_at_a_time(stage: Stage) -> None:
    record_id, _ = await stage.publish(SHANXI, "hebei-police")
    tracer = stage.tracer()
    first = tracer.of_record(SHANXI, record_id)
    await anext(first)
    with pytest.raises(QuotaExceeded):
        await anext(tracer.of_record(SHANXI, record_id))
    assert len((await read(tracer.of_record(HEBEI, record_id)))[0]) == 1
    await first.aclose()  # type: ignore[attr-defined] # it is a generator
    assert len((await read(tracer.of_record(SHANXI, record_id)))[0]) == 1


async def test_of_a_damaged_record_nobody_is_the_publisher_and_nobody_gets_it(stage: Stage) -> None:
    record_id, at = await stage.publish(SHANXI, "hebei-police")
    damaged = DamagedLog(stage.log, lambda entry: without_value(entry) if entry.position == at else entry)
    with pytest.raises(RecordUnknown):
        await read(stage.tracer(damaged).of_record(SHANXI, record_id))
    for asking in (HEBEI, AUDITOR):
        ((record,), _, _) = await read(stage.tracer(damaged).of_record(asking, record_id))
        assert (record.publisher, [recipient.allowed for recipient in record.recipients]) == ("", [False])
