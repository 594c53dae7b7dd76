"""Somebody with Kafka's break-glass key changes the topics. No false record is delivered, and the position is named."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.core.audit.findings import Unprocessed
from broker.core.entry import Stray
from broker.core.errors import EvidenceUnavailable, LogCorrupt
from broker.messagelog.kafka.topicsettings import TopicSettings
from broker.telemetry import allow_fields
from caseexchange.log.v1 import pack_pb2
from certs.kafka import BREAK_GLASS, BROKER
from deploy.kafka.segments import rewrite
from tests.support.exchange import broker_tables
from tests.support.honest import SAMPLES, Honest, taken
from tests.support.incarnations import declare
from tests.support.kafka import running_cluster
from tests.support.kafkaexchange import NOT_SERVING, OnKafka, health_becomes
from tests.support.operatorlog import told
from tests.support.pki import SamplePki
from tests.support.replays import replayed
from tests.support.tampering import Administrator, NotUtf8, Raw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from broker.client.subscriber import SubscriptionStream
    from broker.core.identity import Principal
    from broker.core.streams import Position
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange

pytestmark = pytest.mark.kafka
TOPICS = TopicSettings({"dna": 2}, replication=1, min_in_sync=1, retention_days=0, value_bytes=5 << 20)


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


# --- what is inserted ---

if TYPE_CHECKING:
    Insert = Callable[[Administrator, Honest, Sequence[Raw]], Awaitable[list[Position]]]


async def unsealed(admin: Administrator, honest: Honest, stand: Sequence[Raw]) -> list[Position]:
    """Garbage; an honest pack with a key or a header; and a new one, right except for its seal."""
    return await admin.put(
        honest.partition,
        Raw(b"\xff\x00 garbage"),
        Raw(None, b"a tombstone"),
        Raw(b"", b"", [("", b"")]),
        Raw(b"", headers=[(NotUtf8(), b"")]),
        stand[0]._replace(headers=[(NotUtf8("name"), b"content")]),
        stand[0]._replace(key=b"a key"),
        stand[0]._replace(headers=[("more", b"")]),
        stand[0]._replace(timestamp=(stand[0].timestamp or 0) + 1),
        await honest.sealed_by_a_stranger(),
    )


async def copies(admin: Administrator, honest: Honest, stand: Sequence[Raw]) -> list[Position]:
    return await admin.put(honest.partition, stand[0], stand[-1], stand[0])


async def copies_elsewhere(admin: Administrator, honest: Honest, stand: Sequence[Raw]) -> list[Position]:
    other = honest.partition._replace(partition=1 - honest.partition.partition)
    return await admin.put(other, stand[0], stand[-1])


async def transactions(admin: Administrator, honest: Honest, stand: Sequence[Raw]) -> list[Position]:
    """The markers of transactions take offsets that no record ever has."""
    first = await admin.transaction(honest.partition, stand[0], Raw(b"garbage"), commit=False)
    return first + await admin.transaction(honest.partition, Raw(b"garbage"), stand[-1], commit=True)


async def compressed(admin: Administrator, honest: Honest, stand: Sequence[Raw]) -> list[Position]:
    """An honest pack in a compressed batch, and a batch that is small only while it is compressed."""
    return await admin.put_compressed(honest.partition, stand[0], Raw(bytes(32 << 20)), stand[-1])


INSERTS = [unsealed, copies, copies_elsewhere, transactions, compressed]


@pytest.mark.parametrize("insert", INSERTS)
async def test_what_is_inserted_reaches_nobody_and_is_named_while_everything_goes_on(
    kafka: OnKafka, tmp_path: Path, insert: Insert
) -> None:
    admin = Administrator(kafka)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 3)
        inserted = await insert(admin, honest, await admin.records(honest.partition))
        await honest.publish(3)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            found = await taken(stream, len(honest.positions))
            await honest.publish(1)
            found += await taken(stream, 1)
        assert [each.position for each in found] == honest.positions
        assert [each.envelope.record_sha256 for each in found] == honest.digests
        bundle = await replayed(exchange, tmp_path / "of-broker.bundle")
    assert bundle.named() == [("RECORD_INSERTED", position) for position in inserted]
    assert await kafka.audited() == [("RECORD_INSERTED", str(position)) for position in inserted]


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("client", [BROKER, BREAK_GLASS], ids=lambda client: client.system)
async def test_a_stranger_cannot_fill_a_broker_s_disk_with_what_is_no_record(kafka: OnKafka, client: Principal) -> None:
    strange = b"canary" * 150_000
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 1)
        inserted = [
            position
            for _ in range(20)
            for position in await Administrator(kafka, client).put(honest.partition, Raw(strange))
        ]
        await honest.publish(1)
        files = contents(kafka.folder())
        assert sum(map(len, files)) < len(strange) * len(inserted) // 4
        assert not any(b"canary" in content for content in files)
        found = await exchange.broker.log.strays(honest.partition)
        assert found == [Stray.of(position, "NOT_SEALED", strange) for position in inserted]


# --- what is deleted ---


async def covered(exchange: Exchange, honest: Honest) -> None:
    """Return when checkpoints cover every honest record."""
    async with asyncio.timeout(30):
        await exchange.broker.follower.covered({honest.partition: honest.positions[-1].offset + 1})


async def refused_while_running(exchange: Exchange, honest: Honest, stream: SubscriptionStream) -> None:
    """A running broker stops for good. Probes, publishers and subscribers see this, and nothing more is delivered."""
    await health_becomes(exchange, NOT_SERVING)
    with pytest.raises((LogCorrupt, EvidenceUnavailable)) as refused:
        await honest.publish(1)
    assert "LOG_CORRUPT" in (refused.value.reason, refused.value.details.get("cause"))
    with pytest.raises(LogCorrupt):
        await taken(stream, 1)
    with pytest.raises(LogCorrupt):
        async with (await exchange.subscriber()).subscribe(replace(SAMPLES, subscription="another")) as other:
            await taken(other, 1)


async def refused_at_the_start(kafka: OnKafka, *names: str) -> None:
    """No broker starts on it, with its folder or without one, and each reports why in one line."""
    for name in names:
        ended = await kafka.serve(name)
        assert ended.code == 1, ended
        (line,) = ended.lines()
        assert line.startswith("case-exchange: LOG_CORRUPT: ")


async def test_a_log_whose_beginning_was_deleted_is_served_by_no_broker_and_named(kafka: OnKafka) -> None:
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 4)
        await covered(exchange, honest)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            await taken(stream, 4)
            await Administrator(kafka).delete_below(honest.positions[2])
            await refused_while_running(exchange, honest, stream)
    await refused_at_the_start(kafka, "one", "new")
    assert await kafka.audited() == [("RECORD_MISSING", str(position)) for position in honest.positions[:2]]


@pytest.mark.parametrize("topic", ["checkpoints", "dna"])
async def test_a_topic_that_is_gone_is_not_made_anew_at_the_start_of_a_broker_that_knows_what_it_held(
    kafka: OnKafka, topic: str
) -> None:
    async with kafka.broker() as exchange:
        await covered(exchange, await Honest.begin(exchange, 2))
    await Administrator(kafka).delete_topic(topic)
    await refused_at_the_start(kafka, "one")


@pytest.mark.parametrize("with_copies", [False, True])
async def test_a_topic_that_was_made_anew_is_served_by_no_broker_and_named_from_its_first_record(
    kafka: OnKafka, *, with_copies: bool
) -> None:
    admin = Administrator(kafka)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 4)
        await covered(exchange, honest)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            await taken(stream, 4)
            stood = await admin.records(honest.partition)
            await admin.delete_topic("dna")
            await admin.create_topic("dna", TOPICS.partitions["dna"], TOPICS.configuration("dna"))
            if with_copies:
                assert await admin.put(honest.partition, *stood) == honest.positions
            await refused_while_running(exchange, honest, stream)
    await refused_at_the_start(kafka, "one", "new")
    code = "RECORD_CHANGED" if with_copies else "RECORD_MISSING"
    assert await kafka.audited() == [(code, str(position)) for position in honest.positions]


async def test_a_topic_that_was_made_anew_is_a_new_incarnation_when_the_directory_declares_it(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, tmp_path: Path
) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    admin = Administrator(kafka)
    async with kafka.broker() as exchange:
        lost = await Honest.begin(exchange, 4)
        await covered(exchange, lost)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            await taken(stream, 4)
        former = exchange.broker.log.log_id("dna")
    await admin.delete_topic("dna")
    await admin.create_topic("dna", TOPICS.partitions["dna"], TOPICS.configuration("dna"))
    await refused_at_the_start(kafka, "one", "new")
    await declare(pki, tmp_path / "declaring", broker_tables(pki, kafka.folder("one"), **kafka.sections()))
    for name in ("one", "another"):
        # With the folder that knew the former topic, and without one.
        async with kafka.broker(name) as exchange:
            assert exchange.broker.log.log_id("dna") != former
            await lost.go_on(exchange)
            await lost.publish(2)
            await covered(exchange, lost)
            async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
                # What was finished of the former topic is not taken for these.
                delivered = await taken(stream, 2)
            assert {each.position for each in delivered} == set(lost.positions[-2:])
    facts = await kafka.verified()
    assert facts["clean"]
    # The lost ones were not published again, so their numbers are missing.
    assert {item["code"] for item in facts["findings"]} <= {"SEQUENCE_GAP", "NOT_YET_COVERED"}


# --- what is rewritten ---


def in_the_last_value(pack: bytes, positions: Sequence[Position]) -> tuple[int, list[tuple[str, str]]]:
    """In the middle of a signature. Only the last record is not what was accepted."""
    return pack.rindex(b"ecdsa-p256-sha256") + 60, [("RECORD_CHANGED", str(positions[-1]))]


def in_the_header(pack: bytes, positions: Sequence[Position]) -> tuple[int, list[tuple[str, str]]]:
    """In a record id. The seal is over the whole header, so nothing of the pack is what was accepted."""
    record_id = pack_pb2.PackHeader.FromString(pack_pb2.Pack.FromString(pack).header).entries[1].record_id
    codes = ["RECORD_CHANGED", "RECORD_MISSING", "RECORD_MISSING"]
    return pack.index(record_id), [(code, str(position)) for code, position in zip(codes, positions, strict=True)]


async def set_aside(kafka: OnKafka, honest: Honest, tmp_path: Path) -> None:
    """A broker that had read it before notices the change by the digest. Only that record goes to nobody."""
    _, second, damaged = honest.positions
    event = "a record is damaged in the log"
    with capture_logs(processors=[allow_fields]) as lines:
        async with kafka.broker() as exchange:
            # The scrub reads the topic again.
            line = (await told(lines, event))[event]
    assert (line["position"], line["agency"]) == (str(damaged), "every agency")
    async with kafka.broker() as exchange:
        await honest.go_on(exchange)
        await honest.publish(2)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            found = await taken(stream, 3)
        assert [each.position for each in found] == [second, *honest.positions[3:]]
        report = (await replayed(exchange, tmp_path / "set-aside.bundle")).report()
    lab = "national-dna-database"
    assert report.unprocessed == (Unprocessed(lab, SAMPLES.subscription, damaged, "", "LOG_CORRUPT"),)


@pytest.mark.parametrize("place", [in_the_last_value, in_the_header])
async def test_a_pack_rewritten_on_a_node_s_disk_reaches_nobody_who_has_not_had_it(
    kafka_keys: PkiFolder,
    pki: SamplePki,
    tmp_path: Path,
    place: Callable[[bytes, Sequence[Position]], tuple[int, list[tuple[str, str]]]],
) -> None:
    with running_cluster(tmp_path / "kafka", kafka_keys, nodes=1) as cluster:
        kafka = OnKafka(cluster, kafka_keys, pki, tmp_path)
        async with kafka.broker() as exchange:
            honest = await Honest.begin(exchange, 0)
            await honest.publish_together(3)
            await covered(exchange, honest)
            async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
                await taken(stream, 1)
            (pack,) = await Administrator(kafka).records(honest.partition)
        assert pack.value
        await asyncio.to_thread(cluster.stop)
        at, named = place(pack.value, honest.positions)
        # These bytes are nowhere else.
        old = pack.value[at : at + 16]
        new = old[:-1] + bytes([old[-1] ^ 1])
        rewrite(cluster.data(1) / f"{kafka.prefix}.dna-{honest.partition.partition}", old, new)
        cluster.start()
        await asyncio.to_thread(cluster.wait_ready)
        assert (await Administrator(kafka).records(honest.partition))[0].value == pack.value.replace(old, new)
        if place is in_the_last_value:
            await set_aside(kafka, honest, tmp_path)
        else:
            # A broker that reads it for the first time finds that the signed leaf is another.
            await refused_at_the_start(kafka, "new")
        assert await kafka.audited() == named


async def test_a_changed_copy_in_a_brokers_own_index_is_named_by_its_scrub(kafka: OnKafka) -> None:
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 3)
        await covered(exchange, honest)
    with closing(sqlite3.connect(kafka.folder() / "kafka-index.db")) as file, file:
        file.execute("UPDATE entries SET recipients = 'ministry' WHERE recipients = 'national-dna-database'")
    event = "a record is damaged in the log"
    with capture_logs(processors=[allow_fields]) as lines:
        async with kafka.broker():
            line = (await told(lines, event))[event]
    assert (line["position"], line["agency"]) == (str(honest.positions[0]), "national-dna-database")
    # The index is only a copy: without it, a broker makes another from the topics.
    (kafka.folder() / "kafka-index.db").unlink()
    async with kafka.broker() as exchange, (await exchange.subscriber()).subscribe(SAMPLES) as stream:
        assert [each.position for each in await taken(stream, 3)] == honest.positions
