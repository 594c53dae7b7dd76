"""The records that one durable subscription has read and not finished, in all its stream partitions.

This is the lower half of the lease book. It takes records in, knows which are READY and which of these are suspects
(suspects.py), and says what may be committed.
The upper half (lease.py) knows who holds which record, and until when. Nothing here depends on time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from broker.core.leasing.delivery import Delivery, Event, State
from broker.core.leasing.suspects import Suspects
from broker.core.leasing.terms import LeaseSettings, Room
from broker.core.leasing.window import PartitionWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.leasing.ackstate import AckState
    from broker.core.leasing.suspects import Suspicion
    from broker.core.streams import Position, StreamPartition

RECALLED_RECORDS: Final = 100
"""The limit for recalled records at one time. Each is of another case."""


class Backlog:
    """The windows of a subscription's partitions, their total size, the queue of READY records, and the suspects.

    Not thread safe. Each method is O(log n) in the undone records unless it says otherwise, and raises KeyError for a
    partition that is not assigned.

    Args:
        settings: the limits.
        committed: the partitions to start with, and how far the subscription is in each.
    """

    __slots__ = ("_ready", "_recalled", "_settings", "_suspects", "_undone_bytes", "_undone_records", "_windows")

    def __init__(self, settings: LeaseSettings, committed: Mapping[StreamPartition, AckState]) -> None:
        self._settings = settings
        self._windows: dict[StreamPartition, PartitionWindow] = {}
        self._ready: deque[Delivery] = deque()
        self._suspects = Suspects(settings.lease_seconds)
        self._recalled: dict[Position, Delivery] = {}
        self._undone_records = 0
        self._undone_bytes = 0
        for partition, state in committed.items():
            self.assign_partition(partition, state)

    def assign_partition(self, partition: StreamPartition, state: AckState) -> None:
        """Begin with a partition at ``state``. The caller offers its records from ``state.floor`` on.

        Raises:
            ValueError: the book already has the partition.
        """
        if partition in self._windows:
            message = f"{partition} is assigned already"
            raise ValueError(message)
        self._windows[partition] = PartitionWindow(partition, state)

    @property
    def partitions(self) -> tuple[StreamPartition, ...]:
        """The assigned partitions. The one that gave a record last is last, so that each has its turn to be read."""
        return tuple(self._windows)

    def room(self, partition: StreamPartition) -> Room:
        """How much more may be read of a partition, within the window and within the size of an offset commit."""
        return Room(
            records=min(self._windows[partition].room, max(0, self._settings.window_records - self._undone_records)),
            bytes=max(0, self._settings.window_bytes - self._undone_bytes),
        )

    def offer(self, partition: StreamPartition, offset: int, ordering_key: str, size_bytes: int) -> bool:
        """Take in a record that the subscription wants. Offsets ascend; they may have gaps.

        Returns:
            False if the record was done or read before. Then it is ignored.

        Raises:
            ValueError: there is no room for another record. Nothing is changed. Ask ``room`` before reading.
        """
        window = self._windows[partition]
        if self._undone_records >= self._settings.window_records or window.room == 0:
            message = f"the window of {partition} is full"
            raise ValueError(message)
        delivery = window.track(offset, ordering_key, size_bytes)
        if delivery is None:
            return False
        self._windows[partition] = self._windows.pop(partition)
        self._undone_records += 1
        self._undone_bytes += size_bytes
        if delivery.lost_leases:
            self._suspects.resumed(delivery)
        if delivery.state is State.READY:
            self._line_up(delivery)
        return True

    def park(self, position: Position) -> None:
        """Take out a record that nobody holds: it is set aside, and something else knows of it. O(n).

        Raises:
            KeyError: the record is not undone in this book.
            Internal: a consumer holds it, or it waits for its delay.
        """
        window = self._windows[position.stream_partition]
        delivery = window.at(position.offset)
        if delivery.state is State.READY:
            self._leave_line(delivery)
        delivery.on(Event.PARKED)
        self._suspects.answered(delivery)
        self._forget(delivery)
        successor = window.take_out(delivery)
        if successor is not None:
            self._line_up(successor)

    def room_to_recall(self) -> Room:
        """How much more that was set aside may be recalled. It has room of its own beside the window."""
        return Room(
            records=RECALLED_RECORDS - len(self._recalled),
            bytes=max(0, self._settings.window_bytes - self._recalled_bytes),
        )

    def read_to(self, partition: StreamPartition) -> int:
        """The offset up to which a partition was read."""
        return self._windows[partition].next_offset

    def is_behind(self, position: Position, ordering_key: str) -> bool:
        """Whether a record of this case is undone in the window that is not after this position. O(n)."""
        return any(
            delivery.offset <= position.offset and delivery.ordering_key == ordering_key
            for delivery in self._windows[position.stream_partition].undone
        )

    def recall(self, position: Position, ordering_key: str, size_bytes: int) -> None:
        """Take in again a record that was set aside. It is READY, and its counts begin at zero.

        The window has passed it, so nothing of it is committed. The caller recalls one record of a case at a time,
        which is behind no other, and again after a release of the partition, until it is finished.

        Raises:
            KeyError: the book does not have the partition.
            ValueError: the record was recalled already.
        """
        if position in self._recalled:
            message = f"{position} was recalled already"
            raise ValueError(message)
        delivery = Delivery(
            partition=self._windows[position.stream_partition].partition,
            offset=position.offset,
            ordering_key=ordering_key,
            size_bytes=size_bytes,
            failed_attempts=0,
            lost_leases=0,
            attempt=0,
            done_before=False,
            recalled=True,
        )
        self._recalled[position] = delivery
        delivery.on(Event.FREED)
        self._line_up(delivery)

    def pass_to(self, partition: StreamPartition, next_offset: int) -> bool:
        """Everything below ``next_offset`` was offered, or is not wanted. What is not wanted takes no room.

        Returns:
            Whether the subscription came further by this.
        """
        return self._windows[partition].pass_to(next_offset)

    def ack_state(self, partition: StreamPartition) -> AckState:
        """How far the subscription is in a partition. O(n)."""
        return self._windows[partition].ack_state()

    def take_commits(self) -> dict[StreamPartition, AckState]:
        """The states that changed since the last call. O(n).

        If a commit fails, keep its states, and let a later state of the same partition replace each.
        """
        changed = [window for window in self._windows.values() if window.changed]
        for window in changed:
            window.changed = False
        return {window.partition: window.ack_state() for window in changed}

    @property
    def undone_in_window(self) -> Room:
        """The number and the total bytes of the records that are tracked and neither DONE nor DEAD."""
        return Room(self._undone_records, self._undone_bytes)

    @property
    def held_bytes(self) -> int:
        """The bytes of all undone records that the book has: those in the window, and those that were recalled."""
        return self._undone_bytes + self._recalled_bytes

    @property
    def _recalled_bytes(self) -> int:
        return sum(delivery.size_bytes for delivery in self._recalled.values())

    @property
    def ready_records(self) -> int:
        """The number of records that wait only for a consumer with room. Suspects are not among them."""
        return len(self._ready)

    @property
    def waiting_suspects(self) -> int:
        """The number of suspects that are READY."""
        return len(self._suspects)

    def take_suspicions(self) -> list[Suspicion]:
        """Which records have become suspects, and which are so no more, since the last call."""
        return self._suspects.take_news()

    # --- steps of the book's events ---

    def _finish(self, delivery: Delivery, event: Event) -> None:
        delivery.on(event)
        self._forget(delivery)
        window = self._windows[delivery.partition]
        if delivery.recalled:
            # Its answer is confirmed with the partition's next commit.
            window.changed = True
            return
        successor = window.finish(delivery)
        if successor is not None:
            self._line_up(successor)

    def _line_up(self, delivery: Delivery) -> None:
        """A record that has just become READY waits for its grant."""
        if delivery.suspect:
            self._suspects.line_up(delivery)
        else:
            self._ready.append(delivery)

    def _leave_line(self, delivery: Delivery) -> None:
        """A record that is READY is taken out of its line. O(n)."""
        if delivery.suspect:
            self._suspects.left_line(delivery)
        else:
            self._ready.remove(delivery)

    def _forget(self, delivery: Delivery) -> None:
        if delivery.recalled:
            del self._recalled[delivery.position]
            return
        self._undone_records -= 1
        self._undone_bytes -= delivery.size_bytes
