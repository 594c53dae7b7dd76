"""Lost leases and suspects, as the lease book keeps them."""

from __future__ import annotations

import pytest

from broker.core.leasing.ackstate import LOSSES_TO_SUSPECT, AckState
from broker.core.leasing.lease import LeaseBook
from broker.core.leasing.suspects import REST_FACTOR, Became, Suspicion
from broker.core.leasing.terms import DeadLetter, Expired, Lease, LeaseSettings
from broker.core.streams import Position, StreamPartition

CASES = StreamPartition("cases", 0)
SETTINGS = LeaseSettings(
    lease_seconds=10, max_lease_seconds=60, max_attempts=3, window_records=100, window_bytes=10_000
)
KILLER = 3


def a_book(records: int, *, first: int = 0, state: AckState | None = None, delivery_id: int = 1000) -> LeaseBook:
    """A book over one partition, with a case for each record, and no consumer."""
    book = LeaseBook(SETTINGS, {CASES: state or AckState()}, first_delivery_id=delivery_id)
    offer(book, range(first, first + records))
    return book


def offer(book: LeaseBook, offsets: range) -> None:
    for offset in offsets:
        book.offer(CASES, offset, f"case-{offset}", 10)


def at(offset: int) -> Position:
    return Position(*CASES, offset)


def offsets(leases: list[Lease]) -> list[int]:
    return [lease.position.offset for lease in leases]


def took(book: LeaseBook, now: float, name: str = "lab-1") -> list[Lease]:
    """A new consumer comes, and this is what it gets."""
    book.consumer_added(name, 100, 100_000)
    return book.lease(now, name)


def dies(book: LeaseBook, now: float, name: str = "lab-1") -> tuple[list[Lease], float]:
    """A consumer comes, gets something, and is lost with it. Return that, and when its leases have ended."""
    leases = took(book, now, name)
    book.consumer_gone(name, clean=False)
    return leases, now + SETTINGS.lease_seconds


def an_ack(book: LeaseBook, now: float, offset: int) -> None:
    """Another consumer gets a new record and acknowledges it."""
    offer(book, range(offset, offset + 1))
    leases = took(book, now, "other")
    for lease in leases:
        if lease.position.offset == offset:
            book.ack(lease.delivery_id)
    book.consumer_gone("other", clean=True)


def a_suspect(book: LeaseBook) -> float:
    """Make the only record of a book a suspect. Return when."""
    now = 0.0
    for other in range(1, 1 + LOSSES_TO_SUSPECT):
        leases, now = dies(book, now)
        assert 0 in offsets(leases)
        assert len(book.tick(now)) == 1
        if other < LOSSES_TO_SUSPECT:
            offer(book, range(other, other + 1))
            for _ in range(2):
                for lease in took(book, now, "other"):
                    if lease.position.offset == other:
                        book.ack(lease.delivery_id)
                book.consumer_gone("other", clean=True)
    assert book.take_suspicions() == [Suspicion(at(0), Became.SUSPECT)]
    return now


class Consumer:
    """Handles what it gets in its order, and dies of one record. It acks each at once, or what it got as a whole."""

    def __init__(self, book: LeaseBook, *, ack_each: bool = True) -> None:
        self.book = book
        self.ack_each = ack_each
        self.now = 0.0
        self.deaths = 0
        self.innocent_losses: dict[int, int] = {}
        self.killer_alone = 0
        self.killer_in_company = 0
        self.dead: list[DeadLetter] = []

    def lives_once(self) -> None:
        """From its start until it dies, or has nothing left to do."""
        name = f"life-{self.deaths}"
        self.book.consumer_added(name, 100, 100_000)
        while leases := self.book.lease(self.now, name):
            handled = []
            for lease in leases:
                if lease.position == at(KILLER):
                    self.book.consumer_gone(name, clean=False)
                    self.now += SETTINGS.lease_seconds
                    self.dies(leases)
                    return
                handled.append(lease.delivery_id)
                if self.ack_each:
                    self.book.ack(handled.pop())
            for delivery_id in handled:
                self.book.ack(delivery_id)
            self.book.tick(self.now)
        self.book.consumer_gone(name, clean=True)

    def dies(self, leases: list[Lease]) -> None:
        self.deaths += 1
        if len(leases) == 1:
            self.killer_alone += 1
        else:
            self.killer_in_company += 1
        for event in self.book.tick(self.now):
            if isinstance(event, DeadLetter):
                self.dead.append(event)
            elif event.position != at(KILLER):
                offset = event.position.offset
                self.innocent_losses[offset] = self.innocent_losses.get(offset, 0) + 1


