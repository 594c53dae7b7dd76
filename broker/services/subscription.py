"""One durable subscription while a subscriber is connected: a cursor, a lease book, and the streams that share them.

A round of the loop, in this order:

1. follow changes of assignment, then read what the subscription wants, as far as there is room (services/parking)
2. let leases expire, then grant what is ready to the streams that have room, each getting the copy that policy allows
3. write to the audit trail what is about to be delivered, what was processed, refused, given up or parked: durably
4. hand over the deliveries
5. begin to commit how far the subscription is, with failed attempts and lost leases, which a restart must not forget

The next round does not wait for the commit, but its own commit does. When a commit is durable, its acknowledgements are
confirmed. If a partition moved to another process meanwhile, its acknowledgements do not hold. A change of assignment
is followed only while no commit is under way, so that no state is committed under a later assignment than its own.

So nothing leaves without evidence (design decision 9), and a crash cannot undo a confirmed acknowledgement. If the log
fails, every stream ends with the error. What was not confirmed then is delivered again, unless its commit holds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.core.errors import CaseExchangeError, Draining, Internal
from broker.core.leasing.terms import DeadLetter
from broker.ports import Assigned
from broker.services.commits import Commits
from broker.services.copies import Copies
from broker.services.deliveries import DeliveredCopy, Ended, SubscribeLimits, messages
from broker.services.news import News
from broker.services.parking import Parking
from broker.services.round import Acked, GivenUp, Held, Round
from broker.services.subscription_log import SubscriptionLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.leasing.ackstate import AckState
    from broker.core.leasing.lease import LeaseBook
    from broker.core.streams import Position, StreamPartition
    from broker.ports import AuditTrail, Clock, DirectoryInForce, LogCursor, SubscriptionKey
    from broker.services.copies import Copying
    from broker.services.parking import Letters
    from broker.services.quotas import Holding
    from broker.services.round import Consumer

_READ_RECORDS: Final = 256


class Subscription:
    """See the module. For one event loop. ``run`` is the loop; the other methods are called between its awaits."""

    def __init__(
        self,
        key: SubscriptionKey,
        kinds: frozenset[str],
        lease_seconds: float,
        *,
        cursor: LogCursor,
        book: LeaseBook,
        directory: DirectoryInForce,
        audit: AuditTrail,
        clock: Clock,
        limits: SubscribeLimits,
        letters: Letters,
        holding: Holding,
        copying: Copying,
    ) -> None:
        self.key, self.kinds, self.lease_seconds = key, kinds, lease_seconds
        self.ending = self._attempt_failed = self._draining = False
        self.ended, self.holding, self._cursor, self._book = asyncio.Event(), holding, cursor, book
        self._directory, self._audit, self._clock, self._limits = directory, audit, clock, limits
        self._log = SubscriptionLog(key, book, clock, limits.transient_alarm_seconds)
        self._copies = Copies(key.agency, copying, self._log)
        self._consumers: dict[str, Consumer] = {}
        self._held: dict[Position, Held] = {}
        self._round, self._wake = Round(), asyncio.Event()
        self._news = News(cursor, self._wake)
        self._commits = Commits(cursor, self._wake.set)
        self._parking = Parking(key, book, letters, holding, self._wake.set)
        self._commit_at: float | None = None

    # --- what streams do ---

    def join(self, consumer: Consumer, max_records: int, max_bytes: int) -> None:
        """Add a stream.

        Raises:
            SubscriptionInvalid: a limit is not positive.
        """
        self._book.consumer_added(consumer.name, max_records, max_bytes)
        self._consumers[consumer.name] = consumer
        self._wake.set()

    def leave(self, consumer: Consumer, *, clean: bool) -> None:
        """Remove a stream. If ``clean``, it gives back its records; otherwise its leases run on."""
        if self._consumers.pop(consumer.name, None) is None or self.ending:
            return
        self._book.consumer_gone(consumer.name, clean=clean)
        if clean:
            self._round.deliveries = [made for made in self._round.deliveries if made[0] is not consumer]
        self._wake.set()

    def ack(self, consumer: Consumer, delivery_ids: Sequence[int], refused: Mapping[int, str]) -> int:
        """A stream has these records safely (``refused``: codes). Later it learns which of these answers are valid.

        Returns, as ``nack`` and ``extend``, what ``Consumer.answered`` does.
        """
        lost = []
        for delivery_id in delivery_ids:
            if not self._book.is_leased(delivery_id):
                lost.append(delivery_id)
                continue
            position = self._book.ack(delivery_id)
            entry, code = self._held.pop(position).entry, refused.get(delivery_id, "")
            publisher = self._copies.publisher(entry) if code else ""
            self._round.acked.append(Acked(consumer, delivery_id, position, code, publisher))
        self._wake.set()
        return consumer.answered(delivery_ids, lost)

    def nack(self, consumer: Consumer, delivery_id: int, delay_seconds: float, *, transient: bool) -> int:
        """A stream could not take a record. If ``transient``, this is not a failed attempt.

        Raises:
            InputRefused: the delay is out of bounds.
        """
        if not self._book.is_leased(delivery_id):
            return consumer.answered((delivery_id,), (delivery_id,))
        position = self._book.position_of(delivery_id)
        dead = self._book.nack(delivery_id, self._clock.monotonic(), delay_seconds, transient=transient)
        if transient:
            self._log.overdue(self._held[position].entry)
        self._attempt_failed |= not transient
        if dead is not None:
            self._give_up(position, dead.failed_attempts)
        self._wake.set()
        return consumer.answered((delivery_id,), ())

    def extend(self, consumer: Consumer, delivery_id: int, seconds: float) -> int:
        """A stream needs more time for a record.

        Raises:
            InputRefused: the time is not positive.
        """
        if not self._book.is_leased(delivery_id):
            return consumer.answered((delivery_id,), (delivery_id,))
        self._book.extend(delivery_id, self._clock.monotonic(), seconds)
        return 0

    def drain(self) -> None:
        """End in good order: commit what was acknowledged, then end every stream."""
        self._draining = True
        self._wake.set()

    # --- the loop ---

    async def run(self) -> None:
        """Serve the streams. Ends when no stream is left and no lease runs, when the log fails, or after ``drain``."""
        error: CaseExchangeError = Draining("the subscription has ended")
        try:
            while not self._finished():
                self._wake.clear()
                if not self._commits.under_way:
                    await self._commits.ended()
                    await self._follow_assignment()
                more = await self._fill()
                self._lease()
                if await self._settle() or more:
                    self._news.were_used()
                else:
                    await self._wait()
            await self._commits.ended()
            if states := self._take_states():
                await self._cursor.commit(states)
        except CaseExchangeError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - a defect must end the streams too, or they would wait for ever
            error = Internal("the subscription failed")
            error.__cause__ = failure
        finally:
            self.ending = True
            self._news.close()
            self._parking.close()
            await self._commits.close()
            for consumer in self._consumers.values():
                consumer.outgoing.put(Ended(error))
            await self._cursor.close()
            self.ended.set()

    def _finished(self) -> bool:
        abandoned = not self._consumers and self._book.leased_records == 0
        # From here to ``ending`` only the last commit is awaited. A stream that joins meanwhile waits for ``ended``.
        self.ending = not self._round.unfinished and (self._draining or abandoned)
        return self.ending

    async def _follow_assignment(self) -> list[StreamPartition]:
        """Return the partitions that this process does not read any more, or not under the same assignment."""
        gone = []
        for change in await self._parking.take_over(self._cursor.assignment_changes()):
            if isinstance(change, Assigned):
                await self._parking.assigned(change.partition, change.state.floor)
                self._book.assign_partition(change.partition, change.state)
                continue
            gone.append(change.partition)
            self._book.release_partition(change.partition)
            self._parking.revoked(change.partition)
            self._held = {at: held for at, held in self._held.items() if at.stream_partition != change.partition}
            self._round.withdraw(change.partition)
        return gone

    async def _fill(self) -> bool:
        """Read every partition once, as far as there is room. Return whether there may be more."""
        more, now = False, self._clock.monotonic()
        self._round.dead += await self._parking.recall(self._held)
        for partition in self._book.partitions:
            if min(room := self.holding.room(self._book.held_bytes, self._book.room_to_read(partition, now))) < 1:
                continue
            page = await self._cursor.read(partition, min(room.records, _READ_RECORDS), room.bytes)
            for entry in page.entries:
                new = self._book.offer(partition, entry.position.offset, entry.ordering_key, len(entry.value))
                if new and not self._parking.sets_aside(entry, self._round.parked):
                    self._held[entry.position] = Held(entry)
            further = self._book.pass_to(partition, page.next_offset) or bool(page.entries)
            if further and self._commit_at is None:
                self._commit_at = self._clock.monotonic() + self._limits.skip_commit_seconds
            more = more or bool(page.entries) or (further and self._parking.waits)
        return more

    def _pass_time(self, now: float) -> None:
        for event in self._book.tick(now):
            if isinstance(event, DeadLetter):
                self._give_up(event.position, event.failed_attempts)
            else:
                self._attempt_failed = True
        for ordered, code in self._parking.ordered(self._held):
            self._give_up(ordered.position, ordered.failed_attempts, code=code)

    def _lease(self) -> None:
        self._pass_time(now := self._clock.monotonic())
        if self._draining:
            return
        directory = self._directory.current()
        for consumer in list(self._consumers.values()):
            if consumer.outgoing.is_behind(self._book.is_leased, self._wake.set):
                continue
            for lease in self._book.lease(now, consumer.name):
                held = self._held[lease.position]
                held.holder = consumer.principal.spiffe_id
                copied = self._copies.of(lease, held.entry, directory)
                if not isinstance(copied, DeliveredCopy):
                    # It is damaged. Or the right was withdrawn after it was accepted, and then it is skipped.
                    self._book.drop(lease.delivery_id)
                    self._wake.set()  # for what waits behind it
                    if copied is not None:
                        self._give_up(lease.position, 0, copied.reason)
                    self._held.pop(lease.position, None)
                    continue
                self._round.deliveries.append((consumer, copied))
        # Another stream is first next time, so that all share a slow log fairly.
        for first in list(self._consumers)[:1]:
            self._consumers[first] = self._consumers.pop(first)

    def _give_up(self, position: Position, attempts: int, reason: str = "", code: str = "") -> None:
        held = self._held.pop(position)
        entry, publisher = held.entry, self._copies.publisher(held.entry)
        self._round.dead.append(GivenUp(position, held.holder, entry.ordering_key, attempts, reason, publisher, code))
        self._round.parked += self._parking.gave_up(entry, self._held, reason)

    async def _settle(self) -> bool:
        """Steps 3 to 5 of a round. Return whether anything was done."""
        done, self._round = self._round, Round()
        done.ended = self._parking.take_ended(self._held)
        due = self._commit_at is not None and self._clock.monotonic() >= self._commit_at
        # Take states and results together: a later acknowledgement is in the next round, and in its states.
        states = self._take_states() if done.unfinished or due or self._attempt_failed else {}
        self._log.suspicions()
        events = done.events(self._clock.now_ms(), self.key, self._parking.reigns)
        if events:
            await self._audit.record(events)
            self._log.refused(done.acked)
        for consumer, copies in messages(done.deliveries):
            consumer.hand(copies)
        if states:
            await self._commits.ended()
            for gone in await self._follow_assignment():
                states.pop(gone, None)
                done.withdraw(gone)
            await self._parking.check_reigns(done.pointed & states.keys())
            self._commits.begin(done, states)
        return bool(events)

    def _take_states(self) -> dict[StreamPartition, AckState]:
        self._commit_at, self._attempt_failed = None, False
        return self._book.take_commits()

    async def _wait(self) -> None:
        """Wait until there may be something to do."""
        due = min((at for at in (self._book.next_deadline(), self._commit_at) if at is not None), default=None)
        seconds = None if due is None else max(0.0, due - self._clock.monotonic())
        await self._news.wait(seconds, committing=self._commits.under_way)
