"""Where subscriptions begin, and what their agencies order, on every backend of the message log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.errors import InputRefused, LogCorrupt, SubscriptionChanged, SubscriptionInUse, SubscriptionUnknown
from broker.core.events import AuditEvent, Cause, DeadLetterMade, SubscriptionBegun, SubscriptionDeleted
from broker.core.identity import Principal
from broker.core.leasing.ackstate import AckState
from broker.core.subscriptions import EARLIEST, Generation, StartPoint
from broker.messagelog.sqlite import SqliteLog
from broker.ports import SubscriptionKey
from broker.services.auditindex import Scope
from broker.services.deliveries import Ended
from broker.services.erasureorders import ErasureOrders
from broker.services.restoring import Restoring
from broker.trust.signing import Ed25519NoteSigner
from tests.support.kafkalog import LogOnKafka
from tests.support.letters import audit_trail
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CASE, CODEC, OTHER_CASE, RecordMaker
from tests.support.subscribing import LAB, NAME, SAMPLE, SECONDS, Subscribing, delivered, taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.streams import StreamPartition
    from broker.ports import MessageLog

SHANXI = Principal("case-exchange.example", "shanxi-police", "gateway")
KEY = SubscriptionKey(LAB.agency, NAME)
LATEST = StartPoint(latest=True)
CORRECTION = "Correction"


class Exchange(NamedTuple):
    """Two processes on one log, and what publishes to it."""

    pki: SamplePki
    clock: ManualClock
    one: Subscribing
    two: Subscribing
    maker: RecordMaker

    async def publish(self, count: int, kind: str = SAMPLE, case: str = CASE) -> list[bytes]:
        """Returns the bodies."""
        purpose = "correction" if kind == CORRECTION else "dna-matching"
        envelopes = [self.maker.make(kind, case=case, purpose=purpose) for _ in range(count)]
        outcome = await publish_service(self.pki, self.one.log, self.clock).publish(SHANXI, envelopes)
        assert not [result for result in outcome.results if isinstance(result, Exception)]
        return [envelope.body for envelope in envelopes]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
async def exchange(request: pytest.FixtureRequest, pki: SamplePki) -> AsyncIterator[Exchange]:
    clock = ManualClock(pki.now_ms + 1000)
    logs: list[MessageLog]
    if request.param == "kafka":
        signer = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.generate())
        on_kafka = LogOnKafka(request.getfixturevalue("kafka_cluster"), signer, clock)
        logs = [await on_kafka.open(), await on_kafka.open()]
    else:
        # One broker owns the file. The second process is the same one after a restart.
        logs = [await SqliteLog.open(None, clock)] * 2
    one, two = (
        Subscribing.of(pki, log, clock, peer=peer, max_attempts=1)
        for log, peer in zip(logs, reversed(logs), strict=True)
    )
    following = [asyncio.create_task(process.run()) for process in (one, two)]
    yield Exchange(pki, clock, one, two, RecordMaker(pki, clock))
    for process in (one, two):
        await process.streams.drain()
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    for log in set(logs):
        await log.close()


async def test_a_new_subscription_begins_with_the_first_record(exchange: Exchange) -> None:
    bodies = await exchange.publish(2)
    assert await exchange.one.take(2) == bodies
    (begun,) = await exchange.one.orders()
    assert begun == SubscriptionBegun(NAME, LAB.agency, 0, Cause.CREATED, EARLIEST, (SAMPLE,), (), ())


async def test_latest_is_what_is_accepted_after_the_subscription_was_made(exchange: Exchange) -> None:
    await exchange.publish(2)
    stream = await exchange.one.open(start=LATEST)
    later = await exchange.publish(1)
    assert await taken(stream, 1) == later
    (begun,) = await exchange.one.orders()
    assert isinstance(begun, SubscriptionBegun)
    assert (begun.asked, sum(moved.skipped for moved in begun.moved)) == (LATEST, 2)
    assert (await exchange.one.state()).skipped == 2


async def test_a_time_is_the_first_record_that_was_accepted_at_it_or_later(exchange: Exchange) -> None:
    await exchange.publish(2)
    exchange.clock.value_ms += 1000
    at_ms = exchange.clock.value_ms
    bodies = await exchange.publish(2)
    exchange.clock.value_ms += 1000
    bodies += await exchange.publish(1)
    assert await exchange.one.take(3, start=StartPoint(time_ms=at_ms)) == bodies


async def test_a_time_that_comes_is_no_start(exchange: Exchange) -> None:
    with pytest.raises(InputRefused):
        await exchange.one.open(start=StartPoint(time_ms=exchange.clock.value_ms + 1))
    assert await exchange.one.orders() == []


async def test_a_crash_between_creation_and_the_first_commit_changes_no_start(exchange: Exchange) -> None:
    await exchange.publish(2)
    # The process ends when the event is durable, and nothing was read or committed.
    await exchange.one.subscriptions.generation(LAB, KEY, frozenset({SAMPLE}), LATEST)
    later = await exchange.publish(2)
    assert await exchange.two.take(2, start=EARLIEST) == later


async def test_two_processes_that_make_it_at_once_make_one(exchange: Exchange) -> None:
    await exchange.publish(1)
    kinds = frozenset({SAMPLE})
    asked = [process.subscriptions.generation(LAB, KEY, kinds, LATEST) for process in (exchange.one, exchange.two)]
    made = await asyncio.gather(*asked)
    await exchange.one.know()
    in_force = await exchange.one.subscriptions.generation(LAB, KEY, kinds, EARLIEST)
    assert made == [in_force, in_force]
    await exchange.two.know()
    assert await exchange.two.subscriptions.generation(LAB, KEY, kinds, EARLIEST) == in_force


async def test_a_list_says_where_a_subscription_stands(exchange: Exchange) -> None:
    first_ms = exchange.clock.value_ms
    bodies = await exchange.publish(3)
    stream = await exchange.one.open()
    await delivered(stream)
    state = await exchange.two.state()
    assert (state.key, state.kinds, state.readers, state.generation) == (KEY, frozenset({SAMPLE}), 1, 0)
    assert sum(place.behind for place in state.places) == 3
    assert [place.oldest_ms for place in state.places if place.behind] == [first_ms]
    await exchange.one.closed(stream)
    assert await exchange.two.take(3) == bodies
    exchange.clock.value_ms += 1000
    await exchange.publish(1)
    state = await exchange.one.state()
    assert (state.readers, sum(place.behind for place in state.places)) == (0, 1)
    assert [place.oldest_ms for place in state.places if place.behind] == [exchange.clock.value_ms]


async def test_a_kind_that_is_added_begins_where_the_request_says(exchange: Exchange) -> None:
    samples = await exchange.publish(2)
    assert await exchange.one.take(2) == samples
    old = await exchange.publish(2, CORRECTION)
    later = await exchange.publish(1)
    # Nothing of the old kind comes again, and nothing of the new kind is passed over.
    assert await exchange.one.take(3, (SAMPLE, CORRECTION)) == old + later
    _, changed = await exchange.one.orders()
    assert isinstance(changed, SubscriptionBegun)
    assert (changed.cause, changed.generation) == (Cause.KINDS_CHANGED, 1)
    assert [(moved.before > 0, moved.to, moved.skipped) for moved in changed.moved] == [(True, 0, 0)]
    last = await exchange.publish(1, CORRECTION)
    assert await exchange.two.take(1, (SAMPLE, CORRECTION)) == last


async def test_a_kind_that_is_added_from_now_on_tells_what_it_skips(exchange: Exchange) -> None:
    await exchange.publish(3, CORRECTION)
    samples = await exchange.publish(1)
    assert await exchange.one.take(1) == samples
    undone = await exchange.publish(1)
    stream = await exchange.one.open((SAMPLE, CORRECTION), LATEST)
    new = await exchange.publish(1, CORRECTION)
    assert await taken(stream, 2) == undone + new
    await exchange.one.closed(stream)
    assert (await exchange.two.state()).skipped == 3


async def test_a_kind_that_is_removed_and_comes_again_goes_on_where_it_was(exchange: Exchange) -> None:
    both = (SAMPLE, CORRECTION)
    await exchange.one.closed(await exchange.one.open(both, LATEST))
    bodies = await exchange.publish(1) + await exchange.publish(1, CORRECTION)
    assert await exchange.one.take(2, both, LATEST) == bodies
    meanwhile = await exchange.publish(2, CORRECTION)
    later = await exchange.publish(1)
    assert await exchange.one.take(1) == later
    # A move is about the kinds that the subscription has.
    await exchange.one.subscriptions.seek(LAB, NAME, LATEST)
    assert await exchange.one.take(2, both, LATEST) == meanwhile
    state = await exchange.one.state()
    assert (state.skipped, state.kinds) == (0, frozenset(both))


async def test_a_kind_that_was_removed_before_any_record_of_it_came_is_not_new(exchange: Exchange) -> None:
    await exchange.one.closed(await exchange.one.open((SAMPLE, CORRECTION)))
    await exchange.one.closed(await exchange.one.open())
    meanwhile = await exchange.publish(2, CORRECTION)
    assert await exchange.one.take(2, (SAMPLE, CORRECTION), LATEST) == meanwhile


async def test_a_deletion_counts_what_waits_of_a_kind_that_was_removed(exchange: Exchange) -> None:
    await exchange.one.closed(await exchange.one.open((SAMPLE, CORRECTION)))
    await exchange.one.closed(await exchange.one.open())
    await exchange.publish(2, CORRECTION)
    assert await exchange.one.subscriptions.delete(LAB, NAME) == (2, 0)


async def test_other_kinds_are_refused_while_another_process_reads(exchange: Exchange) -> None:
    stream = await exchange.one.open()
    with pytest.raises(SubscriptionInUse):
        await exchange.two.open((SAMPLE, CORRECTION))
    await exchange.one.closed(stream)
    await exchange.two.closed(await exchange.two.open((SAMPLE, CORRECTION)))


async def test_a_seek_back_delivers_again(exchange: Exchange) -> None:
    bodies = await exchange.publish(2)
    assert await exchange.one.take(2) == bodies
    assert await exchange.one.subscriptions.seek(LAB, NAME, EARLIEST) == 0
    assert await exchange.two.take(2) == bodies
    exchange.clock.value_ms += 1000
    later = await exchange.publish(1)
    assert await exchange.two.take(1) == later
    assert await exchange.two.subscriptions.seek(LAB, NAME, StartPoint(time_ms=exchange.clock.value_ms)) == 0
    assert await exchange.one.take(1) == later


async def test_a_seek_forward_says_what_it_skips(exchange: Exchange) -> None:
    bodies = await exchange.publish(1)
    assert await exchange.one.take(1) == bodies
    await exchange.publish(3)
    assert await exchange.one.subscriptions.seek(LAB, NAME, LATEST) == 3
    later = await exchange.publish(1)
    assert await exchange.two.take(1) == later
    *_, sought = await exchange.two.orders()
    assert isinstance(sought, SubscriptionBegun)
    assert (sought.cause, sought.generation, sought.asked) == (Cause.SOUGHT, 1, LATEST)
    assert [(moved.skipped, moved.before < moved.to) for moved in sought.moved if moved.skipped] == [(3, True)]
    state = await exchange.one.state()
    assert (state.skipped, sum(place.behind for place in state.places)) == (3, 0)


async def test_no_order_while_a_stream_is_open(exchange: Exchange) -> None:
    stream = await exchange.one.open()
    await exchange.two.know()
    for order in (exchange.two.subscriptions.seek(LAB, NAME, LATEST), exchange.two.subscriptions.delete(LAB, NAME)):
        with pytest.raises(SubscriptionInUse, match=NAME):
            await order
    await exchange.one.closed(stream)
    assert await exchange.two.subscriptions.seek(LAB, NAME, LATEST) == 0


async def test_who_opens_a_stream_sees_an_order_that_did_not_see_it(exchange: Exchange) -> None:
    """The order and the stream began together, and the order saw no reader."""
    bodies = await exchange.publish(2)
    generation = await exchange.one.subscriptions.generation(LAB, KEY, frozenset({SAMPLE}), EARLIEST)
    await exchange.two.know()
    assert await exchange.two.subscriptions.seek(LAB, NAME, LATEST) == 2
    await exchange.one.know()
    with pytest.raises(SubscriptionChanged):
        await exchange.one.subscriptions.check(KEY, generation)
    assert await exchange.one.subscriptions.seek(LAB, NAME, EARLIEST) == 0
    assert await exchange.one.take(2) == bodies


async def test_a_stream_ends_when_its_process_learns_of_an_order(exchange: Exchange) -> None:
    stream = await exchange.one.open()
    begun = SubscriptionBegun(NAME, LAB.agency, 1, Cause.SOUGHT, EARLIEST, (SAMPLE,), (), ())
    order = AuditEvent(exchange.clock.now_ms(), LAB.spiffe_id, begun)
    await audit_trail(exchange.pki, exchange.two.log, exchange.clock).record([order])
    async with asyncio.timeout(SECONDS):
        assert isinstance(await stream.next(), Ended)
    stream.lost()
    bodies = await exchange.publish(1)
    assert await exchange.one.take(1) == bodies
    assert (await exchange.one.state()).generation == 1


async def test_who_stops_listening_for_orders_ends_nobody_elses(exchange: Exchange) -> None:
    await exchange.one.closed(await exchange.one.open())
    first: list[object] = []
    second: list[object] = []
    end_first = exchange.one.subscriptions.listen(KEY, first.append)
    end_second = exchange.one.subscriptions.listen(KEY, second.append)
    end_first()
    await exchange.one.subscriptions.seek(LAB, NAME, LATEST)
    assert (len(first), len(second)) == (0, 1)
    end_second()
    await exchange.one.subscriptions.seek(LAB, NAME, EARLIEST)
    assert len(second) == 1


async def test_a_deleted_subscription_is_gone_and_one_of_its_name_is_new(exchange: Exchange) -> None:
    bodies = await exchange.publish(2)
    stream = await exchange.one.open()
    stream.nack((await delivered(stream)).delivery_id, 0)
    async with asyncio.timeout(SECONDS):
        while exchange.one.letters.count(LAB, Scope()).dead_letters == 0:
            await exchange.one.letters.catch_up()
            await asyncio.sleep(0.01)
    await exchange.one.closed(stream)
    await exchange.two.know()
    closed = await exchange.two.subscriptions.delete(LAB, NAME)
    *_, gone = await exchange.two.orders()
    assert isinstance(gone, SubscriptionDeleted)
    assert closed == (sum(moved.skipped for moved in gone.moved), 2)
    assert gone.set_aside == 2
    assert gone.generation == 1
    await exchange.one.know()
    assert exchange.one.letters.count(LAB, Scope())[:2] == (0, 0)
    assert [each async for each in exchange.one.subscriptions.listed(LAB, "")] == []
    for order in (exchange.one.subscriptions.seek(LAB, NAME, LATEST), exchange.one.subscriptions.delete(LAB, NAME)):
        with pytest.raises(SubscriptionUnknown):
            await order
    assert await exchange.two.take(2) == bodies
    assert (await exchange.one.state()).generation == 2


async def test_an_order_that_began_before_a_deletion_does_not_undo_it(exchange: Exchange) -> None:
    await exchange.one.closed(await exchange.one.open())
    await exchange.two.know()
    await exchange.two.subscriptions.delete(LAB, NAME)
    # The rest of a seek that another process began before.
    sought = SubscriptionBegun(NAME, LAB.agency, 1, Cause.SOUGHT, EARLIEST, (SAMPLE,), (), ())
    order = AuditEvent(exchange.clock.now_ms(), LAB.spiffe_id, sought)
    await audit_trail(exchange.pki, exchange.one.log, exchange.clock).record([order])
    for process in (exchange.one, exchange.two):
        await process.know()
        assert [each async for each in process.subscriptions.listed(LAB, "")] == []


async def test_another_agency_learns_nothing_of_a_name(exchange: Exchange) -> None:
    await exchange.one.closed(await exchange.one.open())
    for name in (NAME, "nothing"):
        with pytest.raises(SubscriptionUnknown) as refused:
            await exchange.one.subscriptions.seek(SHANXI, name, LATEST)
        assert refused.value.message == "the agency has no subscription of this name"
        with pytest.raises(SubscriptionUnknown):
            await exchange.one.subscriptions.delete(SHANXI, name)
    assert [each async for each in exchange.one.subscriptions.listed(SHANXI, "")] == []


async def test_a_seek_back_leaves_dead_letters_and_what_is_parked(exchange: Exchange) -> None:
    before = await exchange.publish(1)
    assert await exchange.one.take(1) == before
    stream = await exchange.one.open()
    await exchange.publish(1)
    stream.nack((await delivered(stream)).delivery_id, 0)
    await exchange.publish(1)
    others = await exchange.publish(1, case=OTHER_CASE)
    assert await taken(stream, 1) == others
    async with asyncio.timeout(SECONDS):
        while exchange.one.letters.count(LAB, Scope())[:2] != (1, 1):
            await exchange.one.letters.catch_up()
            await asyncio.sleep(0.01)
    await exchange.one.closed(stream)
    await exchange.one.subscriptions.seek(LAB, NAME, EARLIEST)
    # The record before the dead letter of its case comes again, and does not wait behind it.
    assert sorted(await exchange.two.take(2)) == sorted(before + others)
    await exchange.two.know()
    assert exchange.two.letters.count(LAB, Scope())[:2] == (1, 1)


async def test_a_damaged_record_that_is_published_again_goes_to_a_subscription_whose_kinds_were_changed_meanwhile(
    exchange: Exchange,
) -> None:
    envelope = exchange.maker.make(SAMPLE)
    publish = publish_service(
        exchange.pki,
        exchange.one.log,
        exchange.clock,
        restoring=Restoring(None, CODEC, exchange.one.letters, ErasureOrders()),
    )
    await publish.publish(SHANXI, [envelope])
    assert await exchange.one.take(1) == [envelope.body]
    (appended,) = (await exchange.one.log.lookup([UUID(CODEC.parse_body(envelope.body).record_id).bytes])).values()
    # It was damaged when the subscription met it.
    dead = DeadLetterMade(appended.position, NAME, 0, LAB.agency, CASE, LogCorrupt.reason)
    await audit_trail(exchange.pki, exchange.one.log, exchange.clock).record(
        [AuditEvent(exchange.clock.now_ms(), LAB.spiffe_id, dead)]
    )
    both = (SAMPLE, CORRECTION)
    await exchange.two.closed(await exchange.two.open(both))
    await exchange.one.know()
    await publish.publish(SHANXI, [envelope])
    assert await exchange.two.take(1, both) == [envelope.body]
    await exchange.one.know()
    assert exchange.one.letters.count(LAB, Scope())[:2] == (0, 0)
    # Once is enough, and a subscription without the kind is left alone.
    await publish.publish(SHANXI, [envelope])
    later = await exchange.publish(1)
    assert await exchange.two.take(1, both) == later


@pytest.mark.parametrize(("generation", "next_one"), [(0, 0), (3, 4)], ids=["from before", "order lost"])
async def test_one_that_is_known_by_its_places_alone_is_not_new(
    exchange: Exchange, generation: int, next_one: int
) -> None:
    bodies = await exchange.publish(2)
    await exchange.one.know()
    cursor = await exchange.one.log.open_cursor(KEY, frozenset({SAMPLE}), Generation(generation))
    assigned: set[StreamPartition] = set()
    states: dict[StreamPartition, AckState] = {}
    async with asyncio.timeout(SECONDS):
        while len(assigned) < exchange.one.log.partitions("dna"):
            await cursor.wait()
            assigned |= {change.partition for change in cursor.assignment_changes()}
    for partition in assigned:
        page = await cursor.read(partition, 1, 1)
        if page.entries:
            states[partition] = AckState(page.next_offset)
    assert await cursor.commit(states) == states.keys()
    await cursor.close()
    # A place of a generation that has no event says nothing. Nothing is skipped for it, whatever the request says.
    assert await exchange.one.take(2 if generation else 1, start=LATEST) == (bodies if generation else bodies[1:])
    assert (await exchange.one.state()).generation == next_one