@pytest.mark.parametrize("ack_each", [True, False])
@pytest.mark.parametrize("records", [5, 40])
def test_a_consumer_killer_ends_as_a_dead_letter_and_no_innocent_record_loses_more_than_three_leases(
    records: int, *, ack_each: bool
) -> None:
    """While there is other work. The others lose leases only with the first three deaths in company."""
    book = a_book(records)
    consumer = Consumer(book, ack_each=ack_each)
    fresh = records
    while not consumer.dead:
        consumer.lives_once()
        offer(book, range(fresh, fresh + 2))
        fresh += 2
        consumer.now += 1
        book.tick(consumer.now)
        assert consumer.now < 10_000, "no dead letter"
    assert consumer.dead == [DeadLetter(at(KILLER), SETTINGS.max_attempts)]
    assert max(consumer.innocent_losses.values(), default=0) <= LOSSES_TO_SUSPECT
    assert consumer.killer_in_company <= LOSSES_TO_SUSPECT
    # In doubt the killer may have been alone before it was a suspect. That took no other record's lease.
    assert SETTINGS.max_attempts <= consumer.killer_alone <= SETTINGS.max_attempts + LOSSES_TO_SUSPECT
    consumer.lives_once()
    assert book.ack_state(CASES) == AckState(fresh)


def test_a_link_that_lets_nothing_through_makes_no_suspect_and_no_dead_letter_however_often_it_breaks() -> None:
    book = a_book(10)
    now = 0.0
    for _ in range(10 * SETTINGS.max_attempts):
        _, now = dies(book, now)
        assert [event for event in book.tick(now) if isinstance(event, DeadLetter)] == []
    assert book.take_suspicions() == []
    assert {lost for _, _, lost in book.ack_state(CASES).counts} == {1}


def test_a_link_that_breaks_after_every_few_records_makes_no_dead_letter() -> None:
    """Each connection acks the first record that it gets, and is lost with the others."""
    book = a_book(60)
    now, acked = 0.0, 0
    while acked < 60:
        leases = took(book, now)
        if leases:
            book.ack(leases[0].delivery_id)
            acked += 1
        more = book.lease(now, "lab-1")
        book.consumer_gone("lab-1", clean=False)
        now += SETTINGS.lease_seconds
        ended = book.tick(now)
        assert [event for event in ended if isinstance(event, DeadLetter)] == []
        assert len(ended) == len(leases[1:]) + len(more)
        assert now < 100_000
    assert book.ack_state(CASES) == AckState(60)


def test_a_record_that_is_alone_in_its_subscription_is_never_a_suspect() -> None:
    """Nothing shows that the consumer could take anything at all."""
    book = a_book(1)
    now = 0.0
    for attempt in range(1, 50):
        (lease,), now = dies(book, now)
        assert lease.attempt == attempt
        assert book.tick(now) == [Expired(lease.delivery_id, "lab-1", at(0))]
    assert book.ack_state(CASES) == AckState(0, (), ((0, 0, 1),))


# --- how a suspect travels ---


def test_a_suspect_gets_a_stream_of_its_own_and_this_stream_gets_nothing_else_until_it_is_answered() -> None:
    book = a_book(1)
    now = a_suspect(book)
    offer(book, range(10, 13))
    assert (book.ready_records, book.waiting_suspects) == (3, 1)

    (suspect,) = took(book, now)
    assert suspect.position == at(0)
    assert book.lease(now, "lab-1") == []
    # The book is in doubt until an ack. So another stream gets one.
    (other,) = took(book, now, "lab-2")
    book.ack(other.delivery_id)
    assert offsets(book.lease(now, "lab-2")) == [11, 12]
    assert book.lease(now, "lab-1") == []

    book.ack(suspect.delivery_id)
    offer(book, range(13, 14))
    assert offsets(book.lease(now, "lab-1")) == [13]
    assert book.take_suspicions() == [Suspicion(at(0), Became.CLEAR)]


