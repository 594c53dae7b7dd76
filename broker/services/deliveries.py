"""The messages of a subscription's stream, and the copy of a record that one agency may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.core.envelope import Envelope
    from broker.core.errors import CaseExchangeError
    from broker.core.streams import Position

_Stream = TypeVar("_Stream")
_MESSAGE_BYTES: Final = 1 << 20
"""Deliveries are sent in messages of about this size, so that one does not fill the transport's buffers."""


@dataclass(frozen=True, slots=True)
class SubscribeLimits:
    """The limits of subscriptions.

    Attributes:
        lease_seconds: the lease of a delivery if the subscriber asks for none.
        max_lease_seconds: the longest lease, with every extension.
        max_attempts: after this many failed attempts a record is a dead letter.
        max_outstanding_records: the limit for the unacknowledged records of one stream.
        max_outstanding_bytes: the limit for the size of the unacknowledged records of one stream.
        window_records: the limit for the records of one subscription that are read and not finished.
        window_bytes: the limit for their size.
        subscriptions: the limit for subscriptions that are open in this process.
        skip_commit_seconds: a subscription that only skipped records may wait this long before it commits.
        transient_alarm_seconds: this long after its acceptance, a record that is given back as transient is an alarm.
    """

    lease_seconds: float = 30.0
    max_lease_seconds: float = 600.0
    max_attempts: int = 10
    max_outstanding_records: int = 1000
    max_outstanding_bytes: int = 32 * 1024 * 1024
    window_records: int = 2000
    window_bytes: int = 8 * 1024 * 1024
    subscriptions: int = 2000
    skip_commit_seconds: float = 10.0
    transient_alarm_seconds: float = 4 * 3600.0


class SubscriptionTerms(NamedTuple):
    """The settings in force for one stream."""

    max_outstanding_records: int
    max_outstanding_bytes: int
    lease_seconds: float
    max_attempts: int


class DeliveredCopy(NamedTuple):
    """One record leased to a stream: the copy that its agency may have, and which sections were withheld."""

    delivery_id: int
    position: Position
    accepted_at_ms: int
    attempt: int
    envelope: Envelope
    withheld_sections: tuple[str, ...]


class Deliveries(NamedTuple):
    """Records to handle, in order within each case."""

    copies: tuple[DeliveredCopy, ...]


class Acknowledged(NamedTuple):
    """Acknowledgements that are durable."""

    delivery_ids: tuple[int, ...]


class LeasesLost(NamedTuple):
    """Deliveries that were answered after their lease had ended."""

    delivery_ids: tuple[int, ...]


class Ended(NamedTuple):
    """Nothing follows. It has the error, or None if the subscriber sends nothing more."""

    error: CaseExchangeError | None


Outgoing: TypeAlias = Deliveries | Acknowledged | LeasesLost | Ended


def messages(
    deliveries: Iterable[tuple[_Stream, DeliveredCopy]],
) -> list[tuple[_Stream, tuple[DeliveredCopy, ...]]]:
    """Group deliveries by stream, in order, into messages of limited size."""
    by_stream: dict[_Stream, list[list[DeliveredCopy]]] = {}
    sizes: dict[_Stream, int] = {}
    for stream, copy in deliveries:
        groups = by_stream.setdefault(stream, [])
        if sizes.get(stream, _MESSAGE_BYTES) >= _MESSAGE_BYTES:
            groups.append([])
            sizes[stream] = 0
        groups[-1].append(copy)
        sizes[stream] += len(copy.envelope.body) + sum(len(section.content) for section in copy.envelope.sections)
    return [(stream, tuple(group)) for stream, groups in by_stream.items() for group in groups]
