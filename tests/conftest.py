"""What every kind of test may ask for: a real Kafka, started when the first test asks and stopped with the session."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from tests.support.kafka import kafka_pki, running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # kafka-python leaves the socket of a refused connection to the garbage collector, and killed nodes refuse many.
    leak = pytest.mark.filterwarnings("ignore:unclosed <(ssl.SSLSocket|socket.socket):ResourceWarning")
    for item in items:
        if item.get_closest_marker("kafka") is not None:
            item.add_marker(leak)


@pytest.fixture(scope="session")
def kafka_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PkiFolder]:
    """The PKI of the session's Kafka clusters."""
    yield kafka_pki(tmp_path_factory.mktemp("kafka-pki") / "pki")
    # The last of what was left to the garbage collector, here where it is let pass.
    gc.collect()


@pytest.fixture(scope="session")
def kafka_cluster(tmp_path_factory: pytest.TempPathFactory, kafka_keys: PkiFolder) -> Iterator[KafkaCluster]:
    """One node, shared by the whole session: not to be killed or paused. Use topics of your own."""
    with running_cluster(tmp_path_factory.mktemp("kafka-one"), kafka_keys, nodes=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _three_kafka_nodes(tmp_path_factory: pytest.TempPathFactory, kafka_keys: PkiFolder) -> Iterator[KafkaCluster]:
    with running_cluster(tmp_path_factory.mktemp("kafka-three"), kafka_keys, nodes=3) as cluster:
        yield cluster


@pytest.fixture
def three_kafka_nodes(_three_kafka_nodes: KafkaCluster) -> Iterator[KafkaCluster]:
    """Three nodes, all running and in sync, to be killed and paused: afterwards they are healed for the next test."""
    _three_kafka_nodes.heal()
    yield _three_kafka_nodes
    _three_kafka_nodes.heal()
