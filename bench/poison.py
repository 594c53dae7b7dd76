"""What one refused record costs the records of 999 other cases, by turns with runs in which none is refused."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from exchange import Bench

from broker.client.connection import ConnectionSettings
from broker.client.subscriber import SubscribeOptions, Subscriber

if TYPE_CHECKING:
    from broker.core.streams import Position

RECORDS = 1000
ROUNDS = 21


async def seconds(bench: Bench, target: str, name: str, *, refuses: bool) -> float:
    """How long a new subscription takes until 999 records are acknowledged, each by its own answer."""
    options = SubscribeOptions(name, frozenset({"SampleRequest"}), 100, 32 << 20)
    async with bench.world.channel(ConnectionSettings(target), "national-dna-database") as channel:
        started = time.perf_counter()
        done: set[Position] = set()
        answers: set[asyncio.Task[None]] = set()
        async with Subscriber(channel).subscribe(options) as stream:
            async for batch in stream:
                for each in batch:
                    if refuses and not answers:
                        answers.add(asyncio.create_task(stream.refuse(each.delivery_id, "KIT_UNKNOWN")))
                        continue
                    answers.add(asyncio.create_task(stream.ack([each.delivery_id])))
                    done.add(each.position)
                if len(done) >= RECORDS - 1:
                    break
            await asyncio.gather(*answers)
        return time.perf_counter() - started


async def measure(bench: Bench, target: str) -> None:
    await bench.publish(target, 100, 1, RECORDS)
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS):
        for refuses in (False, True) if number % 2 else (True, False):
            name = f"poison-{number}-{'refuses' if refuses else 'takes'}"
            taken[refuses].append(await seconds(bench, target, name, refuses=refuses))
    quiet, poisoned = (statistics.median(taken[refuses]) for refuses in (False, True))
    print(f"999 records: {quiet:.3f} s, beside a refused one {poisoned:.3f} s: {poisoned / quiet:.3f} times")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="case-exchange-bench-") as made:
        bench = Bench(Path(made), RECORDS)
        bench.cases = RECORDS
        target = bench.world.start_broker("poison")
        try:
            asyncio.run(measure(bench, target))
        finally:
            bench.world.stop()


if __name__ == "__main__":
    main()
