"""While a case has a dead letter in a subscription, its later records are parked behind it.

A parked record is finished in the window, so a case that waits takes none of its room. The audit stream has a pointer
to it, which is durable before the subscription commits that it has passed the record. A Closure or a Correction is
never parked: a withdrawal must not wait behind a record that somebody could not use. Every other case flows.

When the dead letter is redriven or discarded, what its case has set aside is recalled, one record after the other, in
the order of the log: each is leased again, beside the window. New records of the case are parked at the end until
nothing is left. Then the case flows again. A record that is recalled and becomes a dead letter again stops its case
again. A crash or a change of assignment loses nothing: what has not ended is recalled again.

A record is recalled only as the first undone one of its case. Three things may be before it, and it waits for them: an
earlier record that the window still has (it overtook the dead letter), what is read again after a crash, and a dead
letter that is not durable yet. What a case has set aside is asked of the index each time, and never counted here.

A process that takes over a partition from another one begins a reign there first (broker/core/reigns.py). From then on
no pointer counts that the other one writes of it. So before a commit passes what was set aside, a process looks whether
its own pointers count. Without them nobody would know of these records any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from broker.core.errors import LogCorrupt, LogUnavailable
from broker.core.events import DeadLetterDiscarded, DeadLetterOrdered, DeadLetterRedriven
from broker.core.streams import Position
from broker.ports import Assigned
from broker.services.round import GivenUp, Held

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from broker.core.entry import LogEntry
    from broker.core.events import DeadLetterEvent
    from broker.core.leasing.lease import LeaseBook
    from broker.core.leasing.terms import DeadLetter
    from broker.core.streams import StreamPartition
    from broker.ports import AssignmentChange, SubscriptionKey
    from broker.services.quotas import Holding
    from broker.services.setaside import SetAside

    _Case: TypeAlias = tuple[StreamPartition, str]

OVERTAKING: Final = frozenset({"Closure", "Correction"})


class Letters(Protocol):
    """What a subscription needs to know of its dead letters. Every method raises LogUnavailable."""

    async def take_over(
        self, subscription: SubscriptionKey, partitions: Collection[StreamPartition]
    ) -> Mapping[StreamPartition, int]:
        """Begin a reign in each of these partitions, durably, and return it. Raises LogFull too."""

    async def reigns(
        self, subscription: SubscriptionKey, partitions: Collection[StreamPartition]
    ) -> Mapping[StreamPartition, int]:
        """The latest reign in each of these partitions, by what any process wrote until now. 0: there was none."""

    async def set_aside(self, subscription: SubscriptionKey, partition: StreamPartition, floor: int) -> SetAside:
        """What any process has set aside in a partition until now, of offsets from the floor on."""

    async def first(
        self, subscription: SubscriptionKey, partition: StreamPartition, case_id: str
    ) -> tuple[int, bool] | None:
        """The first offset that a case has set aside now, and whether that one is parked."""

    async def record(self, position: Position) -> LogEntry | None:
        """The record at a position, if the log still has what was accepted."""

    def listen(self, subscription: SubscriptionKey, told: Callable[[DeadLetterEvent], None]) -> Callable[[], None]:
        """Tell from now on of each dead letter that was ordered, redriven or discarded. Returns what ends it."""


class Parking:
    """Decides what one subscription parks and recalls, in the partitions that it reads. For one event loop."""

    def __init__(
        self, key: SubscriptionKey, book: LeaseBook, letters: Letters, holding: Holding, wake: Callable[[], None]
    ) -> None:
        self._key = key
        self._book = book
        self._letters = letters
        self._holding = holding
        self._wake = wake
        self._partitions: dict[StreamPartition, SetAside] = {}
        # What was decided while a partition is read, which takes a while.
        self._meanwhile: dict[StreamPartition, list[DeadLetterEvent]] = {}
        # In order. A case stays here until the index has said what comes next in it.
        self._due: dict[_Case, None] = {}
        self._recalled: dict[Position, str] = {}
        # Of these a record was given up since the last round was taken, so the index may not know it yet.
        self._unsettled: set[_Case] = set()
        # Of the partitions that processes share. A reign stays until this process begins the next one.
        self.reigns: dict[StreamPartition, int] = {}
        self.close = letters.listen(key, self._told)

    async def take_over(self, changes: Sequence[AssignmentChange]) -> Sequence[AssignmentChange]:
        """Begin a reign in each shared partition that is assigned after these changes, with one write for all of them.

        Returns:
            The changes.

        Raises:
            LogUnavailable, LogFull
        """
        last = {change.partition: change for change in changes}
        shared = [change.partition for change in last.values() if isinstance(change, Assigned) and change.shared]
        if shared:
            self.reigns.update(await self._letters.take_over(self._key, shared))
        return changes

    async def check_reigns(self, partitions: Collection[StreamPartition]) -> None:
        """Make sure that the pointers which were just written of these partitions count. Then a commit may pass them.

        Raises:
            LogUnavailable: another process has taken one of them over, perhaps without having it any more.
        """
        ours = {partition: self.reigns[partition] for partition in partitions if partition in self.reigns}
        if ours and await self._letters.reigns(self._key, ours) != ours:
            message = "another process has taken over a partition of the subscription"
            raise LogUnavailable(message)

    async def assigned(self, partition: StreamPartition, floor: int) -> None:
        """The subscription begins with a partition: learn what every process has set aside in it until now.

        Raises:
            LogUnavailable
        """
        self._meanwhile[partition] = []
        try:
            here = await self._letters.set_aside(self._key, partition, floor)
        finally:
            decided = self._meanwhile.pop(partition)
        self._partitions[partition] = here
        self._due.update(((partition, case_id), None) for case_id in here.due)
        for event in decided:
            self._told(event)

    def revoked(self, partition: StreamPartition) -> None:
        """The subscription reads the partition no more."""
        del self._partitions[partition]
        self._due = {case: None for case in self._due if case[0] != partition}
        self._recalled = {at: case for at, case in self._recalled.items() if at.stream_partition != partition}

    def sets_aside(self, entry: LogEntry, parked: list[LogEntry]) -> bool:
        """Whether an entry that the book has just taken in is set aside. If so, the book has it no more.

        It is added to ``parked`` if no pointer to it exists yet.
        """
        here = self._partitions[entry.position.stream_partition]
        if entry.position.offset in here.offsets:
            del here.offsets[entry.position.offset]
        elif entry.kind in OVERTAKING or not here.waits(entry.ordering_key, entry.position.offset):
            return False
        else:
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
        self._unsettled.add((partition, case if recalled is None else recalled))
        if recalled is not None and reason:
            self._is_due(partition, recalled)
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
        self._partitions[partition].adds(case, dead.position.offset)
        return [held.pop(position).entry for position in later]

    def ordered(self, held: dict[Position, Held]) -> Iterator[tuple[DeadLetter, str]]:
        """Give up in the book what the agency has ordered, as far as it can be given up now, with the agency's codes.

        ``gave_up`` must follow before the next one is taken: it may park that one.
        """
        for partition, here in self._partitions.items():
            for offset, code in list(here.orders.items()):
                position = Position(*partition, offset)
                dead = self._book.give_up(position) if position in held else None
                if dead is not None:
                    del here.orders[offset]
                    yield dead, code

    async def recall(self, held: dict[Position, Held]) -> list[GivenUp]:
        """Lease again what is due, as far as there is room, also in what the agency may hold.

        What was set aside in earlier rounds is durable.

        Returns:
            What the log has lost or changed: it is a dead letter again.

        Raises:
            LogUnavailable
        """
        damaged = []
        for case in list(self._due):
            partition, case_id = case
            here = self._partitions[partition]
            if min(self._holding.room(self._book.held_bytes, self._book.room_to_recall())) < 1:
                break
            if self._book.read_to(partition) < here.read_again_to:
                continue
            first = await self._letters.first(self._key, partition, case_id)
            if case in self._unsettled:
                continue
            if first is None or not first[1]:
                # Nothing, or a dead letter.
                del self._due[case]
                if first is None:
                    here.cases.pop(case_id, None)
                continue
            position = Position(*partition, first[0])
            entry = await self._letters.record(position)
            # Streams answered meanwhile.
            if case in self._unsettled or self._book.is_behind(position, case_id):
                continue
            if entry is None:
                damaged.append(GivenUp(position, "", case_id, 0, LogCorrupt.reason))
                self._unsettled.add(case)
                continue
            del self._due[case]
            self._recalled[position] = case_id
            self._book.recall(position, case_id, len(entry.value))
            held[position] = Held(entry)
        return damaged

    @property
    def waits(self) -> bool:
        """Whether anything is due that could not be recalled yet."""
        return bool(self._due)

    def take_ended(self, held: dict[Position, Held]) -> list[Position]:
        """The recalled records that are finished since the last call. The next ones of their cases are due.

        Everything until now is in the round that is taken, which is durable before the next recall.
        """
        self._unsettled.clear()
        ended = [position for position in self._recalled if position not in held]
        for position in ended:
            self._is_due(position.stream_partition, self._recalled.pop(position))
        return ended

    def _told(self, event: DeadLetterEvent) -> None:
        match event:
            case DeadLetterOrdered() | DeadLetterDiscarded() | DeadLetterRedriven() if (
                event.position.stream_partition in self._meanwhile
            ):
                self._meanwhile[event.position.stream_partition].append(event)
            case DeadLetterOrdered(position=position, code=code):
                if position.stream_partition in self._partitions:
                    self._partitions[position.stream_partition].orders[position.offset] = code
                    self._wake()
            case DeadLetterDiscarded(position=position, case_id=case_id):
                self._is_due(position.stream_partition, case_id)
            case DeadLetterRedriven(position=position, case_id=case_id):
                if position.stream_partition in self._partitions:
                    # Nothing waited behind it if it was damaged.
                    self._partitions[position.stream_partition].adds(case_id, position.offset)
                self._is_due(position.stream_partition, case_id)

    def _is_due(self, partition: StreamPartition, case_id: str) -> None:
        under_way = {(at.stream_partition, case) for at, case in self._recalled.items()}
        if partition in self._partitions and (partition, case_id) not in under_way:
            self._due[partition, case_id] = None
            self._wake()
