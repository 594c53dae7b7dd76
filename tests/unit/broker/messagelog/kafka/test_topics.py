"""Topics and cluster are compared with what they must be. Everything that could lose a record or its order is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from kafka.errors import NoError, UnknownTopicOrPartitionError

from broker.core.errors import LogSettingsRefused, LogUnavailable
from broker.messagelog.kafka.topics import Topics, topic_id_text
from broker.messagelog.kafka.topicsettings import TopicSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.messagelog.kafka.connection import KafkaConnection

SETTINGS = TopicSettings({"cases": 4, "audit": 1}, replication=3, min_in_sync=2, retention_days=0, value_bytes=1000)
YEAR_MINUTES = 365 * 24 * 60


class Cluster:
    """Topics in memory. It replaces the connection and its administrative client, as far as the tests use them."""

    timeout_seconds = 60.0

    def __init__(self, settings: TopicSettings = SETTINGS) -> None:
        # How often a node still answers questions for settings that it does not know the topics.
        self.unknown = 0
        self.offsets_retention = YEAR_MINUTES
        self.transaction_ms = {1: 900_000}
        self.group_protocols = {"group.coordinator.rebalance.protocols": "classic,consumer,streams"}
        self.topics: dict[str, dict[str, Any]] = {}
        self.create_topics(
            {
                self.topic(name): {
                    "num_partitions": count,
                    "replication_factor": settings.replication,
                    "configs": settings.configuration(name),
                }
                for name, count in settings.of_topics().items()
            }
        )

    def topic(self, name: str) -> str:
        return f"exchange.{name}"

    def admin(self) -> Cluster:
        return self

    def close(self) -> None:
        pass

    def create_topics(self, topics: Mapping[str, dict[str, Any]], *, wait_for_metadata: bool = True) -> None:
        assert wait_for_metadata
        self.topics.update(topics)

    def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [self._described(name) for name in names]

    def _described(self, name: str) -> dict[str, Any]:
        if name not in self.topics:
            return {"name": name, "error_code": UnknownTopicOrPartitionError.errno}
        copies = list(range(1, self.topics[name]["replication_factor"] + 1))
        partition = {"leader_id": 1, "replica_nodes": copies, "isr_nodes": copies}
        partitions = [partition] * self.topics[name]["num_partitions"]
        topic_id = "67c5e5f4-3b6a-4f0c-8b8a-5d9c6a0a7f11"
        return {"name": name, "error_code": NoError.errno, "topic_id": topic_id, "partitions": partitions}

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [{"broker_id": number, "is_fenced": False} for number in self.transaction_ms]}

    def describe_configs(self, resources: Sequence[Any], *, config_filter: str) -> dict[str, Any]:
        assert config_filter == "all"
        if self.unknown:
            self.unknown -= 1
            return {resources[0].resource_type.name.lower(): {resource.name: {} for resource in resources}}
        kind = resources[0].resource_type.name.lower()
        entries: dict[str, Any] = {
            resource.name: self.topics[resource.name]["configs"] if kind == "topic" else self._node(resource.name)
            for resource in resources
        }
        return {
            kind: {name: {key: {"value": value} for key, value in configs.items()} for name, configs in entries.items()}
        }

    def _node(self, number: str) -> dict[str, str]:
        return {
            "offsets.retention.minutes": str(self.offsets_retention),
            "transaction.max.timeout.ms": str(self.transaction_ms[int(number)]),
            "socket.request.max.bytes": "104857600",
            **self.group_protocols,
        }


def topics_of(cluster: Cluster) -> Topics:
    return Topics(cast("KafkaConnection", cluster))


def test_missing_topics_are_made_as_they_must_be_and_their_ids_returned() -> None:
    cluster = Cluster()
    del cluster.topics["exchange.cases"]
    states = topics_of(cluster).ensure(SETTINGS)
    assert {name: state.partitions for name, state in states.items()} == {"cases": 4, "audit": 1, "checkpoints": 5}
    assert states["cases"].topic_id == "Z8Xl9DtqTwyLil2cagp_EQ"


def test_a_node_that_does_not_know_a_new_topic_yet_is_asked_again() -> None:
    cluster = Cluster()
    del cluster.topics["exchange.cases"]
    cluster.unknown = 2
    assert topics_of(cluster).ensure(SETTINGS)["cases"].partitions == 4
    assert cluster.unknown == 0


def test_topics_whose_settings_a_node_does_not_know_are_not_taken_for_good() -> None:
    cluster = Cluster()
    cluster.unknown = 1
    with pytest.raises(LogUnavailable):
        topics_of(cluster).check(SETTINGS)


def test_a_topic_s_id_is_written_as_kafka_s_own_tools_do() -> None:
    # From the description of a topic by kafka-topics.sh and by the protocol.
    assert topic_id_text("00000000-0000-0000-0000-000000000001") == "AAAAAAAAAAAAAAAAAAAAAQ"


@pytest.mark.parametrize(
    ("topic", "key", "value", "wanted"),
    [
        ("cases", "cleanup.policy", "compact", "delete"),
        ("cases", "cleanup.policy", "compact,delete", "delete"),
        ("cases", "retention.ms", "604800000", "-1"),
        ("cases", "retention.bytes", "1000000", "-1"),
        ("checkpoints", "retention.ms", "604800000", "-1"),
        ("audit", "unclean.leader.election.enable", "true", "false"),
        ("audit", "message.timestamp.type", "LogAppendTime", "CreateTime"),
        ("cases", "min.insync.replicas", "1", "at least 2"),
        ("cases", "max.message.bytes", "999", "at least 1000"),
    ],
)
def test_a_setting_that_could_lose_records_is_named_with_its_value_and_the_one_wanted(
    topic: str, key: str, value: str, wanted: str
) -> None:
    cluster = Cluster()
    cluster.topics[f"exchange.{topic}"]["configs"][key] = value
    with pytest.raises(LogSettingsRefused) as refused:
        topics_of(cluster).ensure(SETTINGS)
    assert refused.value.message == f"topic exchange.{topic} has {key} = {value}, and it must be {wanted}"


@pytest.mark.parametrize(
    ("what", "number", "said"),
    [
        ("num_partitions", 3, "partitions = 3, and it must be 4"),
        # More would send the records of a case to another partition than before.
        ("num_partitions", 5, "partitions = 5, and it must be 4"),
        ("replication_factor", 2, "copies = 2, and it must be at least 3"),
    ],
)
def test_another_shape_is_named(what: str, number: int, said: str) -> None:
    cluster = Cluster()
    cluster.topics["exchange.cases"][what] = number
    with pytest.raises(LogSettingsRefused, match=f"topic exchange.cases has {said}"):
        topics_of(cluster).ensure(SETTINGS)


def test_more_than_is_asked_for_is_welcome() -> None:
    cluster = Cluster()
    cluster.topics["exchange.cases"]["replication_factor"] = 5
    cluster.topics["exchange.cases"]["configs"] |= {"min.insync.replicas": "3", "max.message.bytes": "2000"}
    topics_of(cluster).ensure(SETTINGS)


def test_records_may_expire_where_that_is_configured_but_checkpoints_never() -> None:
    settings = TopicSettings({"cases": 4}, 1, 1, retention_days=3650, value_bytes=1000)
    assert settings.configuration("cases")["retention.ms"] == str(3650 * 86_400_000)
    assert settings.configuration("checkpoints")["retention.ms"] == "-1"
    topics_of(Cluster(settings)).ensure(settings)


@pytest.mark.parametrize("protocols", [{}, {"group.coordinator.rebalance.protocols": "classic"}])
def test_a_cluster_without_the_protocol_of_our_groups_is_refused(protocols: dict[str, str]) -> None:
    cluster = Cluster()
    cluster.group_protocols = protocols
    with pytest.raises(LogSettingsRefused, match=r"Kafka 4\.0.*consumer in group\.coordinator\.rebalance\.protocols"):
        topics_of(cluster).check_cluster()


def test_a_node_on_which_nobody_could_publish_checkpoints_is_refused_until_it_is_right_whichever_it_is() -> None:
    cluster = Cluster()
    cluster.transaction_ms = {1: 900_000, 2: 900_000, 3: 9_999}
    topics = topics_of(cluster)
    topics.check_cluster()
    topics.check_cluster()
    for _ in range(2):
        with pytest.raises(LogSettingsRefused, match=r"transaction\.max\.timeout\.ms = 9999.*at least 10000"):
            topics.check_cluster()
    cluster.transaction_ms[3] = 10_000
    topics.check_cluster()


def test_a_cluster_that_forgets_subscriptions_is_refused() -> None:
    cluster = Cluster()
    topics_of(cluster).check_cluster()
    cluster.offsets_retention = YEAR_MINUTES - 1
    with pytest.raises(LogSettingsRefused, match=r"offsets\.retention\.minutes = 525599.*at least 525600"):
        topics_of(cluster).check_cluster()
