"""The limits of a lease book, its deliveries and its reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from broker.core.ackstate import MAX_FAILED_ATTEMPTS

if TYPE_CHECKING:
    from broker.core.streams import Position


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """The bounds of a book.

    Attributes:
        lease_seconds: how long a lease runs unless it is extended.
        max_lease_seconds: how long it can run from its grant, with every extension.
        max_attempts: failed attempts that make a dead letter, 1 to 127.
        window_records: undone records kept at once.
        window_bytes: their total size beyond which no more are read.

    Raises:
        ValueError: a bound is not positive, or they contradict each other.
    """

    lease_seconds: float
    max_lease_seconds: float
    max_attempts: int
    window_records: int
    window_bytes: int

    def __post_init__(self) -> None:
        if not 0 < self.lease_seconds <= self.max_lease_seconds:
            message = "lease_seconds must be positive and at most max_lease_seconds"
            raise ValueError(message)
        if not 1 <= self.max_attempts <= MAX_FAILED_ATTEMPTS:
            message = f"max_attempts must be 1 to {MAX_FAILED_ATTEMPTS}"
            raise ValueError(message)
        if self.window_records < 1 or self.window_bytes < 1:
            message = "window_records and window_bytes must be positive"
            raise ValueError(message)


class Room(NamedTuple):
    """How much more may be read. Read nothing unless both are positive; the last record may exceed ``bytes``."""

    records: int
    bytes: int


class Lease(NamedTuple):
    """One grant. ``attempt`` counts from 1; ``deadline`` is on the caller's clock."""

    delivery_id: int
    position: Position
    attempt: int
    deadline: float


class Expired(NamedTuple):
    """A lease ended in silence: the consumer is to regard the delivery as lost."""

    delivery_id: int
    consumer: str
    position: Position


class DeadLetter(NamedTuple):
    """A record that was given up. The caller records it durably before it commits what ``take_commits`` gives next."""

    position: Position
    failed_attempts: int