def test_a_stream_that_holds_something_is_emptied_for_a_suspect_unless_another_is_empty() -> None:
    book = a_book(1)
    now = a_suspect(book)
    offer(book, range(10, 12))
    book.consumer_added("busy", 100, 100_000)
    # It gets the suspect and gives it back, and holds the others when the suspect may go again.
    (suspect,) = book.lease(now, "busy")
    book.nack(suspect.delivery_id, now, 0, transient=True)
    assert book.take_suspicions() == [Suspicion(at(0), Became.CLEAR)]
    book.tick(now)
    assert offsets(book.lease(now, "busy")) == [10]

    second = a_book(1)
    now = a_suspect(second)
    offer(second, range(10, 12))
    for name in ("busy", "late", "empty"):
        second.consumer_added(name, 100, 100_000)
    (travelling,) = second.lease(now, "empty")
    assert travelling.position == at(0)
    (first,) = second.lease(now, "busy")
    second.consumer_gone("empty", clean=True)
    second.tick(now)
    # It was given back at once, so there is no rest.
    assert second.lease(now, "busy") == [], "chosen, and to be emptied"
    second.ack(first.delivery_id)
    second.consumer_added("empty", 100, 100_000)
    assert offsets(second.lease(now, "empty")) == [0], "it need not wait for the chosen stream"
    assert offsets(second.lease(now, "busy")) == [11]


def test_a_stream_that_was_chosen_for_a_suspect_gets_it_when_it_is_empty() -> None:
    book = a_book(1)
    now = a_suspect(book)
    offer(book, range(10, 12))
    (suspect,) = took(book, now, "empty")
    (first,) = took(book, now, "busy")
    book.consumer_gone("empty", clean=True)
    book.tick(now)
    assert book.lease(now, "busy") == []
    book.ack(first.delivery_id)
    (again,) = book.lease(now, "busy")
    assert (again.position, again.attempt) == (at(0), suspect.attempt + 1)
    assert book.lease(now, "busy") == []


def test_if_the_chosen_stream_goes_another_is_chosen() -> None:
    book = a_book(1)
    now = a_suspect(book)
    offer(book, range(10, 12))
    took(book, now, "empty")
    took(book, now, "busy")
    book.consumer_gone("empty", clean=True)
    book.tick(now)
    assert book.lease(now, "busy") == []
    book.consumer_gone("busy", clean=False)
    assert offsets(took(book, now, "busy")) == [0]


def busy_streams(book: LeaseBook, now: float) -> tuple[Lease, Lease]:
    """Two streams that hold a record each, out of doubt, and a suspect that was given back to the book."""
    offer(book, range(10, 13))
    took(book, now, "empty")
    (first,) = took(book, now, "busy")
    book.ack(first.delivery_id)
    book.consumer_added("other", 1, 1000)
    (held,) = book.lease(now, "other")
    (first,) = book.lease(now, "busy")
    book.consumer_gone("empty", clean=True)
    book.tick(now)
    offer(book, range(20, 24))
    return first, held


def test_only_one_stream_is_emptied_for_a_suspect() -> None:
    book = a_book(1)
    now = a_suspect(book)
    first, held = busy_streams(book, now)
    assert book.lease(now, "busy") == [], "chosen"
    book.ack(held.delivery_id)
    offer(book, range(30, 31))
    (suspect,) = book.lease(now, "other")
    assert suspect.position == at(0), "it was empty first"
    assert len(book.lease(now, "busy")) == 5
    book.ack(suspect.delivery_id)
    book.ack(first.delivery_id)

    second = a_book(1)
    now = a_suspect(second)
    first, held = busy_streams(second, now)
    second.consumer_added("third", 100, 100_000)
    second.consumer_gone("third", clean=True)
    assert second.lease(now, "other") == [], "chosen"
    assert len(second.lease(now, "busy")) == 4, "not chosen"


def test_if_the_chosen_stream_is_gone_a_busy_one_is_chosen_and_emptied() -> None:
    book = a_book(1)
    now = a_suspect(book)
    first, _ = busy_streams(book, now)
    assert book.lease(now, "other") == [], "chosen"
    book.consumer_gone("other", clean=False)
    assert book.lease(now, "busy") == [], "chosen in its place"
    book.ack(first.delivery_id)
    assert offsets(book.lease(now, "busy")) == [0]


