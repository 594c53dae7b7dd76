"""A stream of batches through the publish service, with real keys and a log in memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.core.errors import EvidenceUnavailable, InputRefused
from broker.core.identity import Principal
from broker.messagelog.sqlite import SqliteLog
from broker.services.pipeline import publish_in_turn
from broker.services.publish import PublishLimits, PublishService
from broker.trust.verification import InlineVerifier
from tests.support.fakes import FixedDirectory, ListedAudit, SwitchedEvidence
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

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
        self._batches = 0

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        self._batches += 1
        if self._batches == 1:
            assert self.go.wait(10)
        else:
            self.second.set()
        return super().verify(signed)


class Exchange(NamedTuple):
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
    log = await SqliteLog.open(None, clock)
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
        yield Exchange(RecordMaker(pki, clock), verifier, evidence, service)
    await log.close()


async def listed(*batches: Sequence[Envelope]) -> AsyncIterator[Sequence[Envelope]]:
    for batch in batches:
        yield batch


def sizes(outcomes: Sequence[PublishOutcome]) -> list[int]:
    return [len(outcome.results) for outcome in outcomes]


async def test_a_batch_is_checked_before_its_turn_and_answered_in_its_turn(exchange: Exchange) -> None:
    exchange.verifier.go.clear()
    publishing = exchange.publish(listed(exchange.batch(1), exchange.batch(2)))
    first = asyncio.ensure_future(anext(publishing))
    assert await asyncio.to_thread(exchange.verifier.second.wait, 10)
    assert not first.done()
    exchange.verifier.go.set()
    assert sizes([await first, *[outcome async for outcome in publishing]]) == [1, 2]


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
        for number in range(12):
            read.append(number - len(answered))
            yield exchange.batch()

    async for outcome in exchange.publish(hasty()):
        answered += sizes([outcome])
    assert len(answered) == 12
    # Two batches are checked before their turn, and one more waits to be checked.
    assert max(read) == 3


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
