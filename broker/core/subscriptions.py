"""Where a durable subscription begins, and since when it is as it is.

A subscription has *generations*. One begins when the subscription is made, when its agency moves it, and when its kinds
change: each time with an event in the audit stream. A place that was committed in one generation says nothing in
another. So an event takes effect at once and as a whole, and a crash between it and the next commit changes nothing.

In a generation, each kind has a first offset in each partition. Records before it are not delivered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import InputRefused
from broker.core.leasing.ackstate import AckState
from broker.core.streams import STREAMS_OF_KIND, StreamPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


MAX_GENERATION: Final = (1 << 24) - 1
"""A place on Kafka has three bytes for the number."""
_EARLIEST: Final = "earliest"
_LATEST: Final = "latest"


class StartPoint(NamedTuple):
    """Where something begins: with the first record, with what is accepted from now on, or with a time.

    ``time_ms`` is in milliseconds since the Unix epoch, UTC: the first record that was accepted at it or later.
    """

    latest: bool = False
    time_ms: int | None = None

    def __str__(self) -> str:
        if self.time_ms is not None:
            at = datetime.fromtimestamp(self.time_ms / 1000, UTC)
            return at.isoformat(timespec="milliseconds")
        return _LATEST if self.latest else _EARLIEST

    @classmethod
    def parse(cls, text: str) -> StartPoint:
        """Read ``earliest``, ``latest`` or a time of ISO 8601 with an offset from UTC.

        Raises:
            InputRefused: it is none of these.
        """
        if text in {_EARLIEST, _LATEST}:
            return cls(latest=text == _LATEST)
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None or at.timestamp() < 0:
            message = "a start is earliest, latest, or a time with its offset from UTC: 2026-01-31T08:00:00+08:00"
            raise InputRefused(message)
        return cls(time_ms=round(at.timestamp() * 1000))


EARLIEST: Final = StartPoint()


class KindsStart(NamedTuple):
    """The first offset of some kinds in a partition."""

    partition: StreamPartition
    kinds: tuple[str, ...]
    offset: int


class Moved(NamedTuple):
    """What the beginning of a generation did in one partition.

    ``before`` is where the subscription stood, and ``to`` is where it begins now. ``skipped`` records that the agency
    would have got are not delivered.
    """

    partition: StreamPartition
    before: int
    to: int
    skipped: int


class Closed(NamedTuple):
    """What a subscription had when it was deleted.

    It had not finished ``skipped`` records, and had ``set_aside`` dead letters and parked records besides.
    """

    skipped: int
    set_aside: int


class KindStart(NamedTuple):
    """From which offset on a kind is wanted."""

    kind: str
    offset: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a subscription. The first has the number 0.

    Attributes:
        number: its number.
        told_at: the offset of its event in the audit stream. What came before it does not count in it. 0 for the first
            one: a subscription may be older than its event.
        starts: the first offsets that are not 0, and the places of kinds that it had and has not now.
    """

    number: int = 0
    told_at: int = 0
    starts: tuple[KindsStart, ...] = ()

    def starts_in(self, partition: StreamPartition, kinds: Iterable[str]) -> list[KindStart]:
        """The first offset of each of these kinds in a partition, in the order of the offsets."""
        named = {kind: each.offset for each in self.starts if each.partition == partition for kind in each.kinds}
        starts = [KindStart(kind, named.get(kind, 0)) for kind in kinds if partition.stream in STREAMS_OF_KIND[kind]]
        return sorted(starts, key=lambda start: (start.offset, start.kind))

    def begin(self, partition: StreamPartition, kinds: Iterable[str]) -> AckState:
        """Where these kinds begin in a partition: at the first offset of the first of them."""
        return AckState(min((start.offset for start in self.starts_in(partition, kinds)), default=0))

    def held(self, kinds: Iterable[str]) -> list[KindsStart]:
        """Where those go on that are not among these kinds, which the subscription has, if they come again."""
        has = frozenset(kinds)
        rests = [each._replace(kinds=tuple(kind for kind in each.kinds if kind not in has)) for each in self.starts]
        return [rest for rest in rests if rest.kinds]


FIRST: Final = Generation()


def moves(
    kinds: frozenset[str],
    starts: Iterable[KindsStart],
    before: Mapping[StreamPartition, int],
    skipped: Mapping[StreamPartition, int],
) -> tuple[Moved, ...]:
    """What a generation with these kinds and first offsets changes.

    Args:
        kinds: of the generation.
        starts: of the generation.
        before: where the subscription stood, in each partition that it had.
        skipped: how many records it is not sent.
    """
    generation = Generation(starts=tuple(starts))
    moved = []
    for partition in sorted({*before, *skipped}):
        if generation.starts_in(partition, kinds):
            stood, to = before.get(partition, 0), generation.begin(partition, kinds).floor
            if stood != to or skipped.get(partition):
                moved.append(Moved(partition, stood, to, skipped.get(partition, 0)))
    return tuple(moved)


def has_effect(number: int, before: int | None) -> bool:
    """Whether an order about a subscription counts: it has a number that no order before it took.

    Orders are taken in the order of the audit stream: by the position of their record, and in a record by their place.
    So of two orders with the same number, the first counts, and one that is late does not.

    Args:
        number: of the generation that it begins, or with which it deletes the subscription.
        before: the highest number of the orders before it. None: there is none.
    """
    return before is None or number > before


class Stage(NamedTuple):
    """Offsets in which the same kinds are wanted. ``end`` None: there is no end."""

    first: int
    end: int | None
    kinds: frozenset[str]


def stages(starts: Sequence[KindStart], offset: int) -> list[Stage]:
    """From an offset on: what is wanted where. Offsets in which nothing is wanted are left out.

    Args:
        starts: the first offset of each kind, in ascending order.
        offset: where to begin.
    """
    bounds = sorted({max(start.offset, offset) for start in starts})
    return [
        Stage(first, end, frozenset(start.kind for start in starts if start.offset <= first))
        for first, end in zip(bounds, [*bounds[1:], None], strict=True)
    ]


def undone(state: AckState, stage: Stage, end: int) -> list[range]:
    """The offsets of a stage, below ``end``, of which the state does not say that they are done."""
    first, stop = max(stage.first, state.floor), end if stage.end is None else min(stage.end, end)
    found = []
    for begun, last in state.done:
        found.append(range(first, min(begun, stop)))
        first = max(first, last + 1)
    found.append(range(first, stop))
    return [each for each in found if each]
