"""A stream of batches through the publish service, with real keys and a log in memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.client.composing import SectionDraft
from broker.core.errors import EvidenceUnavailable, InputRefused, LogUnavailable, QuotaExceeded
from broker.core.identity import Principal
from broker.core.quota import QuotaLimits
from broker.messagelog.sqlite import SqliteLog
from broker.services.pipeline import publish_in_turn
from broker.services.publish import Accepted, PublishService
from broker.services.quotas import Quotas, Share
from broker.trust.verification import InlineVerifier
from tests.support.damage import DamagedLog
from tests.support.fakes import SwitchedEvidence
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from broker.core.entry import Appended, NewEntry
    from broker.core.envelope import Envelope
    from broker.ports import Signed
    from broker.services.publish import PublishOutcome

SHANXI = Principal("case-exchange.example", "shanxi-police", "gateway")


class HeldVerifier(InlineVerifier):
    """Checks signatures, those of the first batch only when allowed. ``second`` says that another batch was checked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.second = threading.Event()
        self._records = 0
        self._checked = threading.Condition()
        self._batches = 0

    async def checked(self, records: int) -> None:
        """Wait until the signatures of so many records were checked."""

        def wait() -> bool:
            with self._checked:
                return self._checked.wait_for(lambda: self._records >= records, 60)

        assert await asyncio.to_thread(wait)

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        self._batches += 1
        if self._batches == 1:
            assert self.go.wait(60)
        else:
            self.second.set()
        checked = super().verify(signed)
        with self._checked:
            self._records += len(signed)
            self._checked.notify_all()
        return checked


class HeldLog(DamagedLog):
    """A log that appends when it is let go. ``appends`` has the number of records of each append."""

    def __init__(self, log: SqliteLog) -> None:
        super().__init__(log)
        self.appends: list[int] = []
        self.appended: list[Appended] = []
        self.fails_from: int | None = None
        self._go = asyncio.Event()
        self._go.set()
        self._changed = asyncio.Condition()

    def hold(self) -> None:
        self._go.clear()

    def release(self) -> None:
        self._go.set()

    async def begun(self, appends: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.appends) >= appends)

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        number = len(self.appends)
        self.appends.append(len(entries))
        async with self._changed:
            self._changed.notify_all()
        await self._go.wait()
        if self.fails_from is not None and number >= self.fails_from:
            message = "as a full disk would"
            raise LogUnavailable(message)
        self.appended += (placed := await super().append(entries))
        return placed


class Exchange(NamedTuple):
    log: HeldLog
    maker: RecordMaker
    verifier: HeldVerifier
    evidence: SwitchedEvidence
    service: PublishService

    def publish(self, batches: AsyncIterator[Sequence[Envelope]]) -> AsyncGenerator[PublishOutcome]:
        quotas = Quotas(lambda _: QuotaLimits(), ManualClock(0))
        return publish_in_turn(self.service, SHANXI, batches, Share(quotas, SHANXI.agency))

    def batch(self, records: int = 1) -> list[Envelope]:
        return [self.maker.make() for _ in range(records)]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def exchange(pki: SamplePki) -> AsyncIterator[Exchange]:
    clock = ManualClock(pki.now_ms + 1000)
    verifier, evidence = HeldVerifier(), SwitchedEvidence()
    log = HeldLog(await SqliteLog.open(None, clock))
    service = publish_service(pki, log, clock, signatures=verifier, evidence=evidence)
    async with asyncio.timeout(60):
        yield Exchange(log, RecordMaker(pki, clock), verifier, evidence, service)
    await log.close()


async def listed(*batches: Sequence[Envelope]) -> AsyncIterator[Sequence[Envelope]]:
    for batch in batches:
        yield batch


def sizes(outcomes: Sequence[PublishOutcome]) -> list[int]:
    return [len(outcome.results) for outcome in outcomes]


@pytest.mark.parametrize("part", ["former receipt", "signature", "body type", "section name"])
async def test_every_byte_of_a_record_under_way_counts_for_the_quotas(exchange: Exchange, part: str) -> None:
    (record,) = exchange.batch()
    (signature,), (section,) = record.signatures, record.sections
    filled = {
        "former receipt": replace(record, former_receipt=bytes(1 << 20)),
        "signature": replace(record, signatures=(signature._replace(value=bytes(1 << 20)),)),
        "body type": replace(record, body_type="x" * (1 << 20)),
        "section name": replace(record, sections=(section._replace(name="x" * (1 << 20)),)),
    }[part]
    quotas = Quotas(lambda _: QuotaLimits(publishing_bytes=4 << 20), ManualClock(0))
    came = CODEC.decode_envelope(CODEC.encode_envelope(filled))
    for envelope in (filled, came):
        with quotas.publishing(SHANXI.agency) as share:
            batches = listed(*[[envelope] * 3] * 2)
            with pytest.raises(QuotaExceeded, match="bytes of records under way"):
                async for _ in publish_in_turn(exchange.service, SHANXI, batches, share):
                    pass


