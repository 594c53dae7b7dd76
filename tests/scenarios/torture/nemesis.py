"""The nemesis: faults drawn from a seed, done at their times. The same seed and length give the same plan."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from tests.scenarios.torture.history import Back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.scenarios.torture.stage import Stage

Kind = Literal["kill", "pause", "restart"]
_LONGEST_PAUSE: Final = 15.0
_BOTH_SECONDS: Final = 7.0
"""The longest time for which two of three nodes, or both brokers, are away together."""


class PlannedFault(NamedTuple):
    """What happens to which process, when, and for how long."""

    at: float
    kind: Kind
    target: str
    seconds: float
    wipe: bool = False
    """Whether a broker loses its folder before it starts again. It must be able to."""

    def __str__(self) -> str:
        """The text that is printed when it happens."""
        if self.kind == "restart":
            return f"restart {self.target} in good order"
        what = f"{self.kind} {self.target} for {self.seconds:.1f} s"
        return f"{what}, and delete its folder" if self.wipe else what


def plan(
    seed: int, seconds: float, nodes: Sequence[str], brokers: Sequence[str], asked: Sequence[str] = ()
) -> list[PlannedFault]:
    """Independent series of faults, so that they overlap by chance.

    One is for Kafka nodes, one for brokers, and one for those whom brokers ask: the witnesses. In a series one fault
    follows another, sometimes before the last has ended. Sometimes two targets are hit together.
    """
    faults = [
        *_series(random.Random(f"{seed} nodes"), seconds, nodes, kinds=("kill", "pause", "restart"), both=0.2),  # noqa: S311 - chance that can be repeated
        *_series(random.Random(f"{seed} brokers"), seconds, brokers, kinds=("kill", "pause"), both=0.12),  # noqa: S311 - as above
    ]
    if asked:
        faults += _series(random.Random(f"{seed} asked"), seconds, asked, kinds=("kill", "pause"), both=0.3)  # noqa: S311 - as above
    return sorted(faults)


def _series(
    chance: random.Random, seconds: float, targets: Sequence[str], *, kinds: Sequence[Kind], both: float
) -> list[PlannedFault]:
    faults = []
    at = chance.uniform(1, 4)
    while at < seconds:
        struck = chance.sample(targets, 2 if chance.random() < both else 1)
        end = at
        for target in struck:
            fault = _fault(chance, at, target, chance.choice(kinds), alone=len(struck) == 1)
            faults.append(fault)
            end = max(end, fault.at + fault.seconds)
        at = end + chance.uniform(1, 11)
    return [fault for fault in faults if fault.at < seconds]


def _fault(chance: random.Random, at: float, target: str, kind: Kind, *, alone: bool) -> PlannedFault:
    longest = _LONGEST_PAUSE if alone else _BOTH_SECONDS
    down = chance.uniform(1, longest) if kind == "pause" else chance.uniform(0.1, min(5, longest))
    wipe = kind == "kill" and target.startswith("broker") and chance.random() < 0.4
    return PlannedFault(at + chance.uniform(0, 1), kind, target, down, wipe)


async def strike(faults: Sequence[PlannedFault], stage: Stage) -> None:
    """Do each fault at its time from now. In the end everything runs again."""
    begin = stage.history.now
    async with asyncio.TaskGroup() as group:
        for fault in faults:
            group.create_task(_strike(fault, stage, begin))


async def _strike(fault: PlannedFault, stage: Stage, begin: float) -> None:
    await asyncio.sleep(begin + fault.at - stage.history.now)
    target = stage.targets[fault.target]
    async with target.turn:
        stage.history.fault(str(fault))
        match fault.kind:
            case "kill":
                await target.kill()
                await asyncio.sleep(fault.seconds)
                if fault.wipe:
                    target.wipe()
                await target.start()
            case "pause":
                target.pause()
                try:
                    await asyncio.sleep(fault.seconds)
                finally:
                    target.resume()
            case "restart":
                await target.restart()
        stage.history.fault(f"{fault.target} is given back")
        if fault.target in stage.witnesses.targets:
            stage.history.back.append(Back(fault.target, stage.history.now))
