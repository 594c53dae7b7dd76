"""While a case has a dead letter in a subscription, its later records are parked behind it.

A parked record is finished in the window, so a case that waits takes none of its room. The audit stream has a pointer
to it, which is durable before the subscription commits that it has passed the record. A Closure or a Correction is
never parked: a withdrawal must not wait behind a record that somebody could not use. Every other case flows.

When the dead letter is redriven or discarded, what its case has set aside is recalled, one record after the other, in
the order of the log: each is leased again, beside the window. New records of the case are parked at the end until
nothing is left. Then the case flows again. A record that is recalled and becomes a dead letter again stops its case
again. A crash or a change of assignment loses nothing: what has not ended is recalled again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from broker.core.errors import LogCorrupt
from broker.core.events import DeadLetterDiscarded, DeadLetterRedriven
from broker.core.streams import Position
from broker.services.round import GivenUp, Held

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.entry import LogEntry
    from broker.core.events import DeadLetterEvent
    from broker.core.lease import LeaseBook
    from broker.core.streams import StreamPartition
    from broker.ports import SubscriptionKey
    from broker.services.setaside import SetAside

OVERTAKING: Final = frozenset({"Closure", "Correction"})


class Letters(Protocol):
    """What a subscription needs to know of its dead letters. Every method raises LogUnavailable."""

    async def set_aside(self, subscription: SubscriptionKey, partition: StreamPartition, floor: int) -> SetAside:
        """What any process has set aside in a partition until now, of offsets from the floor on."""

    async def first(
        self, subscription: SubscriptionKey, partition: StreamPartition, case_id: str
    ) -> tuple[int, bool] | None:
        """The first offset that a case has set aside now, and whether that one is parked."""

    async def record(self, position: Position) -> LogEntry | None:
        """The record at a position, if the log still has what was accepted."""

    def listen(self, subscription: SubscriptionKey, told: Callable[[DeadLetterEvent], None]) -> Callable[[], None]:
        """Tell from now on of each dead letter that was redriven or discarded. Returns what ends it."""


class Parking:
    """Decides what one subscription parks and recalls, in the partitions that it reads. For one event loop."""

    def __init__(self, key: SubscriptionKey, book: LeaseBook, letters: Letters, wake: Callable[[], None]) -> None:
        self._key = key
        self._book = book
        self._letters = letters
        self._wake = wake
        self._partitions: dict[StreamPartition, SetAside] = {}
        self._due: deque[tuple[StreamPartition, str]] = deque()
        self._recalled: dict[Position, str] = {}
        self.close = letters.listen(key, self._told)

    async def assigned(self, partition: StreamPartition, floor: int) -> None:
        """The subscription begins with a partition: learn what every process has set aside in it until now.

        Raises:
            LogUnavailable
        """
        self._partitions[partition] = here = await self._letters.set_aside(self._key, partition, floor)
        self._due.extend((partition, case_id) for case_id in here.due)

    def revoked(self, partition: StreamPartition) -> None:
        """The subscription reads the partition no more."""
        del self._partitions[partition]
        self._due = deque(item for item in self._due if item[0] != partition)
        self._recalled = {at: case for at, case in self._recalled.items() if at.stream_partition != partition}

    def sets_aside(self, entry: LogEntry, parked: list[LogEntry]) -> bool:
        """Whether an entry that the book has just taken in is set aside. If so, the book has it no more.

        It is added to ``parked`` if no pointer to it exists yet.
        """
        here = self._partitions[entry.position.stream_partition]
        if entry.position.offset in here.offsets:
            here.offsets.remove(entry.position.offset)
        elif entry.kind in OVERTAKING or entry.ordering_key not in here.cases:
            return False
        else:
            here.cases[entry.ordering_key] += 1
            parked.append(entry)
        self._book.park(entry.position)
        return True

    def gave_up(self, dead: LogEntry, held: dict[Position, Held], reason: str = "") -> list[LogEntry]:
        """A record is a dead letter. Return the later records of its case, in order, which are parked from now on.

        Args:
            dead: its entry.
            held: what the subscription has read and not finished. What is parked is removed.
            reason: why, if not for failed attempts: it is damaged. Then nothing waits behind it.
        """
        partition, case = dead.position.stream_partition, dead.ordering_key
        recalled = self._recalled.pop(dead.position, None)
        if recalled is not None and reason:
            self._one_less(partition, recalled)
        if recalled is not None or reason:
            # What was recalled was set aside before, and so is what comes after it.
            return []
        later = sorted(
            at
            for at, item in held.items()
            if case
            and item.entry.ordering_key == case
            and at.stream_partition == partition
            and item.entry.kind not in OVERTAKING
            and at not in self._recalled
        )
        for position in later:
            self._book.park(position)
        self._partitions[partition].cases[case] += 1 + len(later)
        return [held.pop(position).entry for position in later]

    async def recall(self, held: dict[Position, Held]) -> list[GivenUp]:
        """Lease again what is due, as far as there is room. What was set aside in earlier rounds is durable.

        Returns:
            What the log has lost or changed: it is a dead letter again.

        Raises:
            LogUnavailable
        """
        damaged = []
        while self._due and self._book.room_to_recall():
            partition, case_id = self._due.popleft()
            first = await self._letters.first(self._key, partition, case_id)
            if first is None or not first[1]:
                # Nothing, or a dead letter.
                continue
            position = Position(*partition, first[0])
            entry = await self._letters.record(position)
            if entry is None:
                damaged.append(GivenUp(position, "", case_id, 0, LogCorrupt.reason))
                self._one_less(partition, case_id)
                continue
            self._recalled[position] = case_id
            self._book.recall(position, case_id, len(entry.value))
            held[position] = Held(entry)
        return damaged

    def take_ended(self, held: dict[Position, Held]) -> list[Position]:
        """The recalled records that are finished since the last call. The next ones of their cases are due."""
        ended = [position for position in self._recalled if position not in held]
        for position in ended:
            self._one_less(position.stream_partition, self._recalled.pop(position))
        return ended

    def _told(self, event: DeadLetterEvent) -> None:
        match event:
            case DeadLetterDiscarded(position=position, case_id=case_id):
                self._one_less(position.stream_partition, case_id)
            case DeadLetterRedriven(position=position, case_id=case_id):
                self._is_due(position.stream_partition, case_id)

    def _one_less(self, partition: StreamPartition, case_id: str) -> None:
        here = self._partitions.get(partition)
        if here is None or case_id not in here.cases:
            return
        here.cases[case_id] -= 1
        if here.cases[case_id] > 0:
            self._is_due(partition, case_id)
        else:
            del here.cases[case_id]

    def _is_due(self, partition: StreamPartition, case_id: str) -> None:
        under_way = {(at.stream_partition, case) for at, case in self._recalled.items()}
        if partition in self._partitions and (partition, case_id) not in under_way.union(self._due):
            self._due.append((partition, case_id))
            self._wake()
