"""The results of one round of a subscription's loop. Auditors get them first, then the streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.core.events import AuditEvent, DeadLetterMade, DeliveryConfirmed, DeliveryMade

if TYPE_CHECKING:
    from broker.core.entry import LogEntry
    from broker.core.identity import Principal
    from broker.core.lease_terms import DeadLetter
    from broker.core.streams import Position, StreamPartition
    from broker.services.deliveries import DeliveredCopy, Outgoing


@dataclass(slots=True, eq=False)
class Consumer:
    """One stream of the subscription."""

    name: str
    principal: Principal
    outgoing: asyncio.Queue[Outgoing] = field(default_factory=asyncio.Queue)


@dataclass(slots=True, eq=False)
class Held:
    """A record that was read and is not finished, and its last holder (a SPIFFE id; empty if there was none yet)."""

    entry: LogEntry
    holder: str = ""


@dataclass(slots=True)
class Round:
    """Deliveries to be made, acknowledgements to be confirmed, and dead letters with the last holder of each."""

    deliveries: list[tuple[Consumer, DeliveredCopy]] = field(default_factory=list)
    acked: list[tuple[Consumer, int, Position]] = field(default_factory=list)
    dead: list[tuple[str, DeadLetter]] = field(default_factory=list)

    def withdraw(self, partition: StreamPartition) -> list[tuple[Consumer, int]]:
        """Remove and return the acknowledgements in a partition that another process now reads. They do not hold."""
        lost = [(consumer, delivery_id) for consumer, delivery_id, at in self.acked if at.stream_partition == partition]
        self.acked = [item for item in self.acked if item[2].stream_partition != partition]
        self.dead = [item for item in self.dead if item[1].position.stream_partition != partition]
        return lost

    def events(self, now_ms: int, subscription: str) -> list[AuditEvent]:
        """What auditors must know about the round."""
        made = [
            AuditEvent(
                now_ms,
                consumer.principal.spiffe_id,
                DeliveryMade(copy.position, subscription, copy.attempt, copy.withheld_sections),
            )
            for consumer, copy in self.deliveries
        ]
        confirmed = [
            AuditEvent(now_ms, consumer.principal.spiffe_id, DeliveryConfirmed(position, subscription))
            for consumer, _, position in self.acked
        ]
        dead = [
            AuditEvent(
                now_ms,
                principal,
                DeadLetterMade(letter.position, subscription, letter.failed_attempts),
            )
            for principal, letter in self.dead
        ]
        return made + confirmed + dead

    def confirmations(self, committed: frozenset[StreamPartition]) -> list[tuple[Consumer, tuple[int, ...], bool]]:
        """The acknowledged deliveries of each stream, and whether they hold: whether the state was committed."""
        by_stream: dict[tuple[Consumer, bool], list[int]] = {}
        for consumer, delivery_id, position in self.acked:
            hold = position.stream_partition in committed
            by_stream.setdefault((consumer, hold), []).append(delivery_id)
        return [(consumer, tuple(delivery_ids), hold) for (consumer, hold), delivery_ids in by_stream.items()]
