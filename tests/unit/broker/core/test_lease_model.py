"""The lease book against a simple model: lists that are searched from end to end.

The model predicts every grant, every expiry and every dead letter exactly. The promises of broker/core/lease.py are
asserted too, so that a mistake in both would still be seen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.core.ackstate import MAX_TEXT_BYTES, AckState
from broker.core.errors import LeaseLost
from broker.core.lease import LeaseBook
from broker.core.lease_terms import DeadLetter, Expired, Lease, LeaseSettings
from broker.core.streams import Position, StreamPartition

PARTITIONS = (StreamPartition("cases", 0), StreamPartition("dna", 1))
BOUNDS = LeaseSettings(lease_seconds=10, max_lease_seconds=30, max_attempts=3, window_records=6, window_bytes=200)

partitions = st.sampled_from(PARTITIONS)
names = st.sampled_from(["lab-1", "lab-2", "lab-3"])
picks = st.integers(0, 1000)


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


@dataclass
class Timer:
    """A running lease, or a nack's delay, which has no party."""

    record: Record
    due: float
    granted_at: float
    party: Party | None


@dataclass
class Committed:
    """The content of one offset commit, and what the model knew then to be done and failed."""

    text: str
    done: set[int] = field(default_factory=set)
    failed: dict[int, int] = field(default_factory=dict)


class LeaseBookMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.log: dict[StreamPartition, list[Record]] = {partition: [] for partition in PARTITIONS}
        self.done: dict[StreamPartition, set[int]] = {partition: set() for partition in PARTITIONS}
        self.failed: dict[StreamPartition, dict[int, int]] = {partition: {} for partition in PARTITIONS}
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
        self.postponed: dict[Record, float] = {}
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

    def finish(self, record: Record) -> None:
        self.undone.remove(record)
        self.postponed.pop(record, None)
        self.done[record.partition].add(record.offset)
        self.failed[record.partition].pop(record.offset, None)
        for other in self.undone:
            if (other.partition, other.case) == (record.partition, record.case):
                self.ready.append(other)
                break

    def fail(self, record: Record) -> DeadLetter | None:
        failed = self.failed[record.partition]
        failed[record.offset] = failed.get(record.offset, 0) + 1
        if failed[record.offset] < BOUNDS.max_attempts:
            return None
        dead_letter = DeadLetter(Position(*record.partition, record.offset), failed[record.offset])
        self.finish(record)
        self.dead.append(dead_letter)
        return dead_letter

    def outstanding(self, party: Party) -> list[Record]:
        return [timer.record for timer in self.timers.values() if timer.party is party]

    def fits(self, record: Record, party: Party) -> bool:
        held = self.outstanding(party)
        size_bytes = sum(each.size_bytes for each in held) + record.size_bytes
        return not held or (len(held) < party.max_records and size_bytes <= party.max_bytes)

    def leased(self) -> list[int]:
        return [number for number, timer in self.timers.items() if timer.party is not None]

    # --- the log and its reader ---

    @rule(
        partition=partitions,
        step=st.integers(1, 3),
        case=st.sampled_from("abc"),
        size_bytes=st.integers(1, 120),
        wanted=st.sampled_from([True, True, True, False]),
    )
    def a_record_is_published(
        self, partition: StreamPartition, step: int, case: str, size_bytes: int, *, wanted: bool
    ) -> None:
        log = self.log[partition]
        log.append(Record(partition, (log[-1].offset if log else -1) + step, case, size_bytes, wanted))

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
                self.attempts[record] = self.failed[partition].get(record.offset, 0)
                if self.head_of_its_case(record):
                    self.ready.append(record)

    # --- consumers ---

    @rule(name=names, max_records=st.integers(1, 3), max_bytes=st.integers(20, 300))
    def a_consumer_comes(self, name: str, max_records: int, max_bytes: int) -> None:
        if name not in self.parties:
            self.book.consumer_added(name, max_records, max_bytes)
            self.parties[name] = Party(name, max_records, max_bytes)

    @precondition(lambda self: self.parties)
    @rule(pick=picks, clean=st.booleans())
    def a_consumer_goes(self, pick: int, *, clean: bool) -> None:
        party = self.parties.pop(sorted(self.parties)[pick % len(self.parties)])
        self.book.consumer_gone(party.name, clean=clean)
        if clean:
            self.ready += self.outstanding(party)
            self.timers = {number: timer for number, timer in self.timers.items() if timer.party is not party}

    @precondition(lambda self: self.parties)
    @rule(pick=picks)
    def records_are_leased(self, pick: int) -> None:
        party = self.parties[sorted(self.parties)[pick % len(self.parties)]]
        expected = []
        while self.ready and self.fits(self.ready[0], party):
            record = self.ready.pop(0)
            self.attempts[record] += 1
            due = self.now + BOUNDS.lease_seconds
            expected.append(Lease(self.next_id, Position(*record.partition, record.offset), self.attempts[record], due))
            self.timers[self.next_id] = Timer(record, due, self.now, party)
            self.past_ids.append(self.next_id)
            self.next_id += 1
        assert self.book.lease(self.now, party.name) == expected

    @precondition(lambda self: self.leased())
    @rule(pick=picks)
    def a_record_is_acked(self, pick: int) -> None:
        delivery_id = self.leased()[pick % len(self.leased())]
        self.book.ack(delivery_id)
        self.finish(self.timers.pop(delivery_id).record)

    @precondition(lambda self: self.leased())
    @rule(pick=picks, delay=st.sampled_from([0, 5, 10, 600]), transient=st.booleans())
    def a_record_is_nacked(self, pick: int, delay: float, *, transient: bool) -> None:
        delivery_id = self.leased()[pick % len(self.leased())]
        record = self.timers.pop(delivery_id).record
        dead_letter = None if transient else self.fail(record)
        assert self.book.nack(delivery_id, self.now, delay, transient=transient) == dead_letter
        if transient:
            self.postponed.setdefault(record, self.now)
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
            timer = self.timers.pop(number)
            if timer.party is None:
                self.ready.append(timer.record)
                continue
            expected.append(Expired(number, timer.party.name, Position(*timer.record.partition, timer.record.offset)))
            dead_letter = self.fail(timer.record)
            if dead_letter is None:
                self.ready.append(timer.record)
            else:
                expected.append(dead_letter)
        assert self.book.tick(self.now) == expected

    # --- commits, restarts and rebalances ---

    @rule()
    def the_state_is_committed(self) -> None:
        changes = self.book.take_commits()
        for partition, commit in self.commits.items():
            if partition in changes:
                done, failed = set(self.done[partition]), dict(self.failed[partition])
                self.commits[partition] = Committed(changes[partition].encode(), done, failed)
            else:
                assert (commit.done, commit.failed) == (self.done[partition], self.failed[partition])

    @rule(clean=st.booleans())
    def the_broker_restarts(self, *, clean: bool) -> None:
        if clean:
            self.the_state_is_committed()
        for partition, commit in self.commits.items():
            self.done[partition], self.failed[partition] = set(commit.done), dict(commit.failed)
        self.begin()

    @rule(partition=partitions)
    def a_partition_moves_to_a_new_book_and_back(self, partition: StreamPartition) -> None:
        state = AckState.decode(self.book.release_partition(partition).encode())
        self.undone = [record for record in self.undone if record.partition != partition]
        self.ready = [record for record in self.ready if record.partition != partition]
        self.postponed = {record: at for record, at in self.postponed.items() if record.partition != partition}
        self.timers = {at: timer for at, timer in self.timers.items() if timer.record.partition != partition}
        self.commits[partition] = Committed(state.encode(), set(self.done[partition]), dict(self.failed[partition]))
        self.resume(partition, state)
        self.book.assign_partition(partition, state)

    # --- the promises ---

    @invariant()
    def the_book_counts_what_is_undone_and_ready(self) -> None:
        assert self.book.undone_in_window == (len(self.undone), sum(record.size_bytes for record in self.undone))
        assert self.book.ready_records == len(self.ready)
        assert self.book.next_deadline() == min((timer.due for timer in self.timers.values()), default=None)

    @invariant()
    def the_record_that_was_postponed_first_is_known_until_it_is_finished(self) -> None:
        found, first = self.book.longest_postponed(), min(self.postponed.values(), default=None)
        assert (found and found[1]) == first
        assert found is None or found[0] in {
            Position(*record.partition, record.offset) for record, at in self.postponed.items() if at == first
        }

    @invariant()
    def of_one_case_at_most_one_record_is_on_its_way_and_it_is_the_first(self) -> None:
        on_the_way = [*self.ready, *(timer.record for timer in self.timers.values())]
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
            assert dict(state.failed_attempts) == self.failed[partition]

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
        for partition, log in self.log.items():
            assert self.done[partition] == {record.offset for record in log if record.wanted}
            end = log[-1].offset + 1 if log else 0
            assert self.book.ack_state(partition) == AckState(end)


LeaseBookMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestLeaseBookAgainstTheModel = LeaseBookMachine.TestCase
