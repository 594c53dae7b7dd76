"""The part of one stream partition that one subscription has read but not finished.

Reading moves a cursor upward and never back. Below the cursor only the undone records are kept, in offset order.
Between two of them it is enough to know whether there is anything done. So memory depends on the number of undone
records, however long one of them holds the floor.

A window also promises that its ack state can be committed (ackstate.py). Whatever happens to its records,
if no other record is tracked, the binary form stays within ``committed_bytes_bound``. The argument:

1. Each undone record i has a gap gi to the undone record before it. The first has gap 0: it is the floor.
2. The counts of record i cost at most ``v(gi) + 2`` bytes: its step, its failed attempts (at most 127) and its lost
   leases (at most 3). v is the length of a varint.
3. Each range is before a record that starts a run of undone ones. Its length costs at most v of that record's gap. Its
   distance from the previous range is the sum of the gaps within the run. The varint of this sum has 1 byte, or at most
   the sum of their varints. So every record pays at most ``v(gi) + 1`` here: ``2 v(gi) + 3`` in all.
4. When a record is finished, the next record gets the sum of two gaps. v is subadditive, so the total of 3 only
   decreases.
5. What a resumed state says of offsets that are not read again yet costs what it cost then, except the first range and
   the first offset with counts. Their distances are counted again. These, the version, the floor, both lengths and the
   range after the last undone record are ``_FIXED_BYTES``.

The state is committed with a seal (broker/core/groupseal.py). 96 of the 4096 bytes of text are for the seal, so 4000
are left for the state: 3000 in the binary form.

The argument holds for any gaps. So it holds on Kafka too, where the first records of two packs are at least 4096 apart.
How many records fit: of 3000 binary bytes 41 are the fixed part, 41 are kept for that of a resumed state, and 21 for
one record of any gap, if none is undone. 2897 are left. Another record is taken as long as 21 of these are left, that
is, while at most 2876 are used. Side by side, v is 1 and each record costs 5 bytes: 2876 // 5 + 1 = 576 records. Each
in a pack of its own, v is 2 and each but the first costs 7 bytes: (2876 - 5) // 7 + 2 = 412 records.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from broker.core.groupseal import SEAL_TEXT_BYTES
from broker.core.leasing.ackstate import MAX_TEXT_BYTES, MAX_VARINT_BYTES, AckState, varint_bytes
from broker.core.leasing.delivery import Delivery, Event

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition

_OFFSET: Final = attrgetter("offset")
_FIXED_BYTES: Final = 1 + 4 * MAX_VARINT_BYTES + 2 * 2
_MAX_RECORD_BYTES: Final = 2 * MAX_VARINT_BYTES + 3
_STATE_BYTES: Final = (MAX_TEXT_BYTES - SEAL_TEXT_BYTES) // 4 * 3
# Not in the budget: the fixed part, which a resumed state may need again, and one record, allowed if none is undone.
_BUDGET_BYTES: Final = _STATE_BYTES - _FIXED_BYTES - _MAX_RECORD_BYTES


class PartitionWindow:
    """The undone records of one stream partition, and the queue of each case in it.

    Every method is O(log n) in the undone records, except ``ack_state``, which is O(n). Some also move a list of at
    most n references.

    Attributes:
        partition: the stream partition.
        next_offset: the cursor. Every offset below it has been read.
        undone: the undone records in offset order. Only for reading.
        changed: whether ``ack_state`` may have changed in its floor or for a wanted record since this was last set to
            False.
    """

    __slots__ = (
        "_case_ends",
        "_done_at_end",
        "_records_bytes",
        "_resumed_bytes",
        "_resumed_counts",
        "_resumed_done",
        "changed",
        "next_offset",
        "partition",
        "undone",
    )

    def __init__(self, partition: StreamPartition, state: AckState) -> None:
        self.partition = partition
        self.next_offset = state.floor
        self.undone: list[Delivery] = []
        self.changed = False
        self._case_ends: dict[str, Delivery] = {}
        self._done_at_end = False
        self._records_bytes = 0
        # Both are in descending order, so that offsets below the cursor are popped from the end. The last number is the
        # cost in bytes.
        self._resumed_done: list[tuple[int, int, int]] = []
        self._resumed_counts: list[tuple[int, int, int, int]] = []
        self._resume(state)

    def _resume(self, state: AckState) -> None:
        before = state.floor
        for first, last in state.done:
            self._resumed_done.append((first, last, varint_bytes(first - before) + varint_bytes(last - first)))
            before = last
        before = state.floor
        for offset, failed, lost in state.counts:
            self._resumed_counts.append((offset, failed, lost, varint_bytes(offset - before) + 2))
            before = offset
        self._resumed_bytes = sum(resumed[-1] for resumed in (*self._resumed_done, *self._resumed_counts))
        self._resumed_done.reverse()
        self._resumed_counts.reverse()

    @property
    def committed_bytes_bound(self) -> int:
        """The limit for the bytes of the ack state's binary form, if no other record is tracked."""
        return _FIXED_BYTES + self._records_bytes + self._resumed_bytes

    @property
    def room(self) -> int:
        """How many more records can be tracked, at any offsets, so that the ack state can still be committed.

        At least one if nothing is undone.
        """
        room = (_BUDGET_BYTES - self.committed_bytes_bound) // _MAX_RECORD_BYTES
        return max(room, 0 if self.undone else 1)

    def pass_to(self, next_offset: int) -> bool:
        """Move the cursor up to an offset. What lies between and was not tracked is not wanted; nothing of it is kept.

        Returns:
            Whether the cursor moved. It never moves back.
        """
        if next_offset <= self.next_offset:
            return False
        passed_done = False
        while self._resumed_done and self._resumed_done[-1][0] < next_offset:
            passed_done = True
            if self._resumed_done[-1][1] >= next_offset:
                break
            self._resumed_bytes -= self._resumed_done.pop()[2]
        while self._resumed_counts and self._resumed_counts[-1][0] < next_offset:
            self._resumed_bytes -= self._resumed_counts.pop()[-1]
        self.next_offset = next_offset
        if not self.undone:
            self.changed = True
        elif passed_done:
            self._done_at_end = True
        return True

    def track(self, offset: int, ordering_key: str, size_bytes: int) -> Delivery | None:
        """Move the cursor past a wanted record and keep it: READY if it is the first of its case, otherwise HELD.

        Returns:
            The delivery, or None if the record is done already or was read before.
        """
        if offset < self.next_offset:
            return None
        self.pass_to(offset)
        done = bool(self._resumed_done) and self._resumed_done[-1][0] <= offset
        resumed = self._resumed_counts[-1] if self._resumed_counts else None
        failed, lost = resumed[1:3] if resumed is not None and resumed[0] == offset else (0, 0)
        self.pass_to(offset + 1)
        if done:
            return None
        delivery = Delivery(
            partition=self.partition,
            offset=offset,
            ordering_key=ordering_key,
            size_bytes=size_bytes,
            failed_attempts=failed,
            lost_leases=lost,
            attempt=failed + lost,
            done_before=self._done_at_end,
        )
        self._done_at_end = False
        self.undone.append(delivery)
        self._records_bytes += self._cost(len(self.undone) - 1)
        before = self._case_ends.get(ordering_key)
        self._case_ends[ordering_key] = delivery
        if before is None:
            delivery.on(Event.FREED)
        else:
            before.successor = delivery
        return delivery

    def finish(self, delivery: Delivery) -> Delivery | None:
        """Remove a case's first record, which is finished. Return the next one, which is now READY, if any."""
        self._remove(delivery)
        successor, delivery.successor = delivery.successor, None
        if successor is None:
            del self._case_ends[delivery.ordering_key]
        else:
            successor.on(Event.FREED)
        return successor

    def at(self, offset: int) -> Delivery:
        """The undone record at this offset.

        Raises:
            KeyError: there is none.
        """
        index = bisect_left(self.undone, offset, key=_OFFSET)
        if index == len(self.undone) or self.undone[index].offset != offset:
            raise KeyError(offset)
        return self.undone[index]

    def take_out(self, delivery: Delivery) -> Delivery | None:
        """Remove a record from any place in its case, as ``finish`` does. O(n)."""
        before = next((item for item in self.undone if item.successor is delivery), None)
        if before is None:
            return self.finish(delivery)
        self._remove(delivery)
        before.successor, delivery.successor = delivery.successor, None
        if before.successor is None:
            self._case_ends[delivery.ordering_key] = before
        return None

    def _remove(self, delivery: Delivery) -> None:
        index = bisect_left(self.undone, delivery.offset, key=_OFFSET)
        self._records_bytes -= self._cost(index) + self._cost(index + 1)
        del self.undone[index]
        self._records_bytes += self._cost(index)
        if index < len(self.undone):
            self.undone[index].done_before = True
        else:
            self._done_at_end = bool(self.undone)
        self.changed = True

    def ack_state(self) -> AckState:
        """The state to commit. A book that resumes from it delivers the undone records and no others."""
        done = [
            (before.offset + 1, delivery.offset - 1)
            for before, delivery in pairwise(self.undone)
            if delivery.done_before
        ]
        if self._done_at_end:
            done.append((self.undone[-1].offset + 1, self.next_offset - 1))
        floor = self.undone[0].offset if self.undone else self.next_offset
        for resumed_first, last, _ in reversed(self._resumed_done):
            first = max(resumed_first, self.next_offset)
            if first == floor:
                floor = last + 1
            elif done and done[-1][1] + 1 == first:
                done[-1] = (done[-1][0], last)
            else:
                done.append((first, last))
        counts = [
            (delivery.offset, delivery.failed_attempts, delivery.lost_leases)
            for delivery in self.undone
            if delivery.failed_attempts or delivery.lost_leases
        ]
        counts += [(offset, failed, lost) for offset, failed, lost, _ in reversed(self._resumed_counts)]
        return AckState(floor, tuple(done), tuple(counts))

    def _cost(self, index: int) -> int:
        """Points 2 and 3 of the argument above, for the record at ``index``. 0 past the end."""
        if index >= len(self.undone):
            return 0
        gap = self.undone[index].offset - self.undone[index - 1].offset if index else 0
        return 2 * varint_bytes(gap) + 3
