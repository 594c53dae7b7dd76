"""A stream of batches through the publish service, with real keys and a log in memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.client.records import SectionDraft
from broker.core.errors import EvidenceUnavailable, InputRefused
from broker.core.identity import Principal
from broker.messagelog.sqlite import SqliteLog
from broker.services.pipeline import publish_in_turn
from broker.services.publish import PublishLimits, PublishService
from broker.trust.verification import InlineVerifier
from tests.support.damage import DamagedLog
from tests.support.fakes import FixedDirectory, ListedAudit, SwitchedEvidence
from tests.support.pki import ManualClock, SamplePki
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
        self.checked = threading.Semaphore(0)
        self.records = 0
        self._batches = 0

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        self._batches += 1
        self.records += len(signed)
        self.checked.release()
        if self._batches == 1:
            assert self.go.wait(10)
        else:
            self.second.set()
        return super().verify(signed)


class HeldLog(DamagedLog):
    """A log whole as it is, which appends when it is let go. ``appends``: the records of each append."""

    def __init__(self, log: SqliteLog) -> None:
        super().__init__(log)
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()
        self.appends: list[int] = []

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        self.appends.append(len(entries))
        self.begun.set()
        await self.go.wait()
        return await super().append(entries)


class Exchange(NamedTuple):
    log: HeldLog
    maker: RecordMaker
    verifier: HeldVerifier
    evidence: SwitchedEvidence
    service: PublishService

    def publish(self, batches: AsyncIterator[Sequence[Envelope]]) -> AsyncGenerator[PublishOutcome]:
        return publish_in_turn(self.service, SHANXI, batches)

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
    service = PublishService(
        directory=FixedDirectory(pki.directory),
        keyring=pki.keyring(),
        signatures=verifier,
        codec=CODEC,
        log=log,
        signer=pki.signer("exchange"),
        evidence=evidence,
        audit=ListedAudit(),
        clock=clock,
        limits=PublishLimits(),
    )
    async with asyncio.timeout(20):
        yield Exchange(log, RecordMaker(pki, clock), verifier, evidence, service)
    await log.close()


async def listed(*batches: Sequence[Envelope]) -> AsyncIterator[Sequence[Envelope]]:
    for batch in batches:
        yield batch


def sizes(outcomes: Sequence[PublishOutcome]) -> list[int]:
    return [len(outcome.results) for outcome in outcomes]


async def test_a_batch_is_checked_before_its_turn_and_answered_in_its_turn(exchange: Exchange) -> None:
    exchange.verifier.go.clear()
    publishing = exchange.publish(listed(exchange.batch(3), exchange.batch(4)))
    first = asyncio.ensure_future(anext(publishing))
    assert await asyncio.to_thread(exchange.verifier.second.wait, 10)
    assert not first.done()
    exchange.verifier.go.set()
    assert sizes([await first, *[outcome async for outcome in publishing]]) == [3, 4]


async def test_batches_that_were_checked_meanwhile_are_appended_together_and_answered_each_for_itself(
    exchange: Exchange,
) -> None:
    exchange.log.go.clear()
    rest_checked = asyncio.Event()

    async def stream() -> AsyncIterator[Sequence[Envelope]]:
        yield exchange.batch(1)
        await exchange.log.begun.wait()
        for records in (2, 1, 3):
            yield exchange.batch(records)
        rest_checked.set()

    publishing = exchange.publish(stream())
    first = asyncio.ensure_future(anext(publishing))
    await rest_checked.wait()
    while exchange.verifier.records < 7:
        await asyncio.to_thread(exchange.verifier.checked.acquire, timeout=10)
    exchange.log.go.set()
    outcomes = [await first, *[outcome async for outcome in publishing]]
    assert exchange.log.appends[0] == 1
    assert len(exchange.log.appends) < 4
    assert [[result.receipt_index for result in outcome.results] for outcome in outcomes] == [  # type: ignore[union-attr]
        [0],
        [0, 1],
        [0],
        [0, 1, 2],
    ]
    receipts = [outcome.receipts for outcome in outcomes if outcome.receipts is not None]
    assert [len(each.statements) for each in receipts] == [1, 2, 1, 3]
    assert len({each.signature.value for each in receipts}) == 4


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
            read.append(number - len(answered))
            yield exchange.batch()

    async for outcome in exchange.publish(hasty()):
        answered += sizes([outcome])
    assert len(answered) == 100
    # Those that are appended together, and as many ahead.
    assert 1 < max(read) <= 2 * 32


async def test_large_batches_are_not_read_ahead(exchange: Exchange) -> None:
    read: list[int] = []
    answered: list[int] = []
    large = SectionDraft("case", "synthetic", bytes(3 << 20))

    async def hasty() -> AsyncIterator[Sequence[Envelope]]:
        for number in range(8):
            read.append(number - len(answered))
            yield [exchange.maker.make(sections=(large,))]

    async for outcome in exchange.publish(hasty()):
        answered += sizes([outcome])
    assert len(answered) == 8
    assert max(read) <= 2 * 2


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
