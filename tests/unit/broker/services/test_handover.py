"""A partition moves to another process and comes back, while a stream of the subscription stays open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.core.entry import LogEntry, Page
from broker.core.errors import LogUnavailable
from broker.core.events import DeliveryConfirmed
from broker.core.identity import Principal
from broker.core.leasing.ackstate import AckState
from broker.core.quota import QuotaLimits
from broker.core.streams import Position, StreamPartition
from broker.core.subscriptions import FIRST
from broker.ports import Assigned, Revoked, SubscriptionKey
from broker.services.deliveries import Acknowledged, DeliveredCopy, Deliveries, Ended, LeasesLost, SubscribeLimits
from broker.services.erasureorders import ErasureOrders
from broker.services.quotas import Quotas
from broker.services.subscribe import SubscriberStream, SubscribeService, SubscriptionRequest
from broker.trust.system import SystemEntropy
from tests.support.fakes import FixedDirectory, ListedAudit, NothingOrdered, NothingSetAside
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.subscriptions import Generation
    from broker.ports import AssignmentChange

PARTITION = StreamPartition("dna", 0)
LAB = Principal("case-exchange.example", "national-dna-database", "gateway")


class MovingCursor:
    """A cursor of one partition. The test changes its assignment, and may hold commits up."""

    def __init__(self, entries: Sequence[LogEntry]) -> None:
        self._entries = entries
        self._next = 0
        self._changes: list[AssignmentChange] = [Assigned(PARTITION, AckState())]
        self._changed = asyncio.Event()
        self._changed.set()
        self.committed: list[AckState] = []
        self.waits = 0
        self._seen = 0
        self.commits = asyncio.Semaphore(1000)
        self.begun = asyncio.Event()
        self.stores = True
        self.knows = True

    def move(self, *changes: AssignmentChange) -> None:
        self._changes += changes
        self._next = 0
        self._changed.set()

    def assignment_changes(self) -> list[AssignmentChange]:
        changes, self._changes = self._changes, []
        self._changed.clear()
        self._seen += len(changes)
        return changes

    async def wait(self) -> None:
        self.waits += 1
        await self._changed.wait()

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> Page:
        assert partition == PARTITION
        assert max_records > 0
        assert max_bytes > 0
        if self._changes:
            return Page([], 0)
        entries, self._next = self._entries[self._next :], len(self._entries)
        return Page([entry for entry in entries if entry.kind == "SampleRequest"], len(self._entries))

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        self.committed += states.values()
        self.begun.set()
        seen = self._seen
        async with self.commits:
            # Otherwise a state could be committed under a later assignment than its own.
            assert self._seen == seen
        if not self.knows:
            message = "it is unknown whether this was stored"
            raise LogUnavailable(message)
        return frozenset(states) if self.stores else frozenset()

    async def close(self) -> None:
        self._changed.set()


class OneCursor:
    """A log that only has a cursor."""

    def __init__(self, cursor: MovingCursor) -> None:
        self._cursor = cursor

    async def open_cursor(
        self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> MovingCursor:
        assert subscription.agency == LAB.agency
        assert kinds == {"SampleRequest"}
        assert generation == FIRST
        return self._cursor


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


def entry(maker: RecordMaker, offset: int, kind: str) -> LogEntry:
    envelope = maker.make()
    body = CODEC.parse_body(envelope.body)
    to = tuple(recipient.agency for recipient in body.recipients)
    value = CODEC.encode_envelope(envelope)
    position = Position(*PARTITION, offset)
    return LogEntry(position, body.record_id_bytes, kind, body.case_id, to, envelope.record_sha256, 0, value, "log", 0)


async def open_stream(
    pki: SamplePki, cursor: MovingCursor, clock: ManualClock, audit: ListedAudit | None = None
) -> tuple[SubscribeService, SubscriberStream]:
    service = SubscribeService(
        orders=ErasureOrders(),
        directory=FixedDirectory(pki.directory),
        codec=CODEC,
        log=OneCursor(cursor),  # type: ignore[arg-type] # nothing else of it is used
        audit=ListedAudit() if audit is None else audit,
        entropy=SystemEntropy(),
        clock=clock,
        limits=SubscribeLimits(),
        quotas=Quotas(lambda _: QuotaLimits(), clock),
        letters=NothingSetAside(),
        subscriptions=NothingOrdered(),
    )
    options = SubscriptionRequest("samples", frozenset({"SampleRequest"}), 10, 1 << 20, None)
    return service, await service.open(LAB, options)


async def delivered(stream: SubscriberStream) -> DeliveredCopy:
    outgoing = await stream.next()
    assert isinstance(outgoing, Deliveries)
    (copy,) = outgoing.copies
    return copy


async def test_an_acknowledgement_is_not_confirmed_where_its_partition_went_away_and_came_back_without_it(
    pki: SamplePki,
) -> None:
    clock = ManualClock(pki.now_ms)
    maker = RecordMaker(pki, clock)
    # The second is skipped, so that there is something to commit when the partition is back.
    cursor = MovingCursor([entry(maker, 0, "SampleRequest"), entry(maker, 1, "StrProfile")])
    service, stream = await open_stream(pki, cursor, clock)
    async with asyncio.timeout(60):
        first = await delivered(stream)
        delivery_id = first.delivery_id
        cursor.move(Revoked(PARTITION), Assigned(PARTITION, AckState()))
        stream.ack([delivery_id])
        told = [await stream.next(), await stream.next()]
        await service.drain()
    assert [item.delivery_ids for item in told if isinstance(item, LeasesLost)] == [(delivery_id,)]
    (again,) = [item for item in told if isinstance(item, Deliveries)]
    assert again.copies[0].position == first.position


async def test_a_round_does_not_wait_for_the_commit_before_it_and_commits_keep_their_order(pki: SamplePki) -> None:
    clock = ManualClock(pki.now_ms)
    maker = RecordMaker(pki, clock)
    # All of one case, so that each is delivered when the one before it is acknowledged.
    cursor = MovingCursor([entry(maker, offset, "SampleRequest") for offset in range(3)])
    service, stream = await open_stream(pki, cursor, clock)
    async with asyncio.timeout(60):
        cursor.commits = asyncio.Semaphore(0)
        first = await delivered(stream)
        stream.ack([first.delivery_id])
        second = await delivered(stream)
        stream.ack([second.delivery_id])
        third = await delivered(stream)
        assert [state.floor for state in cursor.committed] == [1]
        cursor.commits.release()
        cursor.commits.release()
        told = [await stream.next(), await stream.next()]
        await service.drain()
    assert third.position.offset == 2
    assert told == [Acknowledged((first.delivery_id,)), Acknowledged((second.delivery_id,))]
    assert [state.floor for state in cursor.committed] == [1, 2]


async def test_a_partition_that_moves_during_a_commit_is_followed_after_it(pki: SamplePki) -> None:
    clock = ManualClock(pki.now_ms)
    cursor = MovingCursor([entry(RecordMaker(pki, clock), 0, "SampleRequest")])
    service, stream = await open_stream(pki, cursor, clock)
    async with asyncio.timeout(60):
        first = await delivered(stream)
        cursor.commits, cursor.stores = asyncio.Semaphore(0), False
        stream.ack([first.delivery_id])
        await cursor.begun.wait()
        before = cursor.waits
        cursor.move(Revoked(PARTITION), Assigned(PARTITION, AckState()))
        for _ in range(1000):
            await asyncio.sleep(0)
        # It does not ask again and again for news that it cannot take yet.
        assert cursor.waits <= before + 2
        cursor.commits.release()
        assert await stream.next() == LeasesLost((first.delivery_id,))
        again = await delivered(stream)
        await service.drain()
    assert again.position == first.position


async def test_if_the_log_does_not_know_whether_an_acknowledgement_holds_its_subscriber_is_told_neither(
    pki: SamplePki,
) -> None:
    clock, audit = ManualClock(pki.now_ms), ListedAudit()
    cursor = MovingCursor([entry(RecordMaker(pki, clock), 0, "SampleRequest")])
    service, stream = await open_stream(pki, cursor, clock, audit)
    async with asyncio.timeout(60):
        first = await delivered(stream)
        cursor.knows = False
        stream.ack([first.delivery_id])
        # Not Acknowledged, and not LeasesLost either.
        ended = await stream.next()
        await service.drain()
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, LogUnavailable)
    # Auditors have what is true in both cases: what the subscriber said.
    said = [each.event for each in audit.events if isinstance(each.event, DeliveryConfirmed)]
    assert said == [DeliveryConfirmed(first.position, "samples")]
