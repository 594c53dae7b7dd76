"""Somebody with Kafka's break-glass key changes a topic's settings while a broker runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.core.errors import LogSettingsRefused, LogUnavailable
from broker.messagelog.kafka import topics
from broker.messagelog.kafka.topicsettings import TopicSettings
from tests.support.honest import SAMPLES, Honest, taken
from tests.support.kafkaexchange import NOT_SERVING, SERVING, OnKafka, health_becomes
from tests.support.tampering import Administrator

if TYPE_CHECKING:
    from pathlib import Path

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka
TOPICS = TopicSettings({"dna": 2}, replication=1, min_in_sync=1, retention_days=0, value_bytes=5 << 20)


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        ("retention.ms", "86400000", "-1"),
        ("cleanup.policy", "compact", "delete"),
        ("message.timestamp.type", "LogAppendTime", "CreateTime"),
        ("compression.type", "zstd", "producer"),
        ("max.message.bytes", "100000", str(TOPICS.value_bytes)),
    ],
)
async def test_a_setting_that_could_lose_records_stops_publishing_until_it_is_right_again(
    kafka: OnKafka, key: str, wrong: str, right: str
) -> None:
    admin = Administrator(kafka)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 1)
        await admin.set_topic("dna", key, wrong)
        await health_becomes(exchange, NOT_SERVING, within=60)
        with pytest.raises(LogUnavailable, match=key):
            await honest.publish(1)
        await admin.set_topic("dna", key, right)
        await health_becomes(exchange, SERVING, within=60)
        await honest.publish(1)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            assert [each.position for each in await taken(stream, 2)] == honest.positions
    assert await kafka.audited() == []


@pytest.mark.parametrize(
    ("demand", "value", "names"),
    [
        ("TRANSACTION_MS", 900_001, r"transaction\.max\.timeout\.ms = 900000"),
        ("LARGEST_REQUEST", (100 << 20) - 1, r"socket\.request\.max\.bytes = 104857600"),
    ],
)
async def test_a_cluster_that_cannot_do_what_brokers_need_is_refused_by_name_at_the_start_and_later(
    kafka: OnKafka, monkeypatch: pytest.MonkeyPatch, demand: str, value: int, names: str
) -> None:
    async with kafka.broker() as exchange:
        # No client can change it while a node runs. So what is demanded becomes another than what the node has.
        monkeypatch.setattr(topics, demand, value)
        await health_becomes(exchange, NOT_SERVING, within=60)
        with pytest.raises(LogUnavailable, match=names):
            await Honest.begin(exchange, 1)
    with pytest.raises(LogSettingsRefused, match=names):
        async with kafka.broker("two"):
            pass
