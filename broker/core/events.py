"""What the broker writes to the audit stream about itself. Reading leaves evidence too (design decision 9)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.streams import Position, StreamPartition
    from broker.core.subscriptions import KindsStart, Moved, StartPoint


class _OfRecords:
    """Records in one partition: the first at ``position``, the others at ``more_offsets``."""

    __slots__ = ()
    position: Position
    more_offsets: tuple[int, ...]

    def positions(self) -> Iterator[Position]:
        """Where the records are."""
        yield self.position
        for offset in self.more_offsets:
            yield self.position._replace(offset=offset)


@dataclass(frozen=True, slots=True)
class DeliveryMade(_OfRecords):
    """Copies of records were handed to the principal, with these sections withheld from each."""

    position: Position
    subscription: str
    attempt: int
    withheld_sections: tuple[str, ...]
    more_offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryConfirmed(_OfRecords):
    """The principal acknowledged records: it has processed them."""

    position: Position
    subscription: str
    more_offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryRefused(_OfRecords):
    """The principal cannot use records of this publisher, for the reason of this code. It keeps them in quarantine.

    Older events name neither publisher nor agency.
    """

    position: Position
    subscription: str
    code: str
    more_offsets: tuple[int, ...] = ()
    publisher: str = ""
    agency: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetterMade:
    """The agency's subscription gave the record of this case up, after this many failed deliveries or for this reason.

    The reason is empty, or that of ``LogCorrupt``: the log has lost or changed the record, so it went to nobody. The
    publisher is empty then, and in older events. The code is that of the agency if it ordered the dead letter.
    """

    position: Position
    subscription: str
    attempts: int
    agency: str
    case_id: str
    reason: str = ""
    publisher: str = ""
    code: str = ""
    reign: int = 0


@dataclass(frozen=True, slots=True)
class RecordsParked(_OfRecords):
    """The agency's subscription parked records of this case, in order, behind a dead letter of the case."""

    position: Position
    subscription: str
    agency: str
    case_id: str
    more_offsets: tuple[int, ...] = ()
    reign: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetterRedriven:
    """The principal wants the dead letter to be delivered again, with what is parked behind it.

    Without a principal: its record was damaged, and was repaired.
    """

    position: Position
    subscription: str
    agency: str
    case_id: str


@dataclass(frozen=True, slots=True)
class DeadLetterDiscarded:
    """The principal does not need the record of the dead letter, for the reason of this code."""

    position: Position
    subscription: str
    agency: str
    case_id: str
    code: str


@dataclass(frozen=True, slots=True)
class DeadLetterOrdered:
    """The principal wants a dead letter to be made of a record that waits, for the reason of this code."""

    position: Position
    subscription: str
    agency: str
    case_id: str
    code: str


@dataclass(frozen=True, slots=True)
class SetAsideEnded(_OfRecords):
    """Records that were set aside were delivered again, and the agency's subscription has finished them."""

    position: Position
    subscription: str
    agency: str
    more_offsets: tuple[int, ...] = ()
    reign: int = 0


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A process reads a partition of the agency's subscription from now on, in this reign (broker/core/reigns.py)."""

    partition: StreamPartition
    subscription: str
    agency: str
    reign: int


class Cause(StrEnum):
    """Why a generation of a subscription begins."""

    CREATED = "created"
    SOUGHT = "sought"
    KINDS_CHANGED = "kinds changed"


@dataclass(frozen=True, slots=True)
class SubscriptionBegun:
    """A generation of the agency's subscription begins, by the principal's order: it takes these kinds from now on.

    ``asked`` is the start that the order names. It counts for what is new: all of it, or only the kinds that are added.
    ``starts`` says what this is in each partition, and ``moved`` what changed by it. If another event has begun the
    same generation before, this one has no effect.
    """

    subscription: str
    agency: str
    generation: int
    cause: Cause
    asked: StartPoint
    kinds: tuple[str, ...]
    starts: tuple[KindsStart, ...]
    moved: tuple[Moved, ...]


@dataclass(frozen=True, slots=True)
class SubscriptionDeleted:
    """The agency's subscription is no more, by the principal's order.

    ``generation`` is a number that no generation has, so an order that began before and ends later has no effect. If
    another event has taken the number before, this one has no effect.
    ``moved`` says where it stood, and what it had not finished. Its dead letters and parked
    records, ``set_aside`` in number, are closed too.
    """

    subscription: str
    agency: str
    generation: int
    moved: tuple[Moved, ...]
    set_aside: int = 0


@dataclass(frozen=True, slots=True)
class ReplayMade:
    """The principal read the log for this purpose. Times are milliseconds since the Unix epoch; None: unbounded."""

    purpose: str
    streams: tuple[str, ...]
    accepted_from_ms: int | None
    accepted_until_ms: int | None


@dataclass(frozen=True, slots=True)
class ProofMade:
    """The principal was handed a copy of one record as a proof, with these sections withheld. A party may give none."""

    position: Position
    purpose: str
    withheld_sections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SectionsErased:
    """The principal, the publisher of this record, had sections of it erased from the log, for the reason of this code.

    The event is durable before the first byte is gone.
    """

    position: Position
    record_id: str
    sections: tuple[str, ...]
    code: str


@dataclass(frozen=True, slots=True)
class RefusalMade:
    """The broker refused something from the principal, for a reason that auditors should know.

    Above a ``count`` of one, it refused that many things without telling them one by one. The event's time is that of
    the last. Then the principal is empty if there were too many principals to count each. ``numbers`` has, by
    recipient, the numbers that a refused record of the principal's used up. Its publisher says so: a refused record
    proves nothing.
    """

    reason: str
    record_id: str
    count: int = 1
    numbers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RollbackFound:
    """The log contradicts a checkpoint that the exchange had signed. The principal presented it; ``note`` proves it."""

    note: bytes


Pointer: TypeAlias = DeadLetterMade | RecordsParked | SetAsideEnded
"""What a process tells of a partition under its reign. Void after a later one began. What people decide never is."""
DeadLetterEvent: TypeAlias = Pointer | DeadLetterOrdered | DeadLetterRedriven | DeadLetterDiscarded | TakenOver
FollowedEvent: TypeAlias = DeadLetterEvent | DeliveryRefused
"""What is written apart, as kind DeadLetterEvents, because every process follows it. Older refusals are not apart."""
SubscriptionEvent: TypeAlias = SubscriptionBegun | SubscriptionDeleted
"""What is written apart, as kind SubscriptionEvents."""
Event: TypeAlias = (
    DeliveryMade
    | DeliveryConfirmed
    | FollowedEvent
    | SubscriptionEvent
    | ReplayMade
    | ProofMade
    | SectionsErased
    | RefusalMade
    | RollbackFound
)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event: its time (milliseconds since the Unix epoch, UTC), its principal, and what happened."""

    at_ms: int
    principal: str
    event: Event
