"""The settings of every node of the exchange's Kafka clusters, with reasons. One function for all ways to run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from certs.kafka import BREAK_GLASS, node
from certs.profiles import KAFKA_PRINCIPAL_RULES, kafka_name

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEBIBYTE: Final = 1024 * 1024
LARGEST_RECORD_BYTES: Final = 5 * _MEBIBYTE + 64 * 1024
"""The largest envelope that a broker accepts (5 MiB), its seal, and Kafka's own bytes around a record."""
_NEVER: Final = -1
_LONGEST_MINUTES: Final = 2**31 - 1

_FIXED: Final[dict[str, str | int | bool]] = {
    # --- who may connect, and what they may do ---
    # Every connection is TLS, and both ends have a certificate of Kafka's own authority.
    "listener.security.protocol.map": "CLIENT:SSL,NODE:SSL,CONTROLLER:SSL",
    "ssl.client.auth": "required",
    "ssl.enabled.protocols": "TLSv1.3",
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "ssl.principal.mapping.rules": KAFKA_PRINCIPAL_RULES,
    # Everything is denied that broker/messagelog/kafka/access.py does not allow.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": False,
    # A misspelt topic is an error. Otherwise Kafka would make a topic with default settings.
    "auto.create.topics.enable": False,
    # --- what is kept ---
    # Records are kept for decades. A topic's own settings may say less. Kafka's default would be seven days.
    "log.retention.ms": _NEVER,
    "log.retention.bytes": _NEVER,
    # A copy that lacks acknowledged records never leads. A log that is missing for a while is better than lost records.
    "unclean.leader.election.enable": False,
    # A durable subscription keeps its place while its subscriber is away, for any time.
    "offsets.retention.minutes": _LONGEST_MINUTES,
    # The commit's metadata carry the part of a subscription's state that does not fit in one number.
    "offset.metadata.max.bytes": 4096,
    "message.max.bytes": LARGEST_RECORD_BYTES,
    # Otherwise a follower could not copy the largest record together with others.
    "replica.fetch.max.bytes": LARGEST_RECORD_BYTES,
    # --- how soon a lost node or client is noticed ---
    # A node that is silent for this long stops being a leader.
    "broker.session.timeout.ms": 6000,
    # After this lag, acknowledgements no longer wait for the copy, if enough others have the record.
    "replica.lag.time.max.ms": 5000,
    # A broker that is silent for this long loses its partitions to the others. Kafka's default is 45 seconds.
    "group.consumer.min.session.timeout.ms": 6000,
    "group.consumer.session.timeout.ms": 6000,
    # A third of it. A broker notices with a heartbeat that it must give up a partition.
    "group.consumer.min.heartbeat.interval.ms": 2000,
    "group.consumer.heartbeat.interval.ms": 2000,
    # A group shares out its partitions as soon as a member comes or goes.
    "group.consumer.assignment.interval.ms": 0,
    # --- for a small cluster that starts quickly; leave these out in a large one ---
    "offsets.topic.num.partitions": 8,
    "transaction.state.log.num.partitions": 8,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "num.recovery.threads.per.data.dir": 1,
    "background.threads": 2,
    # The default is half of the heap of a node here.
    "log.cleaner.dedupe.buffer.size": 8 * _MEBIBYTE,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a listener for others, and the address that it listens on."""

    host: str
    port: int
    bind: str

    @property
    def advertised(self) -> str:
        """The address for others."""
        return f"{self.host}:{self.port}"

    @property
    def bound(self) -> str:
        """The address that it listens on."""
        return f"{self.bind}:{self.port}"


@dataclass(frozen=True, slots=True)
class Node:
    """A node, broker and controller in one process, with its addresses for clients, other brokers and controllers."""

    number: int
    client: Endpoint
    peer: Endpoint
    controller: Endpoint


def node_settings(own: Node, nodes: Sequence[Node], *, data: str, keystore: str, truststore: str) -> dict[str, str]:
    """All of a node's server.properties.

    Args:
        own: the node.
        nodes: every node of the cluster, ``own`` among them.
        data: the folder of its data.
        keystore: the PEM file of its key and certificate.
        truststore: the PEM file of Kafka's authority.
    """
    # With three nodes one may be lost, and every acknowledged record is still on at least two disks.
    copies, in_sync = (3, 2) if len(nodes) >= 3 else (1, 1)  # noqa: PLR2004 - the sentence above
    # Nodes must copy and register; no rule can limit this. The break-glass client does what the rules forbid.
    super_users = [*(node(each.number) for each in nodes), BREAK_GLASS]
    settings = _FIXED | {
        "process.roles": "broker,controller",
        "node.id": own.number,
        "controller.quorum.voters": ",".join(f"{each.number}@{each.controller.advertised}" for each in nodes),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "NODE",
        "listeners": _listeners(client=own.client.bound, node=own.peer.bound, controller=own.controller.bound),
        "advertised.listeners": _listeners(
            client=own.client.advertised, node=own.peer.advertised, controller=own.controller.advertised
        ),
        "log.dirs": data,
        "ssl.keystore.location": keystore,
        "ssl.truststore.location": truststore,
        "super.users": ";".join(f"User:{kafka_name(principal)}" for principal in super_users),
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
    return {key: _text(value) for key, value in settings.items()}


def _listeners(**addresses: str) -> str:
    return ",".join(f"{name.upper()}://{address}" for name, address in addresses.items())


def _text(value: str | int | bool) -> str:  # noqa: FBT001 - a value, not a switch
    return str(value).lower() if isinstance(value, bool) else str(value)
