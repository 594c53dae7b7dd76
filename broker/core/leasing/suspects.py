"""Which lost leases count against a record, and how a suspect travels: alone.

A consumer that dies takes the leases of all its records with it, and nobody knows which of them killed it, or whether
only the link broke. So a lost lease (its deadline passed in silence) is not a failed attempt. These are the rules:

1. A record's first lost lease counts. A later one counts only if the subscription acknowledged another record since the
   record's lease was lost before. So a link that lets nothing through counts nothing, however often it breaks. What was
   acknowledged is known for the book's life: after a restart, a record that has counted losses needs a new ack.
2. A record that has ``LOSSES_TO_SUSPECT`` counted losses is a suspect. It is granted only to a stream that holds
   nothing, and this stream gets nothing else until the lease has ended. This is a trip. Its counted losses from then on
   are failed attempts: it failed alone.
3. One trip at a time, in the order in which the suspects got into line. A trip begins when a stream is chosen. If no
   stream is empty, one gets nothing more until it is. After a trip the suspects rest ``REST_FACTOR`` times as long as
   it took. So they take at most 1 / (1 + REST_FACTOR) of the time, a sixth. A suspect from an earlier book may have
   killed its consumer just before. So suspects rest when it is taken in, as if a trip of one lease had just ended.
4. A record that is answered (ack, refusal or any nack) has no lost leases any more, and is no suspect.
5. After any lost lease the book is in doubt until the next ack. In doubt a stream gets nothing while it holds anything.
   So what is lost in doubt is lost alone, and every loss in company counts. Therefore a record is lost in company at
   most ``LOSSES_TO_SUSPECT`` times between two answers, and so is every record that was with it. A book that takes in a
   record with lost leases begins in doubt.

So a record that kills its consumer each time is leased ``LOSSES_TO_SUSPECT`` times in company and as often alone as it
may fail. It may be leased in doubt too. Then it takes no other record's lease.

Nothing here depends on time except in the arguments. The book (lease.py) says what happened.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.leasing.ackstate import LOSSES_TO_SUSPECT

if TYPE_CHECKING:
    from broker.core.leasing.delivery import ConsumerAccount, Delivery
    from broker.core.streams import Position, StreamPartition

REST_FACTOR: Final = 5


class Became(Enum):
    """What a record has become: a suspect; an answered record, which is no suspect; a dead letter."""

    SUSPECT = auto()
    CLEAR = auto()
    DEAD = auto()


class Suspicion(NamedTuple):
    """A record has become a suspect, or is one no more."""

    position: Position
    became: Became


class Suspects:
    """The suspects of one book. Not thread safe. Each method is O(1) unless it says otherwise.

    Attributes:
        in_doubt: rule 5.
        begins_in_doubt: the book took in a record with lost leases, and has granted nothing in doubt yet.
        acks: how many acks the book has seen.
    """

    __slots__ = (
        "_begun",
        "_lease_seconds",
        "_line",
        "_news",
        "_now",
        "_record",
        "_rest_until",
        "_stream",
        "_taken_in",
        "_trip_over",
        "acks",
        "begins_in_doubt",
        "in_doubt",
    )

    def __init__(self, lease_seconds: float) -> None:
        self.in_doubt = False
        self.begins_in_doubt = False
        self.acks = 0
        self._lease_seconds = lease_seconds
        self._line: deque[Delivery] = deque()
        self._news: list[Suspicion] = []
        self._now = float("-inf")
        self._rest_until = float("-inf")
        self._taken_in = False
        # The trip: when it began, the stream that was chosen, the record once it is granted, and whether it is over and
        # only the time is not known yet.
        self._begun: float | None = None
        self._stream: ConsumerAccount | None = None
        self._record: Delivery | None = None
        self._trip_over = False

    # --- what counts ---

    def resumed(self, delivery: Delivery) -> None:
        """A record with lost leases was taken in, of an earlier book or another broker."""
        self.in_doubt = True
        self.begins_in_doubt = self.acks == 0
        if delivery.suspect:
            self._taken_in = True
            self._news.append(Suspicion(delivery.position, Became.SUSPECT))

    def acked(self) -> None:
        """The consumer has a record safely."""
        self.acks += 1
        self.in_doubt = False

    def answered(self, delivery: Delivery) -> bool:
        """The record has an answer, so its lost leases do not matter any more. Return whether it had any."""
        if delivery.suspect:
            self._news.append(Suspicion(delivery.position, Became.CLEAR))
        had, delivery.lost_leases = delivery.lost_leases > 0, 0
        return had

    def gave_up(self, delivery: Delivery) -> None:
        """The record is a dead letter."""
        if delivery.suspect:
            self._news.append(Suspicion(delivery.position, Became.DEAD))

    def lost(self, delivery: Delivery) -> bool:
        """The record's lease was lost. Return whether this counts. A counted loss of a suspect is a failed attempt."""
        counts = delivery.lost_leases == 0 or self.acks > delivery.acks_at_loss
        delivery.acks_at_loss = self.acks
        self.in_doubt = True
        if counts and delivery.lost_leases < LOSSES_TO_SUSPECT:
            delivery.lost_leases += 1
            if delivery.lost_leases == LOSSES_TO_SUSPECT:
                self._news.append(Suspicion(delivery.position, Became.SUSPECT))
        return counts

    def take_news(self) -> list[Suspicion]:
        """Which records have become suspects, and which are so no more, since the last call, in order."""
        news, self._news = self._news, []
        return news

    # --- trips ---

    def __len__(self) -> int:
        """The number of suspects that wait in line."""
        return len(self._line)

    def line_up(self, delivery: Delivery) -> None:
        """A suspect that is READY waits for its trip."""
        self._line.append(delivery)

    def left_line(self, delivery: Delivery) -> None:
        """A suspect in line is taken out of the book. O(n) in the suspects."""
        self._line.remove(delivery)
        self._end_trip_of_nobody()

    def next_for(self, account: ConsumerAccount, now: float) -> Delivery | None:
        """The suspect that travels with this stream now, if any. If it has to be emptied first, it may be chosen."""
        if not self._line or self._record is not None or self._trip_over or self._taken_in or now < self._rest_until:
            return None
        if self._begun is None:
            self._begun = now
        if account.records == 0:
            self._stream, self._record = account, self._line.popleft()
            return self._record
        if self._stream is None:
            self._stream = account
        return None

    def keeps(self, account: ConsumerAccount) -> bool:
        """Whether this stream gets nothing else: it is chosen for a suspect, or holds one."""
        return self._stream is account

    def stream_gone(self, account: ConsumerAccount) -> None:
        """The stream ended. The trip goes on: until the lease has ended, or with another stream if it has not begun."""
        if self._stream is account:
            self._stream = None

    def lease_ended(self, delivery: Delivery) -> None:
        """A lease ended, in whatever way."""
        if self._record is delivery:
            self._end_trip()

    def released(self, partition: StreamPartition) -> None:
        """The suspects of this partition are not this book's any more. O(n) in the suspects."""
        self._line = deque(delivery for delivery in self._line if delivery.partition != partition)
        self._end_trip_of_nobody()

    def _end_trip_of_nobody(self) -> None:
        if self._begun is not None and self._record is None and not self._line:
            self._end_trip()

    def _end_trip(self) -> None:
        self._stream = self._record = None
        self._trip_over = True

    # --- time ---

    def next_due(self) -> float | None:
        """When ``tick`` next has something to do, or None."""
        if self._trip_over or self._taken_in:
            return self._now
        resting = self._line and self._now < self._rest_until
        return self._rest_until if resting else None

    def tick(self, now: float) -> None:
        """Time passes: a trip that is over ends now, and the suspects rest."""
        self._now = now
        if self._trip_over and self._begun is not None:
            self._rest_until = max(self._rest_until, now + REST_FACTOR * (now - self._begun))
            self._begun, self._trip_over = None, False
        if self._taken_in:
            self._rest_until = max(self._rest_until, now + REST_FACTOR * self._lease_seconds)
            self._taken_in = False