def test_after_a_lost_lease_a_stream_gets_one_record_at_a_time_until_the_next_ack() -> None:
    book = a_book(4)
    book.consumer_added("slow", 1, 1000)
    (lost,) = book.lease(0, "slow")
    book.tick(SETTINGS.lease_seconds)
    (one,) = took(book, SETTINGS.lease_seconds)
    assert book.lease(SETTINGS.lease_seconds, "lab-1") == []
    book.nack(one.delivery_id, SETTINGS.lease_seconds, 600, transient=True)
    assert lost.position == at(0)
    (two,) = book.lease(SETTINGS.lease_seconds, "lab-1")
    book.ack(two.delivery_id)
    assert len(book.lease(SETTINGS.lease_seconds, "lab-1")) == 2


def test_suspects_travel_one_at_a_time_and_rest_so_that_they_take_a_sixth_of_the_time() -> None:
    lost = tuple((offset, 0, LOSSES_TO_SUSPECT) for offset in (0, 1))
    book = a_book(2, state=AckState(0, (), lost))
    book.tick(0)
    due = REST_FACTOR * SETTINGS.lease_seconds
    assert took(book, 0) == [], "one of them may just have killed its consumer"
    assert book.next_deadline() == due
    assert book.tick(due) == []
    (first,) = book.lease(due, "lab-1")
    assert took(book, due, "lab-2") == [], "the other one waits for this one"

    book.ack(first.delivery_id)
    assert book.next_deadline() == due, "now"
    assert book.lease(due + 4, "lab-1") == [], "how long it took is known at the next tick"
    book.tick(due + 4)
    assert book.next_deadline() == due + 4 + REST_FACTOR * 4
    assert book.lease(due + 4 + REST_FACTOR * 4 - 0.1, "lab-1") == []
    assert offsets(book.lease(due + 4 + REST_FACTOR * 4, "lab-1")) == [1]


def test_a_rest_is_no_deadline_once_it_is_over_though_nobody_takes_the_suspect() -> None:
    book = a_book(1, state=AckState(0, (), ((0, 0, LOSSES_TO_SUSPECT),)))
    book.tick(0)
    due = book.next_deadline()
    assert due is not None
    book.tick(due)
    assert book.next_deadline() is None


def test_only_lost_alone_and_with_an_ack_since_a_suspect_becomes_a_dead_letter() -> None:
    book = a_book(1)
    now = a_suspect(book)
    ends: list[Expired | DeadLetter] = []
    for number in range(2 * SETTINGS.max_attempts):
        if number % 2 == 0:
            an_ack_by_then = 20 + number
            offer(book, range(an_ack_by_then, an_ack_by_then + 1))
        (lease,), now = dies(book, now)
        assert lease.position == at(0)
        ends += book.tick(now)
        if number % 2 == 0 and (due := book.next_deadline()) is not None:
            # While it rests, another one is acknowledged.
            (other,) = took(book, now, "other")
            book.ack(other.delivery_id)
            book.consumer_gone("other", clean=True)
            now = due
        elif due := book.next_deadline():
            now = due
        book.tick(now)
        if any(isinstance(event, DeadLetter) for event in ends):
            break
    # The first loss alone is after no ack, and so is every second one from then on.
    assert ends[-1] == DeadLetter(at(0), SETTINGS.max_attempts)
    assert len(ends) == 1 + 2 * SETTINGS.max_attempts
    assert book.take_suspicions() == [Suspicion(at(0), Became.DEAD)]


@pytest.mark.parametrize("transient", [True, False])
def test_a_suspect_that_is_given_back_is_a_suspect_no_more(*, transient: bool) -> None:
    book = a_book(1)
    now = a_suspect(book)
    (lease,) = took(book, now)
    book.take_commits()

    assert book.nack(lease.delivery_id, now, 0, transient=transient) is None
    assert book.take_suspicions() == [Suspicion(at(0), Became.CLEAR)]
    counts = () if transient else ((0, 1, 0),)
    assert book.take_commits() == {CASES: AckState(0, book.ack_state(CASES).done, counts)}
    book.tick(now)
    assert (book.ready_records, book.waiting_suspects) == (1, 0)


def test_a_record_that_its_consumer_may_not_have_any_more_proves_nothing() -> None:
    book = a_book(2)
    (first, second), now = dies(book, 0)
    book.tick(now)
    (again,) = took(book, now)
    book.drop(again.delivery_id)
    assert again.position == first.position
    assert book.lease(now, "lab-1")[0].position == second.position
    book.tick(now + SETTINGS.lease_seconds)
    assert book.ack_state(CASES) == AckState(1, (), ((1, 0, 1),)), "the second loss does not count"


