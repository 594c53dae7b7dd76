"""Real Kafka clusters for tests. If a cluster does not start, its tests fail. They are never skipped."""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kafka import TopicPartition

from certs import development
from certs.kafka import BROKER
from deploy.kafka.cluster import PREFIX, KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from broker.core.identity import Principal
    from certs.folder import PkiFolder

_SILENCE_MS = 30_000


def kafka_pki(root: Path) -> PkiFolder:
    """A new PKI for the cluster alone."""
    return development.create(root, datetime.now(UTC).replace(microsecond=0))


@contextlib.contextmanager
def running_cluster(root: Path, pki: PkiFolder, *, nodes: int) -> Iterator[KafkaCluster]:
    """A cluster that is ready and has the exchange's access rules. At the end of the block all of it is stopped."""
    cluster = KafkaCluster(root, pki.kafka, nodes=nodes)
    try:
        cluster.start()
        cluster.wait_ready()
        cluster.apply_access()
        yield cluster
    finally:
        cluster.stop()


def new_topic() -> str:
    """The name of a topic that no other test has, within the exchange's prefix."""
    return f"{PREFIX}.test-{uuid.uuid4().hex[:12]}"


def create_topic(cluster: KafkaCluster, name: str | None = None) -> str:
    """A topic of one partition, made by the broker, with the cluster's default number of copies."""
    name = new_topic() if name is None else name
    with cluster.connection(BROKER).admin() as admin:
        admin.create_topics({name: {"num_partitions": 1}}, wait_for_metadata=True)
    return name


def read_values(cluster: KafkaCluster, topic: str, count: int, *, by: Principal = BROKER) -> list[bytes]:
    """The first values of a topic with one partition: at least ``count``."""
    partition = TopicPartition(topic, 0)
    with cluster.connection(by).consumer() as consumer:
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        values: list[bytes] = []
        while len(values) < count:
            polled = consumer.poll(timeout_ms=_SILENCE_MS)
            assert polled, "nothing more came"
            values += [record.value for record in polled[partition]]
        return values
