"""What every node of a Kafka cluster of the exchange is set to, and why. One function, for every way to run one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from certs.kafka import BREAK_GLASS, node
from certs.profiles import KAFKA_PRINCIPAL_RULES, kafka_name

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEBIBYTE: Final = 1024 * 1024
LARGEST_RECORD_BYTES: Final = 5 * _MEBIBYTE + 64 * 1024
"""The largest envelope that a broker accepts (5 MiB), its seal, and what Kafka puts around a record."""
_NEVER: Final = -1
_LONGEST_MINUTES: Final = 2**31 - 1

_FIXED: Final[dict[str, str | int | bool]] = {
    # --- who is let in, and what they may do ---
    # Every connection is TLS, and both ends have a certificate of Kafka's own authority.
    "listener.security.protocol.map": "CLIENT:SSL,NODE:SSL,CONTROLLER:SSL",
    "ssl.client.auth": "required",
    "ssl.enabled.protocols": "TLSv1.3",
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "ssl.principal.mapping.rules": KAFKA_PRINCIPAL_RULES,
    # What no rule of broker/messagelog/kafka/access.py allows is denied.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": False,
    # A misspelt topic is an error, not a topic with settings that nobody chose.
    "auto.create.topics.enable": False,
    # --- what is kept ---
    # Records are kept for decades. A topic's own settings may say less; nobody gets seven days by forgetting to say.
    "log.retention.ms": _NEVER,
    "log.retention.bytes": _NEVER,
    # A copy that lacks acknowledged records never leads: rather no log for a while than one with a hole.
    "unclean.leader.election.enable": False,
    # A durable subscription keeps its place while its subscriber is away, for however long.
    "offsets.retention.minutes": _LONGEST_MINUTES,
    # The part of a subscription's state that does not fit in one number travels in the commit's metadata.
    "offset.metadata.max.bytes": 4096,
    "message.max.bytes": LARGEST_RECORD_BYTES,
    # Or a follower could not copy the largest record in one piece with others.
    "replica.fetch.max.bytes": LARGEST_RECORD_BYTES,
    # --- how soon a lost node or client is noticed ---
    # A node that is silent for this long leads nothing any more.
    "broker.session.timeout.ms": 6000,
    # A copy that lags this long holds up no acknowledgement any more, while enough others have the record.
    "replica.lag.time.max.ms": 5000,
    # Subscribers choose how soon they are given up; tests and quick hand-overs need less than Kafka's six seconds.
    "group.min.session.timeout.ms": 1000,
    # A group's first member need not wait for others.
    "group.initial.rebalance.delay.ms": 0,
    # --- what makes it small and quick to start; a large cluster leaves these out ---
    "offsets.topic.num.partitions": 8,
    "transaction.state.log.num.partitions": 8,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "num.recovery.threads.per.data.dir": 1,
    "background.threads": 2,
    # The default is half of the heap that a node gets here.
    "log.cleaner.dedupe.buffer.size": 8 * _MEBIBYTE,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a listener is reached, and the address that it is bound to."""

    host: str
    port: int
    bind: str

    @property
    def advertised(self) -> str:
        """Where it is reached."""
        return f"{self.host}:{self.port}"

    @property
    def bound(self) -> str:
        """Where it listens."""
        return f"{self.bind}:{self.port}"


@dataclass(frozen=True, slots=True)
class Node:
    """A node, broker and controller in one process, and how clients, other brokers and other controllers reach it."""

    number: int
    client: Endpoint
    peer: Endpoint
    controller: Endpoint


def node_settings(own: Node, nodes: Sequence[Node], *, data: str, keystore: str, truststore: str) -> dict[str, str]:
    """The whole of a node's server.properties.

    Args:
        own: the node.
        nodes: every node of the cluster, ``own`` among them.
        data: the folder of its data.
        keystore: the PEM file of its key and certificate.
        truststore: the PEM file of Kafka's authority.
    """
    # With three nodes one may be lost, and still no acknowledged record is on fewer than two disks.
    copies, in_sync = (3, 2) if len(nodes) >= 3 else (1, 1)  # noqa: PLR2004 - the sentence above
    # Nodes copy and register, which no rule can narrow down; the break-glass client is for what the rules forbid.
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
