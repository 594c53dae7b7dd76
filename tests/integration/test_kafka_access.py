"""Who may do what on a real Kafka."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourceType,
)
from kafka.structs import OffsetAndMetadata

from broker.core.errors import LogAccessDenied
from broker.messagelog.kafka import access
from broker.messagelog.kafka.connection import KafkaTls
from broker.messagelog.kafka.readiness import cluster_state
from certs import profiles
from certs.kafka import AUDITOR, BREAK_GLASS, BROKER
from certs.operations import write_credential
from deploy.kafka.cluster import PREFIX, PRINCIPALS
from tests.support.kafka import create_topic, new_topic, read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from broker.core.identity import Principal
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka

SOON = 10.0


@pytest.fixture(scope="module")
def topic(kafka_cluster: KafkaCluster) -> str:
    """A topic of the broker with three records."""
    name = create_topic(kafka_cluster)
    write(kafka_cluster, name, b"one", b"two", b"three")
    return name


def write(cluster: KafkaCluster, topic: str, *values: bytes, by: Principal = BROKER) -> list[int]:
    with cluster.connection(by, timeout=SOON).producer(enable_idempotence=by is BROKER) as producer:
        return [producer.send(topic, partition=0, value=value).get(SOON).offset for value in values]


# --- what the broker may ---------------------------------------------------------------------------------------------


def test_the_broker_makes_topics_writes_them_and_reads_them(kafka_cluster: KafkaCluster, topic: str) -> None:
    assert read_values(kafka_cluster, topic, 3, by=BROKER) == [b"one", b"two", b"three"]


def test_the_broker_commits_places_in_the_exchange_s_groups_only(kafka_cluster: KafkaCluster, topic: str) -> None:
    place = {TopicPartition(topic, 0): OffsetAndMetadata(2, "sparse", -1)}
    connection = kafka_cluster.connection(BROKER, timeout=SOON)
    with connection.consumer(group_id=f"{PREFIX}.{uuid.uuid4().hex}") as consumer:
        consumer.assign(list(place))
        consumer.commit(place)
        assert consumer.committed(TopicPartition(topic, 0)) == 2
    with connection.consumer(group_id=f"other.{uuid.uuid4().hex}") as consumer:
        consumer.assign(list(place))
        with pytest.raises(kafka_errors.GroupAuthorizationFailedError):
            consumer.commit(place)


def test_the_broker_uses_the_exchange_s_transactional_ids_only(kafka_cluster: KafkaCluster) -> None:
    connection = kafka_cluster.connection(BROKER, timeout=SOON)
    with connection.producer(transactional_id=f"{PREFIX}.{uuid.uuid4().hex}") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(create_topic(kafka_cluster), partition=0, value=b"in a transaction")
        producer.commit_transaction()
    with (
        connection.producer(transactional_id=f"other.{uuid.uuid4().hex}") as producer,
        pytest.raises(kafka_errors.TransactionalIdAuthorizationFailedError),
    ):
        producer.init_transactions()


def test_the_broker_sees_settings_of_topics_and_nodes(kafka_cluster: KafkaCluster, topic: str) -> None:
    with kafka_cluster.connection(BROKER).admin() as admin:
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic), ConfigResource(ConfigResourceType.BROKER, "1")]
        described = admin.describe_configs(resources, config_filter="all")
    assert described["topic"][topic]["retention.ms"]["value"] == "-1"
    assert described["broker"]["1"]["offsets.retention.minutes"]["value"] == "2147483647"


def delete_topic(admin: Any, topic: str) -> None:
    admin.delete_topics([topic])


def delete_records(admin: Any, topic: str) -> None:
    admin.delete_records({TopicPartition(topic, 0): 1})


def add_partitions(admin: Any, topic: str) -> None:
    admin.create_partitions({topic: 2})


def alter_settings(admin: Any, topic: str) -> None:
    told = admin.alter_configs([ConfigResource("topic", topic, {"retention.ms": "1000"})])
    if (result := told["topic"][topic]) != "OK":
        assert "TopicAuthorizationFailed" in result
        raise kafka_errors.TopicAuthorizationFailedError(result)


class Standing(NamedTuple):
    """The state of a topic."""

    partitions: int = 1
    first_offset: int = 0
    retention: str = "-1"


ALTERATIONS: dict[Callable[[Any, str], None], Standing | None] = {
    delete_topic: None,
    delete_records: Standing(first_offset=1),
    add_partitions: Standing(partitions=2),
    alter_settings: Standing(retention="1000"),
}
"""The state of a topic after each alteration."""


def standing(cluster: KafkaCluster, topic: str) -> Standing | None:
    """The state of a topic now, or None if there is none."""
    with cluster.connection(BROKER).admin() as admin:
        if topic not in admin.list_topics():
            return None
        (described,) = admin.describe_topics([topic])
        settings = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    place = TopicPartition(topic, 0)
    with cluster.connection(BROKER).consumer() as consumer:
        first = consumer.beginning_offsets([place])[place]
    return Standing(len(described["partitions"]), first, settings["topic"][topic]["retention.ms"]["value"])


@pytest.mark.parametrize("client", [BROKER, AUDITOR], ids=lambda client: client.system)
@pytest.mark.parametrize("alter", ALTERATIONS)
def test_neither_broker_nor_auditor_alters_or_deletes_anything_of_a_topic(
    kafka_cluster: KafkaCluster, topic: str, alter: Callable[[Any, str], None], client: Principal
) -> None:
    with kafka_cluster.connection(client).admin() as admin, pytest.raises(kafka_errors.TopicAuthorizationFailedError):
        alter(admin, topic)
    assert standing(kafka_cluster, topic) == Standing()
    assert read_values(kafka_cluster, topic, 3, by=BROKER) == [b"one", b"two", b"three"]


@pytest.mark.parametrize(("alter", "made"), ALTERATIONS.items())
def test_the_break_glass_client_does_what_the_others_may_not(
    kafka_cluster: KafkaCluster, alter: Callable[[Any, str], None], made: Standing | None
) -> None:
    name = create_topic(kafka_cluster)
    write(kafka_cluster, name, b"one", b"two")
    assert standing(kafka_cluster, name) == Standing()
    with kafka_cluster.connection(BREAK_GLASS).admin() as admin:
        alter(admin, name)
    # The controller has decided. The node that is asked learns of it a moment later.
    deadline = time.monotonic() + SOON
    while (found := standing(kafka_cluster, name)) != made and time.monotonic() < deadline:
        continue
    assert found == made


@pytest.mark.parametrize("client", [BROKER, AUDITOR], ids=lambda client: client.system)
def test_neither_broker_nor_auditor_makes_topics_elsewhere_deletes_groups_or_gives_rights(
    kafka_cluster: KafkaCluster, topic: str, client: Principal
) -> None:
    group = f"{PREFIX}.{uuid.uuid4().hex}"
    everything = ResourcePattern(ResourceType.TOPIC, topic, ACLResourcePatternType.LITERAL)
    more = ACL("User:exchange/broker", "*", ACLOperation.ALL, ACLPermissionType.ALLOW, everything)
    with kafka_cluster.connection(client).admin() as admin:
        with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
            admin.create_topics({"elsewhere": {"num_partitions": 1}})
        assert set(admin.delete_groups([group], group_coordinator_id=1).values()) == {"GroupAuthorizationFailedError"}
        assert admin.create_acls([more])["failed"] == [kafka_errors.ClusterAuthorizationFailedError]


# --- what the auditor may --------------------------------------------------------------------------------------------


def test_the_auditor_reads_and_cannot_write(kafka_cluster: KafkaCluster, topic: str) -> None:
    assert read_values(kafka_cluster, topic, 3, by=AUDITOR) == [b"one", b"two", b"three"]
    with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
        write(kafka_cluster, topic, b"four", by=AUDITOR)


def test_the_auditor_makes_no_topics_joins_no_groups_and_does_not_see_the_cluster(
    kafka_cluster: KafkaCluster, topic: str
) -> None:
    connection = kafka_cluster.connection(AUDITOR, timeout=SOON)
    with connection.admin() as admin, pytest.raises(kafka_errors.TopicAuthorizationFailedError):
        admin.create_topics({new_topic(): {"num_partitions": 1}})
    with connection.consumer(group_id=f"{PREFIX}.{uuid.uuid4().hex}") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        with pytest.raises(kafka_errors.GroupAuthorizationFailedError):
            consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(1, "", -1)})
    with pytest.raises(LogAccessDenied):
        cluster_state(connection)


# --- the rules themselves --------------------------------------------------------------------------------------------


@pytest.fixture
def foreign_rules(kafka_cluster: KafkaCluster) -> Iterator[tuple[ACL, ACL]]:
    """A right that the rules do not give, and a denial for somebody with a stolen key."""
    where = ResourcePattern(ResourceType.TOPIC, f"{PREFIX}.", ACLResourcePatternType.PREFIXED)
    given = ACL("User:exchange/broker", "*", ACLOperation.DELETE, ACLPermissionType.ALLOW, where)
    denied = ACL("User:exchange/stolen", "*", ACLOperation.ALL, ACLPermissionType.DENY, where)
    with kafka_cluster.connection(BREAK_GLASS).admin() as admin:
        assert len(admin.create_acls([given, denied])["succeeded"]) == 2
        yield given, denied
        admin.delete_acls(
            [ACLFilter(denied.principal, "*", denied.operation, denied.permission_type, denied.resource_pattern)]
        )


def test_applying_the_rules_takes_away_what_they_do_not_give_and_leaves_what_is_denied(
    kafka_cluster: KafkaCluster, foreign_rules: tuple[ACL, ACL]
) -> None:
    assert kafka_cluster.apply_access() == (0, 1)
    assert kafka_cluster.apply_access() == (0, 0)
    given, denied = foreign_rules
    with kafka_cluster.connection(BREAK_GLASS).admin() as admin:
        everything = ResourcePattern(ResourceType.TOPIC, f"{PREFIX}.", ACLResourcePatternType.PREFIXED)
        found, _ = admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, everything))
    assert denied in found
    assert given not in found


def test_a_rule_that_denies_shuts_out_a_principal_whom_the_table_lets_in(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, topic: str, tmp_path: Path
) -> None:
    authority, stolen = kafka_keys.load_authority("kafka"), replace(BROKER, system="stolen")
    key = ec.generate_private_key(ec.SECP256R1())
    now = authority.certificate.not_valid_before_utc
    paths = write_credential(
        key, authority.issue(profiles.KAFKA_CLIENT, stolen, key.public_key(), now), tmp_path / "stolen.pem"
    )
    tls = KafkaTls(*paths, kafka_keys.kafka.authority)
    connection = replace(kafka_cluster.connection(BROKER, timeout=SOON), tls=tls)
    everything = ResourcePattern(ResourceType.TOPIC, "*", ACLResourcePatternType.LITERAL)
    denied = ACL("User:exchange/stolen", "*", ACLOperation.ALL, ACLPermissionType.DENY, everything)
    access.apply(kafka_cluster.connection(BREAK_GLASS), {"broker": ["exchange/broker", "exchange/stolen"]})
    with kafka_cluster.connection(BREAK_GLASS).admin() as admin:
        try:
            with connection.producer() as producer:
                producer.send(create_topic(kafka_cluster), partition=0, value=b"let in").get(SOON)
            admin.create_acls([denied])
            with connection.producer() as producer, pytest.raises(kafka_errors.TopicAuthorizationFailedError):
                producer.send(topic, partition=0, value=b"shut out").get(SOON)
        finally:
            admin.delete_acls([ACLFilter(denied.principal, "*", denied.operation, denied.permission_type, everything)])
            kafka_cluster.apply_access()


def test_only_a_super_user_applies_rules(kafka_cluster: KafkaCluster) -> None:
    with pytest.raises(LogAccessDenied):
        access.apply(kafka_cluster.connection(BROKER), {**PRINCIPALS, "auditor": ["national-audit/another"]})
    assert kafka_cluster.apply_access() == (0, 0)
