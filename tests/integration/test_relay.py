"""Publish, relay, prove: through real gRPC with mutual TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from broker.client.composing import SectionDraft
from broker.client.directories import directories_in_force
from broker.client.publisher import Published
from broker.client.subscriber import SubscribeOptions
from broker.core.errors import PositionUnknown
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.trust.signing import note_verifier
from broker.wire.receipts import position_from
from caseexchange.broker.v1 import subscriber_pb2, subscriber_pb2_grpc
from tests.support.exchange import Exchange, running_exchange
from tests.support.records import OTHER_CASE

if TYPE_CHECKING:
    from pathlib import Path

    from broker.client.subscriber import Delivered, SubscriptionStream
    from tests.support.pki import SamplePki

SAMPLES = SubscribeOptions("samples", frozenset({"SampleRequest"}))


async def deliveries(stream: SubscriptionStream, count: int) -> list[Delivered]:
    found: list[Delivered] = []
    async with asyncio.timeout(60):
        async for batch in stream:
            found += batch
            if len(found) >= count:
                break
    return found


async def test_a_record_reaches_its_recipient_as_it_was_signed(exchange: Exchange) -> None:
    envelope = exchange.maker().make()
    receipt = await (await exchange.publisher()).publish(envelope)
    assert exchange.receipts().verify(receipt).record_sha256 == envelope.record_sha256
    async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
        (delivered,) = await deliveries(stream, 1)
        verified = exchange.verify("national-dna-database", delivered)
        assert verified.record_sha256 == envelope.record_sha256
        assert verified.sections == {"case": b"synthetic"}
        await stream.ack([delivered.delivery_id])


async def test_a_stream_of_batches_is_answered_batch_by_batch(exchange: Exchange) -> None:
    maker = exchange.maker()
    async with (await exchange.publisher()).stream() as stream:
        batches = [[maker.make() for _ in range(5)] for _ in range(4)]
        outcomes = await asyncio.gather(*(stream.publish(batch) for batch in batches))
    for batch, outcome in zip(batches, outcomes, strict=True):
        for envelope, result in zip(batch, outcome, strict=True):
            assert isinstance(result, Published)
            assert result.statement.record_sha256 == envelope.record_sha256
            exchange.receipts().verify(result.receipt())


async def test_publishing_again_gives_the_same_statement(exchange: Exchange) -> None:
    envelope = exchange.maker().make()
    publisher = await exchange.publisher()
    first, second = await publisher.publish(envelope), await publisher.publish(envelope)
    assert first.statement == second.statement


async def test_a_broker_that_restarts_goes_on_where_it_stood(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker = exchange.maker()
        publisher = await exchange.publisher()
        for case in (OTHER_CASE, "01990000-0000-4000-8000-00000000000c"):
            await publisher.publish(maker.make(case=case))
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            first, second = await deliveries(stream, 2)
            await stream.ack([first.delivery_id])
    async with (
        running_exchange(pki, tmp_path / "log") as exchange,
        (await exchange.subscriber()).subscribe(SAMPLES) as stream,
    ):
        (again,) = await deliveries(stream, 1)
        assert again.position == second.position


async def test_a_withheld_section_has_no_byte_in_the_copy_and_the_copy_verifies(exchange: Exchange) -> None:
    sections = (SectionDraft("case", "T", b"open"), SectionDraft("identity", "T", b"planted canary"))
    record = exchange.maker().make(
        "CaseRecord", "cases", to=("child-aid-ngo", "hebei-police"), purpose="child-rescue", sections=sections
    )
    await (await exchange.publisher()).publish(record)
    options = SubscribeOptions("cases", frozenset({"CaseRecord"}))
    seen = {}
    for agency in ("child-aid-ngo", "hebei-police"):
        async with (await exchange.subscriber(agency)).subscribe(options) as stream:
            (delivered,) = await deliveries(stream, 1)
            seen[agency] = exchange.verify(agency, delivered)
    assert seen["hebei-police"].sections == {"case": b"open", "identity": b"planted canary"}
    assert seen["child-aid-ngo"].sections == {"case": b"open"}
    assert seen["child-aid-ngo"].withheld_sections == ("identity",)


async def test_what_reaches_the_ngo_holds_no_byte_of_a_withheld_section(exchange: Exchange) -> None:
    """The canary is searched in every message as it comes off the connection, before anything reads it."""
    canary = b"planted canary 7c1f"
    sections = (SectionDraft("case", "T", b"open part"), SectionDraft("identity", "T", canary))
    record = exchange.maker().make(
        "CaseRecord", "cases", to=("child-aid-ngo", "hebei-police"), purpose="child-rescue", sections=sections
    )
    await (await exchange.publisher()).publish(record)
    request = subscriber_pb2.SubscribeRequest(
        open=subscriber_pb2.OpenSubscription(
            subscription="raw", kinds=["CaseRecord"], max_outstanding_records=10, max_outstanding_bytes=1 << 20
        )
    )
    for agency, holds in (("child-aid-ngo", False), ("hebei-police", True)):
        channel = await exchange.channel(agency)
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            "/caseexchange.broker.v1.SubscriberService/Subscribe"
        )()
        await call.write(request.SerializeToString())
        async with asyncio.timeout(60):
            captured = [cast("bytes", await call.read()), cast("bytes", await call.read())]
        assert b"open part" in captured[1]
        assert (canary in b"".join(captured)) is holds
        call.cancel()


@pytest.mark.parametrize("closes", [True, False])
async def test_only_a_stream_that_is_closed_gives_back_what_it_holds(exchange: Exchange, *, closes: bool) -> None:
    """The end of its requests alone says nothing: the requests of a call that broke may end in the same way."""
    options = SubscribeOptions("samples", frozenset({"SampleRequest"}), lease_seconds=60)
    first = exchange.receipts().verify(await (await exchange.publisher()).publish(exchange.maker().make())).position
    call = subscriber_pb2_grpc.SubscriberServiceStub(await exchange.channel("national-dna-database")).Subscribe()
    await call.write(
        subscriber_pb2.SubscribeRequest(
            open=subscriber_pb2.OpenSubscription(
                subscription=options.subscription,
                kinds=sorted(options.kinds),
                max_outstanding_records=10,
                max_outstanding_bytes=1 << 20,
                lease=Duration(seconds=60),
            )
        )
    )
    async with asyncio.timeout(60):
        await call.read()
        delivered = cast("subscriber_pb2.SubscribeResponse", await call.read())
        assert [position_from(each.position) for each in delivered.deliveries.deliveries] == [first]
        if closes:
            await call.write(subscriber_pb2.SubscribeRequest(close=subscriber_pb2.CloseStream()))
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    other = await (await exchange.publisher()).publish(exchange.maker().make(case=OTHER_CASE))
    second = exchange.receipts().verify(other).position
    async with (await exchange.subscriber()).subscribe(options) as stream:
        comes = await deliveries(stream, 2 if closes else 1)
    assert {each.position for each in comes} == ({first, second} if closes else {second})


async def test_an_accepted_record_is_soon_proved_to_be_in_the_log(exchange: Exchange) -> None:
    receipt = await (await exchange.publisher()).publish(exchange.maker().make())
    position = exchange.receipts().verify(receipt).position
    partition = position.stream_partition
    async with asyncio.timeout(60):
        await exchange.broker.follower.covered({partition: position.offset + 1})
    auditor = await exchange.auditor()
    proof = await auditor.prove_inclusion(position)
    signer = exchange.pki.note_signer
    note = parse_note(proof.note)
    assert verify_note(note, {(signer.name, signer.key_id): note_verifier(signer.public_key)}) == (signer.name,)
    checkpoint = Checkpoint.parse(note.text)
    log_id = exchange.broker.log.log_id(partition.stream)
    assert checkpoint.origin == f"case-exchange.example/{partition}/{log_id}"
    proof.check(checkpoint.size, checkpoint.root)


async def test_only_a_records_parties_and_auditors_get_the_proof_that_it_is_in_the_log(exchange: Exchange) -> None:
    receipt = await (await exchange.publisher()).publish(exchange.maker().make())
    position = exchange.receipts().verify(receipt).position
    async with asyncio.timeout(60):
        await exchange.broker.follower.covered({position.stream_partition: position.offset + 1})
    for party in ("shanxi-police", "national-dna-database", "national-audit"):
        assert (await (await exchange.auditor(party)).prove_inclusion(position)).leaf
    for other in ("hebei-police", "child-aid-ngo", "ministry"):
        with pytest.raises(PositionUnknown) as refused:
            await (await exchange.auditor(other)).prove_inclusion(position)
        with pytest.raises(PositionUnknown) as nothing:
            await (await exchange.auditor(other)).prove_inclusion(position._replace(offset=position.offset + 999))
        assert refused.value.message == nothing.value.message


async def test_a_later_checkpoint_is_proved_to_extend_an_earlier_one(exchange: Exchange) -> None:
    maker, publisher, auditor = exchange.maker(), await exchange.publisher(), await exchange.auditor()
    roots: dict[int, bytes] = {}
    partition = StreamPartition("dna", 0)
    for _ in range(3):
        position = exchange.receipts().verify(await publisher.publish(maker.make())).position
        partition = position.stream_partition
        async with asyncio.timeout(60):
            await exchange.broker.follower.covered({partition: position.offset + 1})
        checkpoint = Checkpoint.parse(parse_note(await auditor.checkpoint(partition)).text)
        roots[checkpoint.size] = checkpoint.root
    (old, old_root), *_, (new, new_root) = sorted(roots.items())
    proof = await auditor.prove_consistency(partition, old)
    proof.check(old_root, new, new_root)
    assert await directories_in_force(await exchange.channel("national-audit")) == [exchange.pki.directory.document]
