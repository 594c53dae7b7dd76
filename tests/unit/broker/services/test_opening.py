"""Subscriptions that are opened at the same time: none waits for another's, and a quota holds for all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import QuotaExceeded
from broker.core.identity import Principal
from broker.core.subscriptions import EARLIEST, StartPoint
from broker.messagelog.sqlite import SqliteLog
from broker.services.subscribe import SubscriptionRequest
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import RecordMaker
from tests.support.subscribing import LAB, SAMPLE, SECONDS, Subscribing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.entry import Interest
    from broker.core.streams import StreamPartition

MINISTRY = Principal("case-exchange.example", "ministry", "gateway")
SHANXI = Principal("case-exchange.example", "shanxi-police", "gateway")
NOTICE = "PublicNotice"
LATEST = StartPoint(latest=True)


class SlowLog(SqliteLog):
    """Counts only when it may."""

    counting: asyncio.Event
    may_count: asyncio.Event

    async def count_wanted(self, partition: StreamPartition, offsets: Sequence[range], interest: Interest) -> int:
        self.counting.set()
        await self.may_count.wait()
        return await super().count_wanted(partition, offsets, interest)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


def request(name: str, kind: str, start: StartPoint = EARLIEST) -> SubscriptionRequest:
    return SubscriptionRequest(name, frozenset({kind}), 100, 1 << 20, None, start)


async def test_an_agency_opens_while_another_one_waits_for_its_count(pki: SamplePki) -> None:
    clock = ManualClock(pki.now_ms + 1000)
    log = await SlowLog.open(None, clock)
    assert isinstance(log, SlowLog)
    log.counting, log.may_count = asyncio.Event(), asyncio.Event()
    await publish_service(pki, log, clock).publish(SHANXI, [RecordMaker(pki, clock).make()])
    process = Subscribing.of(pki, log, clock, peer=log)
    async with asyncio.timeout(SECONDS):
        slow = [asyncio.create_task(process.streams.open(LAB, request("samples", SAMPLE, LATEST))) for _ in range(2)]
        await log.counting.wait()
        other = await process.streams.open(MINISTRY, request("notices", NOTICE))
        assert not any(task.done() for task in slow)
        log.may_count.set()
        streams = [*await asyncio.gather(*slow), other]
    assert len(await process.orders()) == 2
    assert len(process.streams._openings) == 0
    for stream in streams:
        stream.lost()
    await process.streams.drain()
    await log.close()


async def test_subscriptions_that_are_made_at_the_same_time_do_not_exceed_the_quota(pki: SamplePki) -> None:
    clock = ManualClock(pki.now_ms + 1000)
    log = await SqliteLog.open(None, clock)
    process = Subscribing.of(pki, log, clock, peer=log, durable=1)
    asked = [process.streams.open(LAB, request(f"number-{number}", SAMPLE)) for number in range(50)]
    async with asyncio.timeout(SECONDS):
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(each) for each in refused] == [QuotaExceeded] * 49
    assert len(await process.orders()) == 1
    await process.streams.drain()
    await log.close()