# --- restarts ---


def test_a_suspect_is_one_after_a_restart_too() -> None:
    book = a_book(1)
    a_suspect(book)
    state = AckState.decode(book.ack_state(CASES).encode())

    resumed = a_book(1, state=state)
    assert resumed.take_suspicions() == [Suspicion(at(0), Became.SUSPECT)]
    resumed.tick(0)
    offer(resumed, range(10, 12))
    assert offsets(took(resumed, 0)) != [0]


def test_after_a_restart_a_loss_counts_only_with_a_new_ack() -> None:
    book = a_book(2, state=AckState(0, (), ((0, 0, 1),)))
    leases, now = dies(book, 0)
    book.tick(now)
    assert book.ack_state(CASES).counts == (((0, 0, 1),) if leases[0].position == at(0) else ((0, 0, 1), (1, 0, 1))), (
        "the first loss of the other one counts"
    )


@pytest.mark.parametrize("delivery_id", range(1000, 1010))
def test_books_that_follow_one_another_do_not_all_begin_with_the_same_record(delivery_id: int) -> None:
    """A consumer that is away for longer than its leases run gets a new book each time."""
    book = a_book(10, state=AckState(0, (), ((0, 0, 1),)), delivery_id=delivery_id)
    assert offsets(took(book, 0)) == [delivery_id % 10]


def test_a_released_suspect_ends_its_trip_and_is_handed_over() -> None:
    book = a_book(1)
    now = a_suspect(book)
    took(book, now)
    state = book.release_partition(CASES)
    assert state.counts == ((0, 0, LOSSES_TO_SUSPECT),)
    book.assign_partition(CASES, state)
    book.tick(now)
    offer(book, range(20))
    assert book.waiting_suspects == 1
    assert len(book.lease(now, "lab-1")) == 1, "the stream is free again, and the book in doubt"


def test_a_stream_that_was_chosen_is_free_again_if_the_suspects_are_released() -> None:
    dna = StreamPartition("dna", 0)
    book = a_book(1)
    now = a_suspect(book)
    book.assign_partition(dna, AckState())
    for offset in range(2):
        book.offer(dna, offset, f"case-{offset}", 10)
    took(book, now, "empty")
    (first,) = took(book, now, "busy")
    book.consumer_gone("empty", clean=True)
    book.tick(now)
    assert book.lease(now, "busy") == []
    book.release_partition(CASES)
    book.ack(first.delivery_id)
    book.tick(now)
    assert len(book.lease(now, "busy")) == 1


def test_an_answer_after_one_lost_lease_is_committed_because_the_count_is_gone() -> None:
    book = a_book(1)
    _, now = dies(book, 0.0)
    book.tick(now)
    assert book.take_commits() == {CASES: AckState(0, (), ((0, 0, 1),))}
    (lease,) = took(book, now)
    assert book.is_leased(lease.delivery_id)
    book.nack(lease.delivery_id, now, 0, transient=True)
    assert not book.is_leased(lease.delivery_id)
    assert book.take_commits() == {CASES: AckState(0)}


def test_a_suspect_that_is_parked_leaves_the_line_and_the_next_one_travels() -> None:
    lost = tuple((offset, 0, LOSSES_TO_SUSPECT) for offset in (0, 1))
    book = a_book(2, state=AckState(0, (), lost))
    book.tick(0.0)
    book.park(at(0))
    rest = SETTINGS.lease_seconds * REST_FACTOR
    book.tick(rest)
    assert offsets(took(book, rest)) == [1]


def test_of_recalled_records_only_those_of_a_released_partition_are_forgotten() -> None:
    other = StreamPartition("cases", 1)
    book = LeaseBook(SETTINGS, {CASES: AckState(5), other: AckState(5)}, first_delivery_id=1000)
    for partition in (CASES, other):
        book.recall(Position(*partition, 2), "a case", 10)
    assert {lease.position for lease in took(book, 0.0)} == {at(2), Position(*other, 2)}
    book.release_partition(CASES)
    assert [book.is_leased(delivery_id) for delivery_id in (1000, 1001)] == [False, True]
    book.assign_partition(CASES, AckState(5))
    book.recall(at(2), "a case", 10)
    assert [lease.position for lease in book.lease(0.0, "lab-1")] == [at(2)]
