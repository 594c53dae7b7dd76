"""One partition, one follower. One that was away too long cannot publish, and a stranger's checkpoint is ignored."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.errors import FollowerFenced, LogUnavailable
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.messagelog.kafka.extensions import decode_extension, encode_extension
from broker.messagelog.kafka.seat import Seat
from broker.trust.signing import Ed25519NoteSigner
from tests.support.checkpoints import followed, signed_extension
from tests.support.kafkaexchange import OnKafka
from tests.support.kafkalog import LogOnKafka
from tests.support.pki import ManualClock
from tests.support.process import BrokerProcess
from tests.support.tampering import Administrator, NotUtf8, Raw

if TYPE_CHECKING:
    from pathlib import Path

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka
SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
DNA_0 = StreamPartition("dna", 0)


@pytest.fixture
def on_kafka(kafka_cluster: KafkaCluster) -> LogOnKafka:
    return LogOnKafka(kafka_cluster, SIGNER, ManualClock(1_790_000_000_000))


async def test_of_two_processes_exactly_one_follows_each_partition_and_the_other_goes_on_after_it(
    on_kafka: LogOnKafka,
) -> None:
    log = await on_kafka.open()
    one, two = on_kafka.board(log), on_kafka.board(log)
    every = log.all_partitions
    await one.open()
    one.follow()
    await followed(one, *every)
    await one.publish(DNA_0, 0, signed_extension(SIGNER, DNA_0, 0, 3))
    await two.open()
    two.follow()
    async with asyncio.timeout(30):
        while not (any(map(two.follows, every)) and all(one.follows(each) or two.follows(each) for each in every)):
            assert not any(one.follows(each) and two.follows(each) for each in every)
            await asyncio.sleep(0.01)
    await one.close()
    with pytest.raises(FollowerFenced):
        await one.publish(DNA_0, 3, signed_extension(SIGNER, DNA_0, 3, 4, lie=b"one"))
    await followed(two, *every)
    # It follows, so it has everything that earlier followers published.
    assert await two.published(DNA_0, 0) == signed_extension(SIGNER, DNA_0, 0, 3)
    assert await two.published(DNA_0, 3) is None
    await two.publish(DNA_0, 3, signed_extension(SIGNER, DNA_0, 3, 4))
    await two.close()
    await log.close()


async def test_a_seat_that_another_has_taken_since_publishes_nothing(on_kafka: LogOnKafka) -> None:
    log = await on_kafka.open()
    number = log.all_partitions.index(DNA_0)
    paused, later = Seat(on_kafka.connection, number), Seat(on_kafka.connection, number)
    reader = on_kafka.board(log)
    await asyncio.to_thread(paused.take)
    await asyncio.to_thread(paused.publish, encode_extension(0, signed_extension(SIGNER, DNA_0, 0, 3)))
    await asyncio.to_thread(later.take)
    with pytest.raises(FollowerFenced):
        await asyncio.to_thread(paused.publish, encode_extension(3, signed_extension(SIGNER, DNA_0, 3, 4, lie=b"old")))
    honest = signed_extension(SIGNER, DNA_0, 3, 4)
    await asyncio.to_thread(later.publish, encode_extension(3, honest))
    # Its client is fenced: every request fails.
    with pytest.raises((FollowerFenced, LogUnavailable)):
        await asyncio.to_thread(paused.publish, encode_extension(4, signed_extension(SIGNER, DNA_0, 4, 5, lie=b"old")))
    await reader.open()
    assert await reader.published(DNA_0, 3) == honest
    assert await reader.published(DNA_0, 4) is None
    await reader.close()
    paused.close()
    later.close()
    await log.close()


async def roots(kafka: OnKafka) -> dict[StreamPartition, list[tuple[int, bytes]]]:
    """Size and root of every committed checkpoint, in the order of the topic."""
    found: dict[StreamPartition, list[tuple[int, bytes]]] = {}
    admin = Administrator(kafka)
    for number in range(sum(kafka.partitions.values())):
        partition = StreamPartition("checkpoints", number)
        found[partition] = []
        for record in await admin.records(partition, committed=True):
            checkpoint = Checkpoint.parse(parse_note(decode_extension(record.value or b"").extension.head.note).text)
            found[partition].append((checkpoint.size, checkpoint.root))
    return found


async def test_a_broker_that_was_paused_beyond_its_session_signs_no_second_root(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    kafka.folder("one").mkdir()
    paused = BrokerProcess(pki, kafka.folder("one"), **kafka.sections())
    await asyncio.to_thread(paused.start)
    try:
        async with kafka.broker("two") as two:
            publisher, maker = await two.publisher(), two.maker()
            await publisher.publish(maker.make())
            os.kill(paused.pid, signal.SIGSTOP)
            position = two.receipts().verify(await publisher.publish(maker.make())).position
            async with asyncio.timeout(40):
                await two.broker.follower.covered({position.stream_partition: position.offset + 1})
                await two.broker.follower.first_pass()
            os.kill(paused.pid, signal.SIGCONT)
            for _ in range(5):
                position = two.receipts().verify(await publisher.publish(maker.make())).position
            async with asyncio.timeout(40):
                await two.broker.follower.covered({position.stream_partition: position.offset + 1})
        assert await asyncio.to_thread(paused.stop) == 0
    finally:
        paused.end()
    for partition, signed in (await roots(kafka)).items():
        sizes = [size for size, _ in signed]
        assert sizes == sorted(set(sizes)), partition
    assert await kafka.audited() == []


async def test_garbage_and_strangers_checkpoints_are_passed_over(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    admin = Administrator(kafka)
    stranger = Ed25519NoteSigner(pki.note_signer.name, Ed25519PrivateKey.generate())
    async with kafka.broker("one") as one:
        publisher, maker = await one.publisher(), one.maker()
        position = one.receipts().verify(await publisher.publish(maker.make())).position
        async with asyncio.timeout(30):
            await one.broker.follower.covered({position.stream_partition: position.offset + 1})
        for number in range(sum(kafka.partitions.values())):
            lies = [
                signed_extension(signer, of, begin, begin + 2, lie=b"a lie")
                for signer, of in ((stranger, position.stream_partition), (pki.note_signer, StreamPartition("dna", 9)))
                for begin in (0, 1, 2)
            ]
            values = [encode_extension(lie.head.size - 2, lie) for lie in lies]
            odd = [Raw(value, headers=[(NotUtf8("name"), b"")]) for value in (b"", values[0])]
            await admin.put(StreamPartition("checkpoints", number), *map(Raw, (b"", b"\xff garbage", *values)), *odd)
        await admin.transaction(StreamPartition("checkpoints", 0), Raw(b"half a word"), commit=False)
        # Small only while it is compressed.
        await admin.put_compressed(StreamPartition("checkpoints", 0), Raw(bytes(32 << 20)))
        position = one.receipts().verify(await publisher.publish(maker.make())).position
        async with asyncio.timeout(30):
            await one.broker.follower.covered({position.stream_partition: position.offset + 1})
    # A new process reads all of it.
    async with kafka.broker("two") as two:
        await (await two.publisher()).publish(maker.make())
    assert await kafka.audited() == []
