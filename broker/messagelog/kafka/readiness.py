"""Whether a cluster is ready: what a node itself says of it, asked over the same TLS as everything else."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kafka import errors as kafka_errors

from broker.core.errors import LogUnavailable
from broker.messagelog.kafka.connection import translate

if TYPE_CHECKING:
    from broker.messagelog.kafka.connection import KafkaConnection


class ClusterState(NamedTuple):
    """A cluster as one node describes it.

    Attributes:
        nodes: ids of the nodes that are registered and not fenced, so that clients may use them.
        controller: the id of the elected controller, or -1.
        behind: how many copies of partitions are not in sync; of all topics that the asking principal may describe.
    """

    nodes: frozenset[int]
    controller: int
    behind: int


def cluster_state(connection: KafkaConnection) -> ClusterState:
    """Ask for a cluster's state. Name one server in the connection to hear what that one says.

    Raises:
        LogUnavailable: no answer in the connection's time.
        CertificateInvalid: our TLS files cannot be used.
        LogAccessDenied: the principal may not describe the cluster.
    """
    try:
        with answering(connection).admin() as admin:
            nodes = [node["broker_id"] for node in admin.describe_cluster()["brokers"] if not node["is_fenced"]]
            quorum = admin.describe_metadata_quorum()["topics"][0]["partitions"][0]
            partitions = [partition for topic in admin.describe_topics() for partition in topic["partitions"]]
    except kafka_errors.KafkaError as error:
        raise translate(error) from error
    behind = sum(len(partition["replica_nodes"]) - len(partition["isr_nodes"]) for partition in partitions)
    return ClusterState(frozenset(nodes), quorum["leader_id"], behind)


def answering(connection: KafkaConnection) -> KafkaConnection:
    """The same connection, naming only those of its servers that complete a TLS handshake now.

    kafka-python (3.0.12) puts no bound on a handshake: a server whose machine accepts the connection while its process
    stands still, as one that is paused, would hold up a client that is being made for as long as it stands.

    Raises:
        LogUnavailable: none of them did in the connection's time.
        CertificateInvalid: our TLS files cannot be used.
    """
    servers = [server for server in connection.servers if _shakes_hands(connection, server)]
    if not servers:
        message = "no server of Kafka's answers"
        raise LogUnavailable(message)
    return replace(connection, servers=servers)


def _shakes_hands(connection: KafkaConnection, server: str) -> bool:
    host, _, port = server.rpartition(":")
    context = None if connection.tls is None else connection.tls.context()
    with contextlib.suppress(OSError):
        # The time is that of each step, and the handshake is one.
        with socket.create_connection((host, int(port)), connection.timeout_seconds) as raw:
            if context is not None:
                context.wrap_socket(raw, server_hostname=host).close()
            return True
    return False
