"""What subscriptions cost a publish: 1, 100 and 1,000 of them, which want none of the records, or all."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from exchange import Bench
from processes import Meter, resident_mb
from world import MANY

from broker.client.connection import ConnectionSettings
from broker.client.subscriber import SubscribeOptions, Subscriber

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.client.subscriber import SubscriptionStream

PER_CONNECTION = 100
NONE = ("shanxi-police", frozenset({"MatchNotification"}))
"""Every record goes to the laboratory, so an agency that is not addressed wants none of them."""
ALL = ("national-dna-database", frozenset({"SampleRequest"}))


async def idle(stream: SubscriptionStream) -> None:
    async for delivered in stream:
        await stream.ack([item.delivery_id for item in delivered])


@contextlib.asynccontextmanager
async def subscriptions(bench: Bench, target: str, count: int, who: tuple[str, frozenset[str]]) -> AsyncIterator[None]:
    """So many open subscriptions, whose subscriber acknowledges everything."""
    member, kinds = who
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for connection in range((count + PER_CONNECTION - 1) // PER_CONNECTION):
            # Channels with the same arguments share a connection, so each gets a setting of its own.
            settings = ConnectionSettings(target, keepalive_seconds=100 + connection)
            channel = await stack.enter_async_context(bench.world.channel(settings, member))
            for number in range(min(PER_CONNECTION, count - connection * PER_CONNECTION)):
                options = SubscribeOptions(f"fan-{count}-{connection}-{number}", kinds)
                stream = await stack.enter_async_context(Subscriber(channel).subscribe(options))
                tasks.append(asyncio.create_task(idle(stream)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def cost(bench: Bench, target: str, pid: int, count: int, who: tuple[str, frozenset[str]]) -> float:
    """Publish while so many subscriptions are open. Returns the broker's processor time a record (microseconds)."""
    records = bench.records if who is NONE else max(100, bench.records // count)
    async with subscriptions(bench, target, count, who):
        await asyncio.sleep(1)  # what opening them costs is not to be counted
        meter = Meter(pid)
        rate = await bench.publish(target, 1, 4, records)
        spent = meter.spent()
    microseconds = spent.cpu_microseconds / records
    label = "none" if who is NONE else "all"
    bench.cost_row(f"single x 4, {count} subscriptions that want {label}", rate)
    switches, memory = spent.switches / records, resident_mb(pid)
    print(f"    broker {switches:.1f} switches a record, {memory:.0f} MB")
    return microseconds


def measure(bench: Bench, counts: list[int]) -> None:
    for who in (NONE, ALL):
        costs = []
        for count in counts:
            # A new log each time: a new subscription begins with the first record of a log.
            target = bench.world.start_broker(f"broker-{count}-{who[0]}", quotas=MANY)
            costs.append(asyncio.run(cost(bench, target, bench.world.pid(target), count, who)))
            bench.world.stop()
        for count, each in zip(counts[1:], costs[1:], strict=True):
            print(f"    {count} cost {each / costs[0]:.2f} times what {counts[0]} costs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=2000, help="records a row")
    parser.add_argument("--subscriptions", type=int, nargs="*", default=[1, 100, 1000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="case-exchange-fanout-") as folder:
        bench = Bench(Path(folder), arguments.records)
        try:
            measure(bench, arguments.subscriptions)
        finally:
            bench.world.stop()


if __name__ == "__main__":
    main()
