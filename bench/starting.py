"""How long a broker on Kafka takes to start when many durable subscriptions exist. The machine should be quiet."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from exchange import Bench
from fanout import NONE, subscriptions
from onkafka import OnKafka
from processes import usage
from world import MANY


async def make(bench: Bench, target: str, count: int) -> float:
    """Open so many subscriptions, which stay when they are closed. Returns the seconds until all are open."""
    begin = time.monotonic()
    async with subscriptions(bench, target, count, NONE):
        return time.monotonic() - begin


def started(bench: Bench, kafka: OnKafka, what: str) -> str:
    """Start the broker, print the seconds until it serves, and return its address."""
    begin = time.monotonic()
    target = bench.world.start_broker("broker-starting", **kafka.tables(), quotas=MANY)
    seconds, spent = time.monotonic() - begin, usage(bench.world.pid(target)).cpu_microseconds / 1e6
    print(f"start {what}: {seconds:.1f} s, {spent:.1f} s of processor time")
    return target


def measure(bench: Bench, count: int) -> None:
    kafka = OnKafka(bench, 1, in_flight=1)
    with kafka.running():
        target = started(bench, kafka, "without topics")
        print(f"open {count} subscriptions: {asyncio.run(make(bench, target, count)):.1f} s")
        asyncio.run(bench.publish(target, 1, 4, bench.records))
        bench.world.stop()
        started(bench, kafka, f"with {count} durable subscriptions")
        bench.world.stop()
        shutil.rmtree(bench.root / "broker-starting")
        started(bench, kafka, f"with {count} durable subscriptions, without its folder")
        bench.world.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=2000, help="published before the second start")
    parser.add_argument("--subscriptions", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="case-exchange-starting-") as folder:
        bench = Bench(Path(folder), arguments.records)
        try:
            measure(bench, arguments.subscriptions)
        finally:
            bench.world.stop()


if __name__ == "__main__":
    main()
