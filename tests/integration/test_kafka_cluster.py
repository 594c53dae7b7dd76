"""The cluster itself: its settings, and what happens when it loses nodes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from broker.core.errors import LogUnavailable
from broker.messagelog.kafka.handshake import HANDSHAKE_SECONDS
from broker.messagelog.kafka.readiness import cluster_state
from certs.kafka import BREAK_GLASS, BROKER
from deploy.kafka import compose, distribution
from deploy.kafka.cluster import KafkaCluster
from deploy.kafka.settings import node_settings
from tests.support.kafka import create_topic, read_values

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
BOUND = 30.0
AUTHORIZER_S_OWN = {"allow.everyone.if.no.acl.found", "super.users"}


def partition_of(cluster: KafkaCluster, topic: str) -> dict[str, Any]:
    with cluster.connection(BROKER).admin() as admin:
        partition: dict[str, Any] = admin.describe_topics([topic])[0]["partitions"][0]
    return partition


# --- as it is set ----------------------------------------------------------------------------------------------------


def test_kafka_knows_every_setting_and_has_it_as_it_was_written(kafka_cluster: KafkaCluster, kafka_keys: Any) -> None:
    with kafka_cluster.connection(BREAK_GLASS).admin() as admin:
        resource = ConfigResource(ConfigResourceType.BROKER, "1")
        described = admin.describe_configs([resource], config_filter="all")["broker"]["1"]
    keys = kafka_keys.kafka
    written = node_settings(
        kafka_cluster.nodes[0],
        kafka_cluster.nodes,
        data=str(kafka_cluster.log(1).with_name("data")),
        keystore=str(keys.keystore(1)),
        truststore=str(keys.authority),
    )
    assert {key: described[key]["value"] for key in written.keys() - AUTHORIZER_S_OWN} == {
        key: value for key, value in written.items() if key not in AUTHORIZER_S_OWN
    }


@pytest.mark.parametrize("node", compose.NODES, ids=lambda node: f"kafka-{node.number}")
def test_the_image_s_own_start_up_makes_of_the_compose_file_the_same_settings(node: Any, tmp_path: Path) -> None:
    folders = {which: tmp_path / which for which in ("default", "mounted", "final")}
    for folder in folders.values():
        folder.mkdir()
    logging = "Configuration:\n  Appenders: {}\n  Loggers:\n    Root: {level: error}\n    Logger: []\n"
    for name, text in (("server.properties", "\n"), ("log4j2.yaml", logging), ("tools-log4j2.yaml", logging)):
        (folders["default"] / name).write_text(text)
    data = str(tmp_path / "data")
    environment = compose.environment(node, data=data)
    arguments = [f"--{which}-configs-dir={folder}" for which, folder in folders.items()]
    subprocess.run(
        distribution.java("kafka.docker.KafkaDockerWrapper", "setup", *arguments),
        env={"PATH": os.environ["PATH"], **environment},
        check=True,
        capture_output=True,
    )
    lines = (folders["final"] / "server.properties").read_text().split("\n")
    made = dict(line.split("=", 1) for line in lines if line)
    assert made == node_settings(
        node,
        compose.NODES,
        data=data,
        keystore="/etc/kafka/secrets/keystore.pem",
        truststore="/etc/kafka/secrets/ca.pem",
    )
    assert (tmp_path / "data" / "meta.properties").exists(), "the storage was not formatted"


def test_three_nodes_keep_three_copies_and_acknowledge_with_two(three_kafka_nodes: KafkaCluster) -> None:
    topic = create_topic(three_kafka_nodes)
    assert sorted(partition_of(three_kafka_nodes, topic)["replica_nodes"]) == [1, 2, 3]
    with three_kafka_nodes.connection(BROKER).admin() as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        described = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    assert described["min.insync.replicas"]["value"] == "2"
    assert described["unclean.leader.election.enable"]["value"] == "false"


# --- losing nodes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", [KafkaCluster.kill, KafkaCluster.pause])
def test_a_lost_leader_of_three_is_survived_with_every_acknowledged_record(
    three_kafka_nodes: KafkaCluster, lose: Any
) -> None:
    cluster = three_kafka_nodes
    topic = create_topic(cluster)
    with cluster.connection(BROKER, timeout=BOUND).producer() as producer:
        written = [f"{number}".encode() for number in range(20)]
        for value in written[:10]:
            producer.send(topic, partition=0, value=value).get(BOUND)
        lose(cluster, partition_of(cluster, topic)["leader_id"])
        for value in written[10:]:
            producer.send(topic, partition=0, value=value).get(BOUND)
    assert read_values(cluster, topic, 20) == written


def test_with_two_of_three_lost_nothing_is_acknowledged_and_nothing_is_lost(three_kafka_nodes: KafkaCluster) -> None:
    cluster = three_kafka_nodes
    topic = create_topic(cluster)
    with cluster.connection(BROKER, timeout=BOUND).producer() as producer:
        producer.send(topic, partition=0, value=b"kept").get(BOUND)
    leader = partition_of(cluster, topic)["leader_id"]
    for number in cluster.numbers:
        if number != leader:
            cluster.kill(number)
    alone = cluster.connection(BROKER, nodes=[leader], timeout=5)
    producer = alone.producer()
    try:
        with pytest.raises(kafka_errors.KafkaError):
            producer.send(topic, partition=0, value=b"not acknowledged").get(BOUND)
    finally:
        # Without a time limit, closing would wait for the other nodes to come back.
        with contextlib.suppress(kafka_errors.KafkaTimeoutError):
            producer.close(timeout=1)
    cluster.heal()
    assert read_values(cluster, topic, 1)[0] == b"kept"


def test_a_paused_node_is_not_ready_and_holds_up_nobody_who_asks_it(three_kafka_nodes: KafkaCluster) -> None:
    cluster = three_kafka_nodes
    cluster.pause(2)
    begun = time.monotonic()
    with pytest.raises(LogUnavailable):
        cluster_state(cluster.connection(BREAK_GLASS, nodes=[2], timeout=2))
    assert time.monotonic() - begun < HANDSHAKE_SECONDS + BOUND
    # A client that may ask any node may ask a lost one, and reports that. Then it asks again.
    deadline = time.monotonic() + 3 * BOUND
    state = None
    while state is None:
        assert time.monotonic() < deadline
        with contextlib.suppress(LogUnavailable):
            state = cluster_state(cluster.connection(BREAK_GLASS, timeout=3 * HANDSHAKE_SECONDS))
    assert {1, 3} <= state.nodes


def test_a_restarted_node_catches_up(three_kafka_nodes: KafkaCluster) -> None:
    cluster = three_kafka_nodes
    topic = create_topic(cluster)
    for number in cluster.numbers:
        cluster.restart(number)
        cluster.wait_ready(in_sync=True)
        with cluster.connection(BROKER, timeout=BOUND).producer() as producer:
            producer.send(topic, partition=0, value=f"after {number}".encode()).get(BOUND)
    assert read_values(cluster, topic, 3) == [b"after 1", b"after 2", b"after 3"]
