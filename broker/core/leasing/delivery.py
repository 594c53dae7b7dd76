"""One record on its way to one subscription: its states, and the table of the steps between them.

A delivery begins HELD. An event is named for what happened. The book (lease.py) decides which event it was.

======== ========== ======== ==========================================================================================
state    event      next     when
======== ========== ======== ==========================================================================================
HELD     FREED      READY    every earlier record of its case is DONE or DEAD
READY    GRANTED    LEASED   a consumer with room took it: attempt number + 1
LEASED   EXTENDED   LEASED   the consumer asked for more time, within the bound
LEASED   ACKED      DONE     the consumer has it safely: processed, or refused and in quarantine
LEASED   NACKED     DELAYED  the consumer could not take it: failed attempts + 1
LEASED   POSTPONED  DELAYED  a passing fault of the consumer's own: not a failed attempt
LEASED   EXPIRED    READY    the deadline passed in silence: a lost lease; of a suspect a failed attempt
LEASED   RETURNED   READY    the consumer closed in good order: not a failed attempt
LEASED   EXHAUSTED  DEAD     a nack, or a suspect's expiry, that was the last attempt allowed
DELAYED  DUE        READY    the nack's delay is over
READY    ORDERED    DEAD     its agency wants a dead letter to be made of it
DELAYED  ORDERED    DEAD     the same
HELD     PARKED     PARKED   an earlier record of its case is a dead letter, so it is set aside
READY    PARKED     PARKED   the same
undone   RELEASED   RELEASED the partition was taken from this book; HELD, READY, LEASED and DELAYED are undone
======== ========== ======== ==========================================================================================

DONE, DEAD, PARKED and RELEASED are final. No other pair may occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import Internal
from broker.core.leasing.ackstate import LOSSES_TO_SUSPECT
from broker.core.streams import Position

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition


class State(Enum):
    """The state of a delivery."""

    HELD = auto()
    READY = auto()
    LEASED = auto()
    DELAYED = auto()
    DONE = auto()
    DEAD = auto()
    PARKED = auto()
    RELEASED = auto()


class Event(Enum):
    """What happened to a delivery."""

    FREED = auto()
    GRANTED = auto()
    EXTENDED = auto()
    ACKED = auto()
    NACKED = auto()
    POSTPONED = auto()
    EXPIRED = auto()
    RETURNED = auto()
    EXHAUSTED = auto()
    DUE = auto()
    ORDERED = auto()
    PARKED = auto()
    RELEASED = auto()


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.HELD, Event.FREED): State.READY,
    (State.READY, Event.GRANTED): State.LEASED,
    (State.LEASED, Event.EXTENDED): State.LEASED,
    (State.LEASED, Event.ACKED): State.DONE,
    (State.LEASED, Event.NACKED): State.DELAYED,
    (State.LEASED, Event.POSTPONED): State.DELAYED,
    (State.LEASED, Event.EXPIRED): State.READY,
    (State.LEASED, Event.RETURNED): State.READY,
    (State.LEASED, Event.EXHAUSTED): State.DEAD,
    (State.DELAYED, Event.DUE): State.READY,
    (State.READY, Event.ORDERED): State.DEAD,
    (State.DELAYED, Event.ORDERED): State.DEAD,
    (State.HELD, Event.PARKED): State.PARKED,
    (State.READY, Event.PARKED): State.PARKED,
    (State.HELD, Event.RELEASED): State.RELEASED,
    (State.READY, Event.RELEASED): State.RELEASED,
    (State.LEASED, Event.RELEASED): State.RELEASED,
    (State.DELAYED, Event.RELEASED): State.RELEASED,
}


class CreditStep(NamedTuple):
    """The first credit in ``records``. It comes again after each of ``most`` times ``seconds``."""

    records: int
    seconds: float
    most: int


@dataclass(slots=True, eq=False)
class ConsumerAccount:
    """The flow control of one consumer: its limits, its credit, and what it has outstanding.

    ``credit`` is how many records it may have outstanding by what it has shown so far. It begins small and grows by one
    with each ack. So it doubles each time that the consumer acknowledges all it has, as TCP's slow start does. A lost
    lease sets it back. It may be more than ``max_records``: it also says how far it is worth while to read ahead.

    Until a lease is lost, it also grows a little by itself, one ``step`` after another. So a consumer that acknowledges
    only when it has many gets them before its first lease ends.
    """

    name: str
    max_records: int
    max_bytes: int
    credit: int
    step: CreditStep
    records: int = 0
    bytes: int = 0
    steps: int = 0
    opened_at: float | None = None

    def grow(self, now: float) -> None:
        """Take the steps that are due. The first call begins the time."""
        if self.opened_at is None:
            self.opened_at = now
        while self.steps < self.step.most and now >= self.opened_at + (self.steps + 1) * self.step.seconds:
            self.steps += 1
            self.credit = max(self.credit, (self.steps + 1) * self.step.records)

    def next_step(self) -> float | None:
        """When the credit grows by itself, if more is of use."""
        if self.opened_at is None or self.steps == self.step.most or self.records < self.credit:
            return None
        return None if self.records >= self.max_records else self.opened_at + (self.steps + 1) * self.step.seconds

    def lease_lost(self) -> None:
        """Begin again with the first credit, and without its growth."""
        self.credit, self.steps = self.step.records, self.step.most

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether one more record fits. If nothing is outstanding, any fits, or a large one would wait for ever."""
        if self.records == 0:
            return True
        return self.records < min(self.max_records, self.credit) and self.bytes + size_bytes <= self.max_bytes


@dataclass(slots=True, eq=False)
class Delivery:
    """One undone record in a book. Only the book and the partition window change it.

    ``failed_attempts`` and ``lost_leases`` survive a restart in the ack state. ``attempt`` adds every grant of this
    book's life to them. ``acks_at_loss`` is the book's number of acks when the record's lease was last lost (0: never).
    ``timer`` is the id of the running lease or delay (0: none), and ``due`` is the time at which it ends. ``successor``
    is the next undone record of the same case. ``done_before`` says whether there are done records between the previous
    undone record and this one. ``recalled``: it was set aside before, so it is beside the window.
    """

    partition: StreamPartition
    offset: int
    ordering_key: str
    size_bytes: int
    failed_attempts: int
    lost_leases: int
    attempt: int
    done_before: bool
    state: State = State.HELD
    successor: Delivery | None = None
    timer: int = 0
    due: float = 0.0
    granted_at: float = 0.0
    consumer: ConsumerAccount | None = None
    acks_at_loss: int = 0
    recalled: bool = False

    @property
    def suspect(self) -> bool:
        """Whether the record travels alone (suspects.py)."""
        return self.lost_leases == LOSSES_TO_SUSPECT

    @property
    def position(self) -> Position:
        """The record's position in the log."""
        return Position(*self.partition, self.offset)

    def on(self, event: Event) -> None:
        """Take a step of the table.

        Raises:
            Internal: the table has no such step. This is a defect of the book.
        """
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            message = f"a delivery that is {self.state.name} cannot be {event.name}"
            raise Internal(message, partition=str(self.partition), offset=str(self.offset))
        self.state = following
