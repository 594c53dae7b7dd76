"""What the topics of the exchange must be, so that no record and no order is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.messagelog.kafka.connection import CHECKPOINTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.messagelog.kafka.connection import KafkaConnection

FOREVER: Final = -1
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What every topic of the exchange must be.

    Attributes:
        partitions: the number of partitions of each stream. A record's partition follows from its case and this number,
            so the number never changes.
        replication: copies of each partition.
        min_in_sync: copies that must have a record before it is acknowledged.
        retention_days: how long records are kept; 0 means for ever.
        value_bytes: the size of the largest value that must fit.
    """

    partitions: Mapping[str, int]
    replication: int
    min_in_sync: int
    retention_days: int
    value_bytes: int

    @property
    def retention_ms(self) -> int:
        """The retention in milliseconds, as Kafka states it."""
        return self.retention_days * _DAY_MS if self.retention_days else FOREVER

    def of_topics(self) -> dict[str, int]:
        """The number of partitions of each topic. The checkpoints topic has one for each partition of the streams."""
        return {**self.partitions, CHECKPOINTS: sum(self.partitions.values())}

    def exact(self, name: str) -> dict[str, str]:
        """Configuration keys that must have exactly these values."""
        return {
            # Records are never compacted: every one of them counts, and they have no key.
            "cleanup.policy": "delete",
            # The checkpoints are the evidence of what the log held. So they are kept longer than the log.
            "retention.ms": str(FOREVER if name == CHECKPOINTS else self.retention_ms),
            "retention.bytes": str(FOREVER),
            # A copy without acknowledged records must never lead.
            "unclean.leader.election.enable": "false",
            # The time that the accepting broker sealed, not the time of the node that led.
            "message.timestamp.type": "CreateTime",
            # As the brokers send them: not compressed. A codec that a reader lacks would stop it.
            "compression.type": "producer",
        }

    def at_least(self) -> dict[str, int]:
        """Configuration keys that must have at least these values."""
        return {"min.insync.replicas": self.min_in_sync, "max.message.bytes": self.value_bytes}

    def configuration(self, name: str) -> dict[str, str]:
        """The configuration of a new topic."""
        return {**self.exact(name), **{key: str(value) for key, value in self.at_least().items()}}


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How one process uses its cluster.

    Attributes:
        connection: how to reach the cluster.
        topics: what the topics must be, or None for an auditor, who accepts them as they are. Then no topic is made,
            nothing can be appended, and a missing beginning is no reason to stop.
        tail_bytes: the limit for the values of the newest entries in memory.
    """

    connection: KafkaConnection
    topics: TopicSettings | None
    tail_bytes: int = 32 << 20
