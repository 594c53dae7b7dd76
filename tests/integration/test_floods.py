"""What one agency asks for in vain costs the broker little, however much it is: in counts, over real gRPC and TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.client.publisher import Published
from broker.client.subscriber import SubscribeOptions
from broker.core.events import DeliveryMade
from broker.core.leasing.terms import FIRST_CREDIT
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, AUDIT_EVENTS, StreamPartition
from broker.services.turns import AT_ONCE_SECONDS
from caseexchange.broker.v1 import subscriber_pb2
from tests.support.exchange import running_exchange
from tests.support.records import CODEC

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

LAB = "national-dna-database"
KINDS = frozenset({"SampleRequest"})
RECORDS = 300
"""Each of another case. More than 256, which are read at a time."""


async def published(exchange: Exchange, count: int) -> None:
    maker = exchange.maker()
    batch = [maker.make(case=f"01990000-0000-4000-8000-{number:012d}") for number in range(count)]
    async with (await exchange.publisher()).stream() as stream:
        assert all(isinstance(result, Published) for result in await stream.publish(batch))


async def opened(exchange: Exchange, name: str) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """An open subscription that asks for much. What it was sent is not read."""
    channel = await exchange.channel(LAB)
    call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
        "/caseexchange.broker.v1.SubscriberService/Subscribe"
    )()
    opening = subscriber_pb2.OpenSubscription(
        subscription=name, kinds=KINDS, max_outstanding_records=1000, max_outstanding_bytes=32 << 20
    )
    await call.write(subscriber_pb2.SubscribeRequest(open=opening).SerializeToString())
    await call.read()
    return call


async def taken(exchange: Exchange) -> list[int]:
    """How many records each message has, for a subscription that acknowledges all."""
    sizes: list[int] = []
    options = SubscribeOptions("quick", KINDS, 1000, 32 << 20)
    async with (await exchange.subscriber(LAB)).subscribe(options) as stream:
        async for batch in stream:
            sizes.append(len(batch))
            await stream.ack([each.delivery_id for each in batch])
            if sum(sizes) == RECORDS:
                break
    return sizes


async def delivered(exchange: Exchange, name: str) -> int:
    """How many deliveries to a subscription the audit stream has."""
    entries = await exchange.broker.log.read(StreamPartition(AUDIT, 0), 0, 10_000, 1 << 30)
    made = [
        told.event
        for entry in entries
        if entry.kind == AUDIT_EVENTS
        for section in CODEC.decode_envelope(entry.value).sections
        for told in CODEC.decode_audit_events(unsalted(section))
        if isinstance(told.event, DeliveryMade) and told.event.subscription == name
    ]
    return sum(len(list(event.positions())) for event in made)


async def test_a_subscriber_that_reads_nothing_is_leased_little_and_one_that_acknowledges_gets_all(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange, asyncio.timeout(60):
        await published(exchange, RECORDS)
        silent = await opened(exchange, "silent")
        sizes: list[int] = []
        async with (await exchange.subscriber(LAB)).subscribe(
            SubscribeOptions("quick", KINDS, 1000, 32 << 20)
        ) as quick:
            async for batch in quick:
                sizes.append(len(batch))
                await quick.ack([each.delivery_id for each in batch])
                if sum(sizes) == RECORDS:
                    break
        assert sizes[0] <= FIRST_CREDIT
        # What is durable after the last acknowledgement says all that the silent one was ever leased.
        assert await delivered(exchange, "silent") == FIRST_CREDIT
        assert await delivered(exchange, "quick") == RECORDS
        silent.cancel()


async def test_a_stream_that_acknowledges_what_never_was_is_soon_held_back(pki: SamplePki, tmp_path: Path) -> None:
    """Each message has as many ids as may be outstanding. It costs its sender as much as ten refused calls."""
    async with (
        running_exchange(pki, tmp_path / "log", quotas={"refusals_per_second": 1}) as exchange,
        asyncio.timeout(60),
    ):
        call = await opened(exchange, "acks")
        began = asyncio.get_running_loop().time()
        ids = subscriber_pb2.Acknowledge(delivery_ids=range(1, 1001))
        for _ in range(50):
            await call.write(subscriber_pb2.SubscribeRequest(acknowledge=ids).SerializeToString())
        answers = list[bytes]()

        async def read() -> None:
            while data := await call.read():
                assert isinstance(data, bytes)
                answers.append(data)

        reading = asyncio.create_task(read())
        # Others go on meanwhile.
        await published(exchange, RECORDS)
        assert sum(await taken(exchange)) == RECORDS
        passed = asyncio.get_running_loop().time() - began
        lost = [
            each for each in map(subscriber_pb2.SubscribeResponse.FromString, answers) if each.HasField("leases_lost")
        ]
        assert 1 <= len(lost) <= 2 + passed / 10
        reading.cancel()
        call.cancel()


async def test_calls_over_the_quota_wait_before_they_are_refused_so_that_they_do_not_come_again_at_once(
    pki: SamplePki, tmp_path: Path
) -> None:
    quotas = {"calls": 50, "refusals_per_second": 1}
    async with running_exchange(pki, tmp_path / "log", quotas=quotas) as exchange, asyncio.timeout(60):
        idle = [await opened(exchange, f"idle-{number}") for number in range(50)]
        began = asyncio.get_running_loop().time()
        over = [asyncio.create_task(opened(exchange, "over")) for _ in range(40)]
        # Others go on meanwhile.
        await published(exchange, RECORDS)
        for _ in range(5):
            await published(exchange, 1)
        refused = sum(each.done() for each in over)
        passed = asyncio.get_running_loop().time() - began
        # Some are refused at once, and then one each second.
        assert AT_ONCE_SECONDS <= refused <= AT_ONCE_SECONDS + 2 + passed
        for each in over:
            each.cancel()
        for call in idle:
            call.cancel()
        await asyncio.gather(*over, return_exceptions=True)
