"""The limits of a lease book, its deliveries and its reports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import InputRefused
from broker.core.leasing.ackstate import MAX_FAILED_ATTEMPTS

if TYPE_CHECKING:
    from broker.core.streams import Position

FIRST_CREDIT: Final = 32
"""So many records a stream gets at once before it has acknowledged anything."""
CREDIT_STEPS: Final = 7
"""So often the first credit comes again by itself, over the first half of a stream's first lease."""
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """The limits of a book.

    Attributes:
        lease_seconds: how long a lease runs if it is not extended.
        max_lease_seconds: how long it can run from its grant, with every extension.
        max_attempts: after this many failed attempts a record is a dead letter, 1 to 127.
        window_records: the limit for undone records at one time.
        window_bytes: no more is read when their total size reaches this.
        first_credit: with so many records outstanding a consumer begins, and begins again after a lost lease.

    Raises:
        ValueError: a limit is not positive, or they contradict each other.
    """

    lease_seconds: float
    max_lease_seconds: float
    max_attempts: int
    window_records: int
    window_bytes: int
    first_credit: int = FIRST_CREDIT

    def __post_init__(self) -> None:
        if not 0 < self.lease_seconds <= self.max_lease_seconds:
            message = "lease_seconds must be positive and at most max_lease_seconds"
            raise ValueError(message)
        if not 1 <= self.max_attempts <= MAX_FAILED_ATTEMPTS:
            message = f"max_attempts must be 1 to {MAX_FAILED_ATTEMPTS}"
            raise ValueError(message)
        if self.window_records < 1 or self.window_bytes < 1 or self.first_credit < 1:
            message = "window_records, window_bytes and first_credit must be positive"
            raise ValueError(message)


class Room(NamedTuple):
    """How much more may be read. Read only if both are positive. The last record may exceed ``bytes``."""

    records: int
    bytes: int


class Lease(NamedTuple):
    """One grant. ``attempt`` counts from 1. ``deadline`` is on the caller's clock."""

    delivery_id: int
    position: Position
    attempt: int
    deadline: float


class Expired(NamedTuple):
    """A lease ended in silence. The consumer must regard the delivery as lost."""

    delivery_id: int
    consumer: str
    position: Position


class DeadLetter(NamedTuple):
    """A record that was given up. The caller must record it durably before it commits the next ``take_commits``."""

    position: Position
    failed_attempts: int


def check_code(code: str, what: str) -> None:
    """Check the code that says why somebody did something. It goes into the audit stream.

    Args:
        code: the code.
        what: what it is, for the message.

    Raises:
        InputRefused: it is not a capital letter and then at most 63 capital letters, digits and underscores.
    """
    if not _CODE.fullmatch(code):
        message = f"{what} is a code: a capital letter, then at most 63 capital letters, digits and underscores"
        raise InputRefused(message)
