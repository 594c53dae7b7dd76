from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest
from kafka.admin import ACLOperation, ResourceType

from broker.messagelog.kafka import access
from broker.messagelog.kafka.access import RULES
from certs.profiles import LOCAL_NAMES
from deploy.kafka import compose, distribution
from deploy.kafka.cluster import PRINCIPALS
from deploy.kafka.errors import KafkaFailed
from deploy.kafka.folder import ClusterFolder
from deploy.kafka.settings import LARGEST_RECORD_BYTES, Endpoint, Node, node_settings

ROOT = Path(__file__).parents[3]
NODES = tuple(
    Node(number, *(Endpoint("127.0.0.1", 1000 * number + listener, "127.0.0.1") for listener in range(3)))
    for number in (1, 2, 3)
)


def settings(nodes: tuple[Node, ...] = NODES) -> dict[str, str]:
    return node_settings(nodes[0], nodes, data="/data", keystore="/keystore.pem", truststore="/ca.pem")


def test_the_compose_file_is_what_the_settings_generate() -> None:
    assert (ROOT / "deploy" / "compose.yaml").read_text() == compose.compose(), "run make kafka-compose"


def test_a_variable_of_the_image_names_its_setting_by_the_image_s_rule() -> None:
    assert compose.variable("log.dirs") == "KAFKA_LOG_DIRS"
    assert compose.variable("a_b-c.d") == "KAFKA_A__B___C_D"


def test_the_image_s_containers_are_reached_by_names_that_their_certificates_have() -> None:
    for node in compose.NODES:
        assert node.peer.host == node.controller.host == f"kafka-{node.number}"
        assert node.client.host in LOCAL_NAMES


def test_every_listener_asks_for_a_certificate_and_nothing_is_allowed_by_default() -> None:
    made = settings()
    assert made["listener.security.protocol.map"] == "CLIENT:SSL,NODE:SSL,CONTROLLER:SSL"
    assert {entry.split("://")[0] for entry in made["listeners"].split(",")} == {"CLIENT", "NODE", "CONTROLLER"}
    assert made["ssl.client.auth"] == "required"
    assert made["allow.everyone.if.no.acl.found"] == "false"
    assert "DEFAULT" not in made["ssl.principal.mapping.rules"]


def test_only_the_nodes_and_the_break_glass_client_are_super_users() -> None:
    assert settings()["super.users"].split(";") == [
        "User:exchange/kafka-node-1",
        "User:exchange/kafka-node-2",
        "User:exchange/kafka-node-3",
        "User:exchange/break-glass",
    ]
    assert settings(NODES[:1])["super.users"] == "User:exchange/kafka-node-1;User:exchange/break-glass"


@pytest.mark.parametrize(("nodes", "copies", "in_sync"), [(1, "1", "1"), (3, "3", "2")])
def test_three_nodes_keep_three_copies_of_which_two_acknowledge(nodes: int, copies: str, in_sync: str) -> None:
    made = settings(NODES[:nodes])
    assert {value for key, value in made.items() if key.endswith("replication.factor")} == {copies}
    assert {value for key, value in made.items() if key.endswith((".min.isr", "min.insync.replicas"))} == {in_sync}


def test_the_largest_envelope_fits_and_its_copy_too() -> None:
    made = settings()
    assert int(made["message.max.bytes"]) == int(made["replica.fetch.max.bytes"]) == LARGEST_RECORD_BYTES
    assert LARGEST_RECORD_BYTES > 5 * 1024 * 1024


# --- the access rules ------------------------------------------------------------------------------------------------


def test_no_rule_alters_or_deletes() -> None:
    every = [rule.operation for rule in access.rules("prefix", PRINCIPALS)]
    assert set(get_args(access.Operation)) == {operation.name.lower() for operation in every}
    assert not {ACLOperation.ALL, ACLOperation.ALTER, ACLOperation.ALTER_CONFIGS, ACLOperation.DELETE} & set(every)


def test_auditors_have_rules_on_topics_only_and_none_that_writes() -> None:
    assert RULES["auditor"] == {"topic": ("describe", "describe_configs", "read")}


def test_the_operator_s_page_has_the_table_of_the_rules() -> None:
    names = {"topic": "topics", "group": "groups", "transactional_id": "transactional ids", "cluster": "the cluster"}
    table = [
        f"| {role} | {names[what]} | {', '.join(operations)} |"
        for role, resources in RULES.items()
        for what, operations in resources.items()
    ]
    page = (ROOT / "docs" / "kafka.md").read_text()
    begin = page.index(table[0])
    assert page[begin:].split("\n\n")[0].splitlines() == table


def test_every_rule_is_on_the_cluster_or_within_the_exchange_s_prefix() -> None:
    for rule in access.rules("prefix", PRINCIPALS):
        where = rule.resource_pattern
        expected = (
            ("kafka-cluster", "LITERAL") if where.resource_type is ResourceType.CLUSTER else ("prefix.", "PREFIXED")
        )
        assert (where.resource_name, where.pattern_type.name) == expected


# --- what is missing is named ----------------------------------------------------------------------------------------


def test_without_java_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    with pytest.raises(KafkaFailed, match=r"Java 17 or newer.*apt install openjdk-17-jre-headless"):
        distribution.java("kafka.Kafka")


def test_a_java_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _program: str(java))
    with pytest.raises(KafkaFailed, match=r"Java 17 or newer, and .*java is 8: apt install"):
        distribution.java("kafka.Kafka")


def test_without_maven_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    monkeypatch.setattr(distribution, "SCRATCH", tmp_path)
    with pytest.raises(KafkaFailed, match="apt install maven"):
        distribution.libraries()


def test_what_maven_says_is_shown_and_half_a_fetch_is_not_taken_for_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'no such artifact'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _program: str(maven))
    monkeypatch.setattr(distribution, "SCRATCH", tmp_path / "scratch")
    for _ in range(2):
        with pytest.raises(KafkaFailed, match="no such artifact"):
            distribution.libraries()


def test_the_folder_of_another_number_of_nodes_is_left_alone(tmp_path: Path) -> None:
    folder = ClusterFolder(tmp_path / "kafka")
    cluster_id, nodes = folder.identity(3, ())
    assert len(cluster_id) == 22
    assert folder.identity(None, ()) == (cluster_id, nodes)
    assert [node.client.port for node in folder.identity(3, range(1, 10))[1]] == [1, 4, 7]
    with pytest.raises(KafkaFailed, match="has a cluster of 3 nodes, not of 1"):
        folder.identity(1, ())
