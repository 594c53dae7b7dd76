"""Publishers that do not give up. They send the same bytes of a record again until it has a receipt."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.core.errors import CaseExchangeError
from broker.trust.system import SystemClock
from tests.scenarios.torture.history import Received, Refused, Sent
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    import random

    from broker.core.envelope import Envelope
    from broker.core.receipt import ReceiptStatement
    from tests.scenarios.torture.stage import Stage

AGENCY: Final = "shanxi-police"
CASES: Final = 40
_PUBLISHERS: Final = 10
_CALL_SECONDS: Final = 12.0
_PAUSE_SECONDS: Final = 0.3
"""The pause after a failed attempt."""
_RECORD_SECONDS: Final = 0.12
"""The average time between two records of one publisher. The machine must be busy with faults, not with records."""
_RACE: Final = 0.06
_AGAIN: Final = 0.04


class Publishing:
    """Several publishers over both brokers. Each has its own cases, and sends one record at a time."""

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self._stage = stage
        self._history = stage.history
        self._chance = chance
        self._maker = RecordMaker(stage.pki, SystemClock(), AGENCY)
        self._verifier = ReceiptVerifier(FixedDirectory(stage.pki.directory), stage.pki.keyring())
        self._publishers: dict[str, Publisher] = {}
        self._kept: list[tuple[Envelope, str]] = []
        self.stopping = False

    async def run(self) -> None:
        """Publish until ``stopping``. Return when every record has an answer."""
        async with contextlib.AsyncExitStack() as stack:
            for broker in self._stage.brokers:
                channel = await stack.enter_async_context(self._stage.channel(broker, AGENCY))
                self._publishers[broker] = Publisher(channel, CODEC, self._verifier)
            async with asyncio.TaskGroup() as group:
                for number in range(_PUBLISHERS):
                    group.create_task(self._publish_on(number))

    async def _publish_on(self, number: int) -> None:
        cases = [f"01990000-0000-4000-8000-{case:012d}" for case in range(number, CASES, _PUBLISHERS)]
        broker = list(self._publishers)[number % len(self._publishers)]
        while not self.stopping:
            case = self._chance.choice(cases)
            envelope = self._maker.make(case=case)
            record_id = CODEC.parse_body(envelope.body).record_id
            self._history.sent[record_id] = Sent(record_id, envelope.body, case, self._history.now)
            if self._chance.random() < _RACE:
                await asyncio.gather(*(self._until_answered(envelope, record_id, one) for one in self._publishers))
            else:
                broker = await self._until_answered(envelope, record_id, broker)
            self._kept.append((envelope, record_id))
            if self._chance.random() < _AGAIN:
                await self._until_answered(*self._chance.choice(self._kept), self._chance.choice([*self._publishers]))
            if self._chance.random() < _AGAIN:
                broker = self._other(broker)
            await asyncio.sleep(self._chance.expovariate(1 / _RECORD_SECONDS))

    async def _until_answered(self, envelope: Envelope, record_id: str, broker: str) -> str:
        """Send a record to one broker and the other in turn, until it is answered. Return who answered."""
        while True:
            asked_at = self._history.now
            try:
                receipt = await self._publishers[broker].publish(envelope, timeout_seconds=_CALL_SECONDS)
            except CaseExchangeError as error:
                self._history.failed("publish", error.reason)
                if not error.retriable:
                    self._history.refused.append(Refused(record_id, error.reason, broker, self._history.now))
                    return broker
                await asyncio.sleep(_PAUSE_SECONDS)
                broker = self._other(broker)
                continue
            self._note(CODEC.parse_statement(receipt.statement), broker, asked_at)
            return broker

    def _note(self, statement: ReceiptStatement, broker: str, asked_at: float) -> None:
        self._history.received.append(Received(statement, broker, self._history.now, asked_at))

    def _other(self, broker: str) -> str:
        names = list(self._publishers)
        return names[(names.index(broker) + 1) % len(names)]