async def test_refused_records_of_batches_count_against_their_agency_and_accepted_ones_do_not(
    exchange: Exchange,
) -> None:
    quotas = Quotas(lambda _: QuotaLimits(refusals_per_second=1), ManualClock(0))
    turn = quotas.turns.of(SHANXI.agency, "publishing", publishes=True)

    async def publish(*batches: list[Envelope]) -> None:
        for _ in batches:
            await turn.to_use(1000)
        share = Share(quotas, SHANXI.agency)
        outcomes = publish_in_turn(exchange.service, SHANXI, listed(*batches), share, turn)
        assert [outcome async for outcome in outcomes]
        assert not turn._messages, "whatever is answered is judged"

    await publish(exchange.batch(100), exchange.batch(1))
    refused = replace(exchange.batch()[0], body=b"not a body")
    await publish([*exchange.batch(50), refused])
    await asyncio.wait_for(turn.to_read(), 60)
    await publish([refused] * 50)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(turn.to_read(), 0.01)


async def test_a_batch_is_checked_before_its_turn_and_answered_in_its_turn(exchange: Exchange) -> None:
    exchange.verifier.go.clear()
    publishing = exchange.publish(listed(exchange.batch(3), exchange.batch(4)))
    first = asyncio.ensure_future(anext(publishing))
    assert await asyncio.to_thread(exchange.verifier.second.wait, 10)
    assert not first.done()
    exchange.verifier.go.set()
    assert sum(sizes([await first, *[outcome async for outcome in publishing]])) == 7


async def test_batches_that_were_checked_meanwhile_are_appended_and_answered_together(exchange: Exchange) -> None:
    exchange.log.hold()
    batches = [exchange.batch(records) for records in (1, 1, 1, 1, 2, 1, 2, 1)]

    async def stream() -> AsyncIterator[Sequence[Envelope]]:
        for number, batch in enumerate(batches):
            yield batch
            # One batch an append, until four appends are under way. The rest waits, and is checked meanwhile.
            await exchange.log.begun(min(number + 1, 4))

    publishing = exchange.publish(stream())
    first = asyncio.ensure_future(anext(publishing))
    await exchange.verifier.checked(10)
    exchange.log.release()
    outcomes = [await first, *[outcome async for outcome in publishing]]
    assert exchange.log.appends == [1, 1, 1, 1, 6]
    assert sizes(outcomes) == [1, 1, 1, 1, 6]
    assert [result.receipt_index for result in outcomes[-1].results if isinstance(result, Accepted)] == [*range(6)]
    positions = [place.position for place in exchange.log.appended]
    assert positions == sorted(positions), "appends of one stream keep their order"


async def test_nothing_is_appended_behind_a_batch_that_could_not_be(exchange: Exchange) -> None:
    exchange.log.hold()
    go_on = asyncio.Event()

    async def stream() -> AsyncIterator[Sequence[Envelope]]:
        yield exchange.batch()
        await exchange.log.begun(1)
        yield exchange.batch()
        await go_on.wait()
        yield exchange.batch()

    publishing = exchange.publish(stream())
    first = asyncio.ensure_future(anext(publishing))
    await exchange.log.begun(2)
    exchange.log.fails_from = 1
    exchange.log.release()
    assert sizes([await first]) == [1]
    go_on.set()
    with pytest.raises(LogUnavailable):
        await anext(publishing)
    assert exchange.log.appends == [1, 1]


async def test_an_answer_does_not_wait_for_the_next_batch(exchange: Exchange) -> None:
    answered = asyncio.Event()

    async def careful() -> AsyncIterator[Sequence[Envelope]]:
        yield exchange.batch(1)
        await answered.wait()
        yield exchange.batch(2)

    publishing = exchange.publish(careful())
    first = await anext(publishing)
    answered.set()
    assert sizes([first, *[outcome async for outcome in publishing]]) == [1, 2]


async def test_a_stream_is_not_read_much_further_than_it_is_answered(exchange: Exchange) -> None:
    read: list[int] = []
    answered: list[int] = []

    async def hasty() -> AsyncIterator[Sequence[Envelope]]:
        for number in range(100):
            read.append(number - sum(answered))
            yield exchange.batch()

    async for outcome in exchange.publish(hasty()):
        answered += sizes([outcome])
    assert sum(answered) == 100
    assert 1 < max(read) <= 32


async def test_large_batches_are_not_read_ahead(exchange: Exchange) -> None:
    read: list[int] = []
    answered: list[int] = []
    large = SectionDraft("case", "synthetic", bytes(3 << 20))

    async def hasty() -> AsyncIterator[Sequence[Envelope]]:
        for number in range(8):
            read.append(number - sum(answered))
            yield [exchange.maker.make(sections=(large,))]

    async for outcome in exchange.publish(hasty()):
        answered += sizes([outcome])
    assert sum(answered) == 8
    assert max(read) <= 3


async def test_what_the_stream_raises_comes_after_the_answers_to_what_came_before(exchange: Exchange) -> None:
    async def broken() -> AsyncIterator[Sequence[Envelope]]:
        yield exchange.batch()
        message = "no batch"
        raise InputRefused(message)

    publishing = exchange.publish(broken())
    assert sizes([await anext(publishing)]) == [1]
    with pytest.raises(InputRefused):
        await anext(publishing)


async def test_a_batch_that_cannot_be_checked_ends_the_stream(exchange: Exchange) -> None:
    exchange.evidence.available = False
    with pytest.raises(EvidenceUnavailable):
        await anext(exchange.publish(listed(exchange.batch(), exchange.batch(), exchange.batch())))


async def test_a_stream_that_is_closed_early_leaves_nothing_running(exchange: Exchange) -> None:
    before = asyncio.all_tasks()
    async with contextlib.aclosing(exchange.publish(listed(*[exchange.batch() for _ in range(10)]))) as publishing:
        await anext(publishing)
    assert asyncio.all_tasks() == before
