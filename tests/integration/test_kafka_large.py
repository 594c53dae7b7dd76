"""Somebody with Kafka's break-glass key writes something very large into a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.core.entry import Stray
from broker.messagelog.kafka import links
from broker.messagelog.kafka.connection import LARGEST_REQUEST
from deploy.kafka import distribution
from tests.support.honest import SAMPLES, Honest, taken
from tests.support.kafka import running_cluster
from tests.support.kafkaexchange import NOT_SERVING, SERVING, OnKafka, health_becomes
from tests.support.tampering import Administrator, Raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka
LARGEST = LARGEST_REQUEST - 2048
"""With what a request has beside it, this is all that a node takes."""


@pytest.fixture
def large_kafka(
    tmp_path: Path, kafka_keys: PkiFolder, pki: SamplePki, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnKafka]:
    """A node with the memory for it."""
    monkeypatch.setattr(distribution, "_SMALL_AND_QUICK", ("-Xmx1200m", "-XX:+UseSerialGC"))
    with running_cluster(tmp_path / "kafka", kafka_keys, nodes=1) as cluster:
        yield OnKafka(cluster, kafka_keys, pki, tmp_path)


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


async def test_the_largest_record_that_a_node_takes_is_a_stray_and_everything_goes_on(large_kafka: OnKafka) -> None:
    kafka, admin, large = large_kafka, Administrator(large_kafka, patience=120), bytes(LARGEST)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 1)
        await admin.set_topic("dna", "max.message.bytes", str(LARGEST_REQUEST))
        inserted = await admin.put(honest.partition, Raw(large))
        await honest.publish(1)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            assert [each.position for each in await taken(stream, 2)] == honest.positions
        assert await exchange.broker.log.strays(honest.partition) == [Stray.of(inserted[0], "NOT_SEALED", large)]
        await health_becomes(exchange, SERVING)
    # Also for a broker that begins, and for an auditor without a broker.
    async with kafka.broker("two") as exchange:
        await honest.go_on(exchange)
        await honest.publish(1)
    assert await kafka.audited() == [("RECORD_INSERTED", str(position)) for position in inserted]


async def test_what_no_broker_can_read_is_told_by_health_and_the_log(
    kafka: OnKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A node can be set to take more than a broker reads. It refuses such a cluster, but somebody may be quicker.
    monkeypatch.setattr(links, "LARGEST_ANSWER", 9 << 20)
    admin = Administrator(kafka)
    with capture_logs() as logs:
        async with kafka.broker() as exchange:
            honest = await Honest.begin(exchange, 1)
            await admin.set_topic("dna", "max.message.bytes", str(LARGEST_REQUEST))
            await admin.put(honest.partition, Raw(bytes(10 << 20)))
            await health_becomes(exchange, NOT_SERVING, within=60)
            monkeypatch.undo()
            await health_becomes(exchange, SERVING, within=60)
            await honest.publish(1)
    told = [line for line in logs if line["event"] == "cannot accept records"]
    assert {line["reason"] for line in told} == {"LOG_UNAVAILABLE"}
    assert any("larger than a broker reads" in line["cause"] for line in told), told
