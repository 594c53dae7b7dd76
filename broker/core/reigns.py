"""Reigns: which of two processes may say what a subscription has set aside in a partition.

On a log that processes share, a process may be paused, lose a partition of a subscription to another one, and go on
without knowing it. The new one writes TakenOver to the audit stream before it reads. That begins a reign. Every pointer
names the reign under which it was written. The audit stream is one total order. So everyone who reads it knows the same
of each pointer: it is void if a later reign began before it.

The number of a reign grows by what the audit stream says, and not by Kafka's group, whose epochs begin again when the
group is made again. Two processes may have read the same end of the audit stream. So its low bits are random: no two
reigns have one number, and the higher number is the later reign for everyone.

Reign 0 is that of a log with one process, and of pointers from before there were reigns. They are never void: to drop
the pointer of a process that has the partition by right would lose a record, and a needless one only repeats one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.events import TakenOver

if TYPE_CHECKING:
    from broker.core.events import Pointer
    from broker.core.streams import StreamPartition

RANDOM_BYTES: Final = 4
_RANDOM_BITS: Final = 8 * RANDOM_BYTES


def next_reign(latest: int, random: bytes) -> int:
    """The number of a new reign. ``latest`` is the latest that the audit stream has; ``random`` has RANDOM_BYTES."""
    return (((latest >> _RANDOM_BITS) + 1) << _RANDOM_BITS) | int.from_bytes(random)


def is_over(reign: int, latest: int) -> bool:
    """Whether what is written under a reign is void when this one is the latest."""
    return 0 < reign < latest


class OfReign(NamedTuple):
    """Where an event belongs: the agency, its subscription, the partition, and the reign there."""

    agency: str
    subscription: str
    partition: StreamPartition
    reign: int


def of_reign(event: Pointer | TakenOver) -> OfReign:
    """Where an event belongs."""
    partition = event.partition if isinstance(event, TakenOver) else event.position.stream_partition
    return OfReign(event.agency, event.subscription, partition, event.reign)


class Reigns:
    """The latest reign of each subscription and partition, as the audit stream is read in its order."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str, StreamPartition], int] = {}

    def make_void(self, event: OfReign) -> bool:
        """Whether the next event is void. A pointer may begin its reign too: the TakenOver may be damaged."""
        key, reign = event[:3], event.reign
        latest = self._latest.get(key, 0)
        self._latest[key] = max(latest, reign)
        return is_over(reign, latest)
