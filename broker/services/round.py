"""The results of one round of a subscription's loop. Auditors get them first, then the streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.events import (
    AuditEvent,
    DeadLetterMade,
    DeliveryConfirmed,
    DeliveryMade,
    DeliveryRefused,
    RecordsParked,
    SetAsideEnded,
)
from broker.core.streams import Position
from broker.services.deliveries import Deliveries, LeasesLost
from broker.services.sendqueue import SendQueue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from broker.core.entry import LogEntry
    from broker.core.identity import Principal
    from broker.core.streams import StreamPartition
    from broker.ports import SubscriptionKey
    from broker.services.deliveries import DeliveredCopy

_EVENT_RECORDS: Final = 100
"""The limit for the records that share an event, so that an audit record of many events stays small."""


@dataclass(slots=True, eq=False)
class Consumer:
    """One stream of the subscription."""

    name: str
    principal: Principal
    outgoing: SendQueue = field(default_factory=SendQueue)
    unanswered: int = 0
    """Deliveries that it was handed, less its answers."""

    def hand(self, copies: tuple[DeliveredCopy, ...]) -> None:
        """Hand it deliveries."""
        self.unanswered += len(copies)
        self.outgoing.put(Deliveries(copies))

    def answered(self, delivery_ids: Sequence[int], lost: Sequence[int]) -> int:
        """It answered these deliveries. The leases of some are lost: tell it.

        Returns:
            How many of the lost ones it was never handed, or has answered before. Late answers are honest. On a new
            connection a client may also answer what it got on the one before, so few of these say nothing.
        """
        if lost:
            self.outgoing.put(LeasesLost(tuple(lost)))
        late = max(0, self.unanswered - (len(delivery_ids) - len(lost)))
        self.unanswered = max(0, late - len(lost))
        return max(0, len(lost) - late)


@dataclass(slots=True, eq=False)
class Held:
    """A record that was read and is not finished, and its last holder (a SPIFFE id; empty if there was none yet)."""

    entry: LogEntry
    holder: str = ""


class Acked(NamedTuple):
    """An acknowledgement. ``refused`` is the code with which the record was refused; empty if it was processed.

    ``publisher`` is the agency that published it, if it was refused.
    """

    consumer: Consumer
    delivery_id: int
    position: Position
    refused: str = ""
    publisher: str = ""


class GivenUp(NamedTuple):
    """A dead letter, with its case, and its failed attempts or the reason.

    ``holder`` held it last, or would have got it (a SPIFFE id). It is empty if that is not known, and so is the
    ``publisher``. ``code`` is that of the agency if it ordered this.
    """

    position: Position
    holder: str
    case_id: str
    attempts: int
    reason: str = ""
    publisher: str = ""
    code: str = ""


@dataclass(slots=True)
class Round:
    """Deliveries to be made, acknowledgements to be confirmed, dead letters, and parked records.

    ``ended`` was set aside before, was delivered again, and is finished.
    """

    deliveries: list[tuple[Consumer, DeliveredCopy]] = field(default_factory=list)
    acked: list[Acked] = field(default_factory=list)
    dead: list[GivenUp] = field(default_factory=list)
    parked: list[LogEntry] = field(default_factory=list)
    ended: list[Position] = field(default_factory=list)

    @property
    def unfinished(self) -> bool:
        """Whether there is anything that a commit makes final."""
        return bool(self.acked or self.dead or self.parked or self.ended)

    @property
    def pointed(self) -> set[StreamPartition]:
        """The partitions of which the round has pointers."""
        at = [*(dead.position for dead in self.dead), *(entry.position for entry in self.parked), *self.ended]
        return {position.stream_partition for position in at}

    def withdraw(self, partition: StreamPartition) -> None:
        """Another process now reads a partition: remove its acknowledgements, and tell that they do not hold.

        The partition may come back. Its next commit would not include them.
        """
        for item in self.acked:
            if item.position.stream_partition == partition:
                item.consumer.outgoing.put(LeasesLost((item.delivery_id,)))
        self.acked = [item for item in self.acked if item.position.stream_partition != partition]
        self.dead = [item for item in self.dead if item.position.stream_partition != partition]
        self.parked = [entry for entry in self.parked if entry.position.stream_partition != partition]

    def events(self, now_ms: int, key: SubscriptionKey, reigns: Mapping[StreamPartition, int]) -> list[AuditEvent]:
        """What auditors must know about the round. Records that differ only in their offset share an event.

        Pointers name the reign of their partition. It is 0 if ``reigns`` does not have it.
        """
        subscription = key.name
        handed: dict[tuple[Consumer, str, int, int, tuple[str, ...]], list[int]] = {}
        for consumer, copy in self.deliveries:
            stream, partition, offset = copy.position
            handed.setdefault((consumer, stream, partition, copy.attempt, copy.withheld_sections), []).append(offset)
        made = [
            AuditEvent(
                now_ms,
                consumer.principal.spiffe_id,
                DeliveryMade(Position(stream, partition, first), subscription, attempt, withheld, more),
            )
            for (consumer, stream, partition, attempt, withheld), offsets in handed.items()
            for first, more in _portions(offsets)
        ]
        safe: dict[tuple[Consumer, str, int, str, str], list[int]] = {}
        for consumer, _, (stream, partition, offset), refused, publisher in self.acked:
            safe.setdefault((consumer, stream, partition, refused, publisher), []).append(offset)
        finished = [
            AuditEvent(
                now_ms,
                consumer.principal.spiffe_id,
                DeliveryRefused(Position(stream, partition, first), subscription, refused, more, publisher, key.agency)
                if refused
                else DeliveryConfirmed(Position(stream, partition, first), subscription, more),
            )
            for (consumer, stream, partition, refused, publisher), offsets in safe.items()
            for first, more in _portions(offsets)
        ]
        dead = [
            AuditEvent(
                now_ms,
                dead.holder,
                DeadLetterMade(
                    dead.position,
                    subscription,
                    dead.attempts,
                    key.agency,
                    dead.case_id,
                    dead.reason,
                    dead.publisher,
                    dead.code,
                    reign=reigns.get(dead.position.stream_partition, 0),
                ),
            )
            for dead in self.dead
        ]
        waiting: dict[tuple[StreamPartition, str], list[int]] = {}
        for entry in self.parked:
            waiting.setdefault((entry.position.stream_partition, entry.ordering_key), []).append(entry.position.offset)
        parked = [
            AuditEvent(
                now_ms,
                "",
                RecordsParked(
                    Position(*partition, first), subscription, key.agency, case_id, more, reigns.get(partition, 0)
                ),
            )
            for (partition, case_id), offsets in waiting.items()
            for first, more in _portions(offsets)
        ]
        again: dict[StreamPartition, list[int]] = {}
        for position in self.ended:
            again.setdefault(position.stream_partition, []).append(position.offset)
        ended = [
            AuditEvent(
                now_ms,
                "",
                SetAsideEnded(Position(*partition, first), subscription, key.agency, more, reigns.get(partition, 0)),
            )
            for partition, offsets in again.items()
            for first, more in _portions(offsets)
        ]
        return made + finished + dead + parked + ended

    def confirmations(self, committed: frozenset[StreamPartition]) -> list[tuple[Consumer, tuple[int, ...], bool]]:
        """The acknowledged deliveries of each stream, and whether they hold: whether the state was committed."""
        by_stream: dict[tuple[Consumer, bool], list[int]] = {}
        for consumer, delivery_id, position, *_ in self.acked:
            hold = position.stream_partition in committed
            by_stream.setdefault((consumer, hold), []).append(delivery_id)
        return [(consumer, tuple(delivery_ids), hold) for (consumer, hold), delivery_ids in by_stream.items()]


def _portions(offsets: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The offsets of each event: its first one, and the others."""
    for at in range(0, len(offsets), _EVENT_RECORDS):
        yield offsets[at], tuple(offsets[at + 1 : at + _EVENT_RECORDS])
