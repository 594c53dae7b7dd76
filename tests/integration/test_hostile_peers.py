"""An admitted peer that sends anything at all: typed refusals, no crash, nothing stored, and others are served."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import TYPE_CHECKING

import grpc
import pytest

from broker.core.streams import STREAMS, StreamPartition
from caseexchange.broker.v1 import auditor_pb2, envelope_pb2, publisher_pb2, publisher_pb2_grpc, subscriber_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.exchange import Exchange

SERVICE = "/caseexchange.broker.v1."
STREAMING = ("PublisherService/PublishStream", "SubscriberService/Subscribe")
UNARY = (
    "PublisherService/Publish",
    "AuditorService/GetCheckpoint",
    "AuditorService/GetProof",
    "DirectoryService/GetDirectory",
)
MALFORMED = [
    publisher_pb2.PublishRequest(),
    publisher_pb2.PublishRequest(envelope=envelope_pb2.Envelope(body=b"\xff" * 100)),
    publisher_pb2.PublishRequest(
        envelope=envelope_pb2.Envelope(
            body_type="application/vnd.case-exchange.body.v1+protobuf",
            body=envelope_pb2.Body(record_id="' OR 1=1 --", case_id="../../etc", stream="dna\n").SerializeToString(),
            signatures=[envelope_pb2.Signature()] * 3,
            sections=[envelope_pb2.Section(name="x" * 100_000)],
        )
    ),
]


ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
}


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as refused:
        return refused.code()
    return grpc.StatusCode.OK


async def stored(exchange: Exchange) -> int:
    log = exchange.broker.log
    found = 0
    for stream in STREAMS[:3]:
        for number in range(log.partitions(stream)):
            found += await log.end_offset(StreamPartition(stream, number))
    return found


async def still_serves(exchange: Exchange) -> None:
    assert await stored(exchange) == 0
    await (await exchange.publisher("hebei-police")).publish(exchange.maker("hebei-police").make())


@pytest.mark.parametrize("seed", range(5))
async def test_random_bytes_on_every_method_are_refused(exchange: Exchange, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's bytes, the same every time
    channel = await exchange.channel("shanxi-police")
    for method in (*UNARY, *STREAMING):
        for _ in range(20):
            data = chance.randbytes(chance.randint(0, 300))
            if method in UNARY:
                unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SERVICE + method)
                assert await code_of(unary(data, timeout=60)) in ANSWERS
                continue
            streaming: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(SERVICE + method)
            stream = streaming(timeout=60)
            await stream.write(data)
            assert await code_of(stream.read()) in ANSWERS
    await still_serves(exchange)


@pytest.mark.parametrize("request_", MALFORMED, ids=["empty", "no body", "hostile fields"])
async def test_malformed_records_are_refused_by_name(
    exchange: Exchange, request_: publisher_pb2.PublishRequest
) -> None:
    channel = await exchange.channel("shanxi-police")
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SERVICE + "PublisherService/Publish")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(request_.SerializeToString(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "etc" not in (refused.value.details() or "")
    await still_serves(exchange)


@pytest.mark.parametrize(
    "later",
    [
        subscriber_pb2.SubscribeRequest(),
        subscriber_pb2.SubscribeRequest(open=subscriber_pb2.OpenSubscription(subscription="again")),
        subscriber_pb2.SubscribeRequest(acknowledge=subscriber_pb2.Acknowledge(delivery_ids=[0, 1, 2**64 - 1])),
        subscriber_pb2.SubscribeRequest(negative_acknowledge=subscriber_pb2.NegativeAcknowledge(delivery_id=5)),
        subscriber_pb2.SubscribeRequest(
            acknowledge=subscriber_pb2.Acknowledge(
                delivery_ids=[1], refusals=[subscriber_pb2.DeliveryRefusal(delivery_id=1, code="\x1b[2J")]
            )
        ),
        subscriber_pb2.SubscribeRequest(
            acknowledge=subscriber_pb2.Acknowledge(
                refusals=[subscriber_pb2.DeliveryRefusal(delivery_id=n, code="A") for n in range(5000)]
            )
        ),
    ],
    ids=["empty", "open again", "ack of nothing", "nack of nothing", "refused without a code", "refusals of nothing"],
)
async def test_a_subscriber_that_breaks_the_rules_hurts_itself_only(
    exchange: Exchange, later: subscriber_pb2.SubscribeRequest
) -> None:
    channel = await exchange.channel("national-dna-database")
    call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(SERVICE + "SubscriberService/Subscribe")()
    opening = subscriber_pb2.OpenSubscription(
        subscription="s", kinds=["SampleRequest"], max_outstanding_records=2**32 - 1, max_outstanding_bytes=2**63
    )
    await call.write(subscriber_pb2.SubscribeRequest(open=opening).SerializeToString())
    async with asyncio.timeout(60):
        await call.read()
        await call.write(later.SerializeToString())
        assert await code_of(call.read()) in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
    call.cancel()
    await still_serves(exchange)


MANY = 2_000_000
"""Of the smallest parts, that is a message of four megabytes."""
TOO_MANY = {
    "envelopes": ("PublisherService/PublishStream", b"\x0a\x00" * MANY),
    "envelopes of a small message": ("PublisherService/PublishStream", b"\x0a\x00" * 1001),
    "sections of an envelope": ("PublisherService/PublishStream", b"\x0a\x80\x92\xf4\x01" + b"\x22\x00" * MANY),
    "sections of the only envelope": ("PublisherService/Publish", b"\x0a\x80\x92\xf4\x01" + b"\x22\x00" * MANY),
    "streams to replay": ("AuditorService/Replay", b"\x0a\x01p" + b"\x12\x00" * MANY),
    "streams of a small request": ("AuditorService/Replay", b"\x0a\x01p" + b"\x12\x00" * 1000),
    "kinds": ("SubscriberService/Subscribe", b"\x0a\x80\x92\xf4\x01" + b"\x12\x00" * MANY),
    "kinds of a small request": ("SubscriberService/Subscribe", b"\x0a\xd0\x0f" + b"\x12\x00" * 1000),
    "a long name": ("AuditorService/GetCheckpoint", b"\x0a\x80\x92\xf4\x01" + b"x" * 2 * MANY),
}


@pytest.mark.parametrize("what", TOO_MANY)
async def test_a_request_of_very_many_parts_is_refused_before_it_costs_anything(exchange: Exchange, what: str) -> None:
    method, data = TOO_MANY[what]
    channel = await exchange.channel("national-audit")
    call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(SERVICE + method)
    stream = call(timeout=60)
    await stream.write(data)
    await stream.done_writing()
    # A thousand of the records would be refused one by one: an answer with as many results.
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await still_serves(exchange)


def large_messages() -> int:
    """How many byte strings of a megabyte or more the objects of this process hold."""
    held = (one for each in gc.get_objects() for one in gc.get_referents(each))
    return len({id(one) for one in held if type(one) is bytes and len(one) >= 1 << 20})


@pytest.mark.parametrize("method", ["PublisherService/PublishStream", "SubscriberService/Subscribe"])
async def test_a_refused_request_is_freed_at_once_and_not_when_garbage_is_collected(
    exchange: Exchange, method: str
) -> None:
    channel = await exchange.channel("national-audit")
    call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(SERVICE + method)
    gc.collect()
    before = large_messages()
    gc.disable()
    try:
        for _ in range(5):
            stream = call(timeout=60)
            await stream.write(b"\x0a\x00" * (1 << 20))
            await stream.done_writing()
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.read()
            del stream
        # The answer to another call shows that the broker has done with these.
        await still_serves(exchange)
        assert large_messages() <= before + 1
    finally:
        gc.enable()


@pytest.mark.parametrize("method", ["PublisherService/Publish", "SubscriberService/Subscribe"])
async def test_a_refused_call_leaves_next_to_nothing_for_the_garbage_collector(exchange: Exchange, method: str) -> None:
    """It stops everybody while it runs: for a tenth of a second when two thousand such calls had come together."""
    channel = await exchange.channel("national-audit")
    call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(SERVICE + method)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            stream = call(timeout=60)
            await stream.done_writing()
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.read()
        await still_serves(exchange)
        assert sum(isinstance(each, grpc.aio.AbortError) for each in gc.get_objects()) <= 1
    finally:
        gc.enable()


async def test_an_acknowledgement_of_more_than_can_be_outstanding_ends_its_stream_only(exchange: Exchange) -> None:
    channel = await exchange.channel("national-dna-database")
    call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(SERVICE + "SubscriberService/Subscribe")()
    opening = subscriber_pb2.OpenSubscription(
        subscription="s", kinds=["SampleRequest"], max_outstanding_records=100, max_outstanding_bytes=1 << 20
    )
    await call.write(subscriber_pb2.SubscribeRequest(open=opening).SerializeToString())
    ids = subscriber_pb2.Acknowledge(delivery_ids=range(101))
    async with asyncio.timeout(60):
        await call.read()
        await call.write(subscriber_pb2.SubscribeRequest(acknowledge=ids).SerializeToString())
        assert await code_of(call.read()) is grpc.StatusCode.INVALID_ARGUMENT
    await still_serves(exchange)


async def test_compressed_messages_are_refused(exchange: Exchange) -> None:
    """They could become far larger than any limit for what is sent."""
    channel = await exchange.channel("shanxi-police")
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SERVICE + "PublisherService/Publish")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"\x0a\x00" * 1000, timeout=60, compression=grpc.Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await still_serves(exchange)


async def test_positions_far_outside_are_unknown(exchange: Exchange) -> None:
    channel = await exchange.channel("shanxi-police")
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SERVICE + "AuditorService/GetCheckpoint")
    for stream, partition in (("dna", 2**32 - 1), ("", 0), ("../dna", 0), ("audit", 1)):
        request = auditor_pb2.GetCheckpointRequest(stream=stream, partition=partition)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request.SerializeToString(), timeout=60)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    await still_serves(exchange)


async def test_headers_that_are_too_large_and_methods_that_do_not_exist_are_refused(exchange: Exchange) -> None:
    channel = await exchange.channel("shanxi-police")
    large: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        SERVICE + "DirectoryService/GetDirectory"
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await large(b"", metadata=(("x-large", "y" * 100_000),), timeout=60)
    assert refused.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    for method in (SERVICE + "PublisherService/Nothing", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
        absent: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await absent(b"", timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await still_serves(exchange)


async def test_a_batch_of_nothing_and_a_batch_of_much_are_answered(exchange: Exchange) -> None:
    maker = exchange.maker()
    async with (await exchange.publisher()).stream() as stream:
        assert await stream.publish([]) == []
        assert len(await stream.publish([maker.make() for _ in range(500)])) == 500


async def test_records_that_are_refused_one_by_one_are_freed_with_their_answer(exchange: Exchange) -> None:
    """Before, each refused batch was a cycle of its errors and their frames: some batches filled the memory."""
    channel = await exchange.channel("national-audit")
    batch = publisher_pb2.PublishStreamRequest(envelopes=[envelope_pb2.Envelope(body=bytes(1 << 20))] * 3)
    gc.collect()
    before = large_messages()
    gc.disable()
    try:
        for _ in range(3):
            stream = publisher_pb2_grpc.PublisherServiceStub(channel).PublishStream(timeout=60)
            await stream.write(batch)
            answer = await stream.read()
            assert isinstance(answer, publisher_pb2.PublishStreamResponse)
            assert [result.WhichOneof("result") for result in answer.results] == ["refusal"] * 3
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
            del stream
        await still_serves(exchange)
        assert large_messages() <= before + 3
    finally:
        gc.enable()


async def test_a_stream_that_idles_keeps_no_request_that_was_answered(exchange: Exchange) -> None:
    """Also not in gRPC's own reader, which keeps the last one until the next comes."""
    channel = await exchange.channel("national-audit")
    batch = publisher_pb2.PublishStreamRequest(envelopes=[envelope_pb2.Envelope(body=bytes(1 << 20))])
    gc.collect()
    before = large_messages()
    gc.disable()
    try:
        idle = []
        for _ in range(5):
            stream = publisher_pb2_grpc.PublisherServiceStub(channel).PublishStream(timeout=60)
            await stream.write(batch)
            await stream.read()
            idle.append(stream)
        await still_serves(exchange)
        assert large_messages() <= before + 1
        for stream in idle:
            stream.cancel()
    finally:
        gc.enable()
