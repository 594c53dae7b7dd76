"""Who holds which record of a subscription: its consumers, and the leases that they have.

This is the middle of the lease book. Below it is the backlog (backlog.py): what was read and not finished.
Above it (lease.py) is what becomes of a lease: an answer, or the end of its time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from broker.core.errors import Internal, LeaseLost, SubscriptionInvalid
from broker.core.leasing.backlog import Backlog
from broker.core.leasing.delivery import ConsumerAccount, CreditStep, Delivery, Event, State
from broker.core.leasing.terms import CREDIT_STEPS, Lease, LeaseSettings, Room
from broker.core.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import Position, StreamPartition


class Grants(Backlog):
    """A backlog, the consumers that take records of it, and their leases. Not thread safe.

    Args:
        settings: the limits.
        committed: the partitions to start with, and how far the subscription is in each.
        first_delivery_id: delivery ids count up from here.
    """

    __slots__ = ("_consumers", "_leases", "_next_id", "_timers")

    def __init__(
        self, settings: LeaseSettings, committed: Mapping[StreamPartition, AckState], first_delivery_id: int
    ) -> None:
        super().__init__(settings, committed)
        self._consumers: dict[str, ConsumerAccount] = {}
        self._leases: dict[int, Delivery] = {}
        self._timers = Timers()
        self._next_id = first_delivery_id

    def release_partition(self, partition: StreamPartition) -> AckState:
        """Forget a partition. Its leases end. Return the state to commit before another broker reads on. O(n)."""
        window = self._windows.pop(partition)
        state = window.ack_state()
        recalled = [delivery for delivery in self._recalled.values() if delivery.partition == partition]
        for delivery in (*window.undone, *recalled):
            if delivery.state is State.LEASED:
                self._end_lease(delivery)
            delivery.timer = 0
            delivery.on(Event.RELEASED)
            self._forget(delivery)
        self._ready = deque(delivery for delivery in self._ready if delivery.state is State.READY)
        self._suspects.released(partition)
        self._timers.drop_stale(self._undone_records)
        return state

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
        first = self._settings.first_credit
        step = CreditStep(first, self._settings.lease_seconds / 2 / CREDIT_STEPS, CREDIT_STEPS)
        account = ConsumerAccount(consumer, max_outstanding_records, max_outstanding_bytes, first, step)
        self._consumers[consumer] = account

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
                self._line_up(delivery)
        self._suspects.stream_gone(account)

    def lease(self, now: float, consumer: str) -> list[Lease]:
        """Grant a consumer everything that is READY and that it has room for, or one suspect.

        A record that does not fit waits at the head of the queue until this consumer has nothing outstanding, or
        another takes it. Smaller records do not overtake it, or it might wait for ever.
        """
        account = self._consumers[consumer]
        account.grow(now)
        suspect = self._suspects.next_for(account, now)
        if suspect is not None:
            return [self._grant(suspect, account, now)]
        if self._suspects.keeps(account):
            return []
        if self._suspects.in_doubt:
            return self._lease_in_doubt(now, account)
        leases = []
        while self._ready and account.has_room_for(self._ready[0].size_bytes):
            leases.append(self._grant(self._ready.popleft(), account, now))
        return leases

    def _lease_in_doubt(self, now: float, account: ConsumerAccount) -> list[Lease]:
        """Grant one record to a consumer that has nothing.

        In a book that begins in doubt, the first one is at a place that differs from book to book. Otherwise, if a
        consumer is away for longer than its leases run, each new book would begin with the record that kills it.
        """
        if account.records or not self._ready:
            return []
        if self._suspects.begins_in_doubt:
            self._suspects.begins_in_doubt = False
            self._ready.rotate(-(self._next_id % len(self._ready)))
        return [self._grant(self._ready.popleft(), account, now)]

    def room_to_read(self, partition: StreamPartition, now: float) -> Room:
        """How much more of a partition it is worth while to read now. O(consumers).

        Not more than there is room for, and no more READY records than the credit of all consumers. So one that
        acknowledges nothing makes the broker read no more than it gets.
        """
        room = self.room(partition)
        for account in self._consumers.values():
            account.grow(now)
        wanted = sum(account.credit for account in self._consumers.values()) - self.ready_records
        return room._replace(records=max(0, min(room.records, wanted)))

    @property
    def leased_records(self) -> int:
        """The number of leased records, including those of lost consumers."""
        return len(self._leases)

    def is_leased(self, delivery_id: int) -> bool:
        """Whether the lease of this delivery runs."""
        return delivery_id in self._leases

    def position_of(self, delivery_id: int) -> Position:
        """Where the record of a running lease stands.

        Raises:
            LeaseLost: the lease has ended.
        """
        return self._leased(delivery_id).position

    # --- steps of the book's events ---

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
        self._timers.drop_stale(self._undone_records)
        self._suspects.lease_ended(delivery)
        return account

    def _start_timer(self, delivery: Delivery, due: float) -> None:
        delivery.timer = self._next_id
        delivery.due = due
        self._next_id += 1
        self._timers.start(delivery)
