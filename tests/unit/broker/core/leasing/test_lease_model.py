"""The lease book against a simple model: lists that are searched from end to end.

The model predicts every grant, every expiry, every suspect and every dead letter exactly. The promises of
lease.py and suspects.py in broker/core/leasing are asserted too, so that a mistake in both would still be seen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.core.errors import LeaseLost
from broker.core.leasing.ackstate import LOSSES_TO_SUSPECT, MAX_TEXT_BYTES, AckState
from broker.core.leasing.lease import LeaseBook
from broker.core.leasing.suspects import REST_FACTOR, Became, Suspicion
from broker.core.leasing.terms import CREDIT_STEPS, DeadLetter, Expired, Lease, LeaseSettings
from broker.core.streams import Position, StreamPartition

PARTITIONS = (StreamPartition("cases", 0), StreamPartition("dna", 1))
BOUNDS = LeaseSettings(
    lease_seconds=10, max_lease_seconds=30, max_attempts=2, window_records=6, window_bytes=200, first_credit=2
)

partitions = st.sampled_from(PARTITIONS)
names = st.sampled_from(["lab-1", "lab-2", "lab-3"])
picks = st.integers(0, 1000)
records = st.tuples(
    st.integers(1, 3), st.sampled_from("abcd"), st.integers(1, 120), st.sampled_from([True, True, True, False])
)
"""The step to a record's offset, its case, its size and whether it is wanted."""
deaths = st.tuples(st.sampled_from([0, 0, 1, 2]), st.sampled_from([0, 1, 1, 1, 7]))
"""How many acks before it, and how many leases long it lasts. Suspects rest for five of them, or more."""
seldom = st.sampled_from([False, False, False, False, False, True])
"""For what takes much away: otherwise little would ever come together."""


class Record(NamedTuple):
    partition: StreamPartition
    offset: int
    case: str
    size_bytes: int
    wanted: bool


@dataclass(eq=False)
class Party:
    """One connection of a consumer. A later one of the same name is another."""

    name: str
    max_records: int
    max_bytes: int
    credit: int
    opened_at: float | None = None
    steps: int = 0

    def grows_at(self) -> float | None:
        """When its credit grows by itself: seven times in half of the first lease."""
        if self.opened_at is None or self.steps == CREDIT_STEPS:
            return None
        return self.opened_at + (self.steps + 1) * (BOUNDS.lease_seconds / 2 / CREDIT_STEPS)

    def grow(self, now: float) -> None:
        if self.opened_at is None:
            self.opened_at = now
        while (at := self.grows_at()) is not None and at <= now:
            self.steps += 1
            self.credit = max(self.credit, (1 + self.steps) * BOUNDS.first_credit)


@dataclass
class Timer:
    """A running lease, or a nack's delay, which has no party. ``company``: its party held another record meanwhile."""

    record: Record
    due: float
    granted_at: float
    party: Party | None
    company: bool = False


@dataclass
class Trip:
    """The trip of a suspect: since when, with which party, and which record, once it is granted."""

    begun: float
    party: Party | None = None
    record: Record | None = None
    granted_at: float = 0.0
    over: bool = False


@dataclass
class Committed:
    """The content of one offset commit, and what the model knew then to be done and failed."""

    text: str
    done: set[int] = field(default_factory=set)
    failed: dict[int, int] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)


class LeaseBookMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.log: dict[StreamPartition, list[Record]] = {partition: [] for partition in PARTITIONS}
        self.done: dict[StreamPartition, set[int]] = {partition: set() for partition in PARTITIONS}
        self.failed: dict[StreamPartition, dict[int, int]] = {partition: {} for partition in PARTITIONS}
        self.lost: dict[StreamPartition, dict[int, int]] = {partition: {} for partition in PARTITIONS}
        self.commits = {partition: Committed(AckState().encode()) for partition in PARTITIONS}
        self.next_id = 1
        self.past_ids: list[int] = []
        self.dead: list[DeadLetter] = []
        self.begin()

    def begin(self) -> None:
        """A new book, from the last commits. Nothing else survives."""
        self.read = dict.fromkeys(PARTITIONS, 0)
        self.undone: list[Record] = []
        self.attempts: Counter[Record] = Counter()
        self.ready: list[Record] = []
        self.timers: dict[int, Timer] = {}
        self.parties: dict[str, Party] = {}
        self.acks = 0
        self.acks_at_loss: Counter[Record] = Counter()
        self.lost_in_company: Counter[Record] = Counter()
        self.in_doubt = self.begins_in_doubt = self.taken_in = False
        self.line: list[Record] = []
        self.trip: Trip | None = None
        self.last_trip: tuple[float, float] | None = None
        self.rest_until = self.ticked = float("-inf")
        self.news: list[Suspicion] = []
        states = {}
        for partition, commit in self.commits.items():
            states[partition] = AckState.decode(commit.text)
            self.resume(partition, states[partition])
        self.book = LeaseBook(BOUNDS, states, first_delivery_id=self.next_id)

    def resume(self, partition: StreamPartition, state: AckState) -> None:
        log = self.log[partition]
        self.read[partition] = sum(record.offset < state.floor for record in log)
        assert all(record.offset in self.done[partition] for record in log[: self.read[partition]] if record.wanted), (
            "reading goes on behind a record that is not done"
        )

    # --- the model's own steps ---

    def head_of_its_case(self, record: Record) -> bool:
        same_case = [each for each in self.undone if (each.partition, each.case) == (record.partition, record.case)]
        return same_case[0] == record

    def position(self, record: Record) -> Position:
        return Position(*record.partition, record.offset)

    def suspect(self, record: Record) -> bool:
        return self.lost[record.partition].get(record.offset) == LOSSES_TO_SUSPECT

    def now_ready(self, record: Record) -> None:
        (self.line if self.suspect(record) else self.ready).append(record)

    def finish(self, record: Record) -> None:
        self.undone.remove(record)
        self.done[record.partition].add(record.offset)
        self.failed[record.partition].pop(record.offset, None)
        self.lost[record.partition].pop(record.offset, None)
        for other in self.undone:
            if (other.partition, other.case) == (record.partition, record.case):
                self.now_ready(other)
                break

    def answer(self, record: Record) -> None:
        if self.suspect(record):
            self.news.append(Suspicion(self.position(record), Became.CLEAR))
        self.lost[record.partition].pop(record.offset, None)
        self.lost_in_company[record] = 0

    def end_lease(self, delivery_id: int) -> Timer:
        timer = self.timers.pop(delivery_id)
        if self.trip is not None and self.trip.record is timer.record and not self.trip.over:
            self.trip.over, self.trip.party = True, None
            self.last_trip = (self.trip.granted_at, self.now)
        return timer

    def lose(self, timer: Timer) -> DeadLetter | None:
        record, lost = timer.record, self.lost[timer.record.partition]
        counts = record.offset not in lost or self.acks > self.acks_at_loss[record]
        self.acks_at_loss[record] = self.acks
        self.in_doubt = True
        if timer.company:
            self.lost_in_company[record] += 1
            assert self.lost_in_company[record] <= LOSSES_TO_SUSPECT
        if self.suspect(record):
            assert not timer.company
            return self.fail(record) if counts else None
        if counts:
            lost[record.offset] = lost.get(record.offset, 0) + 1
            if self.suspect(record):
                self.news.append(Suspicion(self.position(record), Became.SUSPECT))
        return None

    def fail(self, record: Record) -> DeadLetter | None:
        failed = self.failed[record.partition]
        failed[record.offset] = failed.get(record.offset, 0) + 1
        if failed[record.offset] < BOUNDS.max_attempts:
            return None
        dead_letter = DeadLetter(self.position(record), failed[record.offset])
        if self.suspect(record):
            self.news.append(Suspicion(self.position(record), Became.DEAD))
        self.finish(record)
        self.dead.append(dead_letter)
        return dead_letter

    def outstanding(self, party: Party) -> list[Record]:
        return [timer.record for timer in self.timers.values() if timer.party is party]

    def fits(self, record: Record, party: Party) -> bool:
        held = self.outstanding(party)
        size_bytes = sum(each.size_bytes for each in held) + record.size_bytes
        return not held or (len(held) < min(party.max_records, party.credit) and size_bytes <= party.max_bytes)

    def leased(self) -> list[int]:
        return [number for number, timer in self.timers.items() if timer.party is not None]

    # --- the log and its reader ---

    @rule(partition=partitions, records=st.lists(records, min_size=1, max_size=5), read=st.booleans())
    def records_are_published(
        self, partition: StreamPartition, records: list[tuple[int, str, int, bool]], *, read: bool
    ) -> None:
        log = self.log[partition]
        for step, case, size_bytes, wanted in records:
            log.append(Record(partition, (log[-1].offset if log else -1) + step, case, size_bytes, wanted))
        if read:
            self.the_log_is_read(partition, 8)

    @rule(partition=partitions, count=st.integers(1, 8))
    def the_log_is_read(self, partition: StreamPartition, count: int) -> None:
        for record in self.log[partition][self.read[partition] :][:count]:
            room = self.book.room(partition)
            assert room.records == max(0, BOUNDS.window_records - len(self.undone))
            assert room.bytes == max(0, BOUNDS.window_bytes - sum(each.size_bytes for each in self.undone))
            if not all(room):
                break
            self.read[partition] += 1
            if not record.wanted:
                self.book.pass_to(partition, record.offset + 1)
                continue
            fresh = self.book.offer(partition, record.offset, record.case, record.size_bytes)
            assert fresh == (record.offset not in self.done[partition]), (
                "a done record came again, or an undone one did not"
            )
            if fresh:
                self.undone.append(record)
                lost = self.lost[partition].get(record.offset, 0)
                self.attempts[record] = self.failed[partition].get(record.offset, 0) + lost
                if lost:
                    self.in_doubt, self.begins_in_doubt = True, self.acks == 0
                if self.suspect(record):
                    self.taken_in = True
                    self.news.append(Suspicion(self.position(record), Became.SUSPECT))
                if self.head_of_its_case(record):
                    self.now_ready(record)

    # --- consumers ---

    @rule(name=names, max_records=st.integers(1, 3), max_bytes=st.integers(20, 300))
    def a_consumer_comes(self, name: str, max_records: int, max_bytes: int) -> None:
        if name not in self.parties:
            self.book.consumer_added(name, max_records, max_bytes)
            self.parties[name] = Party(name, max_records, max_bytes, BOUNDS.first_credit)

    @precondition(lambda self: self.parties)
    @rule(pick=picks, clean=seldom)
    def a_consumer_goes(self, pick: int, *, clean: bool) -> None:
        party = self.parties.pop(sorted(self.parties)[pick % len(self.parties)])
        self.book.consumer_gone(party.name, clean=clean)
        if clean:
            for number in [number for number, timer in self.timers.items() if timer.party is party]:
                self.now_ready(self.end_lease(number).record)
        if self.trip is not None and self.trip.party is party:
            self.trip.party = None

    @rule(pick=picks)
    def records_are_leased(self, pick: int) -> None:
        if not self.parties:
            self.a_consumer_comes("lab-1", 3, 300)
        party = self.parties[sorted(self.parties)[pick % len(self.parties)]]
        party.grow(self.now)
        expected: list[Lease] = []
        if (suspect := self.suspect_for(party)) is not None:
            expected.append(self.grant(suspect, party))
        elif self.trip is not None and self.trip.party is party:
            pass
        elif self.in_doubt:
            if self.ready and not self.outstanding(party):
                first = self.next_id % len(self.ready) if self.begins_in_doubt else 0
                self.begins_in_doubt = False
                self.ready = self.ready[first:] + self.ready[:first]
                expected.append(self.grant(self.ready.pop(0), party))
        else:
            while self.ready and self.fits(self.ready[0], party):
                expected.append(self.grant(self.ready.pop(0), party))
        assert self.book.lease(self.now, party.name) == expected

    def suspect_for(self, party: Party) -> Record | None:
        under_way = self.trip is not None and (self.trip.over or self.trip.record is not None)
        if not self.line or under_way or self.taken_in or self.now < self.rest_until:
            return None
        if self.trip is None:
            self.trip = Trip(self.now)
        if self.outstanding(party):
            self.trip.party = self.trip.party or party
            return None
        if self.last_trip is not None:
            granted_at, ended = self.last_trip
            assert self.now >= ended + REST_FACTOR * (ended - granted_at), "suspects take more than a sixth of the time"
        self.trip.party, self.trip.record, self.trip.granted_at = party, self.line.pop(0), self.now
        return self.trip.record

    def grant(self, record: Record, party: Party) -> Lease:
        for timer in self.timers.values():
            if timer.party is party:
                timer.company = True
        self.attempts[record] += 1
        due, company = self.now + BOUNDS.lease_seconds, bool(self.outstanding(party))
        self.timers[self.next_id] = Timer(record, due, self.now, party, company)
        self.past_ids.append(self.next_id)
        self.next_id += 1
        return Lease(self.next_id - 1, self.position(record), self.attempts[record], due)

    @precondition(lambda self: self.leased())
    @rule(pick=picks)
    def a_record_is_acked(self, pick: int) -> None:
        delivery_id = self.leased()[pick % len(self.leased())]
        self.book.ack(delivery_id)
        timer = self.end_lease(delivery_id)
        record, party = timer.record, timer.party
        assert party is not None
        party.credit += 1
        self.answer(record)
        self.acks += 1
        self.in_doubt = False
        self.finish(record)

    @precondition(lambda self: self.leased())
    @rule(pick=picks)
    def a_record_is_dropped_before_its_consumer_gets_it(self, pick: int) -> None:
        delivery_id = self.leased()[pick % len(self.leased())]
        self.book.drop(delivery_id)
        record = self.end_lease(delivery_id).record
        self.answer(record)
        self.finish(record)

    @precondition(lambda self: self.undone)
    @rule(pick=picks)
    def its_agency_gives_a_record_up(self, pick: int) -> None:
        record = self.undone[pick % len(self.undone)]
        waits = record in [*self.ready, *self.line]
        delays = [number for number, timer in self.timers.items() if timer.record == record and timer.party is None]
        dead_letter = self.book.give_up(self.position(record))
        if not waits and not delays:
            assert dead_letter is None
            return
        assert dead_letter == DeadLetter(self.position(record), self.failed[record.partition].get(record.offset, 0))
        for number in delays:
            del self.timers[number]
        for queue in (self.ready, self.line):
            if record in queue:
                queue.remove(record)
        if self.trip is not None and self.trip.record is None and not self.line:
            self.trip.over, self.trip.party = True, None
        if self.suspect(record):
            self.news.append(Suspicion(self.position(record), Became.DEAD))
        self.finish(record)
        self.dead.append(dead_letter)

    @precondition(lambda self: self.leased())
    @rule(pick=picks, delay=st.sampled_from([0, 5, 10, 600]), transient=st.booleans())
    def a_record_is_nacked(self, pick: int, delay: float, *, transient: bool) -> None:
        delivery_id = self.leased()[pick % len(self.leased())]
        record = self.end_lease(delivery_id).record
        self.answer(record)
        dead_letter = None if transient else self.fail(record)
        assert self.book.nack(delivery_id, self.now, delay, transient=transient) == dead_letter
        if dead_letter is None:
            self.timers[self.next_id] = Timer(record, self.now + delay, self.now, None)
            self.next_id += 1

    @precondition(lambda self: self.leased())
    @rule(pick=picks, seconds=st.integers(1, 40))
    def a_lease_is_extended(self, pick: int, seconds: float) -> None:
        delivery_id = self.leased()[pick % len(self.leased())]
        timer = self.timers[delivery_id]
        timer.due = max(timer.due, min(self.now + seconds, timer.granted_at + BOUNDS.max_lease_seconds))
        assert self.book.extend(delivery_id, self.now, seconds) == timer.due

    @rule(pick=picks, times=st.lists(deaths, min_size=1, max_size=20))
    def a_consumer_dies_again_and_again(self, pick: int, times: list[tuple[int, int]]) -> None:
        """Many steps in one, so that suspects are no rarity: it takes what it can, answers some, and is lost."""
        for acked, leases_long in times:
            for partition in PARTITIONS:
                self.the_log_is_read(partition, 8)
            self.a_consumer_comes("lab-1", 3, 300)
            self.records_are_leased(sorted(self.parties).index("lab-1"))
            for _ in range(min(acked, len(self.leased()))):
                self.a_record_is_acked(pick)
            self.a_consumer_goes(sorted(self.parties).index("lab-1"), clean=False)
            self.time_passes(leases_long * BOUNDS.lease_seconds)

    @precondition(lambda self: bool(set(self.past_ids) - set(self.timers)))
    @rule(pick=picks)
    def a_latecomer_is_refused(self, pick: int) -> None:
        late = sorted(set(self.past_ids) - set(self.timers))
        delivery_id = late[pick % len(late)]
        with pytest.raises(LeaseLost):
            self.book.ack(delivery_id)
        with pytest.raises(LeaseLost):
            self.book.nack(delivery_id, self.now, 0)
        with pytest.raises(LeaseLost):
            self.book.extend(delivery_id, self.now, 10)

    # --- time ---

    @rule(seconds=st.integers(0, 25))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        expected: list[Expired | DeadLetter] = []
        due = sorted((timer.due, number) for number, timer in self.timers.items() if timer.due <= self.now)
        for _, number in due:
            timer = self.end_lease(number)
            if timer.party is None:
                self.now_ready(timer.record)
                continue
            expected.append(Expired(number, timer.party.name, self.position(timer.record)))
            timer.party.credit, timer.party.steps = BOUNDS.first_credit, CREDIT_STEPS
            dead_letter = self.lose(timer)
            if dead_letter is None:
                self.now_ready(timer.record)
            else:
                expected.append(dead_letter)
        assert self.book.tick(self.now) == expected
        self.suspects_rest()

    def suspects_rest(self) -> None:
        self.ticked = self.now
        if self.trip is not None and self.trip.over:
            self.rest_until = max(self.rest_until, self.now + REST_FACTOR * (self.now - self.trip.begun))
            self.trip = None
        if self.taken_in:
            self.rest_until = max(self.rest_until, self.now + REST_FACTOR * BOUNDS.lease_seconds)
            self.taken_in = False

    # --- commits, restarts and rebalances ---

    @rule()
    def the_state_is_committed(self) -> None:
        changes = self.book.take_commits()
        for partition, commit in self.commits.items():
            if partition in changes:
                self.commits[partition] = self.committed(partition, changes[partition])
            else:
                assert (commit.done, commit.failed) == (self.done[partition], self.failed[partition])
                assert commit.lost == self.lost[partition]

    def committed(self, partition: StreamPartition, state: AckState) -> Committed:
        done, failed, lost = self.done[partition], self.failed[partition], self.lost[partition]
        return Committed(state.encode(), set(done), dict(failed), dict(lost))

    @rule(now=seldom, clean=st.booleans())
    def the_broker_restarts(self, *, now: bool, clean: bool) -> None:
        if not now:
            return
        if clean:
            self.the_state_is_committed()
        for partition, commit in self.commits.items():
            self.done[partition], self.failed[partition] = set(commit.done), dict(commit.failed)
            self.lost[partition] = dict(commit.lost)
        self.begin()

    @rule(partition=partitions, now=seldom)
    def a_partition_moves_to_a_new_book_and_back(self, partition: StreamPartition, *, now: bool) -> None:
        if not now:
            return
        state = AckState.decode(self.book.release_partition(partition).encode())
        self.undone = [record for record in self.undone if record.partition != partition]
        self.ready = [record for record in self.ready if record.partition != partition]
        self.line = [record for record in self.line if record.partition != partition]
        for number, timer in list(self.timers.items()):
            if timer.record.partition == partition:
                self.end_lease(number)
        if self.trip is not None and self.trip.record is None and not self.line:
            self.trip.over, self.trip.party = True, None
        for gone in [*self.acks_at_loss, *self.lost_in_company]:
            if gone.partition == partition:
                self.acks_at_loss[gone] = 0
                self.lost_in_company[gone] = 0
        self.commits[partition] = self.committed(partition, state)
        self.resume(partition, state)
        self.book.assign_partition(partition, state)

    # --- the promises ---

    @invariant()
    def the_book_counts_what_is_undone_and_ready(self) -> None:
        assert self.book.undone_in_window == (len(self.undone), sum(record.size_bytes for record in self.undone))
        assert self.book.ready_records == len(self.ready)
        assert self.book.waiting_suspects == len(self.line)
        due = [timer.due for timer in self.timers.values()]
        for party in self.parties.values():
            at, held = party.grows_at(), len(self.outstanding(party))
            if at is not None and party.credit <= held < party.max_records:
                due.append(at)
        if self.taken_in or (self.trip is not None and self.trip.over):
            due.append(self.ticked)
        elif self.line and self.ticked < self.rest_until:
            due.append(self.rest_until)
        assert self.book.next_deadline() == min(due, default=None)

    @invariant()
    def the_book_says_who_has_become_a_suspect_and_who_is_one_no_more(self) -> None:
        assert self.book.take_suspicions() == self.news
        self.news = []

    @invariant()
    def a_suspect_s_consumer_holds_nothing_else_and_only_one_suspect_travels(self) -> None:
        leased = [timer for timer in self.timers.values() if timer.party is not None]
        travelling = [timer for timer in leased if self.suspect(timer.record)]
        assert len(travelling) <= 1
        assert not [each for each in travelling if each.company]

    @invariant()
    def of_one_case_at_most_one_record_is_on_its_way_and_it_is_the_first(self) -> None:
        on_the_way = [*self.ready, *self.line, *(timer.record for timer in self.timers.values())]
        assert len({(record.partition, record.case) for record in on_the_way}) == len(on_the_way)
        assert all(self.head_of_its_case(record) for record in on_the_way)

    @invariant()
    def no_consumer_has_more_than_it_said(self) -> None:
        for party in {id(timer.party): timer.party for timer in self.timers.values() if timer.party}.values():
            held = self.outstanding(party)
            size_bytes = sum(record.size_bytes for record in held)
            assert len(held) == 1 or (len(held) <= party.max_records and size_bytes <= party.max_bytes)

    @invariant()
    def what_could_be_committed_names_exactly_the_done_and_the_failed(self) -> None:
        for partition in PARTITIONS:
            state = self.book.ack_state(partition)
            text = state.encode()
            assert len(text) <= MAX_TEXT_BYTES
            assert AckState.decode(text) == state
            wanted = [record.offset for record in self.log[partition] if record.wanted]
            assert {offset for offset in wanted if state.is_done(offset)} == self.done[partition]
            assert {offset: failed for offset, failed, _ in state.counts if failed} == self.failed[partition]
            assert {offset: lost for offset, _, lost in state.counts if lost} == self.lost[partition]

    def teardown(self) -> None:
        """After any run, every record still ends: acked, or as a dead letter."""
        self.a_consumer_comes("last", 100, 10**6)
        for _ in range(2 * sum(map(len, self.log.values())) + 2 * BOUNDS.max_attempts):
            for partition in PARTITIONS:
                self.the_log_is_read(partition, 1000)
            self.time_passes(700)
            self.records_are_leased(sorted(self.parties).index("last"))
            for _ in self.leased():
                self.a_record_is_acked(0)
            self.time_passes(0)
        for partition, log in self.log.items():
            assert self.done[partition] == {record.offset for record in log if record.wanted}
            end = log[-1].offset + 1 if log else 0
            assert self.book.ack_state(partition) == AckState(end)


LeaseBookMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=100)
TestLeaseBookAgainstTheModel = LeaseBookMachine.TestCase
