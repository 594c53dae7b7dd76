"""A partition moves to another process and comes back, while a stream of the subscription stays open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.core.ackstate import AckState
from broker.core.entry import LogEntry, Page
from broker.core.identity import Principal
from broker.core.streams import Position, StreamPartition
from broker.ports import Assigned, Revoked, SubscriptionKey
from broker.services.deliveries import Deliveries, LeasesLost, SubscribeLimits
from broker.services.quotas import QuotaLimits, Quotas
from broker.services.subscribe import SubscribeService, SubscriptionRequest
from broker.trust.system import SystemEntropy
from tests.support.fakes import FixedDirectory, ListedAudit
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.ports import AssignmentChange

PARTITION = StreamPartition("dna", 0)
LAB = Principal("case-exchange.example", "national-dna-database", "gateway")


class MovingCursor:
    """A cursor of one partition. The test changes its assignment."""

    def __init__(self, entries: Sequence[LogEntry]) -> None:
        self._entries = entries
        self._next = 0
        self._changes: list[AssignmentChange] = [Assigned(PARTITION, AckState())]
        self._changed = asyncio.Event()
        self._changed.set()
        self.committed: list[AckState] = []

    def move(self, *changes: AssignmentChange) -> None:
        self._changes += changes
        self._next = 0
        self._changed.set()

    def assignment_changes(self) -> list[AssignmentChange]:
        changes, self._changes = self._changes, []
        self._changed.clear()
        return changes

    async def wait(self) -> None:
        await self._changed.wait()

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> Page:
        assert partition == PARTITION
        assert max_records > 0
        assert max_bytes > 0
        entries, self._next = self._entries[self._next :], len(self._entries)
        return Page([entry for entry in entries if entry.kind == "SampleRequest"], len(self._entries))

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        self.committed += states.values()
        return frozenset(states)

    async def close(self) -> None:
        self._changed.set()


class OneCursor:
    """A log that only has a cursor."""

    def __init__(self, cursor: MovingCursor) -> None:
        self._cursor = cursor

    async def open_cursor(self, subscription: SubscriptionKey, kinds: frozenset[str]) -> MovingCursor:
        assert subscription.agency == LAB.agency
        assert kinds == {"SampleRequest"}
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


async def test_an_acknowledgement_is_not_confirmed_where_its_partition_went_away_and_came_back_without_it(
    pki: SamplePki,
) -> None:
    clock = ManualClock(pki.now_ms)
    maker = RecordMaker(pki, clock)
    # The second is skipped, so that there is something to commit when the partition is back.
    cursor = MovingCursor([entry(maker, 0, "SampleRequest"), entry(maker, 1, "StrProfile")])
    service = SubscribeService(
        directory=FixedDirectory(pki.directory),
        codec=CODEC,
        log=OneCursor(cursor),  # type: ignore[arg-type] # nothing else of it is used
        audit=ListedAudit(),
        entropy=SystemEntropy(),
        clock=clock,
        limits=SubscribeLimits(),
        quotas=Quotas(QuotaLimits(), clock),
    )
    stream = await service.open(LAB, SubscriptionRequest("samples", frozenset({"SampleRequest"}), 10, 1 << 20, None))
    async with asyncio.timeout(10):
        first = await stream.next()
        assert isinstance(first, Deliveries)
        delivery_id = first.copies[0].delivery_id
        cursor.move(Revoked(PARTITION), Assigned(PARTITION, AckState()))
        stream.ack([delivery_id])
        told = [await stream.next(), await stream.next()]
        await service.drain()
    assert [item.delivery_ids for item in told if isinstance(item, LeasesLost)] == [(delivery_id,)]
    (again,) = [item for item in told if isinstance(item, Deliveries)]
    assert again.copies[0].position == first.copies[0].position
