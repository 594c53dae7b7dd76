"""The lease book of one durable subscription: who may have which record, until when, and what is done.

A pure state machine. broker/core/delivery.py has the states of one delivery and the table of its steps.
broker/core/backlog.py has what was read and is not finished. The book finds out what happened and keeps these rules:

1. At least once: only an ack finishes a record, or its end as a dead letter. Any other end of a lease makes it READY
   again. A refused record is acked too: its consumer keeps it in quarantine, and nothing has to wait behind it.
2. Ordered per case: of the records of one ordering key in one stream partition at most one is READY, LEASED or DELAYED:
   the first undone one. The others are HELD. So a record that always fails holds back only its own case.
3. Fair across cases: READY records are granted in the order in which they became READY. So new records go out in offset
   order. A case that has just had its turn, or failed, goes to the end of the queue.
4. A lease ends by ack, nack, expiry, its consumer's clean close, or release of the partition. Anything later for that
   delivery id raises LeaseLost and changes nothing. This includes a repeated ack.
5. A nack and an expiry are failed attempts. The attempt number ``max_attempts`` that fails makes the record a dead
   letter. A clean close and a transient nack are not failed attempts, because they say nothing about the record. A lost
   consumer keeps its leases until they expire. So a record that kills its consumer every time becomes a dead letter
   too.
6. Time passes only in ``tick``: until a tick has seen the deadline, an ack is still in time.
7. A consumer never has more outstanding than its limits. If it has nothing, it may have one record of any size.

``now`` is seconds on a monotonic clock, the same clock for the book's whole life. A caller sleeps until
``next_deadline``, ticks, then leases. Undone records of one case can fill the window. Then nothing more is read until
they are finished. ``max_attempts`` limits how long that takes, unless their consumer postpones them.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Final

from broker.core.backlog import Backlog
from broker.core.delivery import ConsumerAccount, Delivery, Event, State
from broker.core.errors import InputRefused, Internal, LeaseLost, SubscriptionInvalid
from broker.core.lease_terms import DeadLetter, Expired, Lease, LeaseSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.ackstate import AckState
    from broker.core.streams import Position, StreamPartition

MAX_NACK_DELAY_SECONDS: Final = 600.0
_SPARE_TIMERS: Final = 64


class LeaseBook(Backlog):
    """The deliveries of one durable subscription: its backlog, and the leases on its READY records. Not thread safe.

    Each method is O(log n) in the undone records unless it says otherwise.

    Args:
        settings: the limits.
        committed: the partitions that this book starts with, and how far the subscription is in each.
        first_delivery_id: delivery ids count up from here. Give a number far from those of the subscription's earlier
            books (for example 62 random bits), so that an ack from before a restart cannot fit another record.

    Methods that name a partition or consumer raise KeyError if the book does not have it.
    """

    __slots__ = ("_consumers", "_leases", "_next_id", "_postponed", "_timers")

    def __init__(
        self,
        settings: LeaseSettings,
        committed: Mapping[StreamPartition, AckState],
        *,
        first_delivery_id: int = 1,
    ) -> None:
        super().__init__(settings, committed)
        self._consumers: dict[str, ConsumerAccount] = {}
        self._leases: dict[int, Delivery] = {}
        # (when, timer id, delivery). Stale if the delivery has another timer; early if the lease was extended.
        self._timers: list[tuple[float, int, Delivery]] = []
        # The undone records that were postponed, and when first: the oldest is first.
        self._postponed: dict[Delivery, float] = {}
        self._next_id = first_delivery_id

    def release_partition(self, partition: StreamPartition) -> AckState:
        """Forget a partition. Its leases end. Return the state to commit before another broker reads on. O(n)."""
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

    # --- consumers and their leases ---

    def consumer_added(self, consumer: str, max_outstanding_records: int, max_outstanding_bytes: int) -> None:
        """Add a consumer, and set the limits of what it may have outstanding.

        Raises:
            SubscriptionInvalid: a limit is not positive.
            ValueError: a present consumer has the name.
        """
        if max_outstanding_records < 1 or max_outstanding_bytes < 1:
            message = "flow control needs positive limits"
            raise SubscriptionInvalid(message)
        if consumer in self._consumers:
            message = "the consumer was added already"
            raise ValueError(message)
        self._consumers[consumer] = ConsumerAccount(consumer, max_outstanding_records, max_outstanding_bytes)

    def consumer_gone(self, consumer: str, *, clean: bool) -> None:
        """Remove a consumer. It is granted nothing more. O(n) in the leases.

        Args:
            consumer: its name, which is free again afterwards.
            clean: True: it closed in good order, and its records are READY at once. False: it was lost, and its leases
                run on until an ack (perhaps over its next connection) or their deadline.
        """
        account = self._consumers.pop(consumer)
        if clean:
            for delivery in [delivery for delivery in self._leases.values() if delivery.consumer is account]:
                self._end_lease(delivery)
                delivery.on(Event.RETURNED)
                self._ready.append(delivery)

    def lease(self, now: float, consumer: str) -> list[Lease]:
        """Grant a consumer everything that is READY and that it has room for.

        A record that does not fit waits at the head of the queue until this consumer has nothing outstanding, or
        another takes it. Smaller records do not overtake it, or it might wait for ever.
        """
        account = self._consumers[consumer]
        leases = []
        while self._ready and account.has_room_for(self._ready[0].size_bytes):
            leases.append(self._grant(self._ready.popleft(), account, now))
        return leases

    def ack(self, delivery_id: int) -> Position:
        """The consumer has the record safely: processed, or refused and in quarantine.

        Returns:
            The record's position.

        Raises:
            LeaseLost: the lease has ended.
        """
        delivery = self._leased(delivery_id)
        self._end_lease(delivery)
        self._finish(delivery, Event.ACKED)
        return delivery.position

    def nack(self, delivery_id: int, now: float, delay: float, *, transient: bool = False) -> DeadLetter | None:
        """The consumer could not take the record. It is due again after ``delay`` seconds, 0 to 600.

        Args:
            delivery_id: the id of the delivery.
            now: the time.
            delay: in seconds.
            transient: the cause was a passing fault of the consumer, so this is not a failed attempt.

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
        dead_letter = None if transient else self._count_failure(delivery)
        if dead_letter is None:
            delivery.on(Event.POSTPONED if transient else Event.NACKED)
            if transient:
                self._postponed.setdefault(delivery, now)
            self._start_timer(delivery, now + delay)
        return dead_letter

    def extend(self, delivery_id: int, now: float, seconds: float) -> float:
        """Let a lease run until ``now + seconds``, but never longer than ``max_lease_seconds`` after its grant.

        Returns:
            The deadline in force. It is never earlier than before.

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

    @property
    def leased_records(self) -> int:
        """The number of leased records, including those of lost consumers."""
        return len(self._leases)

    def longest_postponed(self) -> tuple[Position, float] | None:
        """Of the undone records that had a transient nack, the one that had its first such nack first, and when."""
        for delivery, since in self._postponed.items():
            return delivery.position, since
        return None

    # --- time ---

    def next_deadline(self) -> float | None:
        """When ``tick`` next has something to do, or None if only other calls can change anything."""
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
            events.append(Expired(timer, consumer.name, delivery.position))
            dead_letter = self._count_failure(delivery)
            if dead_letter is None:
                delivery.on(Event.EXPIRED)
                self._ready.append(delivery)
            else:
                events.append(dead_letter)
        return events

    # --- steps that several events share ---

    def _forget(self, delivery: Delivery) -> None:
        super()._forget(delivery)
        self._postponed.pop(delivery, None)

    def _leased(self, delivery_id: int) -> Delivery:
        delivery = self._leases.get(delivery_id)
        if delivery is None:
            message = "the lease of this delivery has ended"
            raise LeaseLost(message, delivery_id=str(delivery_id))
        return delivery

    def _grant(self, delivery: Delivery, account: ConsumerAccount, now: float) -> Lease:
        delivery.on(Event.GRANTED)
        delivery.attempt += 1
        delivery.granted_at = now
        delivery.consumer = account
        account.records += 1
        account.bytes += delivery.size_bytes
        self._start_timer(delivery, now + self._settings.lease_seconds)
        self._leases[delivery.timer] = delivery
        return Lease(delivery.timer, delivery.position, delivery.attempt, delivery.due)

    def _end_lease(self, delivery: Delivery) -> ConsumerAccount:
        """Remove the record from its consumer's account. The caller sets the next state."""
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
        return DeadLetter(delivery.position, delivery.failed_attempts)

    def _start_timer(self, delivery: Delivery, due: float) -> None:
        delivery.timer = self._next_id
        delivery.due = due
        self._next_id += 1
        heappush(self._timers, (due, delivery.timer, delivery))

    def _drop_stale_timers(self) -> None:
        """Limit the heap: quick acks leave stale timers, which are dropped before they outnumber the live ones."""
        if len(self._timers) > 2 * self._undone_records + _SPARE_TIMERS:
            self._timers = [item for item in self._timers if item[2].timer == item[1]]
            heapify(self._timers)
