"""One run: fault after fault over working clients. Then everything is repaired, drained and judged."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from certs.kafka import BROKER
from tests.scenarios.torture import nemesis
from tests.scenarios.torture.checker import Violation, unacknowledged, violations, waits
from tests.scenarios.torture.evidence import bundles
from tests.scenarios.torture.history import Back, History, Phase, wall
from tests.scenarios.torture.members import Members, phases
from tests.scenarios.torture.publishing import Publishing
from tests.scenarios.torture.signed import forked
from tests.scenarios.torture.stage import BROKERS, Stage
from tests.scenarios.torture.subscribing import Subscribing
from tests.scenarios.torture.watching import Watching, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

_FIRST_SECONDS: Final = 90.0
_PHASE_SECONDS: Final = 5.0
"""The length of each of two phases at the beginning, which are compared: they are a part of the run's seconds."""
_RECOVERED_SECONDS: Final = 90.0
"""After everything is repaired, each publisher must have an answer within this time."""
_DRAIN_SECONDS: Final = 180.0
"""Suspects rest five leases after each trip, and the records of their cases come one after another then."""
_LINES: Final = 40
"""So many of the last errors in each log are told."""
_QUIET_SECONDS: Final = 5.0
"""Longer than a lease. After it, everything that must be delivered again has been."""


@dataclass
class Outcome:
    """The results of a run."""

    seed: int
    facts: dict[str, Any]
    violations: list[Violation]
    evidence: list[str]
    """For a violation: where all evidence is, each fault with its time, and the errors that processes have logged."""


async def torture(root: Path, pki: SamplePki, cluster: KafkaCluster, *, seed: int, seconds: float) -> Outcome:
    """Run, and judge. The cluster is ready. All evidence is left in ``root``."""
    history = History()
    stage = Stage(root, pki, cluster, history)
    run = _Run(stage, seed, seconds)
    try:
        await stage.start()
        await run.play()
    finally:
        codes = await stage.stop()
        history.dump(root / "history.txt")
    found = [*run.trouble]
    found += [Violation("every process stops in good order", f"{name}: {code}") for name, code in codes.items() if code]
    stage.witnesses.stored({name: broker.folder for name, broker in stage.brokers.items()})
    found += [Violation("one root for each size, in what is stored", what) for what in forked(history.roots)]
    return Outcome(seed, run.facts(), found + run.found, [f"the evidence is in {root}", *_evidence(stage)])


def _evidence(stage: Stage) -> Iterator[str]:
    yield f"0.0 s is {wall(stage.history.began_at_ms)}"
    yield from (f"{fault.at:7.1f} s  {fault.what}" for fault in stage.history.faults)
    for name, process in (*stage.brokers.items(), *stage.asked.items()):
        lines = process.errors.read_text().splitlines() if process.errors.exists() else []
        telling = [line for line in lines if not line.startswith("{") or '"level": "error"' in line]
        yield from (f"{name}: {line}" for line in telling[-_LINES:])


