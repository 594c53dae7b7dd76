"""What members do to each other while nodes and brokers fail: phases drawn from the seed.

- *poison*: some records kill their subscriber each time, and some others are refused
- *stale*: the subscriber's revocation list is stale, so it gives back every record as a passing fault of its own
- *flood*: an agency without rights calls and publishes as fast as it can
- *slow*: a subscriber with large limits reads nothing
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from broker.client.connection import typed_errors
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.core.errors import CaseExchangeError
from broker.trust.system import SystemClock
from caseexchange.broker.v1 import subscriber_pb2, subscriber_pb2_grpc
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.scenarios.torture.stage import Stage

Trouble = Literal["poison", "stale", "flood", "slow"]
FLOODING_AGENCY: Final = "child-aid-ngo"
SLOW_AGENCY: Final = "national-dna-database"
_FLOODS: Final = 2
_FLOOD_BATCH: Final = 50
_CALL_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.3


class Phase(NamedTuple):
    """What some member does, when, and for how long."""

    at: float
    trouble: Trouble
    seconds: float


def phases(seed: int, seconds: float) -> list[Phase]:
    """One phase after another with short pauses, each trouble once before any comes again."""
    chance = random.Random(f"{seed} members")  # noqa: S311 - chance that can be repeated
    found: list[Phase] = []
    at = chance.uniform(0, 2)
    round_seconds = seconds / 2 if seconds < 100 else 60.0
    while at < seconds:
        for trouble in chance.sample(get_args(Trouble), len(get_args(Trouble))):
            length = round_seconds / len(get_args(Trouble))
            found.append(Phase(at, trouble, chance.uniform(0.6, 0.9) * length))
            at += length
    return [phase for phase in found if phase.at < seconds]


class Members:
    """Plays the phases. The subscribers and publishers ask which trouble there is."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._history = stage.history
        self._maker = RecordMaker(stage.pki, SystemClock(), FLOODING_AGENCY)
        self.troubles: set[Trouble] = set()
        self.refused_calls = 0
        """How many records of the flooding agency were refused. Each must be: it has no right to publish them."""

    async def run(self, planned: Sequence[Phase]) -> None:
        """Play the phases from now. In the end nobody troubles anybody."""
        begin = self._history.now
        for phase in planned:
            await asyncio.sleep(begin + phase.at - self._history.now)
            self._history.fault(f"{phase.trouble} for {phase.seconds:.1f} s")
            self.troubles.add(phase.trouble)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(phase.seconds):
                        await self._play(phase.trouble)
            finally:
                self.troubles.discard(phase.trouble)

    async def _play(self, trouble: Trouble) -> None:
        async with asyncio.TaskGroup() as group:
            for broker in self._stage.brokers:
                if trouble == "slow":
                    group.create_task(self._again(self._read_nothing, broker))
                elif trouble == "flood":
                    for _ in range(_FLOODS):
                        group.create_task(self._again(self._flood, broker))
            group.create_task(asyncio.Event().wait())

    async def _again(self, trouble: Callable[[str], Awaitable[None]], broker: str) -> None:
        while True:
            try:
                await trouble(broker)
            except CaseExchangeError as error:
                self._history.failed("trouble", error.reason)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _flood(self, broker: str) -> None:
        """Publish records that this agency may not publish, and take no notice of the answers."""
        verifier = ReceiptVerifier(FixedDirectory(self._stage.pki.directory), self._stage.pki.keyring())
        async with self._stage.channel(broker, FLOODING_AGENCY) as channel:
            publisher = Publisher(channel, CODEC, verifier)
            record = self._maker.make()
            while True:
                calls = [publisher.publish(record, timeout_seconds=_CALL_SECONDS) for _ in range(_FLOOD_BATCH)]
                answers = await asyncio.gather(*calls, return_exceptions=True)
                for answer in answers:
                    if not isinstance(answer, CaseExchangeError):
                        message = f"a record without a right was answered with {type(answer).__name__}"
                        raise TypeError(message)
                self.refused_calls += len(answers)

    async def _read_nothing(self, broker: str) -> None:
        async with self._stage.channel(broker, SLOW_AGENCY) as channel:
            call = subscriber_pb2_grpc.SubscriberServiceStub(channel).Subscribe()
            asked = subscriber_pb2.OpenSubscription(subscription="slow", kinds=["SampleRequest"])
            asked.max_outstanding_records, asked.max_outstanding_bytes, asked.lease.seconds = 1000, 32 << 20, 2
            with typed_errors():
                await call.write(subscriber_pb2.SubscribeRequest(open=asked))
                await call.read()
                # The library would read on. This call reads nothing more until it breaks.
                await call.wait_for_connection()
                await call.code()
