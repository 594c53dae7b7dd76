"""One agency that uses everything that it may stops no other. Over real gRPC and mutual TLS."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from broker.client.composing import SectionDraft
from broker.client.directories import directories_in_force
from broker.client.publisher import Published
from broker.client.subscriber import SubscribeOptions
from broker.client.subscriptions import SubscriptionsClient
from broker.core.errors import QuotaExceeded, SubscriptionInUse
from broker.wire.status import DETAILS_KEY
from tests.support.exchange import running_exchange

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.envelope import Envelope
    from tests.support.pki import SamplePki

KINDS = frozenset({"SampleRequest"})
NOTICES = frozenset({"PublicNotice"})
CASES = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(3)]


async def running_call(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """A call that does nothing. An answer has shown that it runs."""
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        "/caseexchange.broker.v1.PublisherService/PublishStream"
    )
    call = method()
    await call.write(b"")
    await call.read()
    return call


async def test_calls_of_one_agency_do_not_use_up_those_of_the_others(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", quotas={"calls": 10}) as exchange, asyncio.timeout(60):
        channel = await exchange.channel("shanxi-police")
        idle = [await running_call(channel) for _ in range(10)]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running_call(channel)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = dict(refused.value.trailing_metadata())[DETAILS_KEY]
        assert isinstance(details, bytes)
        retry = error_details_pb2.RetryInfo()
        assert any(each.Unpack(retry) for each in status_pb2.Status.FromString(details).details)
        assert retry.retry_delay.ToMilliseconds() > 0
        other = await exchange.publisher("hebei-police")
        await other.publish(exchange.maker("hebei-police").make())
        for call in idle:
            call.cancel()
        # As soon as the calls have ended, the agency may call again.
        while True:
            try:
                await (await exchange.publisher()).publish(exchange.maker().make())
            except QuotaExceeded:
                await asyncio.sleep(0)
            else:
                break


async def test_connections_with_calls_of_one_agency_are_limited(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", quotas={"connections": 3}) as exchange, asyncio.timeout(60):
        idle = [await running_call(await exchange.channel("shanxi-police")) for _ in range(3)]
        one_more = await exchange.channel("shanxi-police")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running_call(one_more)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "connections" in (refused.value.details() or "")
        details = dict(refused.value.trailing_metadata())[DETAILS_KEY]
        assert isinstance(details, bytes)
        retry = error_details_pb2.RetryInfo()
        assert any(each.Unpack(retry) for each in status_pb2.Status.FromString(details).details)
        assert retry.retry_delay.ToMilliseconds() > 0
        other = await exchange.publisher("hebei-police")
        await other.publish(exchange.maker("hebei-police").make())
        # When a call has ended, its connection does not count any more, and another one may be used.
        idle[0].cancel()
        while True:
            try:
                await running_call(one_more)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                await asyncio.sleep(0)
            else:
                break


async def test_open_subscriptions_of_one_agency_are_limited(pki: SamplePki, tmp_path: Path) -> None:
    async with (
        running_exchange(pki, tmp_path / "log", quotas={"subscriptions": 3}) as exchange,
        AsyncExitStack() as stack,
        asyncio.timeout(60),
    ):
        subscriber = await exchange.subscriber("national-dna-database")
        for number in range(3):
            await stack.enter_async_context(subscriber.subscribe(SubscribeOptions(f"number-{number}", KINDS)))
        # A second stream of an open subscription is no other subscription.
        await stack.enter_async_context(subscriber.subscribe(SubscribeOptions("number-0", KINDS)))
        with pytest.raises(QuotaExceeded):
            await stack.enter_async_context(subscriber.subscribe(SubscribeOptions("number-3", KINDS)))


async def test_durable_subscriptions_of_one_agency_are_limited_until_it_deletes_one(
    pki: SamplePki, tmp_path: Path
) -> None:
    limits = {"durable_subscriptions": 2}
    async with running_exchange(pki, tmp_path / "log", quotas=limits) as exchange, asyncio.timeout(60):
        subscriber = await exchange.subscriber("national-dna-database")
        names = ["number-0", "number-1"]
        for name in names:
            async with subscriber.subscribe(SubscribeOptions(name, KINDS)):
                pass
        more = SubscribeOptions("number-2", KINDS)
        with pytest.raises(QuotaExceeded):
            async with subscriber.subscribe(more):
                pass
        async with (await exchange.subscriber("ministry")).subscribe(SubscribeOptions("other", NOTICES)):
            pass
        client = SubscriptionsClient(await exchange.channel("national-dna-database"))
        while True:
            try:
                await client.delete(names[0])
            except SubscriptionInUse:
                # The stream that was closed may not have ended at the broker.
                await asyncio.sleep(0.05)
            else:
                break
        async with subscriber.subscribe(more):
            pass
        assert {state.key.name async for state in client.listed()} == {names[1], "number-2"}


async def test_a_new_version_of_the_directory_gives_one_agency_other_quotas_at_once(
    pki: SamplePki, tmp_path: Path
) -> None:
    path = tmp_path / "directory.json"
    path.write_bytes(pki.directory.document)
    dna = pki.directory.agency("national-dna-database")
    few = {**pki.directory.agencies, dna.id: replace(dna, limits={"subscriptions": 1})}
    async with (
        running_exchange(pki, tmp_path / "log", trust={"directory": str(path)}) as exchange,
        AsyncExitStack() as stack,
        asyncio.timeout(60),
    ):
        subscriber, other = await exchange.subscriber(dna.id), await exchange.subscriber("ministry")
        for number in range(2):
            await stack.enter_async_context(subscriber.subscribe(SubscribeOptions(f"number-{number}", KINDS)))
        newer = pki.sign(replace(pki.directory, version=pki.directory.version + 1, agencies=few))
        path.write_bytes(newer)
        channel = await exchange.channel("ministry")
        while True:
            if await directories_in_force(channel) == [newer]:
                break
            await asyncio.sleep(0.05)
        with pytest.raises(QuotaExceeded):
            await stack.enter_async_context(subscriber.subscribe(SubscribeOptions("number-2", KINDS)))
        for number in range(2):
            options = SubscribeOptions(f"number-{number}", NOTICES)
            await stack.enter_async_context(other.subscribe(options))


async def test_subscriptions_that_share_a_full_quota_still_get_every_record(pki: SamplePki, tmp_path: Path) -> None:
    """Each record is larger than all that the agency may hold, and nothing is acknowledged before all have one."""
    limits = {"undelivered_bytes": 1 << 20}
    async with (
        running_exchange(pki, tmp_path / "log", quotas=limits) as exchange,
        AsyncExitStack() as stack,
        asyncio.timeout(60),
    ):
        publisher, maker = await exchange.publisher(), exchange.maker()
        large = (SectionDraft("case", "synthetic", bytes(1 << 20)),)
        for number in range(3):
            await publisher.publish(maker.make(case=CASES[number], sections=large))
        subscriber = await exchange.subscriber("national-dna-database")
        streams = [
            await stack.enter_async_context(subscriber.subscribe(SubscribeOptions(f"number-{number}", KINDS)))
            for number in range(2)
        ]
        batches = [aiter(stream) for stream in streams]
        for _ in range(3):
            got = [await anext(each) for each in batches]
            assert [len(batch) for batch in got] == [1, 1]
            for stream, (delivered,) in zip(streams, got, strict=True):
                await stream.ack([delivered.delivery_id])


async def test_over_a_rate_records_wait_and_none_is_refused(pki: SamplePki, tmp_path: Path) -> None:
    limits = {"records_per_second": 20}
    async with running_exchange(pki, tmp_path / "log", quotas=limits) as exchange, asyncio.timeout(60):
        publisher, maker = await exchange.publisher(), exchange.maker()
        batches = [[maker.make() for _ in range(10)] for _ in range(10)]

        async def publish(part: list[list[Envelope]]) -> None:
            async with publisher.stream() as stream:
                for batch in part:
                    assert all(isinstance(each, Published) for each in await stream.publish(batch))

        # Also over several streams.
        began = asyncio.get_running_loop().time()
        await asyncio.gather(publish(batches[:5]), publish(batches[5:]))
        # Of 100 records 20 have room at once, and the last 10 may be too many.
        assert asyncio.get_running_loop().time() - began > (100 - 20 - 10) / 20 - 1