class _Run:
    def __init__(self, stage: Stage, seed: int, seconds: float) -> None:
        self._stage = stage
        self._history = stage.history
        self._seed = seed
        self._seconds = seconds
        chance = random.Random(f"{seed} clients")  # noqa: S311 - chance; though clients are never quite the same twice
        self._publishing = Publishing(stage, chance)
        self._members = Members(stage)
        self._subscribing = Subscribing(stage, chance, self._members.troubles)
        self._watching = Watching(stage)
        self.trouble: list[Violation] = []
        self.found: list[Violation] = []
        self._faults = self._dead_letters = 0
        self._began_at = 0.0
        self._healed_at = 0.0
        self._recovered_at: dict[str, float] = {}

    async def play(self) -> None:
        """Everything except starting and stopping."""
        clients = [
            asyncio.create_task(self._subscribing.run(), name="subscribing"),
            asyncio.create_task(self._watching.run(), name="watching"),
        ]
        publishing = asyncio.create_task(self._publishing.run(), name="publishing")
        try:
            await self._until(lambda: {item.broker for item in self._history.received} >= {*BROKERS}, _FIRST_SECONDS)
            self._began_at = self._history.now
            self._history.say("both brokers give receipts")
            await self._without_witnesses()
            self._history.say("the faults begin")
            seconds = self._seconds - 2 * _PHASE_SECONDS
            faults = nemesis.plan(self._seed, seconds, self._stage.nodes, BROKERS, [*self._stage.asked])
            self._faults = len(faults)
            async with asyncio.TaskGroup() as group:
                group.create_task(nemesis.strike(faults, self._stage))
                group.create_task(self._members.run(phases(self._seed, seconds)))
            await self._recover(publishing)
            await self._drain()
        finally:
            for task in (*clients, publishing):
                task.cancel()
            done = await asyncio.gather(*clients, publishing, return_exceptions=True)
        for result in done:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
        await self._judge()

    async def _without_witnesses(self) -> None:
        """Let nothing happen for a while. Then let only the witnesses be away: one is paused, and one is killed."""
        if not await self._until(self._all_cosign(self._history.now), _FIRST_SECONDS):
            self.trouble.append(Violation("witnesses cosign", "not all have, before the faults began"))
        begin = self._history.now
        await asyncio.sleep(_PHASE_SECONDS)
        self._history.undisturbed = Phase(begin, self._history.now)
        paused, killed = self._stage.witnesses.targets.values()
        self._history.fault(f"only the witnesses are away: {paused.name} is paused, {killed.name} is killed")
        begin = self._history.now
        paused.pause()
        await killed.kill()
        await asyncio.sleep(_PHASE_SECONDS)
        self._history.without_witnesses = Phase(begin, self._history.now)
        paused.resume()
        await killed.start()
        self._history.fault("the witnesses are given back")
        self._history.back += [Back(name, self._history.now) for name in self._stage.witnesses.targets]

    def _all_cosign(self, since: float) -> Callable[[], bool]:
        """Whether every witness was seen to have cosigned something after a time."""

        def all_cosign() -> bool:
            seen = {source for (source, _), root in self._history.cosigned.items() if root.at > since}
            return seen >= self._stage.witnesses.targets.keys()

        return all_cosign

    async def _recover(self, publishing: asyncio.Task[None]) -> None:
        await self._stage.heal()
        self._healed_at = self._history.now
        self._history.say("everything is healed")
        begin = len(self._history.received)

        def recovered() -> bool:
            for item in self._history.received[begin:]:
                self._recovered_at.setdefault(item.broker, item.at - self._healed_at)
            return self._recovered_at.keys() >= {*BROKERS}

        if not await self._until(recovered, _RECOVERED_SECONDS):
            self.trouble.append(Violation("publishing recovers", f"receipts came only from {[*self._recovered_at]}"))
        if not await self._until(self._all_cosign(self._healed_at), _RECOVERED_SECONDS):
            self.trouble.append(Violation("cosignatures go on", "not every witness has cosigned since the healing"))
        self._publishing.stopping = True
        _, pending = await asyncio.wait([publishing], timeout=_RECOVERED_SECONDS)
        if pending:
            self.trouble.append(Violation("publishing recovers", "not every record got an answer"))

    async def _drain(self) -> None:
        self._subscribing.draining = True
        history = self._history
        receipted = history.receipted()
        begin = history.now

        def drained() -> bool:
            last = history.deliveries[-1].at if history.deliveries else 0.0
            quiet = history.now - max(last, begin) > _QUIET_SECONDS
            return quiet and not [*unacknowledged(receipted, history.acks)]

        history.say(f"{len(receipted)} records have receipts; the subscribers catch up")
        redriving = asyncio.create_task(self._subscribing.redrive())
        if not await self._until(drained, _DRAIN_SECONDS):
            self.trouble.append(Violation("the subscription drains", f"not within {_DRAIN_SECONDS:g} s"))
        redriving.cancel()
        await asyncio.gather(redriving, return_exceptions=True)
        history.say("drained")

    async def _judge(self) -> None:
        taken = await bundles(self._stage)
        connection = self._stage.cluster.connection(BROKER)
        await asyncio.to_thread(published, self._stage.pki, connection, self._history)
        logs = {name: one.errors.read_text().splitlines() for name, one in self._stage.brokers.items()}
        self.found = violations(self._history, taken, logs)
        self._dead_letters = len([codes for codes in taken[-1].unprocessed.values() if "" in codes])

    async def _until(self, holds: Any, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while not holds():  # noqa: ASYNC110 - it becomes true by time passing, too
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True

    def facts(self) -> dict[str, Any]:
        """Numbers that are reported and not judged."""
        history = self._history
        begin, end = self._began_at, self._healed_at
        times = sorted([begin, *(item.at for item in history.received if begin < item.at < end), end])
        seconds = max(end - begin, 1.0)
        confirmed: dict[str, float] = {}
        for item in history.confirmed:
            confirmed.setdefault(item.delivery.record_id, item.at)
        after = [d.at - confirmed[d.record_id] for d in history.deliveries if d.at > confirmed.get(d.record_id, 1e9)]
        records = len({item.statement.record_id for item in history.received})
        return {
            "seconds": round(seconds, 1),
            "faults": self._faults,
            "records_sent": len(history.sent),
            "records_receipted": records,
            "receipts": len(history.received),
            "receipts_per_second": round(len(times) / seconds, 1),
            "longest_without_receipt": round(max(b - a for a, b in pairwise(times)), 1),
            "receipts_in_each_five_seconds": {
                name: " ".join(map(str, self._rate(name, begin, end))) for name in self._stage.brokers
            },
            "recovered_after_healing": {name: round(at, 1) for name, at in self._recovered_at.items()},
            "deliveries": len(history.deliveries),
            "confirmed": len(history.confirmed),
            "delivered_after_confirmation": len(after),
            "latest_after_confirmation": round(max(after, default=0), 1),
            "refused": len([item for item in history.confirmed if item.refused]),
            "redriven": len(self._subscribing.redriven),
            "dead_letters_left": self._dead_letters,
            "records_that_kill": len(self._subscribing.poison),
            "refused_of_the_flood": self._members.refused_calls,
            "not_confirmed": len(history.acks) - len(history.confirmed),
            "checkpoints_seen": len({(root.partition, root.size) for root in history.roots}),
            "cosigned_checkpoints_seen": {
                source: len([root for root in history.roots if root.source == source])
                for source in sorted({source for source, _ in history.cosigned})
            },
            "median_seconds_of_a_receipt": {
                "undisturbed": self._median(history.undisturbed),
                "without_witnesses": self._median(history.without_witnesses),
            },
            "ended_by_themselves": {name: one.ended_by_itself for name, one in self._stage.brokers.items()},
            "failed_calls": dict(sorted(history.failures.items())),
        }

    def _median(self, phase: Phase) -> tuple[float, int]:
        """How long half of the receipts of a phase took, and how many there were."""
        found = waits(self._history.received, phase)
        return round(median(found), 3) if found else 0.0, len(found)

    def _rate(self, broker: str, begin: float, end: float) -> list[int]:
        """The number of receipts from a broker in each five seconds."""
        counts = [0] * (int((end - begin) / 5) + 1)
        for item in self._history.received:
            if item.broker == broker and begin <= item.at < end:
                counts[int((item.at - begin) / 5)] += 1
        return counts


def told(outcome: Outcome) -> str:
    """The results of a run as text."""
    facts = json.dumps(outcome.facts, indent=2)
    verdict = "\n".join(f"VIOLATION: {item.guarantee}: {item.what}" for item in outcome.violations)
    if not verdict:
        return f"seed {outcome.seed}\n{facts}\nevery guarantee held"
    return "\n".join([f"seed {outcome.seed}", facts, *outcome.evidence, verdict])
