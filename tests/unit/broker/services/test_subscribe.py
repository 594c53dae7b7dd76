"""Subscriptions over a log in memory: real keys, real codec, a clock that the test sets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from structlog.testing import capture_logs

from broker.core import errors
from broker.core.entry import LogEntry
from broker.core.events import (
    DeadLetterEvent,
    DeadLetterMade,
    DeliveryConfirmed,
    DeliveryMade,
    DeliveryRefused,
    RecordsParked,
)
from broker.core.identity import Principal
from broker.core.leasing.ackstate import LOSSES_TO_SUSPECT
from broker.core.quota import QuotaLimits
from broker.messagelog.sqlite import SqliteLog
from broker.services import copies
from broker.services.deliveries import (
    Acknowledged,
    DeliveredCopy,
    Deliveries,
    Ended,
    LeasesLost,
    Outgoing,
    SubscribeLimits,
)
from broker.services.erasureorders import ErasureOrders
from broker.services.quotas import Quotas
from broker.services.sendqueue import SendQueue
from broker.services.subscribe import SubscriberStream, SubscribeService, SubscriptionRequest
from broker.services.subscription_log import LINES_A_MINUTE
from broker.telemetry import allow_fields
from broker.trust.system import SystemEntropy
from tests.support.damage import DamagedLog, rewritten, without_value
from tests.support.fakes import FixedDirectory, ListedAudit, NothingOrdered, NothingSetAside
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CASE, CODEC, OTHER_CASE, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from broker.core.envelope import Envelope
    from broker.core.events import AuditEvent
    from broker.ports import MessageLog
    from broker.services.publish import PublishService

SHANXI = Principal("case-exchange.example", "shanxi-police", "gateway")
LAB = Principal("case-exchange.example", "national-dna-database", "gateway")
NGO = Principal("case-exchange.example", "child-aid-ngo", "gateway")
LIMITS = SubscribeLimits(lease_seconds=30, max_attempts=3, subscriptions=3)


class Exchange(NamedTuple):
    pki: SamplePki
    clock: ManualClock
    log: SqliteLog
    audit: ListedAudit
    maker: RecordMaker
    publisher: PublishService
    subscriber: SubscribeService

    async def publish(self, *envelopes: Envelope) -> None:
        outcome = await self.publisher.publish(SHANXI, envelopes)
        assert not [result for result in outcome.results if isinstance(result, Exception)]

    async def open(self, name: str = "samples", *, records: int = 100, principal: Principal = LAB) -> SubscriberStream:
        return await self.subscriber.open(principal, request(name, records=records))

    async def restart(self) -> SubscribeService:
        await self.subscriber.drain()
        return subscribe_service(self.pki, self.log, self.audit, self.clock)


def request(
    name: str = "samples", *, kinds: tuple[str, ...] = ("SampleRequest",), records: int = 100
) -> SubscriptionRequest:
    return SubscriptionRequest(name, frozenset(kinds), records, 1 << 20, None)


def subscribe_service(pki: SamplePki, log: MessageLog, audit: ListedAudit, clock: ManualClock) -> SubscribeService:
    return SubscribeService(
        orders=ErasureOrders(),
        directory=FixedDirectory(pki.directory),
        codec=CODEC,
        log=log,
        audit=audit,
        entropy=SystemEntropy(),
        clock=clock,
        limits=LIMITS,
        quotas=Quotas(lambda _: QuotaLimits(), clock),
        letters=NothingSetAside(),
        subscriptions=NothingOrdered(),
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def exchange(pki: SamplePki) -> AsyncIterator[Exchange]:
    clock = ManualClock(pki.now_ms + 1000)
    log = await SqliteLog.open(None, clock)
    audit = ListedAudit()
    publisher = publish_service(pki, log, clock, audit=audit)
    subscriber = subscribe_service(pki, log, audit, clock)
    yield Exchange(pki, clock, log, audit, RecordMaker(pki, clock), publisher, subscriber)
    await subscriber.drain()
    await log.close()


async def told(stream: SubscriberStream) -> Outgoing:
    async with asyncio.timeout(60):
        return await stream.next()


async def delivered(stream: SubscriberStream, count: int = 1) -> list[DeliveredCopy]:
    copies: list[DeliveredCopy] = []
    while len(copies) < count:
        outgoing = await told(stream)
        assert isinstance(outgoing, Deliveries)
        copies += outgoing.copies
    return copies


async def test_a_record_is_delivered_and_its_acknowledgement_confirmed(exchange: Exchange) -> None:
    envelope = exchange.maker.make()
    await exchange.publish(envelope)
    stream = await exchange.open()
    (copy,) = await delivered(stream)
    assert copy.envelope == envelope
    assert copy.attempt == 1
    stream.ack([copy.delivery_id])
    assert await told(stream) == Acknowledged((copy.delivery_id,))


async def test_what_was_acknowledged_is_not_delivered_after_a_restart_and_the_rest_is(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make(), exchange.maker.make(case=OTHER_CASE))
    stream = await exchange.open()
    first, second = await delivered(stream, 2)
    stream.ack([first.delivery_id])
    assert await told(stream) == Acknowledged((first.delivery_id,))
    service = await exchange.restart()
    again = await service.open(LAB, request())
    (copy,) = await delivered(again)
    assert copy.position == second.position
    await service.drain()


async def test_a_confirmed_acknowledgement_holds_though_the_broker_dies_at_once(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make(), exchange.maker.make(case=OTHER_CASE))
    stream = await exchange.open()
    first, second = await delivered(stream, 2)
    stream.ack([first.delivery_id])
    assert await told(stream) == Acknowledged((first.delivery_id,))
    # Nothing is drained. So another broker finds only what was committed before the confirmation.
    service = subscribe_service(exchange.pki, exchange.log, exchange.audit, exchange.clock)
    (copy,) = await delivered(await service.open(LAB, request()))
    assert copy.position == second.position
    await service.drain()


async def test_an_acknowledgement_that_comes_while_another_is_made_durable_is_confirmed_too(exchange: Exchange) -> None:
    class SlowAudit(ListedAudit):
        async def record(self, events: Sequence[AuditEvent]) -> None:
            if any(isinstance(event.event, DeliveryConfirmed) for event in events):
                stream.ack([second.delivery_id] if not self.events else [])
                await super().record(events)

    await exchange.publish(exchange.maker.make(), exchange.maker.make(case=OTHER_CASE))
    service = subscribe_service(exchange.pki, exchange.log, SlowAudit(), exchange.clock)
    stream = await service.open(LAB, request())
    first, second = await delivered(stream, 2)
    stream.ack([first.delivery_id])
    for copy in (first, second):
        outgoing = await told(stream)
        assert isinstance(outgoing, Acknowledged)
        assert outgoing.delivery_ids == (copy.delivery_id,)
    await service.drain()


async def test_a_delivery_is_in_the_audit_trail_before_it_is_handed_over_and_its_acknowledgement_too(
    exchange: Exchange,
) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    (copy,) = await delivered(stream)
    assert [event.event for event in exchange.audit.events] == [DeliveryMade(copy.position, "samples", 1, ())]
    assert exchange.audit.events[0].principal == LAB.spiffe_id
    stream.ack([copy.delivery_id])
    await told(stream)
    assert exchange.audit.events[1].event == DeliveryConfirmed(copy.position, "samples")


async def test_records_of_one_case_come_one_after_the_other_and_other_cases_meanwhile(exchange: Exchange) -> None:
    records = [exchange.maker.make(), exchange.maker.make(), exchange.maker.make(case=OTHER_CASE)]
    await exchange.publish(*records)
    stream = await exchange.open()
    copies = await delivered(stream, 2)
    assert {copy.envelope.body for copy in copies} == {records[0].body, records[2].body}
    stream.ack([copy.delivery_id for copy in copies])
    assert isinstance(await told(stream), Acknowledged | Deliveries)


async def test_a_refused_record_is_finished_and_audited_with_its_code_and_nothing_waits_behind_it(
    exchange: Exchange,
) -> None:
    await exchange.publish(*(exchange.maker.make() for _ in range(3)))
    stream = await exchange.open(records=1)
    (poison,) = await delivered(stream)
    stream.ack([poison.delivery_id], {poison.delivery_id: "RECORD_INVALID"})
    (successor,) = await delivered(stream)
    assert successor.position.offset == poison.position.offset + 1
    assert await told(stream) == Acknowledged((poison.delivery_id,))
    stream.close()
    restarted = await exchange.restart()
    (again,) = await delivered(await restarted.open(LAB, request(records=1)))
    assert again.position == successor.position
    answers = [event for event in exchange.audit.events if not isinstance(event.event, DeliveryMade)]
    assert [(event.principal, event.event) for event in answers] == [
        (LAB.spiffe_id, DeliveryRefused(poison.position, "samples", "RECORD_INVALID", (), "shanxi-police", LAB.agency))
    ]


async def test_answers_are_in_vain_that_are_to_nothing_that_the_stream_was_handed_or_come_again(
    exchange: Exchange,
) -> None:
    await exchange.publish(*(exchange.maker.make(case=case) for case in (CASE, OTHER_CASE)))
    stream = await exchange.open()
    ids = [copy.delivery_id for copy in await delivered(stream, 2)]
    unknown = [number for number in range(1, 1000) if number not in ids]
    exchange.clock.value_ms += 31_000
    await exchange.publish(exchange.maker.make(case=CASE))
    await told(stream)
    # Both leases have ended, and one record came again: three deliveries, so three answers may be late.
    assert [stream.ack(ids[:1]) for _ in range(4)] == [0, 0, 0, 1]
    assert stream.ack(unknown) == len(unknown)
    assert stream.nack(1, 0) == 1
    assert stream.extend(1, 10) == 1


@pytest.mark.parametrize("code", ["", "a code"])
async def test_a_refusal_without_a_proper_code_acknowledges_nothing(exchange: Exchange, code: str) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    (copy,) = await delivered(stream)
    with pytest.raises(errors.InputRefused, match="code"):
        stream.ack([copy.delivery_id], {copy.delivery_id: code})
    stream.ack([copy.delivery_id], {copy.delivery_id: "A" * 64})
    assert await told(stream) == Acknowledged((copy.delivery_id,))


async def test_a_refusal_of_a_delivery_that_the_acknowledgement_does_not_name_acknowledges_nothing(
    exchange: Exchange,
) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    (copy,) = await delivered(stream)
    with pytest.raises(errors.InputRefused, match="does not name"):
        stream.ack([copy.delivery_id], {copy.delivery_id + 1: "RECORD_INVALID"})
    stream.ack([copy.delivery_id])
    assert await told(stream) == Acknowledged((copy.delivery_id,))


async def test_a_record_given_back_comes_again_with_the_next_attempt_number(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    (copy,) = await delivered(stream)
    stream.nack(copy.delivery_id, 0)
    (again,) = await delivered(stream)
    assert again.attempt == 2
    assert again.delivery_id != copy.delivery_id


async def test_after_its_last_attempt_a_record_is_a_dead_letter_and_its_case_is_parked(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make(), exchange.maker.make())
    stream = await exchange.open()
    position = None
    for _ in range(LIMITS.max_attempts):
        (copy,) = await delivered(stream)
        position = copy.position
        stream.nack(copy.delivery_id, 0)
    await exchange.publish(exchange.maker.make(case=OTHER_CASE))
    (other,) = await delivered(stream)
    assert position is not None
    assert CODEC.parse_body(other.envelope.body).case_id == OTHER_CASE
    told = [event.event for event in exchange.audit.events if isinstance(event.event, DeadLetterEvent)]
    successor = position._replace(offset=position.offset + 1)
    assert told == [
        DeadLetterMade(position, "samples", LIMITS.max_attempts, LAB.agency, CASE, publisher="shanxi-police"),
        RecordsParked(successor, "samples", LAB.agency, CASE),
    ]


async def test_a_record_given_up_in_silence_is_reported_with_its_last_holder_and_its_suspicion_is_in_the_log(
    exchange: Exchange,
) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    (first,) = await delivered(stream)
    with capture_logs() as logs:
        while not (dead := [event for event in exchange.audit.events if isinstance(event.event, DeadLetterMade)]):
            exchange.clock.value_ms += 31_000
            # It wakes the subscription, which then sees that the lease has ended. In doubt this record comes alone.
            await exchange.publish(exchange.maker.make(case=OTHER_CASE))
            (other,) = await delivered(stream)
            if other.position == first.position:
                continue
            stream.ack([other.delivery_id])
            while not isinstance(await told(stream), Acknowledged):
                pass
            # Longer than a suspect rests.
            exchange.clock.value_ms += 200_000
            stream.ack([])
            await asyncio.sleep(0)
    made = [event.event for event in exchange.audit.events if isinstance(event.event, DeliveryMade)]
    assert len([each for each in made if each.position == first.position]) >= LOSSES_TO_SUSPECT + LIMITS.max_attempts
    assert [(event.principal, event.event) for event in dead] == [
        (
            LAB.spiffe_id,
            DeadLetterMade(first.position, "samples", LIMITS.max_attempts, LAB.agency, CASE, "", "shanxi-police"),
        )
    ]
    assert [(line["event"], line["position"], line["subscription"]) for line in logs] == [
        ("a record is a suspect", str(first.position), "samples"),
        ("a suspect is a dead letter", str(first.position), "samples"),
    ]
    for line in logs:
        written = {name: value for name, value in line.items() if name != "log_level"}
        assert allow_fields(None, "", dict(written)) == written


async def test_a_record_that_is_postponed_is_no_dead_letter_and_a_restart_knows_of_no_failed_attempt(
    exchange: Exchange,
) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    for attempt in range(1, 2 * LIMITS.max_attempts):
        (copy,) = await delivered(stream)
        assert copy.attempt == attempt
        stream.nack(copy.delivery_id, 0, transient=True)
    await delivered(stream)
    stream.close()
    restarted = await exchange.restart()
    (copy,) = await delivered(await restarted.open(LAB, request()))
    assert copy.attempt == 1
    assert not [event for event in exchange.audit.events if isinstance(event.event, DeadLetterMade)]


async def test_refused_records_are_in_the_log_a_few_a_minute_and_the_next_line_counts_the_others(
    exchange: Exchange,
) -> None:
    cases = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(LINES_A_MINUTE + 8)]
    await exchange.publish(*(exchange.maker.make(case=case) for case in cases))
    stream = await exchange.open()
    *flood, last, processed = await delivered(stream, len(cases))
    with capture_logs() as logs:
        stream.ack([copy.delivery_id for copy in flood], {copy.delivery_id: "KIT_UNKNOWN" for copy in flood})
        await told(stream)
        exchange.clock.value_ms += 60_000
        assert len(logs) == LINES_A_MINUTE
        stream.ack([last.delivery_id, processed.delivery_id], {last.delivery_id: "KIT_LOST"})
        await told(stream)
    common = {"event": "a record was refused", "agency": LAB.agency, "subscription": "samples", "log_level": "info"}
    said = [(str(copy.position), "KIT_UNKNOWN") for copy in flood[:LINES_A_MINUTE]]
    assert [{**common, "position": position, "code": code} for position, code in said] == logs[:-1]
    assert logs[-1] == {**common, "position": str(last.position), "code": "KIT_LOST", "count": 6}
    written = {name: value for name, value in logs[-1].items() if name != "log_level"}
    assert allow_fields(None, "", dict(written)) == written


async def test_a_record_that_is_postponed_for_long_is_an_error_in_the_log_once_an_hour(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    alarmed = []
    for minutes in range(0, 7 * 60, 10):
        with capture_logs() as logs:
            (copy,) = await delivered(stream)
            stream.nack(copy.delivery_id, 0, transient=True)
        alarmed += [
            (minutes, line["log_level"], allow_fields(None, "", line)["hours"]) for line in logs if "position" in line
        ]
        exchange.clock.value_ms += 600_000
    assert alarmed == [(240, "error", 4.0), (300, "error", 5.0), (360, "error", 6.0)]
    # What was finished is forgotten, and what is given back soon is no news.
    await exchange.publish(exchange.maker.make(case=OTHER_CASE))
    copies = await delivered(stream, 2)
    with capture_logs() as logs:
        stream.ack([copies[0].delivery_id])
        stream.nack(copies[1].delivery_id, 0, transient=True)
    assert logs == []


async def test_the_alarm_of_a_postponed_record_does_not_begin_again_with_the_broker(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make())
    (copy,) = await delivered(stream := await exchange.open())
    stream.nack(copy.delivery_id, 0, transient=True)
    stream.close()
    exchange.clock.value_ms += 5 * 3_600_000
    with capture_logs() as logs:
        stream = await (await exchange.restart()).open(LAB, request())
        (copy,) = await delivered(stream)
        stream.nack(copy.delivery_id, 0, transient=True)
    (alarm,) = [line for line in logs if line["log_level"] == "error"]
    assert (alarm["position"], alarm["hours"]) == (str(copy.position), 5.0)


async def test_an_expired_lease_ends_and_a_late_acknowledgement_is_answered_as_lost(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    (copy,) = await delivered(stream)
    exchange.clock.value_ms += 31_000
    # Any event that wakes the subscription makes it look at the clock.
    await exchange.publish(exchange.maker.make(case=OTHER_CASE))
    (other,) = await delivered(stream)
    assert other.position != copy.position
    stream.ack([copy.delivery_id])
    assert await told(stream) == LeasesLost((copy.delivery_id,))
    stream.ack([other.delivery_id])
    (again,) = await delivered(stream)
    assert (again.position, again.attempt) == (copy.position, 2)


async def test_a_clean_close_gives_records_back_at_once_and_without_a_failed_attempt(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make())
    first, second = await exchange.open(), await exchange.open()
    (copy,) = await delivered(first)
    first.close()
    (again,) = await delivered(second)
    assert again.position == copy.position


async def test_a_lost_stream_keeps_its_leases_and_another_may_acknowledge_them(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make())
    first, second = await exchange.open(), await exchange.open()
    (copy,) = await delivered(first)
    first.lost()
    second.ack([copy.delivery_id])
    assert await told(second) == Acknowledged((copy.delivery_id,))


async def test_a_stream_has_never_more_outstanding_than_it_asked_for(exchange: Exchange) -> None:
    cases = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(20)]
    await exchange.publish(*(exchange.maker.make(case=case) for case in cases))
    stream = await exchange.open(records=5)
    outstanding: set[int] = set()
    seen = 0
    while seen < len(cases):
        outgoing = await told(stream)
        if isinstance(outgoing, Deliveries):
            seen += len(outgoing.copies)
            outstanding |= {copy.delivery_id for copy in outgoing.copies}
            assert len(outstanding) <= 5
            stream.ack([outstanding.pop()])


async def test_sections_that_an_agency_may_not_have_are_withheld(exchange: Exchange) -> None:
    from broker.client.composing import SectionDraft  # noqa: PLC0415 - beside its one use

    sections = (SectionDraft("case", "T", b"open"), SectionDraft("identity", "T", b"withheld-canary"))
    record = exchange.maker.make(
        "CaseRecord", "cases", to=("child-aid-ngo",), purpose="child-rescue", sections=sections
    )
    await exchange.publish(record)
    stream = await exchange.subscriber.open(NGO, request(kinds=("CaseRecord",)))
    (copy,) = await delivered(stream)
    assert copy.withheld_sections == ("identity",)
    assert b"withheld-canary" not in CODEC.encode_envelope(copy.envelope)
    assert copy.envelope.body == record.body


async def test_records_for_others_are_passed_over(exchange: Exchange) -> None:
    mine = exchange.maker.make("CaseRecord", "cases", to=("child-aid-ngo",), purpose="child-rescue")
    others = exchange.maker.make("CaseRecord", "cases", to=("hebei-police",), purpose="child-rescue")
    await exchange.publish(others, mine)
    stream = await exchange.subscriber.open(NGO, request(kinds=("CaseRecord",)))
    (copy,) = await delivered(stream)
    assert copy.envelope.body == mine.body


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        pytest.param(request(name="No Name"), errors.SubscriptionInvalid, id="name"),
        pytest.param(request(kinds=()), errors.SubscriptionInvalid, id="no kinds"),
        pytest.param(request(records=0), errors.SubscriptionInvalid, id="flow control"),
        pytest.param(request(kinds=("Gossip",)), errors.KindUnknown, id="unknown kind"),
        pytest.param(request(kinds=("MatchNotification",)), errors.RightDenied, id="right"),
    ],
)
async def test_what_may_not_be_is_refused(
    exchange: Exchange, asked: SubscriptionRequest, error: type[errors.CaseExchangeError]
) -> None:
    with pytest.raises(error):
        await exchange.subscriber.open(LAB, asked)


async def test_streams_that_share_a_subscription_want_the_same_kinds(exchange: Exchange) -> None:
    await exchange.open()
    with pytest.raises(errors.SubscriptionInvalid):
        await exchange.subscriber.open(LAB, request(kinds=("SampleRequest", "Closure")))


async def test_there_is_a_bound_on_subscriptions(exchange: Exchange) -> None:
    for number in range(LIMITS.subscriptions):
        await exchange.open(f"number-{number}")
    with pytest.raises(errors.Overloaded):
        await exchange.open("one-too-many")


async def test_a_drain_ends_streams_with_a_reason_and_opens_no_more(exchange: Exchange) -> None:
    stream = await exchange.open()
    await exchange.subscriber.drain()
    ended = await told(stream)
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, errors.Draining)
    with pytest.raises(errors.Draining):
        await exchange.open()


async def test_a_subscription_that_everyone_left_opens_again_where_it_stood(exchange: Exchange) -> None:
    await exchange.publish(exchange.maker.make())
    stream = await exchange.open()
    (copy,) = await delivered(stream)
    stream.close()
    again = await exchange.open()
    (same,) = await delivered(again)
    assert same.position == copy.position


def other_section(entry: LogEntry) -> LogEntry:
    (section,) = CODEC.decode_envelope(entry.value).sections
    return rewritten(entry, sections=(section._replace(content=bytes(16) + b"rewritten-canary"),))


def other_body(entry: LogEntry) -> LogEntry:
    body = CODEC.parse_body(CODEC.decode_envelope(entry.value).body)
    return rewritten(entry, body=CODEC.encode_body(replace(body, purpose="child-rescue")))


def as_it_is(entry: LogEntry) -> LogEntry:
    return entry


DAMAGE = [
    pytest.param(without_value, "is lost", id="lost"),
    pytest.param(lambda entry: LogEntry.lost(entry.position, entry.log_id), "is lost", id="lost with its facts"),
    pytest.param(lambda entry: entry._replace(value=b"rubbish"), "is not a record", id="no record"),
    pytest.param(lambda entry: rewritten(entry, body=b"\xff\xff"), "is not a record", id="no body"),
    pytest.param(other_body, "holds another record", id="another body"),
    pytest.param(other_section, "is not a record", id="another section"),
    pytest.param(lambda entry: rewritten(entry, sections=()), "is not a record", id="a section less"),
    pytest.param(lambda entry: entry._replace(ordering_key=OTHER_CASE), "another kind or case", id="another case"),
    pytest.param(lambda entry: entry._replace(kind="Closure"), "another kind or case", id="another kind"),
]


@pytest.mark.parametrize(("change", "told_as"), DAMAGE)
async def test_a_damaged_record_is_handed_to_nobody_and_set_aside_while_the_others_go_on(
    exchange: Exchange, change: Callable[[LogEntry], LogEntry], told_as: str
) -> None:
    damaged, later, other = exchange.maker.make(), exchange.maker.make(), exchange.maker.make(case=OTHER_CASE)
    await exchange.publish(damaged, later, other)
    ids = [CODEC.parse_body(each.body).record_id_bytes for each in (damaged, later, other)]
    found = await exchange.log.lookup(ids)
    position, *sound = (found[each].position for each in ids)
    (entry,) = await exchange.log.read(position.stream_partition, position.offset, 1, 1)
    log = DamagedLog(exchange.log, lambda entry: (change if entry.position == position else as_it_is)(entry))
    service = subscribe_service(exchange.pki, log, exchange.audit, exchange.clock)
    with capture_logs(processors=[allow_fields]) as lines:
        stream = await service.open(LAB, request())
        copies = await delivered(stream, 2)
    assert {copy.position for copy in copies} == set(sound)
    stream.ack([copy.delivery_id for copy in copies])
    assert isinstance(await told(stream), Acknowledged)
    dead = [event.event for event in exchange.audit.events if isinstance(event.event, DeadLetterMade)]
    # Its bytes are sound if only its place was changed, and then they name its publisher.
    publisher = "shanxi-police" if told_as == "another kind or case" else ""
    case = change(entry).ordering_key
    assert dead == [DeadLetterMade(position, "samples", 0, LAB.agency, case, "LOG_CORRUPT", publisher)]
    assert not [event for event in exchange.audit.events if isinstance(event.event, RecordsParked)]
    (line,) = (line for line in lines if line["log_level"] == "error")
    assert (line["position"], line["subscription"], line["reason"]) == (str(position), "samples", "LOG_CORRUPT")
    assert told_as in line["cause"]
    assert "publishes the same record again" in line["remedy"]
    # It is finished, so no reconnect meets it again.
    await service.drain()
    again = subscribe_service(exchange.pki, log, exchange.audit, exchange.clock)
    await exchange.publish(exchange.maker.make())
    assert len(await delivered(await again.open(LAB, request()))) == 1
    assert [event.event for event in exchange.audit.events if isinstance(event.event, DeadLetterMade)] == dead
    await again.drain()


async def test_a_log_in_which_everything_is_damaged_ends_the_subscription(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "MOST_DAMAGED", 3)
    cases = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(8)]
    await exchange.publish(*(exchange.maker.make(case=case) for case in cases))
    log = DamagedLog(exchange.log, without_value)
    service = subscribe_service(exchange.pki, log, exchange.audit, exchange.clock)
    ended = await told(await service.open(LAB, request(records=1)))
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, errors.LogCorrupt)
    dead = [event for event in exchange.audit.events if isinstance(event.event, DeadLetterMade)]
    assert len(dead) == 3
    await service.drain()


def handed(stream: SubscriberStream) -> int:
    """How many deliveries the stream was handed and did not write."""
    return len(stream._consumer.outgoing._unwritten)


async def test_a_stream_that_writes_nothing_is_not_handed_the_same_bytes_again_when_its_leases_end(
    exchange: Exchange,
) -> None:
    cases = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(25)]
    await exchange.publish(*(exchange.maker.make(case=case) for case in cases[:20]))
    slow = await exchange.open()
    async with asyncio.timeout(60):
        while handed(slow) < 20:  # noqa: ASYNC110 - a stream that writes nothing tells nobody
            await asyncio.sleep(0)
    quick = await exchange.open(records=1)
    for case in cases[20:]:
        exchange.clock.value_ms += 31_000
        # It wakes the subscription, which looks at the clock and then goes through its streams.
        await exchange.publish(exchange.maker.make(case=case))
        await delivered(quick)
        assert handed(slow) == 20
    # Once it has written what it was handed, it gets records again.
    assert len({copy.position for copy in await delivered(slow, 20)}) == 20
    (again,) = await delivered(slow)
    assert again.attempt > 1


async def test_a_subscriber_whose_answers_wait_is_not_listened_to() -> None:
    queue = SendQueue()
    for _ in range(1000):
        queue.put(LeasesLost((1,)))
    waiting = asyncio.create_task(queue.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await queue.next()
    await asyncio.wait_for(waiting, 60)
