"""The lease book with parking and redrive, under any interleaving of deliver, answer, expire, crash and reassignment.

The machine is the loop of a subscription without its streams: the real book, parking, rounds and index. The audit
stream is folded when it is asked, as by a process that another one's decisions reach late, and streams answer while the
loop waits for it. A crash loses everything but the audit stream and the last commit. On Kafka, a process that has lost
its partition may write its last round after another one has begun a reign: what it sets aside is void then.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.core.entry import LogEntry
from broker.core.errors import LogCorrupt, LogUnavailable
from broker.core.events import (
    AuditEvent,
    DeadLetterDiscarded,
    DeadLetterEvent,
    DeadLetterOrdered,
    DeadLetterRedriven,
    TakenOver,
)
from broker.core.identity import Principal
from broker.core.leasing.ackstate import AckState
from broker.core.leasing.lease import LeaseBook
from broker.core.leasing.terms import DeadLetter, LeaseSettings
from broker.core.quota import QuotaLimits
from broker.core.reigns import next_reign
from broker.core.streams import Position, StreamPartition
from broker.ports import Assigned, SubscriptionKey
from broker.services.auditindex import AuditIndex, Folded, Scope
from broker.services.parking import OVERTAKING, Parking
from broker.services.quotas import Quotas
from broker.services.round import Acked, Consumer, GivenUp, Held, Round
from broker.services.setaside import SetAside
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator

    from broker.ports import DeadLetterState
    from broker.services.quotas import Holding

PARTITION = StreamPartition("dna", 0)
KEY = SubscriptionKey("lab", "samples")
LAB = Consumer("lab-1", Principal("case-exchange.example", "lab", "gateway"))
BOUNDS = LeaseSettings(lease_seconds=10, max_lease_seconds=30, max_attempts=2, window_records=5, window_bytes=500)
picks = st.integers(0, 1000)
kinds = st.sampled_from(["SampleRequest", "SampleRequest", "Correction"])
records = st.tuples(st.sampled_from("aaab"), kinds, st.integers(1, 120))
answers_given = st.lists(st.tuples(st.sampled_from("aaannntl"), picks), min_size=1, max_size=8)
decisions_meanwhile = st.lists(st.tuples(st.sampled_from("rrdow"), picks), min_size=1, max_size=6)
answers_meanwhile = st.lists(st.tuples(st.sampled_from("annnt"), picks), max_size=4)


def now(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    message = "it waited"
    raise AssertionError(message)


class AuditStream:
    """What is durable, and two real indices of it: of the process with the partition, and of one that knows all."""

    def __init__(self) -> None:
        self.index = AuditIndex(None, "log")
        self.everything = AuditIndex(None, "log")
        self.entries: dict[Position, LogEntry] = {}
        self.damaged: set[Position] = set()
        self.meanwhile: list[Callable[[], None]] = []
        """What happens, one after the other, where the loop waits."""
        self.between_pages: list[Callable[[], None]] = []
        """What is decided, one after the other, while the partition is read."""
        self._records = 0
        self._unfolded: list[list[AuditEvent]] = []
        self._listeners: list[Callable[[DeadLetterEvent], None]] = []

    def write(self, events: list[AuditEvent]) -> None:
        self._records += 1
        letters = [event for event in events if isinstance(event.event, DeadLetterEvent)]
        self.everything.fold(letters, Folded(self._records, b""))
        self._unfolded.append(letters)

    def dead(self) -> list[DeadLetterState]:
        return self.everything.page(Scope(), None, 1000)

    def catch_up(self) -> None:
        while self._unfolded:
            for change in self.index.fold(self._unfolded.pop(0), Folded(self._records, b"")):
                if isinstance(change.event, DeadLetterOrdered | DeadLetterRedriven | DeadLetterDiscarded):
                    for told in list(self._listeners):
                        told(change.event)

    def wait(self) -> None:
        if self.meanwhile:
            self.meanwhile.pop(0)()

    async def take_over(
        self, subscription: SubscriptionKey, partitions: Collection[StreamPartition]
    ) -> dict[StreamPartition, int]:
        latest = await self.reigns(subscription, partitions)
        begun = {partition: next_reign(reign, bytes(4)) for partition, reign in latest.items()}
        agency, name = subscription
        self.write([AuditEvent(0, "", TakenOver(at, name, agency, reign)) for at, reign in begun.items()])
        return begun

    async def reigns(
        self, subscription: SubscriptionKey, partitions: Collection[StreamPartition]
    ) -> dict[StreamPartition, int]:
        self.catch_up()
        return {partition: self.index.reign(subscription, partition) for partition in partitions}

    async def set_aside(self, subscription: SubscriptionKey, partition: StreamPartition, floor: int) -> SetAside:
        self.catch_up()
        found = SetAside()
        for _ in self.index.set_aside(subscription, partition, floor, found, rows=1):
            if self.between_pages:
                self.between_pages.pop(0)()
                self.catch_up()
        return found

    async def first(
        self, subscription: SubscriptionKey, partition: StreamPartition, case_id: str
    ) -> tuple[int, bool] | None:
        self.wait()
        self.catch_up()
        return self.index.first(subscription, partition, case_id)

    async def record(self, position: Position) -> LogEntry | None:
        self.wait()
        return None if position in self.damaged else self.entries[position]

    def listen(self, subscription: SubscriptionKey, told: Callable[[DeadLetterEvent], None]) -> Callable[[], None]:
        assert subscription == KEY
        self._listeners.append(told)
        return lambda: self._listeners.remove(told)


def holding() -> Holding:
    """What a subscription holds of a quota that is never full."""
    return Quotas(lambda _: QuotaLimits(), ManualClock(1_000_000)).open_subscription(KEY.agency)


class ParkingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.audit = AuditStream()
        self.log: list[LogEntry] = []
        self.committed = self.committed_before = AckState()
        self.time = 0.0
        self.next_id = 1
        self.processed: list[LogEntry] = []
        """In the order of their durable acknowledgements."""
        self.discarded: set[Position] = set()
        self.once_damaged: set[Position] = set()
        """Nothing waits behind these, and they come in no order."""
        self.late: tuple[Round, list[AuditEvent]] | None = None
        self.parking: Parking | None = None
        self.bounds = BOUNDS
        self.begin()

    @initialize(attempts=st.sampled_from([1, 1, 2]), batch=st.lists(records, min_size=2, max_size=6))
    def settle_terms(self, attempts: int, batch: list[tuple[str, str, int]]) -> None:
        self.bounds = replace(BOUNDS, max_attempts=attempts)
        self.begin()
        self.publish(batch)

    def begin(self) -> None:
        """Another process takes the partition over."""
        if self.parking is not None:
            self.parking.close()
        self.next_id += 1000
        self.book = LeaseBook(self.bounds, {}, first_delivery_id=self.next_id)
        self.book.consumer_added(LAB.name, 4, 300)
        self.parking = Parking(KEY, self.book, self.audit, holding(), lambda: None)
        self.held: dict[Position, Held] = {}
        self.round = Round()
        self.leases: dict[int, Position] = {}
        self.read = self.committed.floor
        self.assigned()

    def assigned(self) -> None:
        assert self.parking is not None
        now(self.parking.take_over([Assigned(PARTITION, self.committed, shared=True)]))
        now(self.parking.assigned(PARTITION, self.committed.floor))
        self.book.assign_partition(PARTITION, self.committed)

    # --- what the world does ---

    @rule(batch=st.lists(records, min_size=1, max_size=4))
    def publish(self, batch: list[tuple[str, str, int]]) -> None:
        for case, kind, size in batch:
            position = Position(*PARTITION, len(self.log))
            entry = LogEntry(position, b"", kind, case, ("lab",), b"", 0, bytes(size), "log", 0)
            self.log.append(entry)
            self.audit.entries[position] = entry

    @rule(pick=picks)
    def damage_or_repair(self, pick: int) -> None:
        if self.audit.damaged:
            self.audit.damaged.clear()
        elif self.log:
            self.damage(pick % len(self.log))

    def damage(self, offset: int) -> None:
        position = self.log[offset].position
        self.audit.damaged.add(position)
        self.once_damaged.add(position)

    @rule(answers=answers_given)
    def answer(self, answers: list[tuple[str, int]]) -> None:
        for answer, pick in answers:
            if answer == "l" or not self.leases:
                self.loop_once()
            if answer != "l":
                self.give(answer, pick)

    def give(self, answer: str, pick: int) -> None:
        if not self.leases:
            return
        delivery_id = sorted(self.leases)[pick % len(self.leases)]
        if answer == "a":
            self.acknowledge(delivery_id)
            return
        del self.leases[delivery_id]
        dead = self.book.nack(delivery_id, self.time, 0, transient=answer == "t")
        if dead is not None:
            self.gave_up(dead.position, dead.failed_attempts)

    def acknowledge(self, delivery_id: int) -> None:
        position = self.book.ack(delivery_id)
        assert self.leases.pop(delivery_id) == position
        del self.held[position]
        self.round.acked.append(Acked(LAB, delivery_id, position))

    @rule()
    def time_passes(self) -> None:
        self.time += 100
        for event in self.book.tick(self.time):
            if isinstance(event, DeadLetter):
                self.gave_up(event.position, event.failed_attempts)
            else:
                self.leases.pop(event.delivery_id)

    @rule(pick=picks, redriven=st.booleans(), followed=st.sampled_from([True, True, False]))
    def decide(self, pick: int, *, redriven: bool, followed: bool) -> None:
        if redriven:
            self.redrive(pick)
        else:
            self.discard(pick)
        if followed:
            self.follow()

    def redrive(self, pick: int) -> None:
        if dead := self.audit.dead():
            item = dead[pick % len(dead)]
            self.audit.write([AuditEvent(0, "", DeadLetterRedriven(item.position, KEY.name, KEY.agency, item.case_id))])

    def discard(self, pick: int) -> None:
        if dead := self.audit.dead():
            item = dead[pick % len(dead)]
            self.discarded.add(item.position)
            event = DeadLetterDiscarded(item.position, KEY.name, KEY.agency, item.case_id, "CODE")
            self.audit.write([AuditEvent(0, "", event)])

    @rule(pick=picks, followed=st.booleans())
    def order(self, pick: int, *, followed: bool) -> None:
        """The agency wants a dead letter of any record, also of one that is finished, parked or held."""
        if self.log:
            entry = self.log[pick % len(self.log)]
            event = DeadLetterOrdered(entry.position, KEY.name, KEY.agency, entry.ordering_key, "CODE")
            self.audit.write([AuditEvent(0, "", event)])
        if followed:
            self.follow()

    def follow(self) -> None:
        """The process follows the audit stream."""
        self.audit.catch_up()

    @rule(events=st.sampled_from(["lost", "written", "late"]), commit_lost=st.booleans())
    def crash(self, events: str, *, commit_lost: bool = False) -> None:
        """The last commit may still have been under way."""
        done, told = self.round_so_far()
        if events == "written":
            self.write(done, told)
        if commit_lost:
            self.committed = self.committed_before
        self.begin()
        self.late = (done, told) if events == "late" else self.late

    @rule()
    def write_late(self) -> None:
        if self.late is not None:
            late, self.late = self.late, None
            self.write(*late)

    @rule()
    def another_process_takes_over_late(self) -> None:
        """It was assigned before this one, and was paused before it could say so."""
        now(self.audit.take_over(KEY, [PARTITION]))

    @rule(decisions=decisions_meanwhile)
    def reassign_while_the_agency_decides(self, decisions: list[tuple[str, int]]) -> None:
        ways: dict[str, Callable[[int], None]] = {
            "r": self.redrive,
            "d": self.discard,
            "o": partial(self.order, followed=False),
            "w": lambda _: None,
        }
        self.audit.between_pages = [partial(ways[way], pick) for way, pick in decisions]
        self.reassign()
        self.audit.between_pages = []

    @rule()
    def reassign(self) -> None:
        """The partition goes away in good order, and comes back to this process."""
        assert self.parking is not None
        self.loop_once()
        self.committed_before = self.committed = self.book.release_partition(PARTITION)
        self.parking.revoked(PARTITION)
        self.held.clear()
        self.leases.clear()
        self.assigned()
        self.read = self.committed.floor

    # --- what the loop does ---

    @rule(answers=answers_meanwhile)
    def loop_while_streams_answer(self, answers: list[tuple[str, int]]) -> None:
        self.audit.meanwhile = [partial(self.give, *answer) for answer in answers]
        self.loop_once()
        self.audit.meanwhile = []

    def loop_once(self) -> None:
        assert self.parking is not None
        self.round.dead += now(self.parking.recall(self.held))
        self.fill()
        for event in self.book.tick(self.time):
            if isinstance(event, DeadLetter):
                self.gave_up(event.position, event.failed_attempts)
            else:
                self.leases.pop(event.delivery_id)
        for ordered, code in self.parking.ordered(self.held):
            assert ordered.position not in self.leases.values()
            self.gave_up(ordered.position, ordered.failed_attempts, code=code)
        for lease in self.book.lease(self.time, LAB.name):
            if lease.position in self.audit.damaged:
                self.book.drop(lease.delivery_id)
                self.gave_up(lease.position, 0, LogCorrupt.reason)
                continue
            self.leases[lease.delivery_id] = lease.position
            self.handed(lease.position)
        done, told = self.round_so_far()
        self.write(done, told)
        try:
            now(self.parking.check_reigns(done.pointed))
        except LogUnavailable:
            # The subscription ends, and its streams open it again.
            self.begin()
            return
        self.committed_before, self.committed = self.committed, self.book.ack_state(PARTITION)

    def fill(self) -> None:
        assert self.parking is not None
        room = self.book.room(PARTITION)
        if room.records < 1 or room.bytes < 1:
            return
        for entry in self.log[self.read : self.read + room.records]:
            new = self.book.offer(PARTITION, entry.position.offset, entry.ordering_key, len(entry.value))
            if new and not self.parking.sets_aside(entry, self.round.parked):
                self.held[entry.position] = Held(entry)
            self.read += 1
        self.book.pass_to(PARTITION, self.read)

    def gave_up(self, position: Position, attempts: int, reason: str = "", code: str = "") -> None:
        assert self.parking is not None
        self.leases = {key: at for key, at in self.leases.items() if at != position}
        entry = self.held.pop(position).entry
        self.round.dead.append(GivenUp(position, "", entry.ordering_key, attempts, reason, "", code))
        self.round.parked += self.parking.gave_up(entry, self.held, reason)

    def round_so_far(self) -> tuple[Round, list[AuditEvent]]:
        assert self.parking is not None
        done, self.round = self.round, Round()
        done.ended = self.parking.take_ended(self.held)
        return done, done.events(0, KEY, self.parking.reigns)

    def write(self, done: Round, told: list[AuditEvent]) -> None:
        self.audit.write(told)
        self.processed += [self.audit.entries[item.position] for item in done.acked]

    # --- promises ---

    def handed(self, position: Position) -> None:
        """Of a case, nothing goes out that overtakes what is set aside or undone, except what may."""
        entry = self.audit.entries[position]
        if entry.kind in OVERTAKING:
            return
        case = [at for at, held in self.held.items() if held.entry.ordering_key == entry.ordering_key]
        assert min(at for at in case if at == position or at not in self.once_damaged) == position
        assert position not in self.discarded - self.once_damaged
        before = self.audit.everything.first(KEY, PARTITION, entry.ordering_key)
        if before is not None and Position(*PARTITION, before[0]) not in self.once_damaged:
            assert before == (position.offset, True)

    @invariant()
    def each_case_is_processed_in_order(self) -> None:
        seen: dict[str, list[int]] = defaultdict(list)
        for entry in self.processed:
            if entry.kind not in OVERTAKING and entry.position not in self.once_damaged:
                seen[entry.ordering_key].append(entry.position.offset)
        for offsets in seen.values():
            # Again is allowed: after a crash a record may come a second time. Backwards is not, but for that.
            first = list(dict.fromkeys(offsets))
            assert first == sorted(first)

    def teardown(self) -> None:
        """When every dead letter is redriven and everything answered, nothing is left and nothing is lost."""
        self.audit.damaged.clear()
        self.write_late()
        self.begin()
        for _ in range(10 * len(self.log) + 10):
            for item in self.audit.dead():
                event = DeadLetterRedriven(item.position, KEY.name, KEY.agency, item.case_id)
                self.audit.write([AuditEvent(0, "", event)])
            self.time += 1000
            self.follow()
            self.loop_once()
            while self.leases:
                self.acknowledge(min(self.leases))
        self.loop_once()
        done = {entry.position for entry in self.processed} | self.discarded
        assert done == self.audit.entries.keys()
        assert self.audit.everything.tally(Scope()) == (0, 0, None)
        assert not self.held
        assert self.committed == AckState(len(self.log))
        self.audit.index.close()
        self.audit.everything.close()


ParkingMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestParking = pytest.mark.filterwarnings("error")(ParkingMachine.TestCase)


# --- interleavings that broke the order or ended the subscription ---


@pytest.fixture
def world() -> Iterator[ParkingMachine]:
    world = ParkingMachine()
    yield world
    world.teardown()


def give_up(world: ParkingMachine, offset: int) -> None:
    """Give a record back until it is a dead letter. That is not durable yet."""
    for _ in range(BOUNDS.max_attempts):
        world.loop_once()
        (delivery_id,) = [key for key, position in world.leases.items() if position.offset == offset]
        world.give("n", sorted(world.leases).index(delivery_id))


def two_dead_letters_of_a_case(world: ParkingMachine) -> None:
    """A request, and the Correction after it. Another request is parked behind them. Then the first is redriven."""
    world.publish([("a", "SampleRequest", 1), ("a", "Correction", 1), ("a", "SampleRequest", 1)])
    give_up(world, 0)
    give_up(world, 1)
    world.loop_once()
    assert dead(world) == [0, 1]
    world.redrive(0)
    world.follow()


def dead(world: ParkingMachine) -> list[int]:
    return [item.position.offset for item in world.audit.dead()]


def leased(world: ParkingMachine) -> list[int]:
    return [position.offset for position in world.leases.values()]


def test_a_record_that_is_given_up_again_is_not_recalled_before_that_is_durable(world: ParkingMachine) -> None:
    two_dead_letters_of_a_case(world)
    give_up(world, 0)
    # A decision about the other dead letter makes the case due.
    world.discard(0)
    world.follow()
    world.loop_once()
    assert leased(world) == []
    assert dead(world) == [0]


def test_a_decision_while_a_case_is_looked_up_recalls_nothing_twice(world: ParkingMachine) -> None:
    two_dead_letters_of_a_case(world)
    world.audit.meanwhile = [lambda: world.discard(0)]
    world.loop_once()
    assert leased(world) == [0]


def test_a_record_that_fails_while_its_case_is_looked_up_is_not_overtaken(world: ParkingMachine) -> None:
    world.publish([("a", "SampleRequest", 1), ("a", "Correction", 1), ("a", "SampleRequest", 1)])
    give_up(world, 0)
    world.loop_once()
    world.give("n", 0)
    world.loop_once()
    world.discard(0)
    world.follow()
    world.audit.meanwhile = [lambda: world.give("n", 0)]
    world.loop_once()
    assert leased(world) == []
    assert dead(world) == [1]


def test_to_discard_a_damaged_record_does_not_let_its_case_go(world: ParkingMachine) -> None:
    world.publish([("a", "SampleRequest", 1), ("a", "Correction", 1)])
    world.damage(1)
    give_up(world, 0)
    world.loop_once()
    assert dead(world) == [0, 1]
    world.discard(1)
    world.follow()
    world.publish([("a", "SampleRequest", 1)])
    world.loop_once()
    assert leased(world) == []


def test_a_dead_letter_that_is_redriven_while_its_partition_is_read_is_delivered(world: ParkingMachine) -> None:
    world.publish([("a", "SampleRequest", 1), ("a", "SampleRequest", 1), ("b", "SampleRequest", 1)])
    give_up(world, 0)
    world.loop_once()
    world.acknowledge(min(world.leases))
    world.loop_once()
    assert dead(world) == [0]
    # The pages with its row have been read.
    world.audit.between_pages = [lambda: None, lambda: world.redrive(0)]
    world.reassign()
    assert world.audit.between_pages == []
    world.loop_once()
    assert leased(world) == [0]


def test_what_a_process_sets_aside_late_stops_no_case(world: ParkingMachine) -> None:
    world.publish([("a", "SampleRequest", 1), ("a", "SampleRequest", 1)])
    give_up(world, 0)
    world.crash("late")
    # The new one processes both.
    for _ in range(2):
        world.loop_once()
        world.acknowledge(min(world.leases))
    world.loop_once()
    world.write_late()
    assert dead(world) == []
    world.begin()
    world.publish([("a", "SampleRequest", 1)])
    world.loop_once()
    assert leased(world) == [2]


def test_what_a_process_finished_late_is_delivered_again(world: ParkingMachine) -> None:
    two_dead_letters_of_a_case(world)
    world.loop_once()
    world.acknowledge(min(world.leases))
    world.crash("late")
    world.write_late()
    world.loop_once()
    assert leased(world) == [0]


def test_no_commit_passes_what_was_set_aside_under_a_reign_that_is_over(world: ParkingMachine) -> None:
    world.publish([("a", "SampleRequest", 1), ("a", "SampleRequest", 1)])
    give_up(world, 0)
    world.another_process_takes_over_late()
    world.loop_once()
    assert dead(world) == []
    assert world.committed.floor == 0
    world.loop_once()
    assert leased(world) == [0]


def test_what_a_process_wrote_late_hides_no_dead_letter(world: ParkingMachine) -> None:
    two_dead_letters_of_a_case(world)
    world.loop_once()
    world.acknowledge(min(world.leases))
    world.crash("late")
    give_up(world, 0)
    world.loop_once()
    world.write_late()
    assert dead(world) == [0, 1]
