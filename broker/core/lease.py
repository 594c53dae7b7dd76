"""The lease book of one durable subscription: who may have which record, until when, and what is done.

A pure state machine. The states of one delivery and the table of its transitions are in broker/core/delivery.py; the
book finds out which event happened, and keeps these rules:

1. At least once: a record is finished only by an ack, or as a dead letter. Any other end of a lease makes it READY
   again.
2. Ordered per case: of the records of one ordering key in one stream partition at most one is READY, LEASED or DELAYED,
   the first that is undone. The others are HELD. So a poison record holds back its own case only.
3. Fair across cases: READY records are granted in the order in which they became READY. Fresh ones thus go out in
   offset order, and a case that has just had its turn, or failed, goes to the back.
4. A lease ends by ack, nack, expiry, its consumer's clean close, or release of the partition. What comes later for that
   delivery id raises LeaseLost and changes nothing. A repeated ack is such a latecomer.
5. A nack and an expiry are failed attempts. The one that makes ``max_attempts`` turns the record into a dead letter.
   A clean close is none; a consumer that is lost keeps its leases until they expire, so a record that kills its
   consumer every time ends as a dead letter too.
6. Time passes only in ``tick``: until a tick has seen the deadline, an ack is still in time.
7. A consumer never has more outstanding than it said, except one record of any size when it has nothing.

``now`` is seconds on a monotonic clock, the same clock throughout the book's life. A caller sleeps until
``next_deadline``, ticks, then leases. Undone records of one case can fill the window, and then hold back what is not
read yet until they are finished; ``max_attempts`` bounds how long that takes.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Final

from broker.core.delivery import Consumer, Delivery, Event, State
from broker.core.errors import InputRefused, Internal, LeaseLost, SubscriptionInvalid
from broker.core.lease_terms import DeadLetter, Expired, Lease, LeaseSettings, Room
from broker.core.window import PartitionWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.ackstate import AckState
    from broker.core.streams import StreamPartition

MAX_NACK_DELAY_SECONDS: Final = 600.0
_SPARE_TIMERS: Final = 64


class LeaseBook:
    """The deliveries of one durable subscription. Not thread safe.

    Each method is O(log n) in the undone records unless it says otherwise.

    Args:
        settings: the bounds.
        committed: the partitions that this book starts with, and where the subscription stands in each.
        first_delivery_id: delivery ids count up from here. Give a number far from those of the subscription's earlier
            books (for example 62 random bits), so that an ack from before a restart cannot hit another record.

    Methods that name a partition or consumer raise KeyError where the book does not have it.
    """

    __slots__ = (
        "_consumers",
        "_leases",
        "_next_id",
        "_ready",
        "_settings",
        "_timers",
        "_undone_bytes",
        "_undone_records",
        "_windows",
    )

    def __init__(
        self,
        settings: LeaseSettings,
        committed: Mapping[StreamPartition, AckState],
        *,
        first_delivery_id: int = 1,
    ) -> None:
        self._settings = settings
        self._windows: dict[StreamPartition, PartitionWindow] = {}
        self._consumers: dict[str, Consumer] = {}
        self._leases: dict[int, Delivery] = {}
        self._ready: deque[Delivery] = deque()
        # (when, timer id, delivery): stale once the delivery has another timer, early once the lease was extended.
        self._timers: list[tuple[float, int, Delivery]] = []
        self._next_id = first_delivery_id
        self._undone_records = 0
        self._undone_bytes = 0
        for partition, state in committed.items():
            self.assign_partition(partition, state)

    # --- partitions: what is read, and what is committed ---

    def assign_partition(self, partition: StreamPartition, state: AckState) -> None:
        """Begin with a partition where ``state`` says. Its records are to be offered from ``state.floor`` on.

        Raises:
            ValueError: the book has the partition already.
        """
        if partition in self._windows:
            message = f"{partition} is assigned already"
            raise ValueError(message)
        self._windows[partition] = PartitionWindow(partition, state)

    def release_partition(self, partition: StreamPartition) -> AckState:
        """Forget a partition; its leases end. Returns the state to commit before another broker reads on. O(n)."""
        window = self._windows.pop(partition)
        state = window.ack_state()
        for delivery in window.undone:
            if delivery.state is State.LEASED:
                self._end_lease(delivery)
            delivery.timer = 0
            delivery.on(Event.RELEASED)
            self._forget(delivery)
        self._ready = deque(delivery for delivery in self._ready if delivery.state is State.READY)
        self._drop_stale_timers()
        return state

    def room(self, partition: StreamPartition) -> Room:
        """How much more may be read of a partition, within the window and within what an offset commit can hold."""
        return Room(
            records=min(self._windows[partition].room, max(0, self._settings.window_records - self._undone_records)),
            bytes=max(0, self._settings.window_bytes - self._undone_bytes),
        )

    def offer(self, partition: StreamPartition, offset: int, ordering_key: str, size_bytes: int) -> bool:
        """Take in a record that the subscription wants. Offsets ascend, with gaps where the log or the filter has them.

        Returns:
            False if it was done before, or read before by this book; it is then ignored.

        Raises:
            ValueError: there is no room for another record. Nothing is changed; ask ``room`` before reading.
        """
        window = self._windows[partition]
        if self.room(partition).records == 0:
            message = f"the window of {partition} is full"
            raise ValueError(message)
        delivery = window.track(offset, ordering_key, size_bytes)
        if delivery is None:
            return False
        self._undone_records += 1
        self._undone_bytes += size_bytes
        if delivery.state is State.READY:
            self._ready.append(delivery)
        return True

    def skip(self, partition: StreamPartition, offset: int) -> None:
        """Pass over a log entry that the subscription does not want. It counts as done and takes no room."""
        self._windows[partition].skip(offset)

    def ack_state(self, partition: StreamPartition) -> AckState:
        """Where the subscription stands in a partition. O(n)."""
        return self._windows[partition].ack_state()

    def take_commits(self) -> dict[StreamPartition, AckState]:
        """The states that changed since they were last taken. O(n).

        If committing one fails, keep it and let a later one of that partition replace it.
        """
        changed = [window for window in self._windows.values() if window.changed]
        for window in changed:
            window.changed = False
        return {window.partition: window.ack_state() for window in changed}

    @property
    def undone_in_window(self) -> Room:
        """How many records, of how many bytes, are tracked and neither DONE nor DEAD."""
        return Room(self._undone_records, self._undone_bytes)

    @property
    def ready_records(self) -> int:
        """How many records only wait for a consumer with room."""
        return len(self._ready)

    # --- consumers and their leases ---

    def consumer_added(self, consumer: str, max_outstanding_records: int, max_outstanding_bytes: int) -> None:
        """Let a consumer, named uniquely among the present ones, have this much outstanding at once.

        Raises:
            SubscriptionInvalid: a limit is not positive.
            ValueError: the name is taken.
        """
        if max_outstanding_records < 1 or max_outstanding_bytes < 1:
            message = "flow control needs positive limits"
            raise SubscriptionInvalid(message)
        if consumer in self._consumers:
            message = "the consumer was added already"
            raise ValueError(message)
        self._consumers[consumer] = Consumer(consumer, max_outstanding_records, max_outstanding_bytes)

    def consumer_gone(self, consumer: str, *, clean: bool) -> None:
        """Grant a consumer nothing more. O(n) in the leases.

        Args:
            consumer: its name, free again afterwards.
            clean: True: it closed in good order, and its records are READY at once. False: it was lost, and its
                leases run on until an ack (perhaps over its next connection) or their deadline.
        """
        account = self._consumers.pop(consumer)
        if clean:
            for delivery in [delivery for delivery in self._leases.values() if delivery.consumer is account]:
                self._end_lease(delivery)
                delivery.on(Event.RETURNED)
                self._ready.append(delivery)

    def lease(self, now: float, consumer: str) -> list[Lease]:
        """Grant a consumer all that is READY and that it has room for.

        A record that does not fit waits at the head of the queue until this consumer has nothing outstanding, or
        another takes it; smaller ones do not overtake it, or it might wait for ever.
        """
        account = self._consumers[consumer]
        leases = []
        while self._ready and account.has_room_for(self._ready[0].size_bytes):
            leases.append(self._grant(self._ready.popleft(), account, now))
        return leases

    def ack(self, delivery_id: int) -> None:
        """The consumer has the record safely.

        Raises:
            LeaseLost: the lease has ended.
        """
        delivery = self._leased(delivery_id)
        self._end_lease(delivery)
        self._finish(delivery, Event.ACKED)

    def nack(self, delivery_id: int, now: float, delay: float) -> DeadLetter | None:
        """The consumer could not take the record. It is due again after ``delay`` seconds, 0 to 600.

        Returns:
            The dead letter that the record has become, if this was its last attempt.

        Raises:
            LeaseLost: the lease has ended.
            InputRefused: the delay is out of bounds.
        """
        delivery = self._leased(delivery_id)
        if not 0 <= delay <= MAX_NACK_DELAY_SECONDS:
            message = f"a nack's delay is 0 to {MAX_NACK_DELAY_SECONDS:.0f} seconds"
            raise InputRefused(message)
        self._end_lease(delivery)
        dead_letter = self._count_failure(delivery)
        if dead_letter is None:
            delivery.on(Event.NACKED)
            self._start_timer(delivery, now + delay)
        return dead_letter

    def extend(self, delivery_id: int, now: float, seconds: float) -> float:
        """Let a lease run until ``now + seconds``, but never longer than ``max_lease_seconds`` after its grant.

        Returns:
            The deadline in force. It is never earlier than it was.

        Raises:
            LeaseLost: the lease has ended.
            InputRefused: ``seconds`` is not positive.
        """
        delivery = self._leased(delivery_id)
        if not seconds > 0:
            message = "a lease is extended by a positive number of seconds"
            raise InputRefused(message)
        delivery.on(Event.EXTENDED)
        bound = delivery.granted_at + self._settings.max_lease_seconds
        delivery.due = max(delivery.due, min(now + seconds, bound))
        return delivery.due

    # --- time ---

    def next_deadline(self) -> float | None:
        """When ``tick`` next has something to do, or None if only calls can change anything."""
        while self._timers:
            due, timer, delivery = self._timers[0]
            if delivery.timer != timer:
                heappop(self._timers)
            elif delivery.due > due:
                heapreplace(self._timers, (delivery.due, timer, delivery))
            else:
                return due
        return None

    def tick(self, now: float) -> list[Expired | DeadLetter]:
        """End every lease and delay that is due at ``now``. O(log n) for each."""
        events: list[Expired | DeadLetter] = []
        while (due := self.next_deadline()) is not None and due <= now:
            _, timer, delivery = heappop(self._timers)
            if delivery.state is State.DELAYED:
                delivery.timer = 0
                delivery.on(Event.DUE)
                self._ready.append(delivery)
                continue
            consumer = self._end_lease(delivery)
            events.append(Expired(timer, consumer.name, delivery.partition, delivery.offset))
            dead_letter = self._count_failure(delivery)
            if dead_letter is None:
                delivery.on(Event.EXPIRED)
                self._ready.append(delivery)
            else:
                events.append(dead_letter)
        return events

    # --- steps that several events share ---

    def _leased(self, delivery_id: int) -> Delivery:
        delivery = self._leases.get(delivery_id)
        if delivery is None:
            message = "the lease of this delivery has ended"
            raise LeaseLost(message, delivery_id=str(delivery_id))
        return delivery

    def _grant(self, delivery: Delivery, account: Consumer, now: float) -> Lease:
        delivery.on(Event.GRANTED)
        delivery.attempt += 1
        delivery.granted_at = now
        delivery.consumer = account
        account.records += 1
        account.bytes += delivery.size_bytes
        self._start_timer(delivery, now + self._settings.lease_seconds)
        self._leases[delivery.timer] = delivery
        return Lease(delivery.timer, delivery.partition, delivery.offset, delivery.attempt, delivery.due)

    def _end_lease(self, delivery: Delivery) -> Consumer:
        """Take the record off its consumer's account. The next state is the caller's to enter."""
        del self._leases[delivery.timer]
        account, delivery.consumer = delivery.consumer, None
        if account is None:
            message = "a leased delivery has no consumer"
            raise Internal(message)
        account.records -= 1
        account.bytes -= delivery.size_bytes
        delivery.timer = 0
        self._drop_stale_timers()
        return account

    def _count_failure(self, delivery: Delivery) -> DeadLetter | None:
        delivery.failed_attempts += 1
        self._windows[delivery.partition].changed = True
        if delivery.failed_attempts < self._settings.max_attempts:
            return None
        self._finish(delivery, Event.EXHAUSTED)
        return DeadLetter(delivery.partition, delivery.offset, delivery.failed_attempts)

    def _finish(self, delivery: Delivery, event: Event) -> None:
        delivery.on(event)
        self._forget(delivery)
        successor = self._windows[delivery.partition].finish(delivery)
        if successor is not None:
            self._ready.append(successor)

    def _forget(self, delivery: Delivery) -> None:
        self._undone_records -= 1
        self._undone_bytes -= delivery.size_bytes

    def _start_timer(self, delivery: Delivery, due: float) -> None:
        delivery.timer = self._next_id
        delivery.due = due
        self._next_id += 1
        heappush(self._timers, (due, delivery.timer, delivery))

    def _drop_stale_timers(self) -> None:
        """Bound the heap: quick acks leave stale timers behind, and they are dropped before they outnumber the live."""
        if len(self._timers) > 2 * self._undone_records + _SPARE_TIMERS:
            self._timers = [item for item in self._timers if item[2].timer == item[1]]
            heapify(self._timers)
