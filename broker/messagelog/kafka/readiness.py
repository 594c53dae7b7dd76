"""Whether a cluster is ready, as one of its nodes describes it, over the same TLS as every other request."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kafka import errors as kafka_errors

from broker.messagelog.kafka.connection import translate

if TYPE_CHECKING:
    from broker.messagelog.kafka.connection import KafkaConnection


class ClusterState(NamedTuple):
    """A cluster as one node describes it.

    Attributes:
        nodes: the ids of the nodes that are registered and not fenced. Clients may use these.
        controller: the id of the elected controller, or -1.
        behind: how many copies of partitions are not in sync, of all topics that the asking principal may describe.
    """

    nodes: frozenset[int]
    controller: int
    behind: int


def cluster_state(connection: KafkaConnection) -> ClusterState:
    """Ask for a cluster's state. To ask one certain node, name only that server in the connection.

    Raises:
        LogUnavailable: no answer in the connection's time.
        LogAccessDenied: the principal may not describe the cluster.
    """
    try:
        with connection.admin() as admin:
            nodes = [node["broker_id"] for node in admin.describe_cluster()["brokers"] if not node["is_fenced"]]
            quorum = admin.describe_metadata_quorum()["topics"][0]["partitions"][0]
            partitions = [partition for topic in admin.describe_topics() for partition in topic["partitions"]]
    except kafka_errors.KafkaError as error:
        raise translate(error) from error
    behind = sum(len(partition["replica_nodes"]) - len(partition["isr_nodes"]) for partition in partitions)
    return ClusterState(frozenset(nodes), quorum["leader_id"], behind)
