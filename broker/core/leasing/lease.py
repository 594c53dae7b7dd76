"""The lease book of one durable subscription: who may have which record, until when, and what is done.

A pure state machine. delivery.py has the states of one delivery and the table of its steps.
backlog.py has what was read and is not finished, grants.py who holds what of it. The book finds
out what happened and keeps these rules:

1. At least once: only an ack finishes a record, or its end as a dead letter. Any other end of a lease makes it READY
   again. A refused record is acked too: its consumer keeps it in quarantine, and nothing has to wait behind it.
2. Ordered per case: of the records of one ordering key in one stream partition at most one is READY, LEASED or DELAYED:
   the first undone one. The others are HELD. So a record that always fails holds back only its own case.
3. Fair across cases: READY records are granted in the order in which they became READY. So new records go out in offset
   order. A case that has just had its turn, or failed, goes to the end of the queue.
4. A lease ends by ack, nack, expiry, its consumer's clean close, or release of the partition. Anything later for that
   delivery id raises LeaseLost and changes nothing. This includes a repeated ack.
5. A nack is a failed attempt. The attempt number ``max_attempts`` that fails makes the record a dead letter. A clean
   close and a transient nack are not failed attempts, because they say nothing about the record. A lost consumer keeps
   its leases until they expire. An expiry is a lost lease. It makes the record a suspect, which travels alone, and only
   then a dead letter (suspects.py).
6. Time passes only in ``tick``: until a tick has seen the deadline, an ack is still in time.
7. A consumer never has more outstanding than its limits and its credit. The credit begins small and grows with each ack
   (delivery.py). If it has nothing, it may have one record of any size. After a lost lease, until the next
   ack, it may have only one. A suspect's consumer has only the suspect.

``now`` is seconds on a monotonic clock, the same clock for the book's whole life. A caller sleeps until
``next_deadline``, ticks, then leases. Undone records of one case can fill the window. Then nothing more is read until
they are finished. ``max_attempts`` limits how long that takes, unless their consumer postpones them or acknowledges
nothing at all. What waits for a fault of its consumer can also be made a dead letter by its agency (``give_up``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import InputRefused
from broker.core.leasing.delivery import Delivery, Event, State
from broker.core.leasing.grants import Grants
from broker.core.leasing.terms import DeadLetter, Expired, LeaseSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import Position, StreamPartition

MAX_NACK_DELAY_SECONDS: Final = 600.0


class LeaseBook(Grants):
    """The deliveries of one durable subscription: its backlog, and the leases on its READY records. Not thread safe.

    Each method is O(log n) in the undone records unless it says otherwise.

    Args:
        settings: the limits.
        committed: the partitions that this book starts with, and how far the subscription is in each.
        first_delivery_id: delivery ids count up from here. Give a number far from those of the subscription's earlier
            books (for example 62 random bits), so that an ack from before a restart cannot fit another record.

    Methods that name a partition or consumer raise KeyError if the book does not have it.
    """

    __slots__ = ()

    def __init__(
        self,
        settings: LeaseSettings,
        committed: Mapping[StreamPartition, AckState],
        *,
        first_delivery_id: int = 1,
    ) -> None:
        super().__init__(settings, committed, first_delivery_id)

    def ack(self, delivery_id: int) -> Position:
        """The consumer has the record safely: processed, or refused and in quarantine.

        Returns:
            The record's position.

        Raises:
            LeaseLost: the lease has ended.
        """
        delivery = self._leased(delivery_id)
        self._end_lease(delivery).credit += 1
        self._suspects.answered(delivery)
        self._suspects.acked()
        self._finish(delivery, Event.ACKED)
        return delivery.position

    def drop(self, delivery_id: int) -> None:
        """Finish a record that its consumer may not have any more. The consumer never got it, so it proves nothing.

        Raises:
            LeaseLost: the lease has ended.
        """
        delivery = self._leased(delivery_id)
        self._end_lease(delivery)
        self._suspects.answered(delivery)
        self._finish(delivery, Event.ACKED)

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
        if self._suspects.answered(delivery):
            self._windows[delivery.partition].changed = True
        dead_letter = None if transient else self._count_failure(delivery)
        if dead_letter is None:
            delivery.on(Event.POSTPONED if transient else Event.NACKED)
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

    def give_up(self, position: Position) -> DeadLetter | None:
        """Make a dead letter of a record because its agency wants it, if it is READY or DELAYED. O(n).

        Returns:
            The dead letter. None: it is not undone here, or a consumer holds it, or it waits for an earlier one.
        """
        try:
            recalled = self._recalled.get(position)
            delivery = recalled or self._windows[position.stream_partition].at(position.offset)
        except KeyError:
            return None
        if delivery.state not in {State.READY, State.DELAYED}:
            return None
        if delivery.state is State.READY:
            self._leave_line(delivery)
        delivery.timer = 0
        self._suspects.gave_up(delivery)
        self._finish(delivery, Event.ORDERED)
        self._timers.drop_stale(self._undone_records)
        return DeadLetter(position, delivery.failed_attempts)

    # --- time ---

    def next_deadline(self) -> float | None:
        """When ``tick`` next has something to do, or None if only other calls can change anything."""
        due = [self._timers.next_due(), self._suspects.next_due()]
        due += [account.next_step() for account in self._consumers.values()]
        return min((at for at in due if at is not None), default=None)

    def tick(self, now: float) -> list[Expired | DeadLetter]:
        """End every lease and delay that is due at ``now``. O(log n) for each."""
        events: list[Expired | DeadLetter] = []
        while (due := self._timers.next_due()) is not None and due <= now:
            delivery = self._timers.pop()
            if delivery.state is State.DELAYED:
                delivery.timer = 0
                delivery.on(Event.DUE)
                self._line_up(delivery)
                continue
            timer = delivery.timer
            consumer = self._end_lease(delivery)
            consumer.lease_lost()
            events.append(Expired(timer, consumer.name, delivery.position))
            dead_letter = self._count_loss(delivery)
            if dead_letter is None:
                delivery.on(Event.EXPIRED)
                self._line_up(delivery)
            else:
                events.append(dead_letter)
        self._suspects.tick(now)
        return events

    # --- steps that several events share ---

    def _count_loss(self, delivery: Delivery) -> DeadLetter | None:
        alone = delivery.suspect
        if not self._suspects.lost(delivery):
            return None
        self._windows[delivery.partition].changed = True
        return self._count_failure(delivery) if alone else None

    def _count_failure(self, delivery: Delivery) -> DeadLetter | None:
        delivery.failed_attempts += 1
        self._windows[delivery.partition].changed = True
        if delivery.failed_attempts < self._settings.max_attempts:
            return None
        self._suspects.gave_up(delivery)
        self._finish(delivery, Event.EXHAUSTED)
        return DeadLetter(delivery.position, delivery.failed_attempts)
